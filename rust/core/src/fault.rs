//! Turn a panic of this crate or of its caller into an error that names the source location.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};

use crate::error::{Error, Result};

thread_local! {
    static PLACE: Cell<Option<String>> = const { Cell::new(None) };
}

/// Record the location of each panic instead of printing it, from now on and in every thread of the process.
pub fn note_panics() {
    set_hook(Box::new(|info: &PanicHookInfo<'_>| {
        PLACE.set(info.location().map(ToString::to_string));
    }));
}

/// Run `work`; a panic becomes [`Error::Fault`] with its message and, after [`note_panics`], its location.
///
/// # Errors
/// Those of `work`.
pub fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let place = PLACE.take().unwrap_or_else(|| "an unknown place".into());
        Err(Error::Fault(format!(
            "a fault of lt-fast at {place}: {}; please report it",
            message(&*panic)
        )))
    })
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message")
}
