//! Samplers: built by a function each, all drawn from through one class.

use std::borrow::Cow;

use lt_fast_core::counts::LabelRows;
use lt_fast_core::sampler::confusion_pairs::{Choice, Weights};
use lt_fast_core::sampler::{
    self, Batches, ClassBalanced, ConfusionPairs, LeastSampled, MPerClass, RepeatFactor, Shuffled,
    Weighted, WithinClass,
};
use numpy::{PyArray1, PyArrayMethods, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::error::to_python;
use crate::integers;

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
        integers::lists(py, &drawn, batch_size as usize)
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
#[pyo3(signature = (labels, num_classes, temperature, uniform_fraction, draws_per_epoch, seed, target, predicted, weight))]
#[expect(
    clippy::needless_pass_by_value,
    clippy::too_many_arguments,
    reason = "PyO3 hands over what it extracts; labels, a table of three columns, and how to draw from them"
)]
pub fn confusion_pairs(
    py: Python<'_>,
    labels: PyReadonlyArray1<'_, u32>,
    num_classes: usize,
    temperature: f64,
    uniform_fraction: f64,
    draws_per_epoch: u64,
    seed: u64,
    target: PyReadonlyArray1<'_, i64>,
    predicted: PyReadonlyArray1<'_, i64>,
    weight: PyReadonlyArray1<'_, f64>,
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

#[pyfunction]
#[pyo3(signature = (labels, class_probs, batch_size, draws_per_epoch, seed))]
#[expect(
    clippy::needless_pass_by_value,
    reason = "PyO3 hands over what it extracts"
)]
pub fn stratified(
    py: Python<'_>,
    labels: PyReadonlyArray1<'_, u32>,
    class_probs: PyReadonlyArray1<'_, f64>,
    batch_size: u64,
    draws_per_epoch: u64,
    seed: u64,
) -> PyResult<Draws> {
    let labels = contiguous("labels", &labels)?;
    let class_probs = contiguous("class_probs", &class_probs)?;
    let within = WithinClass::Stratified(batch_size);
    let sampler = py
        .detach(|| ClassBalanced::new(&labels, &class_probs, within, draws_per_epoch, seed))
        .map_err(to_python)?;
    Ok(Draws(Box::new(sampler)))
}

#[pyfunction]
#[pyo3(signature = (weights, replacement, draws_per_epoch, seed))]
#[expect(
    clippy::needless_pass_by_value,
    reason = "PyO3 hands over what it extracts"
)]
pub fn weighted(
    py: Python<'_>,
    weights: PyReadonlyArray1<'_, f64>,
    replacement: bool,
    draws_per_epoch: u64,
    seed: u64,
) -> PyResult<Draws> {
    let weights = contiguous("weights", &weights)?;
    let sampler = py
        .detach(|| Weighted::new(&weights, replacement, draws_per_epoch, seed))
        .map_err(to_python)?;
    Ok(Draws(Box::new(sampler)))
}

#[pyfunction]
#[pyo3(signature = (repeat_factors, draws_per_epoch, seed))]
#[expect(
    clippy::needless_pass_by_value,
    reason = "PyO3 hands over what it extracts"
)]
pub fn repeat_factor(
    py: Python<'_>,
    repeat_factors: PyReadonlyArray1<'_, f64>,
    draws_per_epoch: u64,
    seed: u64,
) -> PyResult<Draws> {
    let factors = contiguous("repeat_factors", &repeat_factors)?;
    let sampler = py
        .detach(|| RepeatFactor::new(&factors, draws_per_epoch, seed))
        .map_err(to_python)?;
    Ok(Draws(Box::new(sampler)))
}

#[pyfunction]
#[pyo3(signature = (labels, num_classes, m, classes_per_batch, draws_per_epoch, seed))]
#[expect(
    clippy::needless_pass_by_value,
    reason = "PyO3 hands over what it extracts"
)]
pub fn m_per_class(
    py: Python<'_>,
    labels: PyReadonlyArray1<'_, u32>,
    num_classes: usize,
    m: u64,
    classes_per_batch: u64,
    draws_per_epoch: u64,
    seed: u64,
) -> PyResult<Draws> {
    let labels = contiguous("labels", &labels)?;
    let build = || {
        MPerClass::new(
            &labels,
            num_classes,
            m,
            classes_per_batch,
            draws_per_epoch,
            seed,
        )
    };
    Ok(Draws(Box::new(py.detach(build).map_err(to_python)?)))
}

#[pyfunction]
#[pyo3(signature = (indptr, indices, class_probs, cycle, draws_per_epoch, seed))]
#[expect(
    clippy::needless_pass_by_value,
    reason = "PyO3 hands over what it extracts"
)]
pub fn multilabel(
    py: Python<'_>,
    indptr: PyReadonlyArray1<'_, i64>,
    indices: PyReadonlyArray1<'_, u32>,
    class_probs: PyReadonlyArray1<'_, f64>,
    cycle: bool,
    draws_per_epoch: u64,
    seed: u64,
) -> PyResult<Draws> {
    let (indptr, indices) = (
        contiguous("indptr", &indptr)?,
        contiguous("indices", &indices)?,
    );
    let class_probs = contiguous("class_probs", &class_probs)?;
    let within = if cycle {
        WithinClass::Cycle
    } else {
        WithinClass::Replace
    };
    let build = || {
        let table = LabelRows::new(&indptr, &indices, class_probs.len())?.table()?;
        ClassBalanced::over(table, &class_probs, within, draws_per_epoch, seed)
    };
    Ok(Draws(Box::new(py.detach(build).map_err(to_python)?)))
}

#[pyfunction]
#[pyo3(signature = (indptr, indices, num_classes, draws_per_epoch, seed))]
#[expect(
    clippy::needless_pass_by_value,
    reason = "PyO3 hands over what it extracts"
)]
pub fn least_sampled(
    py: Python<'_>,
    indptr: PyReadonlyArray1<'_, i64>,
    indices: PyReadonlyArray1<'_, u32>,
    num_classes: usize,
    draws_per_epoch: u64,
    seed: u64,
) -> PyResult<Draws> {
    let (indptr, indices) = (
        contiguous("indptr", &indptr)?,
        contiguous("indices", &indices)?,
    );
    let build = || {
        let rows = LabelRows::new(&indptr, &indices, num_classes)?;
        LeastSampled::new(rows, draws_per_epoch, seed)
    };
    Ok(Draws(Box::new(py.detach(build).map_err(to_python)?)))
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
