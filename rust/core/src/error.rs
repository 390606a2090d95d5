//! The error type of the crate, and allocation that returns an error when memory runs out.

use std::alloc::{Layout, alloc_zeroed};

use crate::interrupt::{PIECE, poll};

/// Why a routine failed, as the user reads it: argument, rule, value, next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// A value breaks a rule.
    Value(String),
    /// An index or label is out of range.
    Index(String),
    /// The result does not fit into memory.
    Memory(String),
    /// The caller interrupted the work: see [`crate::interrupt`].
    Interrupted,
    /// A bug of this crate: see [`crate::fault`].
    Fault(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value(text) | Self::Index(text) | Self::Memory(text) | Self::Fault(text) => {
                f.write_str(text)
            }
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for Error {}

/// Result of every fallible routine of the crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An empty vector with room for `len` elements. A size that does not fit into memory is an error, not an abort.
///
/// # Errors
/// [`Error::Memory`] if the allocator refuses.
pub fn reserved<T>(len: usize) -> Result<Vec<T>> {
    let mut room = Vec::new();
    match room.try_reserve_exact(len) {
        Ok(()) => Ok(room),
        Err(_) => Err(no_room::<T>(len)),
    }
}

/// `len` copies of `value`: see [`reserved`].
///
/// # Errors
/// [`Error::Memory`] if the allocator refuses; those of an interrupt.
pub fn filled<T: Clone>(len: usize, value: &T) -> Result<Vec<T>> {
    let mut room = reserved(len)?;
    while room.len() < len {
        poll()?;
        room.resize(len.min(room.len() + PIECE), value.clone());
    }
    Ok(room)
}

/// The `values`, at most `most` of them: see [`reserved`].
///
/// # Errors
/// [`Error::Memory`] if the allocator refuses; those of an interrupt.
pub fn collected<T>(most: usize, values: impl IntoIterator<Item = T>) -> Result<Vec<T>> {
    let mut room = reserved(most)?;
    for (at, value) in values.into_iter().take(most).enumerate() {
        if at.is_multiple_of(PIECE) {
            poll()?;
        }
        room.push(value);
    }
    Ok(room)
}

/// `len` zeros. The operating system maps a page when it is first written to.
///
/// # Errors
/// [`Error::Memory`] if the allocator refuses.
#[expect(
    clippy::cast_ptr_alignment,
    reason = "the memory has the alignment of the layout"
)]
pub fn zeros(len: usize) -> Result<Vec<i64>> {
    if len == 0 {
        return Ok(Vec::new());
    }
    let layout = Layout::array::<i64>(len).map_err(|_| no_room::<i64>(len))?;
    // SAFETY: the layout is not empty.
    let memory = unsafe { alloc_zeroed(layout) };
    if memory.is_null() {
        return Err(no_room::<i64>(len));
    }
    let numbers = std::ptr::slice_from_raw_parts_mut(memory.cast::<i64>(), len);
    // SAFETY: allocated by the global allocator with the layout of `len` numbers, and zeroed.
    Ok(unsafe { Box::from_raw(numbers) }.into_vec())
}

fn no_room<T>(len: usize) -> Error {
    Error::Memory(format!(
        "cannot allocate {len} elements of {} bytes; ask for fewer at a time",
        size_of::<T>()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_no_machine_has_are_errors() {
        for len in [1 << 60, usize::MAX / 8, usize::MAX] {
            assert!(matches!(zeros(len), Err(Error::Memory(_))));
            assert!(matches!(filled(len, &0u64), Err(Error::Memory(_))));
        }
        assert_eq!(collected(2, 0..9), Ok(vec![0, 1]));
        assert_eq!(zeros(3), Ok(vec![0; 3]));
        assert_eq!(zeros(0), Ok(vec![]));
        assert_eq!(filled(PIECE + 1, &7u8), Ok(vec![7; PIECE + 1]));
    }
}
