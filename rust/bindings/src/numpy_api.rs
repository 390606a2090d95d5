//! `NumPy`'s C interfaces, loaded when the module is imported.
//!
//! The `numpy` crate imports Python modules at the first use of an array, and panics if that fails: a Ctrl-C there
//! would be a panic in the middle of a call. Loaded here, it is an exception of the import.

use lt_fast_core::error::Error;
use lt_fast_core::fault::caught;
use numpy::{PyArray1, PyArrayMethods};
use pyo3::exceptions::{PyImportError, PyKeyboardInterrupt};
use pyo3::prelude::*;

/// Load the interfaces of arrays and of borrows.
pub fn load(py: Python<'_>) -> PyResult<()> {
    py.import("numpy")?;
    let touched = caught(|| {
        let array = PyArray1::<i64>::zeros(py, [1], false);
        let borrowed = array.try_readonly().is_ok();
        borrowed
            .then_some(())
            .ok_or_else(|| Error::Fault("arrays cannot be borrowed".into()))
    });
    touched.map_err(|error| match error.to_string() {
        text if text.contains("KeyboardInterrupt") => PyKeyboardInterrupt::new_err(()),
        text => PyImportError::new_err(format!("NumPy's C interface cannot be used: {text}")),
    })
}
