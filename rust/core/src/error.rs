//! The one error type of the crate.

/// What a routine refuses, in the words a user reads: argument, rule, value, next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// A value breaks a rule.
    Value(String),
    /// An index or label lies outside its range.
    Index(String),
    /// The result does not fit into memory.
    Memory(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value(text) | Self::Index(text) | Self::Memory(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

/// Result of every fallible routine of the crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An empty vector with room for `len` elements: a size that no machine has is an error, not an abort.
///
/// # Errors
/// [`Error::Memory`] if the allocator refuses.
pub fn reserved<T>(len: usize) -> Result<Vec<T>> {
    let mut room = Vec::new();
    match room.try_reserve_exact(len) {
        Ok(()) => Ok(room),
        Err(_) => Err(Error::Memory(format!(
            "cannot allocate {len} elements of {} bytes; ask for fewer at a time",
            size_of::<T>()
        ))),
    }
}
