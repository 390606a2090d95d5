//! Work without the interpreter's lock: interruptible, and with panics turned into exceptions.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use lt_fast_core::error::{Error, Result};
use lt_fast_core::fault::caught;
use lt_fast_core::interrupt::during;
use pyo3::prelude::*;

use crate::error::to_python;

/// Time between two checks for signals.
const PERIOD: Duration = Duration::from_millis(50);

thread_local! {
    /// When this thread last checked for signals.
    static LOOKED: Cell<Option<Instant>> = const { Cell::new(None) };
    /// The exception that a signal handler raised.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Run `work` detached. Signals are handled every [`PERIOD`]; an exception of a handler ends the call, and a panic
/// becomes a `RuntimeError`.
pub fn detached<T: Send>(py: Python<'_>, work: impl Send + FnOnce() -> Result<T>) -> PyResult<T> {
    py.detach(|| {
        LOOKED.set(Some(Instant::now()));
        during(look_for_signals, || caught(work))
    })
    .map_err(|error| match error {
        Error::Interrupted => RAISED.take().unwrap_or_else(|| to_python(error)),
        other => to_python(other),
    })
}

fn look_for_signals() -> Result<()> {
    if LOOKED.get().is_some_and(|last| last.elapsed() < PERIOD) {
        return Ok(());
    }
    // At interpreter shutdown there is nothing to interrupt.
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method itself is not general enough in its lifetime"
    )]
    let handled = Python::try_attach(|py| py.check_signals());
    LOOKED.set(Some(Instant::now()));
    let Some(Err(raised)) = handled else {
        return Ok(());
    };
    RAISED.set(Some(raised));
    Err(Error::Interrupted)
}
