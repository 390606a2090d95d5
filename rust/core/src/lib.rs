//! Long-tailed sampling without Python.
//!
//! Every draw is a pure function of (seed, epoch, position). Routines take slices and return vectors. No routine
//! panics on user input: see [`error::Error`].

pub mod alias;
pub mod augment;
pub mod batch;
pub mod beta;
pub mod confusion;
pub mod counts;
pub mod error;
pub mod fault;
pub mod image_list;
pub mod instruction_set;
pub mod interrupt;
pub mod mt19937;
pub mod permutation;
pub mod planes;
pub mod profile;
pub mod rng;
pub mod sampler;
pub mod source;
pub mod subset;
