//! Python bindings: borrow, detach, call the core, return. No rule lives here.

use pyo3::prelude::*;

/// The Rust part of `lt_fast`; `python/lt_fast/_rust.pyi` has the types.
#[pymodule]
mod _rust {}
