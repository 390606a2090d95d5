//! Long-tailed subsets.

#![expect(
    clippy::needless_pass_by_value,
    reason = "a function argument is extracted from Python by value"
)]

use lt_fast_core::source::Source;
use lt_fast_core::subset;
use numpy::PyArray1;
use pyo3::prelude::*;

use crate::arrays::{Array1, Column};
use crate::detached::detached;

#[pyfunction]
#[pyo3(signature = (labels))]
pub fn class_sizes<'py>(
    py: Python<'py>,
    labels: Array1<'py, i64>,
) -> PyResult<Bound<'py, PyArray1<i64>>> {
    let labels = Column::dense("labels", &labels)?;
    let sizes = detached(py, || subset::class_sizes(&labels))?;
    Ok(PyArray1::from_vec(py, sizes))
}

#[pyfunction]
#[pyo3(signature = (labels, counts, seed, method))]
pub fn long_tailed_indices<'py>(
    py: Python<'py>,
    labels: Array1<'py, i64>,
    counts: Array1<'py, i64>,
    seed: u64,
    method: &str,
) -> PyResult<Bound<'py, PyArray1<i64>>> {
    let labels = Column::dense("labels", &labels)?;
    let counts = Column::dense("counts", &counts)?;
    let kept = detached(py, || {
        subset::long_tailed_indices(&labels, &counts.to_copy()?, seed, method.parse()?)
    })?;
    Ok(PyArray1::from_vec(py, kept))
}
