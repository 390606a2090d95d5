//! The counter-based generator: draw number `position` of a stream is a pure function of (key, position).
//!
//! The algorithm is `SplitMix64` (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014)
//! used as a counter: `mix(key + (position + 1) * GOLDEN)`, with Stafford's variant 13 as `mix`. It was chosen because
//! it is the fastest generator with random access that passes `BigCrush`: two multiplications and three shifts, all of
//! which vectorise (Philox4x32-10 costs about three times as much), and because for one key it is a bijection of the
//! position, so that no two draws of a stream are equal.
//!
//! A key is a hash of seed, stream and epoch, absorbed one after the other. It is not a sum, so seed 0 in epoch 1 and
//! seed 1 in epoch 0 are unrelated. Streams are segments of one cycle of 2^64 numbers that start at hashed positions:
//! the probability that any two of K streams of length L overlap is below `K^2 L / 2^63`, 1e-5 for 10,000 epochs of a
//! million draws.

use crate::error::{Error, Result, reserved};
use crate::interrupt::poll;

/// Draws between two checks for an interrupt.
const AT_ONCE: u64 = 1 << 12;

/// 2^64 divided by the golden ratio, made odd: the step of the counter.
pub const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Purposes of streams: the same seed and epoch give independent numbers to each purpose.
pub mod stream {
    /// Order of samples in an epoch, and iid class draws.
    pub const SAMPLER: u64 = 1;
    /// Order of the classes inside a round.
    pub const CLASS_ORDER: u64 = 2;
    /// Order of the samples inside a class.
    pub const WITHIN_CLASS: u64 = 3;
    /// Crops and flips.
    pub const AUGMENT: u64 = 4;
    /// Partners within a batch.
    pub const PARTNER: u64 = 5;
    /// Mixing coefficients.
    pub const MIX: u64 = 6;
    /// Initial weights of a model.
    pub const INIT: u64 = 7;
    /// Choice of a subset of a data set.
    pub const SUBSET: u64 = 8;
    /// Which labels of a data set are replaced, and by which.
    pub const LABEL_NOISE: u64 = 9;
    /// Pairs of samples of confused classes.
    pub const CONFUSION_PAIR: u64 = 10;
    /// Which operations of a policy change an image, and how far.
    pub const POLICY: u64 = 11;
}

/// Scramble 64 bits: a bijection in which every input bit flips every output bit with probability close to 1/2.
#[inline]
#[must_use]
pub const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// Absorb `word` into the hash `state`: a bijection in each argument.
#[inline]
#[must_use]
pub const fn absorb(state: u64, word: u64) -> u64 {
    mix(mix(state.wrapping_add(GOLDEN)) ^ word.wrapping_mul(GOLDEN))
}

/// One stream of draws; `Copy`, without state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    key: u64,
}

impl Stream {
    /// The stream of `purpose` (see [`stream`]) for a seed and an epoch.
    #[inline]
    #[must_use]
    pub const fn new(seed: u64, purpose: u64, epoch: u64) -> Self {
        Self {
            key: absorb(absorb(absorb(0, seed), purpose), epoch),
        }
    }

    /// The sub-stream of `word`, for routines that need an unknown number of draws per position.
    #[inline]
    #[must_use]
    pub const fn sub(self, word: u64) -> Self {
        Self {
            key: absorb(self.key, word),
        }
    }

    /// The key itself.
    #[inline]
    #[must_use]
    pub const fn key(self) -> u64 {
        self.key
    }

    /// Draw number `position`: 64 uniform bits.
    #[inline]
    #[must_use]
    pub const fn bits(self, position: u64) -> u64 {
        mix(self
            .key
            .wrapping_add(position.wrapping_add(1).wrapping_mul(GOLDEN)))
    }

    /// Draw number `position` as a double in [0, 1), a multiple of 2^-53.
    #[inline]
    #[must_use]
    pub fn uniform(self, position: u64) -> f64 {
        (self.bits(position) >> 11) as f64 * 2f64.powi(-53)
    }

    /// Draw number `position` in `[0, bound)`, without bias; `bound` 0 gives 0.
    ///
    /// Lemire, "Fast random integer generation in an interval", TOMACS 2019, arXiv:1805.10941: it
    /// divides with probability `bound / 2^64` only. A rejected draw is replaced from the position's own sub-stream.
    #[inline]
    #[must_use]
    pub fn below(self, position: u64, bound: u64) -> u64 {
        let (high, low) = widening_mul(self.bits(position), bound);
        if low >= bound {
            high
        } else {
            self.below_slow(position, bound, high, low)
        }
    }

    #[cold]
    fn below_slow(self, position: u64, bound: u64, mut high: u64, mut low: u64) -> u64 {
        let Some(threshold) = bound.wrapping_neg().checked_rem(bound) else {
            return 0;
        };
        let fresh = self.sub(position);
        let mut attempt = 0;
        while low < threshold {
            (high, low) = widening_mul(fresh.bits(attempt), bound);
            attempt += 1;
        }
        high
    }
}

/// High and low word of a 64 x 64 bit product.
#[inline]
#[must_use]
pub const fn widening_mul(a: u64, b: u64) -> (u64, u64) {
    let product = a as u128 * b as u128;
    ((product >> 64) as u64, product as u64)
}

/// Draws `start..start + n` as doubles in [0, 1).
///
/// # Errors
/// If the positions exceed 2^64 or the result does not fit into memory.
pub fn uniforms(stream: Stream, start: u64, n: usize) -> Result<Vec<f64>> {
    collect(start, n, |position| stream.uniform(position))
}

/// `draw(start), draw(start + 1), ..`, `n` of them.
///
/// # Errors
/// If the positions exceed 2^64 or the result does not fit into memory.
pub fn collect<T>(start: u64, n: usize, mut draw: impl FnMut(u64) -> T) -> Result<Vec<T>> {
    let Some(end) = start.checked_add(n as u64) else {
        return Err(Error::Value(format!(
            "start + n must be < 2**64, got start={start}, n={n}"
        )));
    };
    let mut drawn = reserved(n)?;
    let mut from = start;
    while from < end {
        poll()?;
        let to = from.saturating_add(AT_ONCE).min(end);
        drawn.extend((from..to).map(&mut draw));
        from = to;
    }
    Ok(drawn)
}
