//! Confusion counts, shared between threads.

use std::sync::{Mutex, MutexGuard, PoisonError};

use lt_fast_core::confusion;
use lt_fast_core::error::Result;
use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1};
use pyo3::prelude::*;

use crate::error::to_python;
use crate::sampler::contiguous;

type Column<'py> = Bound<'py, PyArray1<i64>>;

/// Counts of (target, predicted) pairs.
#[pyclass(frozen, module = "lt_fast._rust")]
pub struct ConfusionCounts(Mutex<confusion::ConfusionCounts>);

impl ConfusionCounts {
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl Send + FnOnce(&mut confusion::ConfusionCounts) -> Result<T>,
    ) -> PyResult<T> {
        py.detach(|| work(&mut self.locked())).map_err(to_python)
    }

    /// The counts; a panic elsewhere cannot have left them half changed.
    fn locked(&self) -> MutexGuard<'_, confusion::ConfusionCounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
#[expect(
    clippy::needless_pass_by_value,
    reason = "PyO3 hands over what it extracts"
)]
impl ConfusionCounts {
    #[new]
    #[pyo3(signature = (num_classes))]
    fn new(num_classes: usize) -> PyResult<Self> {
        let counts = confusion::ConfusionCounts::new(num_classes).map_err(to_python)?;
        Ok(Self(Mutex::new(counts)))
    }

    #[getter]
    fn num_classes(&self, py: Python<'_>) -> usize {
        py.detach(|| self.locked().num_classes())
    }

    #[getter]
    fn total(&self, py: Python<'_>) -> i64 {
        py.detach(|| self.locked().total())
    }

    #[getter]
    fn nbytes(&self, py: Python<'_>) -> usize {
        py.detach(|| self.locked().memory())
    }

    #[pyo3(signature = (target, predicted))]
    fn update(
        &self,
        py: Python<'_>,
        target: PyReadonlyArray1<'_, i64>,
        predicted: PyReadonlyArray1<'_, i64>,
    ) -> PyResult<()> {
        let target = contiguous("target", &target)?;
        let predicted = contiguous("predicted", &predicted)?;
        self.with(py, |counts| counts.update(&target, &predicted))
    }

    #[pyo3(signature = (target, predicted, count))]
    fn merge(
        &self,
        py: Python<'_>,
        target: PyReadonlyArray1<'_, i64>,
        predicted: PyReadonlyArray1<'_, i64>,
        count: PyReadonlyArray1<'_, i64>,
    ) -> PyResult<()> {
        let target = contiguous("target", &target)?;
        let predicted = contiguous("predicted", &predicted)?;
        let count = contiguous("count", &count)?;
        self.with(py, |counts| counts.merge(&target, &predicted, &count))
    }

    fn entries<'py>(&self, py: Python<'py>) -> PyResult<(Column<'py>, Column<'py>, Column<'py>)> {
        let found = self.with(py, |counts| counts.entries())?;
        let column = |values| PyArray1::from_vec(py, values);
        Ok((
            column(found.target),
            column(found.predicted),
            column(found.count),
        ))
    }

    fn matrix<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<i64>>> {
        let (classes, cells) =
            self.with(py, |counts| Ok((counts.num_classes(), counts.matrix()?)))?;
        PyArray1::from_vec(py, cells).reshape([classes, classes])
    }
}
