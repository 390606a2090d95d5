//! Samplers: one constructor function each, and one class for all of them.

use lt_fast_core::counts::LabelRows;
use lt_fast_core::error::Result;
use lt_fast_core::sampler::confusion_pairs::{Choice, Weights};
use lt_fast_core::sampler::{
    self, Batches, ClassBalanced, ConfusionPairs, LeastSampled, MPerClass, RepeatFactor, Shuffled,
    Weighted, WithinClass,
};
use lt_fast_core::source::Source;
use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::arrays::{Array1, Column};
use crate::detached::detached;
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
        let drawn = detached(py, || batches.draw(&*self.0))?;
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
        let drawn = detached(py, || batches.draw(&*self.0))?;
        integers::lists(py, &drawn, batch_size as usize)
    }
}

/// Run `build` detached.
fn boxed<S: sampler::Draws + 'static>(
    py: Python<'_>,
    build: impl Send + FnOnce() -> Result<S>,
) -> PyResult<Draws> {
    Ok(Draws(Box::new(detached(py, build)?)))
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
    reason = "PyO3 passes extracted arguments by value"
)]
pub fn class_balanced(
    py: Python<'_>,
    labels: Array1<'_, u32>,
    class_probs: Array1<'_, f64>,
    cycle: bool,
    draws_per_epoch: u64,
    seed: u64,
) -> PyResult<Draws> {
    let labels = Column::of("labels", &labels)?;
    let class_probs = Column::of("class_probs", &class_probs)?;
    let within = if cycle {
        WithinClass::Cycle
    } else {
        WithinClass::Replace
    };
    boxed(py, || {
        let class_probs = class_probs.to_copy()?;
        ClassBalanced::new(&labels, &class_probs, within, draws_per_epoch, seed)
    })
}

#[pyfunction]
#[pyo3(signature = (labels, num_classes, temperature, uniform_fraction, draws_per_epoch, seed, target, predicted, weight))]
#[expect(
    clippy::needless_pass_by_value,
    clippy::too_many_arguments,
    reason = "PyO3 passes extracted arguments by value; labels, a table of three columns, and how to draw from them"
)]
pub fn confusion_pairs(
    py: Python<'_>,
    labels: Array1<'_, u32>,
    num_classes: usize,
    temperature: f64,
    uniform_fraction: f64,
    draws_per_epoch: u64,
    seed: u64,
    target: Array1<'_, i64>,
    predicted: Array1<'_, i64>,
    weight: Array1<'_, f64>,
) -> PyResult<Draws> {
    let (labels, weight) = (
        Column::of("labels", &labels)?,
        Column::of("weight", &weight)?,
    );
    let target = Column::of("target", &target)?;
    let predicted = Column::of("predicted", &predicted)?;
    let choice = Choice {
        temperature,
        uniform_fraction,
    };
    boxed(py, || {
        let (target, predicted) = (target.to_copy()?, predicted.to_copy()?);
        let weights = Weights {
            target: &target,
            predicted: &predicted,
            weight: &weight.to_copy()?,
        };
        ConfusionPairs::new(&labels, num_classes, weights, choice, draws_per_epoch, seed)
    })
}

#[pyfunction]
#[pyo3(signature = (labels, class_probs, batch_size, draws_per_epoch, seed))]
#[expect(
    clippy::needless_pass_by_value,
    reason = "PyO3 passes extracted arguments by value"
)]
pub fn stratified(
    py: Python<'_>,
    labels: Array1<'_, u32>,
    class_probs: Array1<'_, f64>,
    batch_size: u64,
    draws_per_epoch: u64,
    seed: u64,
) -> PyResult<Draws> {
    let labels = Column::of("labels", &labels)?;
    let class_probs = Column::of("class_probs", &class_probs)?;
    let within = WithinClass::Stratified(batch_size);
    boxed(py, || {
        let class_probs = class_probs.to_copy()?;
        ClassBalanced::new(&labels, &class_probs, within, draws_per_epoch, seed)
    })
}

#[pyfunction]
#[pyo3(signature = (weights, replacement, draws_per_epoch, seed))]
#[expect(
    clippy::needless_pass_by_value,
    reason = "PyO3 passes extracted arguments by value"
)]
pub fn weighted(
    py: Python<'_>,
    weights: Array1<'_, f64>,
    replacement: bool,
    draws_per_epoch: u64,
    seed: u64,
) -> PyResult<Draws> {
    let weights = Column::of("weights", &weights)?;
    boxed(py, || {
        Weighted::new(&weights, replacement, draws_per_epoch, seed)
    })
}

#[pyfunction]
#[pyo3(signature = (repeat_factors, draws_per_epoch, seed))]
#[expect(
    clippy::needless_pass_by_value,
    reason = "PyO3 passes extracted arguments by value"
)]
pub fn repeat_factor(
    py: Python<'_>,
    repeat_factors: Array1<'_, f64>,
    draws_per_epoch: u64,
    seed: u64,
) -> PyResult<Draws> {
    let factors = Column::of("repeat_factors", &repeat_factors)?;
    boxed(py, || RepeatFactor::new(&factors, draws_per_epoch, seed))
}

#[pyfunction]
#[pyo3(signature = (labels, num_classes, m, classes_per_batch, draws_per_epoch, seed))]
#[expect(
    clippy::needless_pass_by_value,
    reason = "PyO3 passes extracted arguments by value"
)]
pub fn m_per_class(
    py: Python<'_>,
    labels: Array1<'_, u32>,
    num_classes: usize,
    m: u64,
    classes_per_batch: u64,
    draws_per_epoch: u64,
    seed: u64,
) -> PyResult<Draws> {
    let labels = Column::of("labels", &labels)?;
    boxed(py, || {
        MPerClass::new(
            &labels,
            num_classes,
            m,
            classes_per_batch,
            draws_per_epoch,
            seed,
        )
    })
}

#[pyfunction]
#[pyo3(signature = (indptr, indices, class_probs, cycle, draws_per_epoch, seed))]
#[expect(
    clippy::needless_pass_by_value,
    reason = "PyO3 passes extracted arguments by value"
)]
pub fn multilabel(
    py: Python<'_>,
    indptr: Array1<'_, i64>,
    indices: Array1<'_, u32>,
    class_probs: Array1<'_, f64>,
    cycle: bool,
    draws_per_epoch: u64,
    seed: u64,
) -> PyResult<Draws> {
    let (indptr, indices) = (
        Column::of("indptr", &indptr)?,
        Column::of("indices", &indices)?,
    );
    let class_probs = Column::of("class_probs", &class_probs)?;
    let within = if cycle {
        WithinClass::Cycle
    } else {
        WithinClass::Replace
    };
    boxed(py, || {
        let class_probs = class_probs.to_copy()?;
        let table = LabelRows::new(&indptr, &indices, class_probs.len())?.table()?;
        ClassBalanced::over(table, &class_probs, within, draws_per_epoch, seed)
    })
}

#[pyfunction]
#[pyo3(signature = (indptr, indices, num_classes, draws_per_epoch, seed))]
#[expect(
    clippy::needless_pass_by_value,
    reason = "PyO3 passes extracted arguments by value"
)]
pub fn least_sampled(
    py: Python<'_>,
    indptr: Array1<'_, i64>,
    indices: Array1<'_, u32>,
    num_classes: usize,
    draws_per_epoch: u64,
    seed: u64,
) -> PyResult<Draws> {
    let (indptr, indices) = (
        Column::of("indptr", &indptr)?,
        Column::of("indices", &indices)?,
    );
    boxed(py, || {
        let rows = LabelRows::new(&indptr, &indices, num_classes)?;
        LeastSampled::new(rows, draws_per_epoch, seed)
    })
}
