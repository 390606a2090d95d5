//! Seekable sources of sample indices, and the batches cut from them.
//!
//! A new sampler is one file below this one that implements [`Draws`].

pub mod class_balanced;
pub mod confusion_pairs;
pub mod least_sampled;
pub mod m_per_class;
pub mod repeat_factor;
pub mod shuffled;
pub mod weighted;

use crate::error::{Error, Result, reserved};

pub use class_balanced::{ClassBalanced, WithinClass};
pub use confusion_pairs::ConfusionPairs;
pub use least_sampled::LeastSampled;
pub use m_per_class::MPerClass;
pub use repeat_factor::RepeatFactor;
pub use shuffled::Shuffled;
pub use weighted::Weighted;

/// Sample indices as a pure function of (epoch, position).
pub trait Draws: Send + Sync {
    /// Length of an epoch.
    fn draws_per_epoch(&self) -> u64;

    /// Write draws `start..start + out.len()` of `epoch`; the caller has made sure that they lie inside the epoch.
    fn fill(&self, epoch: u64, start: u64, out: &mut [i64]);
}

/// Which batches of an epoch: `first, first + step, ..`, `count` of them, of `size` draws each.
#[derive(Debug, Clone, Copy)]
pub struct Batches {
    /// The epoch.
    pub epoch: u64,
    /// Number of the first batch.
    pub first: u64,
    /// From one batch to the next: 1, or the number of ranks.
    pub step: u64,
    /// How many.
    pub count: u64,
    /// Draws in each; the last one of the epoch may be shorter.
    pub size: u64,
}

impl Batches {
    /// The draws of these batches, one after the other.
    ///
    /// # Errors
    /// If a batch lies beyond the epoch, or the draws up to it number more than 2^63.
    pub fn draw(self, draws: &dyn Draws) -> Result<Vec<i64>> {
        let len = self.checked_len(draws.draws_per_epoch())?;
        let mut out = reserved(len)?;
        out.resize(len, 0);
        if self.step == 1 && len > 0 {
            draws.fill(self.epoch, self.first * self.size, &mut out);
            return Ok(out);
        }
        let mut rest = out.as_mut_slice();
        let mut start = self.first.wrapping_mul(self.size);
        while !rest.is_empty() {
            let (batch, after) = rest.split_at_mut(rest.len().min(self.size as usize));
            draws.fill(self.epoch, start, batch);
            rest = after;
            start = start.wrapping_add(self.step.wrapping_mul(self.size));
        }
        Ok(out)
    }

    /// Draws in all; afterwards the arithmetic of [`Batches::draw`] cannot overflow.
    fn checked_len(self, per_epoch: u64) -> Result<usize> {
        if self.size == 0 || self.step == 0 {
            let Self { size, step, .. } = self;
            return Err(Error::Value(format!(
                "batch_size and step must be >= 1, got {size} and {step}"
            )));
        }
        check_epoch(self.epoch, per_epoch)?;
        if self.count == 0 {
            return Ok(0);
        }
        let last = (self.count - 1)
            .checked_mul(self.step)
            .and_then(|span| span.checked_add(self.first));
        let start = last
            .and_then(|last| last.checked_mul(self.size))
            .filter(|&start| start < per_epoch);
        let Some(start) = start else {
            let total = per_epoch.div_ceil(self.size);
            let Self {
                first, step, count, ..
            } = self;
            return Err(Error::Index(format!(
                "batches must lie in [0, {total}), got first={first}, step={step}, count={count}"
            )));
        };
        // `step >= 1`, so the batches before the last one lie inside the epoch, too: no overflow here.
        Ok(((self.count - 1) * self.size + self.size.min(per_epoch - start)) as usize)
    }
}

/// Refuse epochs whose draws would be numbered beyond 2^63.
fn check_epoch(epoch: u64, per_epoch: u64) -> Result<()> {
    let epochs = (1 << 63) / per_epoch.max(1);
    if epoch < epochs {
        return Ok(());
    }
    Err(Error::Value(format!(
        "epoch must be < {epochs} (2**63 draws in all), got {epoch}"
    )))
}
