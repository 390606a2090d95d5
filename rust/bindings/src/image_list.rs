//! Text lists of labelled images.

use lt_fast_core::image_list;
use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::detached::detached;

type Parsed<'py> = (
    Bound<'py, PyBytes>,
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<i64>>,
);

#[pyfunction]
#[pyo3(signature = (list))]
pub fn parse_image_list<'py>(py: Python<'py>, list: &[u8]) -> PyResult<Parsed<'py>> {
    let parsed = detached(py, || image_list::parse(list))?;
    let text = PyBytes::new_with(py, parsed.text.len(), |bytes| {
        bytes.copy_from_slice(parsed.text.as_bytes());
        Ok(())
    })?;
    Ok((
        text,
        PyArray1::from_vec(py, parsed.ends),
        PyArray1::from_vec(py, parsed.labels),
    ))
}
