//! Quotas of short rounds: in every round the share of each class, rounded down or up, and exact totals over a block.

use super::rounds::Refused;
use crate::error::reserved;
use crate::rng::{Stream, stream};

/// Longest block, in draws.
const LONGEST: u64 = 1 << 32;
/// Draws of the rarest class per block, so that rounding changes its share by a few percent at most.
const RAREST: f64 = 16.0;

/// The quotas of rounds of `len` draws, in blocks of `M` rounds, `M` a power of two.
///
/// A round is one batch. Its share `len * p_c` of a class is usually not an integer, and may be far below 1. So shares
/// are made integers over a block of `M` rounds, and spread over the rounds by rounding with different offsets.
///
/// A block contains `w_c` draws of class `c`, the share of `M * len` draws as an integer; `W` are their cumulative
/// sums. Round `j` of a block has an offset `r` in `0..M`, each offset once per block, and contains `floor((W(c + 1) +
/// r) / M) - floor((W(c) + r) / M)` draws of the class. That is `w_c / M` rounded down or up, and the floors telescope
/// to `len` over the classes. By Hermite's identity the sum of `floor((W + r) / M)` over all `r` is `W`, so the block
/// contains exactly `w_c`.
///
/// The offset of round `j` of block `b` is `r = (reversed(j) xor h(b)) mod M`. `reversed` reverses the `log2 M` bits of
/// `j`: consecutive rounds then have offsets far apart (van der Corput's sequence), so any run of rounds is close to
/// its share, and [`Strata::draws_before`] has a closed form. `h(b)` is number `b` of the stream (seed, class order,
/// 2^64 - 1), which no round uses as a key: it makes the classes that are rounded up depend on the seed.
pub struct Strata {
    /// `W(0), .., W(C)`.
    cumulative: Vec<u64>,
    log_rounds: u32,
    /// Numbers `h(b)` that scramble the offsets of each block.
    blocks: Stream,
}

impl Strata {
    /// Blocks for `probabilities`, positive and of sum 1.
    ///
    /// # Errors
    /// [`Refused::TooSmall`] if a block would be longer than [`LONGEST`] draws.
    pub fn new(probabilities: &[f64], len: u64, seed: u64) -> Result<Self, Refused> {
        let (at, smallest) =
            probabilities
                .iter()
                .copied()
                .enumerate()
                .fold((0, f64::INFINITY), |least, next| {
                    if next.1 < least.1 { next } else { least }
                });
        let bound = RAREST / LONGEST as f64;
        let rounds = (RAREST / smallest / len.max(1) as f64).ceil();
        if smallest < bound || rounds * len as f64 > LONGEST as f64 {
            return Err(Refused::TooSmall(at, bound));
        }
        let log_rounds = (rounds as u64).next_power_of_two().trailing_zeros();
        let draws = len << log_rounds;
        let mut cumulative = reserved(probabilities.len() + 1)?;
        let mut sum = 0.0;
        cumulative.push(0);
        for p in probabilities {
            sum += p;
            cumulative.push(((sum * draws as f64).round() as u64).min(draws));
        }
        // The sum of the probabilities may differ from 1 in the last bit.
        if let Some(last) = cumulative.last_mut() {
            *last = draws;
        }
        Ok(Self {
            cumulative,
            log_rounds,
            blocks: Stream::new(seed, stream::CLASS_ORDER, u64::MAX),
        })
    }

    /// Number of classes.
    pub fn num_classes(&self) -> usize {
        self.cumulative.len() - 1
    }

    /// Draws of `class` in round `round`.
    #[inline]
    pub fn quota(&self, round: u64, class: usize) -> u64 {
        let offset = self.offset(round);
        let up_to = |class: usize| (self.cumulative[class] + offset) >> self.log_rounds;
        up_to(class + 1) - up_to(class)
    }

    /// Draws of `class` in the first `rounds` rounds: O(log M).
    ///
    /// The rounds of an incomplete block split into aligned runs of `2^k` rounds, one for each set bit of their number.
    /// The rounds of a run differ in their low `k` bits, so by the bit reversal their offsets differ in the high `k`
    /// bits: the low `log2 M - k` bits are the same number `b`, and the others take all values. By Hermite's identity
    /// the sum of `floor((W + r) / M)` over the run is `floor((W + b) / (M / 2^k))`.
    pub fn draws_before(&self, rounds: u64, class: usize) -> u64 {
        let (block, inside) = (rounds >> self.log_rounds, rounds & self.mask());
        let of_block = self.cumulative[class + 1] - self.cumulative[class];
        let mut draws = block * of_block;
        let mut first = rounds - inside;
        for bit in (0..self.log_rounds)
            .rev()
            .filter(|bit| inside >> bit & 1 == 1)
        {
            let low = self.log_rounds - bit;
            let offset = self.offset(first) & ((1 << low) - 1);
            let up_to = |class: usize| (self.cumulative[class] + offset) >> low;
            draws += up_to(class + 1) - up_to(class);
            first += 1 << bit;
        }
        draws
    }

    fn mask(&self) -> u64 {
        (1 << self.log_rounds) - 1
    }

    fn offset(&self, round: u64) -> u64 {
        let block = self.blocks.bits(round >> self.log_rounds);
        let reversed = (round & self.mask()).reverse_bits() >> (63 - self.log_rounds) >> 1;
        (reversed ^ block) & self.mask()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn draws_before_are_the_sum_of_the_quotas(
            weights in prop::collection::vec(0.01f64..1.0, 1..8), len in 1u64..40, seed: u64, from in 0u64..1 << 40, more in 0u64..600,
        ) {
            let total: f64 = weights.iter().sum();
            let probabilities: Vec<f64> = weights.iter().map(|weight| weight / total).collect();
            let strata = Strata::new(&probabilities, len, seed).unwrap();
            for class in 0..weights.len() {
                let quotas: u64 = (from..from + more).map(|round| strata.quota(round, class)).sum();
                let (before, after) = (strata.draws_before(from, class), strata.draws_before(from + more, class));
                prop_assert_eq!(after - before, quotas);
            }
        }
    }
}
