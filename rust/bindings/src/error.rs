//! Core errors as Python exceptions.

use lt_fast_core::error::Error;
use pyo3::PyErr;
use pyo3::exceptions::{
    PyIndexError, PyKeyboardInterrupt, PyMemoryError, PyRuntimeError, PyValueError,
};

/// The Python exception of a core error.
pub fn to_python(error: Error) -> PyErr {
    match error {
        Error::Value(text) => PyValueError::new_err(text),
        Error::Index(text) => PyIndexError::new_err(text),
        Error::Memory(text) => PyMemoryError::new_err(text),
        Error::Interrupted => PyKeyboardInterrupt::new_err(()),
        Error::Fault(text) => PyRuntimeError::new_err(text),
    }
}
