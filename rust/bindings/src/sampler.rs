//! Samplers: built by a function each, all drawn from through one class.

use std::borrow::Cow;

use lt_fast_core::sampler::confusion_pairs::{Choice, Weights};
use lt_fast_core::sampler::{self, Batches, ClassBalanced, ConfusionPairs, Shuffled, WithinClass};
use numpy::{PyArray1, PyArrayMethods, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::error::to_python;

/// A seekable source of sample indices; immutable.
#[pyclass(frozen, module = "lt_fast._rust")]
pub struct Draws(Box<dyn sampler::Draws>);

#[pymethods]
impl Draws {
    #[getter]
    fn draws_per_epoch(&self) -> u64 {
        self.0.draws_per_epoch()
    }

    #[pyo3(signature = (epoch, first, step, count, batch_size))]
    fn array<'py>(
        &self,
        py: Python<'py>,
        epoch: u64,
        first: u64,
        step: u64,
        count: u64,
        batch_size: u64,
    ) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let batches = Batches {
            epoch,
            first,
            step,
            count,
            size: batch_size,
        };
        let drawn = py.detach(|| batches.draw(&*self.0)).map_err(to_python)?;
        Ok(PyArray1::from_vec(py, drawn))
    }

    #[pyo3(signature = (epoch, first, step, count, batch_size))]
    fn lists<'py>(
        &self,
        py: Python<'py>,
        epoch: u64,
        first: u64,
        step: u64,
        count: u64,
        batch_size: u64,
    ) -> PyResult<Bound<'py, PyList>> {
        let batches = Batches {
            epoch,
            first,
            step,
            count,
            size: batch_size,
        };
        let drawn = py.detach(|| batches.draw(&*self.0)).map_err(to_python)?;
        let lists = PyList::empty(py);
        for batch in drawn.chunks(batch_size as usize) {
            lists.append(PyList::new(py, batch)?)?;
        }
        Ok(lists)
    }
}

#[pyfunction]
#[pyo3(signature = (n, draws_per_epoch, seed))]
pub fn shuffled(n: u64, draws_per_epoch: u64, seed: u64) -> PyResult<Draws> {
    Ok(Draws(Box::new(
        Shuffled::new(n, draws_per_epoch, seed).map_err(to_python)?,
    )))
}

#[pyfunction]
#[pyo3(signature = (labels, class_probs, cycle, draws_per_epoch, seed))]
#[expect(
    clippy::needless_pass_by_value,
    reason = "PyO3 hands over what it extracts"
)]
pub fn class_balanced(
    py: Python<'_>,
    labels: PyReadonlyArray1<'_, u32>,
    class_probs: PyReadonlyArray1<'_, f64>,
    cycle: bool,
    draws_per_epoch: u64,
    seed: u64,
) -> PyResult<Draws> {
    let labels = contiguous("labels", &labels)?;
    let class_probs = contiguous("class_probs", &class_probs)?;
    let within = if cycle {
        WithinClass::Cycle
    } else {
        WithinClass::Replace
    };
    let sampler = py
        .detach(|| ClassBalanced::new(&labels, &class_probs, within, draws_per_epoch, seed))
        .map_err(to_python)?;
    Ok(Draws(Box::new(sampler)))
}

#[pyfunction]
#[pyo3(signature = (labels, num_classes, target, predicted, weight, temperature, uniform_fraction, draws_per_epoch, seed))]
#[expect(
    clippy::needless_pass_by_value,
    clippy::too_many_arguments,
    reason = "PyO3 hands over what it extracts; labels, a table of three columns, and how to draw from them"
)]
pub fn confusion_pairs(
    py: Python<'_>,
    labels: PyReadonlyArray1<'_, u32>,
    num_classes: usize,
    target: PyReadonlyArray1<'_, i64>,
    predicted: PyReadonlyArray1<'_, i64>,
    weight: PyReadonlyArray1<'_, f64>,
    temperature: f64,
    uniform_fraction: f64,
    draws_per_epoch: u64,
    seed: u64,
) -> PyResult<Draws> {
    let (labels, weight) = (
        contiguous("labels", &labels)?,
        contiguous("weight", &weight)?,
    );
    let target = contiguous("target", &target)?;
    let predicted = contiguous("predicted", &predicted)?;
    let weights = Weights {
        target: &target,
        predicted: &predicted,
        weight: &weight,
    };
    let choice = Choice {
        temperature,
        uniform_fraction,
    };
    let sampler = py
        .detach(|| {
            ConfusionPairs::new(&labels, num_classes, weights, choice, draws_per_epoch, seed)
        })
        .map_err(to_python)?;
    Ok(Draws(Box::new(sampler)))
}

/// The elements as a slice, copied only where they do not lie side by side.
pub fn contiguous<'a, T: numpy::Element + Copy>(
    name: &str,
    array: &'a PyReadonlyArray1<'_, T>,
) -> PyResult<Cow<'a, [T]>> {
    // A view into bytes, say: Rust may not read a number from between two addresses.
    if !array.data().is_aligned() {
        return Err(PyValueError::new_err(format!(
            "{name} must be aligned in memory; pass a copy"
        )));
    }
    Ok(match array.as_slice() {
        Ok(slice) => Cow::Borrowed(slice),
        Err(_) => Cow::Owned(array.as_array().iter().copied().collect()),
    })
}
