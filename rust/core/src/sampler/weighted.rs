//! Draws by one weight per sample.

mod distinct;

use std::sync::Mutex;

use self::distinct::Distinct;
use super::Draws;
use crate::alias::Alias;
use crate::error::{Error, Result, collected};
use crate::interrupt::in_pieces;
use crate::rng::{Stream, stream};
use crate::source::Source;

/// Largest number of weights: an alias is a `u32`.
pub const MAX_WEIGHTS: usize = u32::MAX as usize;

/// Samples with probability proportional to their weights, with or without replacement.
pub struct Weighted {
    rule: Rule,
    draws_per_epoch: u64,
    seed: u64,
}

enum Rule {
    /// Independent draws by the alias method, and the positions of the positive weights if some are 0.
    Replace(Alias, Option<Vec<u32>>),
    /// The smallest keys, and the order of the epoch used last, a cache that never changes a result.
    Distinct(Distinct, Mutex<Option<(u64, Vec<u32>)>>),
}

impl Weighted {
    /// A sampler over `weights`, of any positive scale; 0 excludes a sample, and so does a weight
    /// that is 0 when divided by the largest.
    ///
    /// # Errors
    /// If a weight is negative or not finite, none is positive, there are more than [`MAX_WEIGHTS`], or an epoch
    /// without replacement is longer than the number of weights that are positive when divided by the largest.
    pub fn new(
        weights: &(impl Source<f64> + ?Sized),
        replacement: bool,
        draws_per_epoch: u64,
        seed: u64,
    ) -> Result<Self> {
        let mut weights = read(weights)?;
        let (largest, positive) = checked(&weights)?;
        let rule = if replacement {
            Rule::Replace(
                Alias::new(&probabilities(&weights, largest, positive)?)?,
                positions(&weights, positive)?,
            )
        } else {
            if draws_per_epoch > positive as u64 {
                return Err(too_many(&weights, positive, draws_per_epoch));
            }
            for weight in &mut weights {
                *weight /= largest;
            }
            Rule::Distinct(
                Distinct::new(weights, draws_per_epoch as usize)?,
                Mutex::default(),
            )
        };
        Ok(Self {
            rule,
            draws_per_epoch,
            seed,
        })
    }
}

fn too_many(weights: &[f64], positive: usize, draws_per_epoch: u64) -> Error {
    let negligible = if weights.iter().filter(|&&weight| weight > 0.0).count() > positive {
        "that are not negligible compared with the largest "
    } else {
        ""
    };
    Error::Value(format!(
        "num_samples must be <= the number of positive weights {negligible}({positive}) with replacement=False, got \
         {draws_per_epoch}; draw fewer, or pass replacement=True"
    ))
}

/// Copy the weights and check their number.
fn read(weights: &(impl Source<f64> + ?Sized)) -> Result<Vec<f64>> {
    if weights.is_empty() || weights.len() > MAX_WEIGHTS {
        let len = weights.len();
        return Err(Error::Value(format!(
            "weights must hold 1 to 2**32 - 1 numbers, got {len}"
        )));
    }
    weights.to_copy()
}

/// The largest weight, and how many weights are positive when divided by it.
fn checked(weights: &[f64]) -> Result<(f64, usize)> {
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
    // A weight that underflows when divided by the largest has probability 0.
    let positive = weights.iter().filter(|&&w| w / largest > 0.0).count();
    Ok((largest, positive))
}

fn probabilities(weights: &[f64], largest: f64, positive: usize) -> Result<Vec<f64>> {
    let total: f64 = weights.iter().map(|weight| weight / largest).sum();
    let kept = weights.iter().map(|w| w / largest).filter(|w| *w > 0.0);
    collected(positive, kept.map(|weight| weight / total))
}

fn positions(weights: &[f64], positive: usize) -> Result<Option<Vec<u32>>> {
    if positive == weights.len() {
        return Ok(None);
    }
    let largest = weights.iter().copied().fold(0.0, f64::max);
    let positions = (0..weights.len() as u32)
        .zip(weights)
        .filter(|(_, weight)| **weight / largest > 0.0)
        .map(|(position, _)| position);
    collected(positive, positions).map(Some)
}

impl Draws for Weighted {
    fn draws_per_epoch(&self) -> u64 {
        self.draws_per_epoch
    }

    fn fill(&self, epoch: u64, start: u64, out: &mut [i64]) -> Result<()> {
        let stream = Stream::new(self.seed, stream::SAMPLER, epoch);
        match &self.rule {
            Rule::Replace(alias, positions) => in_pieces(out, |at, piece| {
                for (slot, position) in piece.iter_mut().zip(start + at as u64..) {
                    let picked = alias.pick(stream.bits(position));
                    *slot = positions
                        .as_ref()
                        .map_or(picked as i64, |at| i64::from(at[picked]));
                }
            }),
            Rule::Distinct(distinct, kept) => {
                // If the lock is taken (by another thread, or by the parent of a fork) only the cache is lost.
                let mut kept = kept.try_lock().ok();
                let last = kept.as_mut().and_then(|kept| kept.take());
                let order = match last {
                    Some((of, order)) if of == epoch => order,
                    _ => distinct.order(stream)?,
                };
                let rest = order.iter().skip(start as usize);
                out.iter_mut()
                    .zip(rest)
                    .for_each(|(slot, &sample)| *slot = i64::from(sample));
                if let Some(kept) = kept.as_mut() {
                    **kept = Some((epoch, order));
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(weights: &[f64], draws_per_epoch: u64) -> String {
        let sampler = Weighted::new(weights, false, draws_per_epoch, 1);
        sampler.err().unwrap().to_string()
    }

    #[test]
    fn counts_the_weights_that_can_be_drawn() {
        assert_eq!(
            refused(&[1.0, 0.0, 2.0], 3),
            "num_samples must be <= the number of positive weights (2) with replacement=False, got 3; draw fewer, or \
             pass replacement=True"
        );
        assert_eq!(
            refused(&[5e-324, 1e308, 1.0], 3),
            "num_samples must be <= the number of positive weights that are not negligible compared with the \
             largest (2) with replacement=False, got 3; draw fewer, or pass replacement=True"
        );
        let sampler = Weighted::new(&[5e-324, 1e308, 1.0], false, 2, 1).unwrap();
        let mut drawn = [0; 2];
        sampler.fill(0, 0, &mut drawn).unwrap();
        assert_eq!(drawn, [1, 2]);
    }
}
