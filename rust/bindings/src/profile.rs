//! Counts of a long-tailed set.

use lt_fast_core::profile;
use numpy::PyArray1;
use pyo3::prelude::*;

use crate::detached::detached;

#[pyfunction]
#[pyo3(signature = (largest, num_classes, imbalance_ratio, profile))]
pub fn long_tailed_counts<'py>(
    py: Python<'py>,
    largest: i64,
    num_classes: usize,
    imbalance_ratio: f64,
    profile: &str,
) -> PyResult<Bound<'py, PyArray1<i64>>> {
    let counts = detached(py, || {
        profile::long_tailed_counts(largest, num_classes, imbalance_ratio, profile.parse()?)
    })?;
    Ok(PyArray1::from_vec(py, counts))
}
