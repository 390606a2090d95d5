//! Draws by a weight a sample.

use std::sync::Mutex;

use super::Draws;
use crate::alias::Alias;
use crate::error::{Error, Result, reserved};
use crate::rng::{Stream, stream};

/// Most weights: an alias is a `u32`.
pub const MAX_WEIGHTS: usize = u32::MAX as usize;

/// Samples with probability proportional to their weights, with or without replacement.
pub struct Weighted {
    rule: Rule,
    draws_per_epoch: u64,
    seed: u64,
}

enum Rule {
    /// Each draw on its own, by the alias method; the positions of the positive weights where some are 0.
    Replace(Alias, Option<Vec<u32>>),
    /// The weights, and the last epoch's order: it never changes a result.
    Distinct(Vec<f64>, Mutex<Option<(u64, Vec<u32>)>>),
}

impl Weighted {
    /// A sampler over `weights`, of any positive scale; 0 leaves a sample out.
    ///
    /// # Errors
    /// If a weight is negative or not finite, none is positive, there are more than [`MAX_WEIGHTS`], or an epoch
    /// without replacement is longer than the number of positive weights.
    pub fn new(
        weights: &[f64],
        replacement: bool,
        draws_per_epoch: u64,
        seed: u64,
    ) -> Result<Self> {
        let (largest, positive) = checked(weights)?;
        let rule = if replacement {
            Rule::Replace(
                Alias::new(&probabilities(weights, largest, positive)?),
                positions(weights, positive)?,
            )
        } else {
            if draws_per_epoch > positive as u64 {
                return Err(Error::Value(format!(
                    "num_samples must be <= the number of positive weights ({positive}) with replacement=False, got \
                     {draws_per_epoch}; draw fewer, or pass replacement=True"
                )));
            }
            let mut scaled = reserved(weights.len())?;
            scaled.extend(weights.iter().map(|weight| weight / largest));
            Rule::Distinct(scaled, Mutex::default())
        };
        Ok(Self {
            rule,
            draws_per_epoch,
            seed,
        })
    }

    /// The samples of an epoch without replacement: those with the smallest keys `E / w`, `E` exponential, in the order
    /// of their keys (Efraimidis, Spirakis, "Weighted random sampling with a reservoir", IPL 2006): as if drawn one
    /// after the other, each by its weight among those left.
    fn distinct(&self, weights: &[f64], epoch: u64) -> Vec<u32> {
        let stream = Stream::new(self.seed, stream::SAMPLER, epoch);
        // Positive doubles are in the order of their bits; the position below makes the order one on every machine,
        // and one number to compare makes the sort free of branches.
        let mut keys: Vec<u128> = (0..weights.len() as u32)
            .zip(weights)
            .filter(|(_, weight)| **weight > 0.0)
            .map(|(sample, weight)| {
                let key = exponential(stream, u64::from(sample)) / weight;
                u128::from(key.to_bits()) << 32 | u128::from(sample)
            })
            .collect();
        let wanted = self.draws_per_epoch as usize;
        if wanted < keys.len() {
            keys.select_nth_unstable(wanted);
            keys.truncate(wanted);
        }
        keys.sort_unstable();
        keys.into_iter().map(|key| key as u32).collect()
    }
}

/// An exponential number, never 0.
#[inline]
fn exponential(stream: Stream, position: u64) -> f64 {
    let uniform = ((stream.bits(position) >> 11) as f64 + 0.5) * 2f64.powi(-53);
    -uniform.ln()
}

/// The largest weight, and how many are positive.
fn checked(weights: &[f64]) -> Result<(f64, usize)> {
    if weights.is_empty() || weights.len() > MAX_WEIGHTS {
        let len = weights.len();
        return Err(Error::Value(format!(
            "weights must hold 1 to 2**32 - 1 numbers, got {len}"
        )));
    }
    for (position, &weight) in weights.iter().enumerate() {
        if !(weight.is_finite() && weight >= 0.0) {
            return Err(Error::Value(format!(
                "weights must be finite and >= 0, got {weight} at position {position}"
            )));
        }
    }
    let largest = weights.iter().copied().fold(0.0, f64::max);
    if largest == 0.0 {
        let len = weights.len();
        return Err(Error::Value(format!(
            "weights must have a positive entry, got {len} zeros"
        )));
    }
    // What vanishes beside the largest weight cannot be drawn.
    let positive = weights.iter().filter(|&&w| w / largest > 0.0).count();
    Ok((largest, positive))
}

fn probabilities(weights: &[f64], largest: f64, positive: usize) -> Result<Vec<f64>> {
    let total: f64 = weights.iter().map(|weight| weight / largest).sum();
    let mut probabilities = reserved(positive)?;
    let kept = weights.iter().map(|w| w / largest).filter(|w| *w > 0.0);
    probabilities.extend(kept.map(|weight| weight / total));
    Ok(probabilities)
}

fn positions(weights: &[f64], positive: usize) -> Result<Option<Vec<u32>>> {
    if positive == weights.len() {
        return Ok(None);
    }
    let largest = weights.iter().copied().fold(0.0, f64::max);
    let mut positions = reserved(positive)?;
    positions.extend(
        (0..weights.len() as u32)
            .zip(weights)
            .filter(|(_, weight)| **weight / largest > 0.0)
            .map(|(position, _)| position),
    );
    Ok(Some(positions))
}

impl Draws for Weighted {
    fn draws_per_epoch(&self) -> u64 {
        self.draws_per_epoch
    }

    fn fill(&self, epoch: u64, start: u64, out: &mut [i64]) {
        match &self.rule {
            Rule::Replace(alias, positions) => {
                let stream = Stream::new(self.seed, stream::SAMPLER, epoch);
                for (slot, position) in out.iter_mut().zip(start..) {
                    let picked = alias.pick(stream.bits(position));
                    *slot = positions
                        .as_ref()
                        .map_or(picked as i64, |at| i64::from(at[picked]));
                }
            }
            Rule::Distinct(weights, kept) => {
                // A lock that is taken (another thread, or the parent of a fork) only costs the shortcut.
                let mut kept = kept.try_lock().ok();
                let last = kept.as_mut().and_then(|kept| kept.take());
                let (_, order) = last
                    .filter(|(of, _)| *of == epoch)
                    .unwrap_or_else(|| (epoch, self.distinct(weights, epoch)));
                let rest = order.iter().skip(start as usize);
                out.iter_mut()
                    .zip(rest)
                    .for_each(|(slot, &sample)| *slot = i64::from(sample));
                if let Some(kept) = kept.as_mut() {
                    **kept = Some((epoch, order));
                }
            }
        }
    }
}
