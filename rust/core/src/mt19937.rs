//! `NumPy`'s legacy generator: the part that reproduces published subsets.
//!
//! Do not use it for anything new: its state is 624 words and it has no random access.

use crate::error::{Error, Result};
use crate::interrupt::{PIECE, poll};

const WORDS: usize = 624;
const SHIFT: usize = 397;

/// The Mersenne Twister as `numpy.random.RandomState(seed)` seeds and reads it.
///
/// Source: Matsumoto and Nishimura 1998; seeding by Knuth's multiplier (`init_genrand`, 2002).
pub struct Mt19937 {
    state: [u32; WORDS],
    next: usize,
}

impl Mt19937 {
    /// The generator that `numpy.random.seed(seed)` leaves behind.
    #[must_use]
    pub fn new(seed: u32) -> Self {
        let mut state = [seed; WORDS];
        for i in 1..WORDS {
            let previous = state[i - 1];
            state[i] = 1_812_433_253_u32
                .wrapping_mul(previous ^ (previous >> 30))
                .wrapping_add(i as u32);
        }
        Self { state, next: WORDS }
    }

    fn refill(&mut self) {
        for i in 0..WORDS {
            let joined =
                (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % WORDS] & 0x7fff_ffff);
            let twist = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + SHIFT) % WORDS] ^ (joined >> 1) ^ twist;
        }
        self.next = 0;
    }

    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.next == WORDS {
            self.refill();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// A number in `[0, max]` by masked rejection, as `NumPy`'s `random_interval`.
    fn interval(&mut self, max: u32) -> u32 {
        let mask = u32::MAX >> (max | 1).leading_zeros();
        loop {
            let value = self.next_u32() & mask;
            if value <= max {
                return value;
            }
        }
    }

    /// Shuffle in place as `RandomState.shuffle` does: Fisher-Yates from the last element down.
    ///
    /// # Errors
    ///
    /// Those of an interrupt, and if there are more than 2^32 elements: from there on `NumPy` draws 64 bits, which no
    /// published subset needs.
    pub fn shuffle<T>(&mut self, values: &mut [T]) -> Result<()> {
        if values.len() as u64 > 1 << 32 {
            return Err(Error::Value(format!(
                "labels must have at most 2^32 samples a class, got {}",
                values.len()
            )));
        }
        for last in (1..values.len()).rev() {
            if last.is_multiple_of(PIECE) {
                poll()?;
            }
            values.swap(last, self.interval(last as u32) as usize);
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_words() {
        // First outputs for seed 5489, and the 10,000th, which the C++ standard fixes for std::mt19937.
        let mut twister = Mt19937::new(5489);
        assert_eq!(
            [twister.next_u32(), twister.next_u32()],
            [3_499_211_612, 581_869_302]
        );
        assert_eq!(
            (2..10_000).map(|_| twister.next_u32()).last(),
            Some(4_123_659_995)
        );
    }

    #[test]
    fn interval_reaches_both_ends() {
        assert_eq!(Mt19937::new(1).interval(0), 0);
        assert_eq!(
            Mt19937::new(1).interval(u32::MAX),
            Mt19937::new(1).next_u32()
        );
    }

    proptest! {
        #[test]
        fn shuffle_is_a_permutation(seed: u32, size in 0_usize..2000) {
            let mut values: Vec<usize> = (0..size).collect();
            Mt19937::new(seed).shuffle(&mut values).unwrap();
            values.sort_unstable();
            prop_assert!(values.iter().copied().eq(0..size));
        }
    }
}
