//! A panic becomes an error. In a process of its own, because it replaces the hook that prints panics.

#![allow(clippy::panic, reason = "a test may fail by panicking")]

use lt_fast_core::error::{Error, Result};
use lt_fast_core::fault::{caught, note_panics};

fn text(outcome: Result<()>) -> String {
    match outcome {
        Err(Error::Fault(text)) => text,
        other => format!("{other:?}"),
    }
}

#[test]
fn a_panic_is_an_error_with_its_place() {
    let before = text(caught(|| panic!("first")));
    assert_eq!(
        before,
        "a fault of lt-fast at an unknown place: first; please report it"
    );
    note_panics();
    let found = text(caught(|| panic!("wrong by {}", 2)));
    assert!(found.contains("tests/fault.rs:"), "{found}");
    assert!(found.ends_with(": wrong by 2; please report it"), "{found}");
    let other = Error::Value("no".into());
    assert_eq!(caught::<()>(|| Err(other.clone())), Err(other));
    assert_eq!(caught(|| Ok(3)), Ok(3));
}
