//! Which samples a long-tailed set keeps.

#![expect(
    clippy::needless_pass_by_value,
    reason = "a function argument is extracted from Python by value"
)]

use lt_fast_core::subset;
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;

use crate::error::to_python;

#[pyfunction]
#[pyo3(signature = (labels))]
pub fn class_sizes<'py>(
    py: Python<'py>,
    labels: PyReadonlyArray1<'py, i64>,
) -> PyResult<Bound<'py, PyArray1<i64>>> {
    let labels = labels.as_slice()?;
    let sizes = py
        .detach(|| subset::class_sizes(labels))
        .map_err(to_python)?;
    Ok(PyArray1::from_vec(py, sizes))
}

#[pyfunction]
#[pyo3(signature = (labels, counts, seed, method))]
pub fn long_tailed_indices<'py>(
    py: Python<'py>,
    labels: PyReadonlyArray1<'py, i64>,
    counts: PyReadonlyArray1<'py, i64>,
    seed: u64,
    method: &str,
) -> PyResult<Bound<'py, PyArray1<i64>>> {
    let (labels, counts) = (labels.as_slice()?, counts.as_slice()?);
    let method = method.parse().map_err(to_python)?;
    let kept = py
        .detach(|| subset::long_tailed_indices(labels, counts, seed, method))
        .map_err(to_python)?;
    Ok(PyArray1::from_vec(py, kept))
}
