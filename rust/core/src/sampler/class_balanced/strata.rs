//! Quotas of small rounds: every round has its share of every class, rounded down or up, and none is lost over time.

use super::rounds::Refused;
use crate::error::reserved;
use crate::rng::{Stream, stream};

/// Longest block, in draws.
const LONGEST: u64 = 1 << 32;
/// Draws in a block for the rarest class, so that its share is right to a few percent.
const RAREST: f64 = 16.0;

/// The quotas of rounds of `len` draws, in blocks of `M` rounds, `M` a power of two.
///
/// A block holds `w_c` draws of class `c`, the share of `M * len` draws in whole numbers; `W` are their cumulative sums.
/// Round `j` of a block takes an offset `r` in `0..M`, each once a block, and holds
/// `floor((W(c + 1) + r) / M) - floor((W(c) + r) / M)` draws of the class: `w_c / M` rounded down or up, `len` in all.
/// The sum of `floor((W + r) / M)` over all `r` is `W` (Hermite), so a block holds `w_c` exactly.
///
/// Round `j` of block `b` takes `r = (reversed(j) xor h(b)) mod M`: `reversed` turns the `log2 M` bits of `j` round, so
/// that any run of rounds is near its share, too, and `h(b)` is number `b` of the stream (seed, class order, 2^64 - 1),
/// which keys no round: other seeds round other classes up.
pub struct Strata {
    /// `W(0), .., W(C)`.
    cumulative: Vec<u64>,
    log_rounds: u32,
    /// Numbers that scramble the offsets of the blocks.
    blocks: Stream,
}

impl Strata {
    /// Blocks for `probabilities`, positive and of sum 1.
    ///
    /// Gives back the position and the bound of a probability that is too small.
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
        // The sum of the probabilities may be a last bit away from 1.
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
    /// The rounds of a started block are runs of `2^k` rounds, one for each bit of their number. The offsets of a run
    /// have their low `log2 M - k` bits in common, `b`, and all values in the others: the sum of
    /// `floor((W + r) / M)` over them is `floor((W + b) / (M / 2^k))`, by Hermite again.
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
