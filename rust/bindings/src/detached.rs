//! Work without the interpreter's lock: interruptible, and with a net below it.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use lt_fast_core::error::{Error, Result};
use lt_fast_core::fault::caught;
use lt_fast_core::interrupt::during;
use pyo3::prelude::*;

use crate::error::to_python;

/// How long a call works before it looks for signals, and again after each look.
const PERIOD: Duration = Duration::from_millis(50);

thread_local! {
    /// When this thread looked for signals last.
    static LOOKED: Cell<Option<Instant>> = const { Cell::new(None) };
    /// What the handler of a signal raised.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Run `work` detached. Signals are handled every [`PERIOD`]; what a handler raises ends the call, and a panic in the
/// work is a `RuntimeError`.
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
    // Without an interpreter, at the end of the process, there is nobody to interrupt.
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
