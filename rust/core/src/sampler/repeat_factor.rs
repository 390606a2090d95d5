//! Each sample as often per epoch as its repeat factor, with the fraction as a probability.

use super::{Draws, Shuffled};
use crate::error::{Error, Result, reserved};
use crate::interrupt::{PIECE, in_pieces, poll};
use crate::rng::{Stream, stream};
use crate::source::Source;

/// Fractional bits of a fixed-point factor.
const BITS: u32 = 32;
/// Longest epoch: a slot and its fraction fit into a `u64`.
const LONGEST: u64 = u32::MAX as u64;

/// Shuffled epochs of a fixed number of draws in which sample `i` comes `floor(f_i)` or `ceil(f_i)` times.
///
/// `f` are the factors, scaled to the length of an epoch; `F` are their cumulative sums. With one offset `u` in [0, 1)
/// per epoch, sample `i` has the slots `floor(F(i) + u) .. floor(F(i + 1) + u)` (systematic sampling): `f_i` on
/// average, and the length of an epoch in total. The draws are a keyed shuffle of the slots, so each draw is looked up
/// and no epoch is stored.
pub struct RepeatFactor {
    /// `F(1), .., F(N)` in fixed point.
    cumulative: Vec<u64>,
    /// For slot `s`, the first sample whose cumulative factor is above `s`: where the search for the slot's sample
    /// starts.
    first: Vec<u32>,
    slots: Shuffled,
    draws_per_epoch: u64,
    seed: u64,
}

impl RepeatFactor {
    /// A sampler over `factors`.
    ///
    /// # Errors
    /// If a factor is negative or not finite, all are 0, there are more than 2^32 - 1, or an epoch is longer than that.
    pub fn new(
        factors: &(impl Source<f64> + ?Sized),
        draws_per_epoch: u64,
        seed: u64,
    ) -> Result<Self> {
        let factors = read(factors)?;
        let total = checked(&factors)?;
        if draws_per_epoch > LONGEST {
            return Err(Error::Value(format!(
                "repeat_factors must add up to less than 2**32 draws an epoch, got {draws_per_epoch}"
            )));
        }
        let end = draws_per_epoch << BITS;
        let mut cumulative = reserved(factors.len())?;
        let mut sum = 0.0;
        for (at, factor) in factors.iter().enumerate() {
            if at.is_multiple_of(PIECE) {
                poll()?;
            }
            sum += factor;
            cumulative.push(((sum / total * end as f64) as u64).min(end));
        }
        // Rounding may leave a remainder: the last sample with a factor gets it.
        let last = factors.iter().rposition(|factor| *factor > 0.0);
        cumulative[last.unwrap_or(0)..].fill(end);
        let first = first_samples(&cumulative, draws_per_epoch)?;
        Ok(Self {
            cumulative,
            first,
            slots: Shuffled::new(draws_per_epoch, draws_per_epoch, seed)?,
            draws_per_epoch,
            seed,
        })
    }

    /// The sample of a slot: the first whose cumulative factor reaches the end of the slot, shifted by the offset.
    #[inline]
    fn sample(&self, slot: u64, offset: u64) -> i64 {
        let end = ((slot + 1) << BITS) - offset;
        let from = self.first[slot as usize] as usize;
        let to = self.first[slot as usize + 1] as usize;
        let among = &self.cumulative[from..to];
        (from + among.partition_point(|&reached| reached < end)) as i64
    }
}

/// `first[s]`, and a last entry as a sentinel for the search.
fn first_samples(cumulative: &[u64], slots: u64) -> Result<Vec<u32>> {
    let mut first = reserved(slots as usize + 1)?;
    let mut sample = 0;
    for slot in 0..slots {
        if slot.is_multiple_of(PIECE as u64) {
            poll()?;
        }
        while cumulative[sample] <= slot << BITS {
            sample += 1;
        }
        first.push(sample as u32);
    }
    first.push((cumulative.len() - 1) as u32);
    Ok(first)
}

fn read(factors: &(impl Source<f64> + ?Sized)) -> Result<Vec<f64>> {
    if factors.is_empty() || factors.len() as u64 > LONGEST {
        let len = factors.len();
        return Err(Error::Value(format!(
            "repeat_factors must hold 1 to 2**32 - 1 numbers, got {len}"
        )));
    }
    factors.to_copy()
}

fn checked(factors: &[f64]) -> Result<f64> {
    for (position, &factor) in factors.iter().enumerate() {
        if !(factor.is_finite() && factor >= 0.0) {
            return Err(Error::Value(format!(
                "repeat_factors must be finite and >= 0, got {factor} at position {position}"
            )));
        }
    }
    let total: f64 = factors.iter().sum();
    if total > 0.0 && total.is_finite() {
        return Ok(total);
    }
    Err(Error::Value(format!(
        "repeat_factors must have a positive, finite sum, got {total}"
    )))
}

impl Draws for RepeatFactor {
    fn draws_per_epoch(&self) -> u64 {
        self.draws_per_epoch
    }

    fn fill(&self, epoch: u64, start: u64, out: &mut [i64]) -> Result<()> {
        self.slots.fill(epoch, start, out)?;
        let offset = Stream::new(self.seed, stream::CLASS_ORDER, epoch).bits(0) >> BITS;
        in_pieces(out, |_, piece| {
            for slot in piece {
                *slot = self.sample(*slot as u64, offset);
            }
        })
    }
}
