//! Plain shuffling: every sample once before any is drawn again.

use super::Draws;
use crate::error::{Error, Result};
use crate::permutation::{Permutation, Shape};
use crate::rng::{Stream, stream};

/// Pass after pass over `0..len`, each in the order of its own keyed permutation.
///
/// An epoch longer than `len` goes on with another pass. O(1) memory, any position at the same cost.
#[derive(Debug, Clone)]
pub struct Shuffled {
    shape: Shape,
    draws_per_epoch: u64,
    seed: u64,
}

impl Shuffled {
    /// A shuffle of `0..len`.
    ///
    /// # Errors
    /// If `len` is 0 or above 2^63.
    pub fn new(len: u64, draws_per_epoch: u64, seed: u64) -> Result<Self> {
        if len == 0 {
            return Err(Error::Value(
                "the data set must hold at least 1 sample, got 0".into(),
            ));
        }
        Ok(Self {
            shape: Shape::checked(len)?,
            draws_per_epoch,
            seed,
        })
    }
}

impl Draws for Shuffled {
    fn draws_per_epoch(&self) -> u64 {
        self.draws_per_epoch
    }

    fn fill(&self, epoch: u64, start: u64, mut out: &mut [i64]) {
        let stream = Stream::new(self.seed, stream::SAMPLER, epoch);
        let (mut pass, mut at) = (start / self.shape.len(), start % self.shape.len());
        while !out.is_empty() {
            let written = Permutation::new(self.shape, stream.sub(pass)).fill(at, out);
            out = &mut out[written..];
            (pass, at) = (pass + 1, 0);
        }
    }
}
