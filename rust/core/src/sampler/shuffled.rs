//! Plain shuffling: every sample once before any repeats.

use std::sync::Mutex;

use super::Draws;
use crate::error::{Error, Result, reserved};
use crate::interrupt::{PIECE, Pace};
use crate::permutation::{LARGEST_SHUFFLE, QuickPermutation, Shape, shuffle};
use crate::rng::{Stream, stream};

/// Passes over `0..len`, each in its own order; an epoch longer than `len` continues with another pass.
///
/// Beyond [`LARGEST_SHUFFLE`] samples the order is a keyed permutation: O(1) memory, and the same cost at any position.
/// Up to it, the order is shuffled once per pass (O(len), 4 bytes per sample) and cached.
pub struct Shuffled {
    shape: Shape,
    draws_per_epoch: u64,
    seed: u64,
    /// The pass used last, because the next draws are usually of the same pass. It never changes a result.
    kept: Mutex<Option<(Stream, Vec<u32>)>>,
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
            kept: Mutex::default(),
        })
    }

    /// Fill `out` from draw `at` of the pass keyed by `stream`; returns the number of draws written.
    fn fill_pass(&self, stream: Stream, at: u64, out: &mut [i64]) -> Result<usize> {
        if self.shape.len() > LARGEST_SHUFFLE as u64 {
            let piece = out.len().min(PIECE);
            return Ok(QuickPermutation::new(self.shape, stream).fill(at, &mut out[..piece]));
        }
        // If the lock is taken (by another thread, or by the parent of a fork) only the cache is lost.
        let mut kept = self.kept.try_lock().ok();
        let last = kept.as_mut().and_then(|kept| kept.take());
        let order = match last {
            Some((key, order)) if key == stream => order,
            _ => self.order(stream)?,
        };
        let rest = &order[at as usize..];
        out.iter_mut()
            .zip(rest)
            .for_each(|(slot, &sample)| *slot = i64::from(sample));
        let written = rest.len().min(out.len());
        if let Some(kept) = kept.as_mut() {
            **kept = Some((stream, order));
        }
        Ok(written)
    }

    fn order(&self, stream: Stream) -> Result<Vec<u32>> {
        let mut order: Vec<u32> = reserved(self.shape.len() as usize)?;
        order.extend(0..self.shape.len() as u32);
        shuffle(stream, &mut order);
        Ok(order)
    }
}

impl Draws for Shuffled {
    fn draws_per_epoch(&self) -> u64 {
        self.draws_per_epoch
    }

    fn fill(&self, epoch: u64, start: u64, mut out: &mut [i64]) -> Result<()> {
        let stream = Stream::new(self.seed, stream::SAMPLER, epoch);
        let (mut pass, mut at) = (start / self.shape.len(), start % self.shape.len());
        let mut pace = Pace::default();
        while !out.is_empty() {
            let written = self.fill_pass(stream.sub(pass), at, out)?;
            pace.step(written)?;
            out = &mut out[written..];
            at += written as u64;
            if at == self.shape.len() {
                (pass, at) = (pass + 1, 0);
            }
        }
        Ok(())
    }
}
