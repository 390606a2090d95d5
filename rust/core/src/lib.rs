//! Long-tailed sampling without Python.
//!
//! Every draw is a pure function of (seed, epoch, position); slices go in, vectors come out, and no routine
//! panics on user input: see [`error::Error`].

pub mod beta;
pub mod error;
pub mod permutation;
pub mod rng;
