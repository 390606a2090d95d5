//! Draws from a fixed discrete distribution in O(1): one multiplication, one comparison.

use crate::error::{Result, filled, reserved};
use crate::interrupt::{PIECE, poll};
use crate::rng::widening_mul;

/// Walker's alias table, built by Vose's method ("A linear algorithm for generating random numbers with a given
/// distribution", IEEE TSE 1991) in O(C).
#[derive(Debug, Clone, PartialEq)]
pub struct Alias {
    slots: Vec<Slot>,
}

/// Below the threshold a slot gives its own index, above it the alias.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Slot {
    threshold: u64,
    alias: u32,
}

impl Default for Slot {
    /// Always its own index.
    fn default() -> Self {
        Self {
            threshold: u64::MAX,
            alias: 0,
        }
    }
}

impl Alias {
    /// A table for `probabilities`, positive and of sum 1: at most 2^32 of them.
    ///
    /// # Errors
    /// If the table does not fit into memory; those of an interrupt.
    pub fn new(probabilities: &[f64]) -> Result<Self> {
        let len = probabilities.len();
        let mut mass = filled(len, &0.0)?;
        let mut slots = filled(len, &Slot::default())?;
        let (mut poor, mut rich) = (reserved(len)?, reserved(len)?);
        for (slot, p) in probabilities.iter().enumerate() {
            mass[slot] = p * len as f64;
            slots[slot].alias = slot as u32;
            if mass[slot] < 1.0 {
                poor.push(slot as u32);
            } else {
                rich.push(slot as u32);
            }
        }
        let mut turns = 0;
        // Rounding may leave entries in either list: each fills its whole slot.
        while let (Some(&giver), Some(taker)) = (rich.last(), poor.pop()) {
            if turns % PIECE == 0 {
                poll()?;
            }
            turns += 1;
            let left = mass[taker as usize];
            slots[taker as usize] = Slot {
                threshold: fixed_point(left),
                alias: giver,
            };
            let giver = giver as usize;
            mass[giver] -= 1.0 - left;
            if mass[giver] < 1.0 {
                poor.extend(rich.pop());
            }
        }
        Ok(Self { slots })
    }

    /// The entry that 64 uniform bits choose: the high part of `bits * len` is the slot, the low part is compared
    /// with its threshold.
    #[inline]
    #[must_use]
    pub fn pick(&self, bits: u64) -> usize {
        let (slot, coin) = widening_mul(bits, self.slots.len() as u64);
        let Slot { threshold, alias } = self.slots[slot as usize];
        if coin < threshold {
            slot as usize
        } else {
            alias as usize
        }
    }
}

/// A number in [0, 1) times 2^64.
fn fixed_point(value: f64) -> u64 {
    (value * 2f64.powi(64)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn slots_add_up_to_the_probabilities(weights in prop::collection::vec(1e-6f64..1.0, 1..60)) {
            let total: f64 = weights.iter().sum();
            let probabilities: Vec<f64> = weights.iter().map(|w| w / total).collect();
            let table = Alias::new(&probabilities).unwrap();
            let mut found = vec![0.0; weights.len()];
            for (slot, entry) in table.slots.iter().enumerate() {
                let own = entry.threshold as f64 / 2f64.powi(64);
                found[slot] += own / weights.len() as f64;
                found[entry.alias as usize] += (1.0 - own) / weights.len() as f64;
            }
            for (found, wanted) in found.iter().zip(&probabilities) {
                prop_assert!((found - wanted).abs() < 1e-12, "{found} {wanted}");
            }
        }
    }
}
