//! Seekable sources of sample indices, and the batches taken from them.
//!
//! A new sampler is one file in this module that implements [`Draws`].

pub mod class_balanced;
pub mod confusion_pairs;
pub mod least_sampled;
pub mod m_per_class;
pub mod repeat_factor;
pub mod shuffled;
pub mod weighted;

use crate::error::{Error, Result, filled, zeros};

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

    /// Write draws `start..start + out.len()` of `epoch`; the caller has checked that they are in the epoch.
    ///
    /// # Errors
    /// Those of an interrupt; if memory runs out.
    fn fill(&self, epoch: u64, start: u64, out: &mut [i64]) -> Result<()>;

    /// Largest gap between two batches, in draws, that is cheaper to draw and discard than to seek over. Larger for
    /// samplers with an expensive seek.
    fn near(&self) -> u64 {
        16
    }
}

/// Largest block of draws from which the requested batches are picked.
const BLOCK: u64 = 1 << 12;

/// Which batches of an epoch: `first, first + step, ..`, `count` of them, of `size` draws each.
#[derive(Debug, Clone, Copy)]
pub struct Batches {
    /// The epoch.
    pub epoch: u64,
    /// Number of the first batch.
    pub first: u64,
    /// From one batch to the next: 1, or the number of ranks.
    pub step: u64,
    /// Number of batches.
    pub count: u64,
    /// Draws per batch; the last batch of the epoch may be shorter.
    pub size: u64,
}

impl Batches {
    /// The draws of these batches, one after the other.
    ///
    /// # Errors
    /// If a batch is beyond the epoch, or there are more than 2^63 draws up to it; those of [`Draws::fill`].
    pub fn draw(self, draws: &dyn Draws) -> Result<Vec<i64>> {
        let len = self.checked_len(draws.draws_per_epoch())?;
        let mut out = zeros(len)?;
        let gap = (self.step - 1).saturating_mul(self.size);
        if len == 0 {
            return Ok(out);
        }
        if self.step == 1 {
            draws.fill(self.epoch, self.first * self.size, &mut out)?;
        } else if gap <= draws.near() && gap < BLOCK {
            self.pick(draws, &mut out)?;
        } else {
            self.seek(draws, &mut out)?;
        }
        Ok(out)
    }

    /// Seek for each batch.
    fn seek(self, draws: &dyn Draws, out: &mut [i64]) -> Result<()> {
        let mut start = self.first.wrapping_mul(self.size);
        for batch in out.chunks_mut(self.size as usize) {
            draws.fill(self.epoch, start, batch)?;
            start = start.wrapping_add(self.step.wrapping_mul(self.size));
        }
        Ok(())
    }

    /// Draw blocks that include the gaps between batches.
    fn pick(self, draws: &dyn Draws, out: &mut [i64]) -> Result<()> {
        let stride = self.step * self.size;
        let at_once = (BLOCK / stride).max(1);
        let len = (at_once * stride).min(draws.draws_per_epoch()) as usize;
        let mut block = filled(len, &0)?;
        let mut start = self.first * self.size;
        for batches in out.chunks_mut((at_once * self.size) as usize) {
            // The gap after the last batch of a block is not drawn: it may be beyond the epoch.
            let strides = (batches.len() as u64 - 1) / self.size;
            let used = strides * stride + batches.len() as u64 - strides * self.size;
            let block = &mut block[..used as usize];
            draws.fill(self.epoch, start, block)?;
            if self.size == 1 {
                let picked = block.iter().step_by(stride as usize);
                batches
                    .iter_mut()
                    .zip(picked)
                    .for_each(|(to, from)| *to = *from);
            } else {
                let picked = block.chunks(stride as usize);
                for (batch, drawn) in batches.chunks_mut(self.size as usize).zip(picked) {
                    batch.copy_from_slice(&drawn[..batch.len()]);
                }
            }
            start += at_once * stride;
        }
        Ok(())
    }

    /// Check the request and return its number of draws. After it the arithmetic of [`Batches::draw`] cannot overflow.
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
        // `step >= 1`, so the batches before the last one are in the epoch, too: no overflow here.
        Ok(((self.count - 1) * self.size + self.size.min(per_epoch - start)) as usize)
    }
}

/// Check that the draws up to the end of `epoch` are numbered below 2^63.
fn check_epoch(epoch: u64, per_epoch: u64) -> Result<()> {
    let epochs = (1 << 63) / per_epoch.max(1);
    if epoch < epochs {
        return Ok(());
    }
    Err(Error::Value(format!(
        "epoch must be < {epochs} (2**63 draws in all), got {epoch}"
    )))
}
