//! Weighted draws without replacement: the smallest exponential keys, in order.
//!
//! Sample `i` has the key `E_i / w_i` with `E_i` exponential, and an epoch consists of the samples with the smallest
//! keys, in the order of their keys (Efraimidis, Spirakis, "Weighted random sampling with a reservoir", IPL 2006). That
//! is the distribution of draws one after the other, each by its weight among the samples left. Computing and sorting
//! all N keys is slow; the following steps are faster and give the same order:
//!
//! 1. Key `i` is below `t` with probability `1 - exp(-w_i t)`. Summing that over the samples gives a bound `t` below
//!    which an epoch has enough keys, except with probability about 1e-9. Key `i` is below it only if its uniform
//!    number is at least `exp(-w_i t)`, so most samples are rejected by one comparison, before any logarithm.
//! 2. Each remaining key, as a fraction of the bound, becomes the high bits of a word whose low bits are the sample.
//!    One pass distributes the words into buckets of a few by their highest bits; sorting each bucket sorts the whole.
//! 3. Words whose key bits are equal are ordered by the full keys.
//!
//! If an epoch has too few keys below the bound, all keys are sorted.

use crate::error::{Result, collected, filled, reserved};
use crate::interrupt::{PIECE, poll};
use crate::rng::Stream;

/// The tables that all epochs share.
pub struct Distinct {
    /// Relative to the largest.
    weights: Vec<f64>,
    /// Draws per epoch.
    wanted: usize,
    /// Keys >= this are not considered; infinite if all are.
    bound: f64,
    /// For each sample, the high 32 bits of the smallest number of the stream whose key may be below the bound.
    least: Vec<u32>,
}

impl Distinct {
    /// `wanted` draws per epoch by `weights`, of which the largest is 1 and at least `wanted` are positive.
    ///
    /// # Errors
    /// If they do not fit into memory; those of an interrupt.
    pub fn new(weights: Vec<f64>, wanted: usize) -> Result<Self> {
        let bound = bound(&weights, wanted)?;
        // One less than the nearest integer: rounding of the exponential must not reject a key below the bound.
        let least = |&weight: &f64| match weight {
            0.0 => u32::MAX,
            _ => ((-weight * bound).exp() * 2f64.powi(32) - 1.0) as u32,
        };
        Ok(Self {
            least: collected(weights.len(), weights.iter().map(least))?,
            weights,
            wanted,
            bound,
        })
    }

    /// The samples of the epoch that is keyed by `stream`.
    ///
    /// # Errors
    /// If they do not fit into memory; those of an interrupt.
    pub fn order(&self, stream: Stream) -> Result<Vec<u32>> {
        match self.sorted_below_bound(stream)? {
            Some(order) => Ok(order),
            None => self.sorted(stream),
        }
    }

    /// Sort all keys. Positive doubles have the order of their bits; equal keys are ordered by their sample.
    fn sorted(&self, stream: Stream) -> Result<Vec<u32>> {
        let keys = (0..self.weights.len() as u32)
            .filter(|&sample| self.weights[sample as usize] > 0.0)
            .map(|sample| (self.key(stream, sample).to_bits(), sample));
        let mut keys = collected(self.weights.len(), keys)?;
        keys.sort_unstable();
        let samples = keys.into_iter().map(|(_, sample)| sample);
        collected(self.wanted, samples)
    }

    /// The same order, computed from the keys below the bound; none if there are fewer than `wanted`.
    fn sorted_below_bound(&self, stream: Stream) -> Result<Option<Vec<u32>>> {
        let mut samples = self.candidates(stream)?;
        let mut keys = self.keys(stream, &samples)?;
        let mut largest = keys.iter().copied().fold(0.0, f64::max);
        if largest >= self.bound {
            keep_below(self.bound, &mut keys, &mut samples);
            largest = self.bound;
        }
        if keys.len() < self.wanted {
            return Ok(None);
        }
        let low = u64::BITS - (self.weights.len() as u64).leading_zeros();
        let scale = 2f64.powi(64 - low as i32) / largest;
        let most = u64::MAX >> low;
        let mut words = reserved(keys.len())?;
        for (keys, samples) in keys.chunks(PIECE).zip(samples.chunks(PIECE)) {
            poll()?;
            let word = |(key, &sample): (&f64, &u32)| {
                ((key * scale) as u64).min(most) << low | u64::from(sample)
            };
            words.extend(keys.iter().zip(samples).map(word));
        }
        words = in_buckets(&words)?;
        self.untie(stream, low, &mut words);
        let mask = (1 << low) - 1;
        let samples = words.iter().map(|word| (word & mask) as u32);
        collected(self.wanted, samples).map(Some)
    }

    /// Samples whose key may be below the bound, a superset of those whose key is. Branch-free: every sample is
    /// written, and the position only advances past candidates.
    fn candidates(&self, stream: Stream) -> Result<Vec<u32>> {
        let mut samples = filled(self.weights.len(), &0)?;
        let mut found = 0;
        for (piece, first) in self.least.chunks(PIECE).zip((0..).step_by(PIECE)) {
            poll()?;
            for (sample, &least) in (first..).zip(piece) {
                samples[found] = sample;
                found += usize::from((stream.bits(u64::from(sample)) >> 32) as u32 >= least);
            }
        }
        samples.truncate(found);
        Ok(samples)
    }

    /// Order words with equal key bits by the full keys.
    fn untie(&self, stream: Stream, low: u32, words: &mut [u64]) {
        let sample = |word: u64| (word & ((1 << low) - 1)) as u32;
        let mut rest = words;
        while let Some(at) = rest
            .windows(2)
            .position(|pair| pair[0] >> low == pair[1] >> low)
        {
            let key = rest[at] >> low;
            let len = rest[at..]
                .iter()
                .take_while(|&word| word >> low == key)
                .count();
            let (tied, after) = rest[at..].split_at_mut(len);
            tied.sort_unstable_by_key(|&word| (self.key(stream, sample(word)).to_bits(), word));
            rest = after;
        }
    }

    /// The keys of `samples`.
    fn keys(&self, stream: Stream, samples: &[u32]) -> Result<Vec<f64>> {
        let weight = |&sample: &u32| self.weights[sample as usize];
        let mut keys: Vec<f64> = reserved(samples.len())?;
        for samples in samples.chunks(PIECE) {
            poll()?;
            let first = keys.len();
            keys.extend(samples.iter().map(weight));
            divide_quickly(stream, samples, &mut keys[first..]);
        }
        Ok(keys)
    }

    /// The key of a sample; positive.
    #[inline]
    fn key(&self, stream: Stream, sample: u32) -> f64 {
        exponential(stream.bits(u64::from(sample))) / self.weights[sample as usize]
    }
}

/// Turn weights into keys, with the widest instructions of the processor.
fn divide_quickly(stream: Stream, samples: &[u32], weights: &mut [f64]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
        // SAFETY: the processor has the instructions.
        return unsafe { divide_wide(stream, samples, weights) };
    }
    divide(stream, samples, weights);
}

/// Turn weights into keys.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "also compiled for the instructions of `divide_wide`"
)]
fn divide(stream: Stream, samples: &[u32], weights: &mut [f64]) {
    for (weight, &sample) in weights.iter_mut().zip(samples) {
        *weight = exponential(stream.bits(u64::from(sample))) / *weight;
    }
}

/// [`divide`] in vectors. The operations are the same, so the keys are bit-identical.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq")]
fn divide_wide(stream: Stream, samples: &[u32], weights: &mut [f64]) {
    divide(stream, samples, weights);
}

/// Remove the keys >= `bound`, and their samples.
#[cold]
fn keep_below(bound: f64, keys: &mut Vec<f64>, samples: &mut Vec<u32>) {
    let mut below = keys.iter().map(|&key| key < bound);
    samples.retain(|_| below.next().unwrap_or(false));
    keys.retain(|&key| key < bound);
}

/// Sort `words`, which is fast if their high bits are uniform: keys below the bound nearly are.
fn in_buckets(words: &[u64]) -> Result<Vec<u64>> {
    let log_buckets = (words.len() / 4).max(2).ilog2();
    let bucket = |word: u64| (word >> (64 - log_buckets)) as usize;
    let mut ends = filled(1 << log_buckets, &0u32)?;
    for words in words.chunks(PIECE) {
        poll()?;
        for &word in words {
            ends[bucket(word)] += 1;
        }
    }
    let mut start = 0;
    for end in &mut ends {
        start += std::mem::replace(end, start);
    }
    let mut sorted = filled(words.len(), &0)?;
    for words in words.chunks(PIECE) {
        poll()?;
        for &word in words {
            let end = &mut ends[bucket(word)];
            sorted[*end as usize] = word;
            *end += 1;
        }
    }
    let mut start = 0;
    for ends in ends.chunks(PIECE) {
        poll()?;
        for &end in ends {
            sorted[start..end as usize].sort_unstable();
            start = end as usize;
        }
    }
    Ok(sorted)
}

/// A threshold below which at least `wanted` keys fall, except with probability about 1e-9 per epoch; infinite if there
/// is none.
fn bound(weights: &[f64], wanted: usize) -> Result<f64> {
    // Weights within 1/64 of each other are counted as the smallest of them, which can only raise the threshold.
    let mut bins = filled(1 + (1f64.to_bits() >> 46) as usize, &0u32)?;
    for weights in weights.chunks(PIECE) {
        poll()?;
        for weight in weights.iter().filter(|weight| **weight > 0.0) {
            bins[(weight.to_bits() >> 46) as usize] += 1;
        }
    }
    let bins: Vec<(f64, f64)> = (0u64..)
        .zip(bins)
        .filter(|(_, count)| *count > 0)
        .map(|(bin, count)| (f64::from_bits(bin << 46), f64::from(count)))
        .collect();
    let below = |bound: f64| -> f64 {
        let expected = |(weight, count): &(f64, f64)| -count * (-weight * bound).exp_m1();
        bins.iter().map(expected).sum()
    };
    // The number of keys below is a sum of independent indicators, so its variance is below its mean. Six standard
    // deviations give the 1e-9; the 20 cover small numbers, whose tail is not Gaussian.
    let least = wanted as f64 + 6.0 * (wanted as f64).sqrt() + 20.0;
    let (mut low, mut high) = (-60.0, 1000.0);
    if below(2f64.powf(high)) < least {
        return Ok(f64::INFINITY);
    }
    while high - low > 1e-3 {
        let middle = f64::midpoint(low, high);
        if below(2f64.powf(middle)) < least {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(2f64.powf(high))
}

/// `-ln u` for the odd multiple `u` of 2^-53 in (0, 1) that 64 uniform bits choose: an exponential number, positive.
///
/// Computed from additions, multiplications and divisions alone, which give the same bits on every machine, unlike the
/// logarithm of the system's library. Relative error below 1e-15.
#[inline(always)]
fn exponential(bits: u64) -> f64 {
    const ROOT_HALF: i64 = std::f64::consts::FRAC_1_SQRT_2.to_bits() as i64;
    let uniform = ((bits >> 12) as f64 + 0.5) * 2f64.powi(-52);
    // u = 2^e m with m in [sqrt(1/2), sqrt(2)).
    let word = uniform.to_bits() as i64;
    let exponent = (word - ROOT_HALF) >> 52;
    let m = f64::from_bits((word - (exponent << 52)) as u64);
    // ln m = 2 artanh s = 2 (s + s^3 / 3 + s^5 / 5 + ..), s^2 < 0.03.
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let w = z * z;
    let odd = 1.0 / 3.0
        + w * (1.0 / 7.0 + w * (1.0 / 11.0 + w * (1.0 / 15.0 + w * (1.0 / 19.0 + w / 23.0))));
    let even = 1.0 / 5.0 + w * (1.0 / 9.0 + w * (1.0 / 13.0 + w * (1.0 / 17.0 + w / 21.0)));
    let series = z * odd + w * even;
    -(exponent as f64) * std::f64::consts::LN_2 - 2.0 * (s + s * series)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;
    use proptest::prelude::*;

    fn sorted_and_quick(weights: &[f64], wanted: usize, seed: u64) -> (Vec<u32>, Option<Vec<u32>>) {
        let largest = weights.iter().copied().fold(0.0, f64::max);
        let relative: Vec<f64> = weights.iter().map(|weight| weight / largest).collect();
        let positive = relative.iter().filter(|weight| **weight > 0.0).count();
        let distinct = Distinct::new(relative, wanted.min(positive)).unwrap();
        let stream = Stream::new(seed, stream::SAMPLER, 0);
        (
            distinct.sorted(stream).unwrap(),
            distinct.sorted_below_bound(stream).unwrap(),
        )
    }

    fn weight() -> impl Strategy<Value = f64> {
        prop_oneof![
            5 => 0.001f64..1.0,
            1 => Just(0.0),
            1 => (-1000f64..1000.0).prop_map(f64::exp2),
            1 => Just(5e-324),
        ]
    }

    proptest! {
        #[test]
        fn the_quick_way_gives_the_order_of_all_keys(
            mut weights in prop::collection::vec(weight(), 1..700), wanted in 1usize..700, seed: u64,
        ) {
            weights.push(1.0);
            let (sorted, quick) = sorted_and_quick(&weights, wanted, seed);
            prop_assert!(quick.is_none_or(|quick| quick == sorted));
        }

        #[test]
        fn ties_are_ordered_by_whole_keys(weights in prop::collection::vec(0.1f64..1.0, 2..60), seed: u64, low in 58u32..63) {
            let stream = Stream::new(seed, stream::SAMPLER, 0);
            let distinct = Distinct::new(weights.clone(), weights.len()).unwrap();
            let word = |sample: u32| {
                let key = distinct.key(stream, sample);
                ((key / 1e3 * 2f64.powi(64 - low as i32)) as u64) << low | u64::from(sample)
            };
            let mut words: Vec<u64> = (0..weights.len() as u32).map(word).collect();
            words.sort_unstable();
            distinct.untie(stream, low, &mut words);
            let found: Vec<u32> = words.iter().map(|word| *word as u32).collect();
            prop_assert_eq!(found, distinct.sorted(stream).unwrap());
        }

        #[test]
        fn keys_are_the_same_several_at_once(weights in prop::collection::vec(weight(), 1..100), seed: u64) {
            let stream = Stream::new(seed, stream::SAMPLER, 0);
            let distinct = Distinct::new(weights.iter().map(|weight| weight.min(1.0)).collect(), 0).unwrap();
            let samples: Vec<u32> = (0..weights.len() as u32).rev().collect();
            let wanted: Vec<u64> = samples.iter().map(|&at| distinct.key(stream, at).to_bits()).collect();
            let found: Vec<u64> = distinct.keys(stream, &samples).unwrap().into_iter().map(f64::to_bits).collect();
            prop_assert_eq!(found, wanted);
        }

        #[test]
        fn an_exponential_number_is_a_logarithm(bits: u64) {
            let wanted = -(((bits >> 12) as f64 + 0.5) * 2f64.powi(-52)).ln();
            prop_assert!((exponential(bits) - wanted).abs() <= 1e-15 * wanted, "{} {wanted}", exponential(bits));
        }
    }

    #[test]
    fn the_bound_holds_back_as_few_as_are_wanted() {
        // Imbalance ratio 100 and half of the samples: all epochs find enough keys, and few more than needed.
        let weights: Vec<f64> = (0..20_000)
            .map(|sample| 100f64.powf(-f64::from(sample) / 2e4))
            .collect();
        let distinct = Distinct::new(weights, 10_000).unwrap();
        for epoch in 0..50 {
            let stream = Stream::new(1, stream::SAMPLER, epoch);
            let found = distinct.candidates(stream).unwrap().len();
            assert!((10_000..10_000 + 1_500).contains(&found), "{found}");
            assert_eq!(
                distinct.sorted_below_bound(stream).unwrap(),
                Some(distinct.sorted(stream).unwrap())
            );
        }
    }

    #[test]
    fn exponential_numbers_at_both_ends() {
        let largest = -(0.5 * 2f64.powi(-52)).ln();
        assert!((exponential(0) - largest).abs() < 1e-13);
        assert!((exponential(u64::MAX) * 2f64.powi(53) - 1.0).abs() < 1e-15);
        for bits in [
            1 << 63,
            (1 << 63) - 1,
            0xB504_F333_F9DE_6000,
            0xB504_F333_F9DE_7000,
        ] {
            let wanted = -(((bits >> 12) as f64 + 0.5) * 2f64.powi(-52)).ln();
            assert!((exponential(bits) - wanted).abs() < 1e-15);
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn both_instruction_sets_give_the_same_keys() {
        if !(is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq")) {
            return;
        }
        let samples: Vec<u32> = (0..10_001).map(|sample| sample * 7).collect();
        let weights: Vec<f64> = samples
            .iter()
            .map(|&s| 1.0 / (f64::from(s) + 0.3))
            .collect();
        let (mut plain, mut wide) = (weights.clone(), weights);
        divide(Stream::new(5, 1, 2), &samples, &mut plain);
        // SAFETY: the processor has the instructions.
        unsafe { divide_wide(Stream::new(5, 1, 2), &samples, &mut wide) };
        assert!(
            plain
                .iter()
                .zip(&wide)
                .all(|(a, b)| a.to_bits() == b.to_bits())
        );
    }
}
