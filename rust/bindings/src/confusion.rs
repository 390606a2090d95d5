//! Confusion counts, shared between threads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lt_fast_core::confusion::{self, Increment};
use lt_fast_core::error::Result;
use lt_fast_core::interrupt::during;
use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;

use crate::arrays::{Array1, Column};
use crate::detached::detached;

/// Counts of (target, predicted) pairs.
///
/// The lock is held while an increment is added or the reference is copied, and never while Python code may run.
/// Readers work on a snapshot: an update at the same time changes a copy.
#[pyclass(frozen, module = "lt_fast._rust")]
pub struct ConfusionCounts {
    num_classes: usize,
    counts: Mutex<Arc<confusion::ConfusionCounts>>,
}

impl ConfusionCounts {
    fn now(&self) -> Arc<confusion::ConfusionCounts> {
        Arc::clone(&self.locked())
    }

    /// The counts. A panic cannot have left them half changed, so a poisoned lock is ignored.
    fn locked(&self) -> MutexGuard<'_, Arc<confusion::ConfusionCounts>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, more: &Increment) -> Result<()> {
        let mut counts = self.locked();
        // A signal handler might use these counts, and would deadlock.
        let undisturbed = || {
            if let Some(own) = Arc::get_mut(&mut counts) {
                return own.add(more);
            }
            let mut copy = counts.try_clone()?;
            copy.add(more)?;
            *counts = Arc::new(copy);
            Ok(())
        };
        during(|| Ok(()), undisturbed)
    }
}

#[pymethods]
#[expect(
    clippy::needless_pass_by_value,
    reason = "PyO3 passes extracted arguments by value"
)]
impl ConfusionCounts {
    #[new]
    #[pyo3(signature = (num_classes))]
    fn new(py: Python<'_>, num_classes: usize) -> PyResult<Self> {
        let counts = detached(py, || confusion::ConfusionCounts::new(num_classes))?;
        Ok(Self {
            num_classes,
            counts: Mutex::new(Arc::new(counts)),
        })
    }

    #[getter]
    fn num_classes(&self) -> usize {
        self.num_classes
    }

    #[getter]
    fn total(&self, py: Python<'_>) -> PyResult<i64> {
        detached(py, || Ok(self.now().total()))
    }

    #[getter]
    fn nbytes(&self, py: Python<'_>) -> PyResult<usize> {
        detached(py, || Ok(self.now().memory()))
    }

    #[pyo3(signature = (target, predicted))]
    fn update(
        &self,
        py: Python<'_>,
        target: Array1<'_, i64>,
        predicted: Array1<'_, i64>,
    ) -> PyResult<()> {
        let target = Column::of("target", &target)?;
        let predicted = Column::of("predicted", &predicted)?;
        detached(py, || {
            self.add(&Increment::of_pairs(self.num_classes, &target, &predicted)?)
        })
    }

    #[pyo3(signature = (target, predicted, count))]
    fn merge(
        &self,
        py: Python<'_>,
        target: Array1<'_, i64>,
        predicted: Array1<'_, i64>,
        count: Array1<'_, i64>,
    ) -> PyResult<()> {
        let target = Column::of("target", &target)?;
        let predicted = Column::of("predicted", &predicted)?;
        let count = Column::of("count", &count)?;
        detached(py, || {
            let more = Increment::of_cells(self.num_classes, &target, &predicted, &count)?;
            self.add(&more)
        })
    }

    fn entries<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Array1<'py, i64>, Array1<'py, i64>, Array1<'py, i64>)> {
        let found = detached(py, || self.now().entries())?;
        let column = |values| PyArray1::from_vec(py, values);
        Ok((
            column(found.target),
            column(found.predicted),
            column(found.count),
        ))
    }

    fn matrix<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<i64>>> {
        let cells = detached(py, || self.now().matrix())?;
        PyArray1::from_vec(py, cells).reshape([self.num_classes, self.num_classes])
    }
}
