//! The one error type of the crate.

/// What a routine refuses, in the words a user reads: argument, rule, value, next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// A value breaks a rule.
    Value(String),
    /// An index or label lies outside its range.
    Index(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value(text) | Self::Index(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

/// Result of every fallible routine of the crate.
pub type Result<T> = std::result::Result<T, Error>;
