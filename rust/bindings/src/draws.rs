//! Plain draws: uniform, beta, permutation; and indices as a list.

use lt_fast_core::beta::Beta;
use lt_fast_core::permutation::{Permutation, Shape};
use lt_fast_core::rng::{self, Stream};
use lt_fast_core::source::Source;
use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::arrays::{Array1, Column};
use crate::detached::detached;
use crate::integers::list;

#[pyfunction]
#[pyo3(signature = (seed, stream, epoch, start, n))]
pub fn uniform(
    py: Python<'_>,
    seed: u64,
    stream: u64,
    epoch: u64,
    start: u64,
    n: usize,
) -> PyResult<Bound<'_, PyArray1<f64>>> {
    let drawn = detached(py, || {
        rng::uniforms(Stream::new(seed, stream, epoch), start, n)
    })?;
    Ok(PyArray1::from_vec(py, drawn))
}

#[pyfunction]
#[pyo3(signature = (alpha, beta, seed, stream, epoch, start, n))]
#[expect(
    clippy::too_many_arguments,
    reason = "a distribution's two parameters and the five of every draw"
)]
pub fn beta(
    py: Python<'_>,
    alpha: f64,
    beta: f64,
    seed: u64,
    stream: u64,
    epoch: u64,
    start: u64,
    n: usize,
) -> PyResult<Bound<'_, PyArray1<f64>>> {
    let draw = || Beta::new(alpha, beta)?.draws(Stream::new(seed, stream, epoch), start, n);
    Ok(PyArray1::from_vec(py, detached(py, draw)?))
}

#[pyfunction]
#[pyo3(signature = (n, seed, stream, epoch))]
pub fn permutation(
    py: Python<'_>,
    n: u64,
    seed: u64,
    stream: u64,
    epoch: u64,
) -> PyResult<Bound<'_, PyArray1<i64>>> {
    let draw = || Permutation::new(Shape::checked(n)?, Stream::new(seed, stream, epoch)).to_vec();
    Ok(PyArray1::from_vec(py, detached(py, draw)?))
}

#[pyfunction]
#[pyo3(signature = (indices))]
#[expect(
    clippy::needless_pass_by_value,
    reason = "PyO3 passes extracted arguments by value"
)]
pub fn integers<'py>(py: Python<'py>, indices: Array1<'py, i64>) -> PyResult<Bound<'py, PyList>> {
    let indices = Column::of("indices", &indices)?;
    list(py, &detached(py, || indices.to_copy())?)
}
