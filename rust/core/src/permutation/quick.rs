//! A keyed permutation for draws: the network of [`super::Permutation`] on 32-bit words, which vector units multiply
//! many at a time. Round keys and hash differ, so the two give different permutations.

#![expect(
    clippy::inline_always,
    reason = "inlined code is compiled for the instruction set of its caller"
)]

use super::{FEW_ROUNDS, LARGE, MANY_ROUNDS, Permutation, SMALL, Shape};
use crate::rng::Stream;

/// Largest size of the network with 32 bits: rows, columns and their product fit, and so do the lanes
/// that a block computes beyond the last cell.
const NARROW: u64 = 1 << 31;

/// Entries computed together, enough to hide the latency of the multiplications.
const MANY: usize = 32;
/// The same for short requests.
const FEW: usize = 16;

/// A permutation of `0..len` with random access, two to three times as fast as [`Permutation`] when many entries are
/// requested at a time. Up to [`SMALL`] entries and beyond 2^31 it is the same permutation.
#[derive(Debug, Clone, Copy)]
pub struct QuickPermutation {
    shape: Shape,
    stream: Stream,
}

impl QuickPermutation {
    /// The permutation of `shape` that `stream` keys.
    #[must_use]
    pub const fn new(shape: Shape, stream: Stream) -> Self {
        Self { shape, stream }
    }

    /// Write entries `start..start + out.len()`, cut at the end of the permutation; returns how many were written.
    pub fn fill(self, start: u64, out: &mut [i64]) -> usize {
        let Self { shape, stream } = self;
        if shape.len <= SMALL || shape.len > NARROW {
            return Permutation::new(shape, stream).fill(start, out);
        }
        let count = shape.len.saturating_sub(start).min(out.len() as u64) as usize;
        let out = &mut out[..count];
        if count == 0 {
            return 0;
        }
        if shape.len < LARGE {
            Network::<{ MANY_ROUNDS / 2 }>::new(shape, stream).fill(start as u32, out);
        } else {
            Network::<{ FEW_ROUNDS / 2 }>::new(shape, stream).fill(start as u32, out);
        }
        count
    }
}

/// A network of `P` pairs of rounds.
struct Network<const P: usize> {
    len: u32,
    rows: u32,
    columns: u32,
    /// `2^32 / columns`, rounded up. The high word of a product with it is the quotient by `columns`, exact for the
    /// small numbers in [`Network::cells`]: at most `columns` plus a block.
    reciprocal: u32,
    /// A key for the round on rows and one for the round on columns.
    keys: [[u32; 2]; P],
}

/// Rows and columns of `L` cells.
struct Cells<const L: usize> {
    rows: [u32; L],
    columns: [u32; L],
}

impl<const P: usize> Network<P> {
    /// The network over `shape`, of 65 to [`NARROW`] entries, that `stream` keys.
    fn new(shape: Shape, stream: Stream) -> Self {
        let columns = shape.columns as u32;
        Self {
            len: shape.len as u32,
            rows: shape.rows as u32,
            columns,
            reciprocal: u32::MAX / columns + 1,
            keys: std::array::from_fn(|pair| {
                let bits = stream.bits(pair as u64);
                [(bits >> 32) as u32, bits as u32]
            }),
        }
    }

    /// Write entries `start..start + out.len()`, which exist.
    fn fill(&self, start: u32, out: &mut [i64]) {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
                // SAFETY: the processor has the instructions.
                return unsafe { self.fill_avx512(start, out) };
            }
            if is_x86_feature_detected!("avx2") {
                // SAFETY: the processor has the instructions.
                return unsafe { self.fill_avx2(start, out) };
            }
        }
        self.fill_plainly(start, out);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512dq")]
    fn fill_avx512(&self, start: u32, out: &mut [i64]) {
        self.fill_plainly(start, out);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn fill_avx2(&self, start: u32, out: &mut [i64]) {
        self.fill_plainly(start, out);
    }

    #[inline(always)]
    fn fill_plainly(&self, start: u32, out: &mut [i64]) {
        if out.len() <= FEW {
            self.fill_block::<FEW>(start, out);
            return;
        }
        for (block, first) in out.chunks_mut(MANY).zip((start..).step_by(MANY)) {
            self.fill_block::<MANY>(first, block);
        }
    }

    /// Up to `L` entries.
    #[inline(always)]
    fn fill_block<const L: usize>(&self, start: u32, out: &mut [i64]) {
        let mut cells = self.cells::<L>(start);
        self.encrypt(&mut cells);
        let numbers = self.numbers(&cells);
        for (lane, slot) in out.iter_mut().enumerate() {
            *slot = i64::from(if numbers[lane] < self.len {
                numbers[lane]
            } else {
                self.walk(cells.rows[lane], cells.columns[lane])
            });
        }
    }

    /// Encrypt until the cell is one of the first `len`. This ends: see [`super::Permutation`]. Rare, so never inlined.
    #[inline(never)]
    fn walk(&self, row: u32, column: u32) -> u32 {
        let mut cell = Cells {
            rows: [row],
            columns: [column],
        };
        loop {
            self.encrypt(&mut cell);
            let [number] = self.numbers(&cell);
            if number < self.len {
                return number;
            }
        }
    }

    /// The cells numbered `start..start + L`.
    #[inline(always)]
    fn cells<const L: usize>(&self, start: u32) -> Cells<L> {
        let (row, column) = (start / self.columns, start % self.columns);
        let mut cells = Cells {
            rows: [0; L],
            columns: [0; L],
        };
        for lane in 0..L {
            let column = column + lane as u32;
            let rows = high(column, self.reciprocal);
            cells.rows[lane] = row + rows;
            cells.columns[lane] = column - rows * self.columns;
        }
        cells
    }

    #[inline(always)]
    fn numbers<const L: usize>(&self, cells: &Cells<L>) -> [u32; L] {
        // Lanes beyond the last entry may wrap; their results are not used.
        let number = |lane: usize| {
            cells.rows[lane]
                .wrapping_mul(self.columns)
                .wrapping_add(cells.columns[lane])
        };
        std::array::from_fn(number)
    }

    #[inline(always)]
    fn encrypt<const L: usize>(&self, cells: &mut Cells<L>) {
        for [first, second] in self.keys {
            for lane in 0..L {
                let by = scatter(cells.columns[lane] ^ first, self.rows);
                cells.rows[lane] = add_modulo(cells.rows[lane], by, self.rows);
            }
            for lane in 0..L {
                let by = scatter(cells.rows[lane] ^ second, self.columns);
                cells.columns[lane] = add_modulo(cells.columns[lane], by, self.columns);
            }
        }
    }
}

/// Hash `word` into `0..side`.
#[inline]
const fn scatter(word: u32, side: u32) -> u32 {
    let word = (word ^ (word >> 16)).wrapping_mul(0x9E37_79B1);
    let word = (word ^ (word >> 15)).wrapping_mul(0xD6E8_FEB9);
    high(word, side)
}

/// High word of a product.
#[inline]
const fn high(a: u32, b: u32) -> u32 {
    ((a as u64 * b as u64) >> 32) as u32
}

/// `a + b` modulo `side`, for numbers below it. Where `sum - side` is negative it wraps to a large number, so the
/// minimum is the remainder in both cases, without a branch.
#[inline]
fn add_modulo(a: u32, b: u32, side: u32) -> u32 {
    let sum = a.wrapping_add(b);
    sum.min(sum.wrapping_sub(side))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_instruction_set_gives_the_same_entries(
            len in 65_u32..5_000_000, start in 0.0..1.0, wanted in 1_usize..200, seed: u64,
        ) {
            let start = (f64::from(len) * start) as u32;
            let wanted = wanted.min((len - start) as usize);
            let network = Network::<3>::new(Shape::new(u64::from(len)), Stream::new(seed, 1, 0));
            let (mut plain, mut wide) = (vec![0; wanted], vec![0; wanted]);
            network.fill_plainly(start, &mut plain);
            #[cfg(target_arch = "x86_64")]
            {
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has the instructions.
                    unsafe { network.fill_avx2(start, &mut wide) };
                    prop_assert_eq!(&plain, &wide);
                }
                if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
                    // SAFETY: the processor has the instructions.
                    unsafe { network.fill_avx512(start, &mut wide) };
                    prop_assert_eq!(&plain, &wide);
                }
            }
            network.fill(start, &mut wide);
            prop_assert_eq!(plain, wide);
        }
    }
}
