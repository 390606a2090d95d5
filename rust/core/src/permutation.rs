//! A keyed permutation of `0..n` with random access: no memory, and the same cost at any `i`.
//!
//! A Feistel network over a rectangle of `rows * columns >= n` cells, both close to the square root of `n`, with
//! addition modulo the side instead of exclusive or (Black, Rogaway, "Ciphers with arbitrary finite domains", CT-RSA
//! 2002). A cell beyond `n` is encrypted again until it is inside (cycle walking). There are fewer than `columns` such
//! cells, so this happens with probability of about `1 / rows`; a network over whole bits, whose domain is a power of
//! 4, may have to repeat three cells in four. Up to [`SMALL`] entries a network has too few distinct round functions;
//! there the permutation is a Fisher-Yates shuffle on the stack.

mod quick;

pub use self::quick::QuickPermutation;
use crate::error::{Error, Result, zeros};
use crate::interrupt::{PIECE, in_pieces, poll};
use crate::rng::{GOLDEN, Stream};

/// Up to this size the permutation is an exact Fisher-Yates shuffle.
pub const SMALL: u64 = 64;

/// Largest size: an entry is a non-negative `i64`.
pub const MAX_LEN: u64 = 1 << 63;

/// Few cells need more rounds to look random. Over 400,000 keys and more, the joint distribution of two entries differs
/// measurably from that of a uniform permutation after 8 rounds at 25 cells and after 6 at 300, but not with these
/// numbers of rounds.
const MANY_ROUNDS: usize = 10;
const FEW_ROUNDS: usize = 6;
const LARGE: u64 = 1 << 10;

/// The sides of the rectangle for one `n`. All permutations of that size share them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    len: u64,
    rows: u64,
    columns: u64,
}

impl Shape {
    /// The rectangle for `len` entries, at most [`MAX_LEN`].
    #[must_use]
    pub fn new(len: u64) -> Self {
        let rows = len.isqrt().max(1);
        Self {
            len,
            rows,
            columns: len.div_ceil(rows).max(1),
        }
    }

    /// [`Shape::new`] for an unchecked size.
    ///
    /// # Errors
    /// If `len` is above [`MAX_LEN`].
    pub fn checked(len: u64) -> Result<Self> {
        if len > MAX_LEN {
            return Err(Error::Value(format!("n must be <= 2**63, got {len}")));
        }
        Ok(Self::new(len))
    }

    /// Number of entries.
    #[inline]
    #[must_use]
    pub const fn len(self) -> u64 {
        self.len
    }

    /// Whether there is no entry.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// A permutation of `0..len`, used to choose subsets of data sets. For draws see [`QuickPermutation`].
#[derive(Debug, Clone, Copy)]
pub struct Permutation {
    shape: Shape,
    stream: Stream,
}

impl Permutation {
    /// The permutation of `shape` that `stream` keys.
    #[must_use]
    pub const fn new(shape: Shape, stream: Stream) -> Self {
        Self { shape, stream }
    }

    /// Entry `index`; none if `index >= len`.
    #[must_use]
    pub fn get(self, index: u64) -> Option<u64> {
        let mut entry = [0];
        (self.fill(index, &mut entry) == 1).then_some(entry[0] as u64)
    }

    /// Write entries `start..start + out.len()`, cut at the end of the permutation; returns how many were written.
    pub fn fill(self, start: u64, out: &mut [i64]) -> usize {
        let Self { shape, stream } = self;
        let count = shape.len.saturating_sub(start).min(out.len() as u64) as usize;
        let out = &mut out[..count];
        if shape.len <= SMALL {
            let steps = start.saturating_add(count as u64).min(shape.len);
            let entries = shuffled(shape.len as u8, steps as usize, stream);
            let from_start = entries.iter().skip(start.min(SMALL) as usize);
            out.iter_mut()
                .zip(from_start)
                .for_each(|(slot, &entry)| *slot = i64::from(entry));
        } else if shape.len < LARGE {
            shape.fill(&round_keys::<MANY_ROUNDS>(stream), start, out);
        } else {
            shape.fill(&round_keys::<FEW_ROUNDS>(stream), start, out);
        }
        count
    }

    /// All entries.
    ///
    /// # Errors
    /// If they do not fit into memory.
    pub fn to_vec(self) -> Result<Vec<i64>> {
        let len = self.shape.len as usize;
        let mut entries = zeros(len)?;
        in_pieces(&mut entries, |start, piece| {
            self.fill(start as u64, piece);
        })?;
        Ok(entries)
    }
}

fn round_keys<const R: usize>(stream: Stream) -> [u64; R] {
    std::array::from_fn(|round| stream.bits(round as u64))
}

impl Shape {
    fn fill<const R: usize>(self, keys: &[u64; R], start: u64, out: &mut [i64]) {
        let (mut row, mut column) = (start / self.columns, start % self.columns);
        for slot in out {
            *slot = self.walk(keys, row, column) as i64;
            column += 1;
            if column == self.columns {
                (row, column) = (row + 1, 0);
            }
        }
    }

    /// Encrypt until the cell is one of the first `len`. This ends: encryption is a bijection of all cells, so its
    /// cycle returns to the start, which is one of them.
    #[inline]
    fn walk<const R: usize>(self, keys: &[u64; R], mut row: u64, mut column: u64) -> u64 {
        loop {
            (row, column) = self.encrypt(keys, row, column);
            let cell = row * self.columns + column;
            if cell < self.len {
                return cell;
            }
        }
    }

    #[inline]
    fn encrypt<const R: usize>(self, keys: &[u64; R], mut row: u64, mut column: u64) -> (u64, u64) {
        for pair in keys.chunks_exact(2) {
            row = add_modulo(row, scatter(column ^ pair[0], self.rows), self.rows);
            column = add_modulo(column, scatter(row ^ pair[1], self.columns), self.columns);
        }
        (row, column)
    }
}

/// Hash `word` into `0..side`, `side <= 2^32`.
#[inline]
const fn scatter(word: u64, side: u64) -> u64 {
    let word = (word ^ (word >> 32)).wrapping_mul(GOLDEN);
    let word = (word ^ (word >> 29)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    ((word >> 32) * side) >> 32
}

#[inline]
const fn add_modulo(a: u64, b: u64, side: u64) -> u64 {
    let sum = a + b;
    if sum >= side { sum - side } else { sum }
}

/// A Fisher-Yates shuffle of `0..len`, of which only the first `steps` entries are final.
fn shuffled(len: u8, steps: usize, stream: Stream) -> [u8; SMALL as usize] {
    let mut entries = std::array::from_fn(|entry| entry as u8);
    for index in 0..steps {
        shuffle_step(stream, &mut entries[..usize::from(len)], index);
    }
    entries
}

/// Up to this size samplers shuffle in memory, which is faster than the network and exactly uniform. Beyond it a seek
/// would have to wait for the shuffle.
pub const LARGEST_SHUFFLE: usize = 1 << 16;

/// Fisher-Yates from the front.
pub fn shuffle<T>(stream: Stream, entries: &mut [T]) {
    for index in 0..entries.len() {
        shuffle_step(stream, entries, index);
    }
}

/// [`shuffle`] of many entries that polls for interrupts.
///
/// # Errors
/// Those of an interrupt; then some of the entries are shuffled.
pub fn shuffle_many<T>(stream: Stream, entries: &mut [T]) -> Result<()> {
    for first in (0..entries.len()).step_by(PIECE) {
        if first > 0 {
            poll()?;
        }
        for index in first..entries.len().min(first + PIECE) {
            shuffle_step(stream, entries, index);
        }
    }
    Ok(())
}

/// Step `index` of [`shuffle`]: swap a random one of the entries from `index` on to `index`.
#[inline]
pub fn shuffle_step<T>(stream: Stream, entries: &mut [T], index: usize) {
    let left = (entries.len() - index) as u64;
    entries.swap(index, index + stream.below(index as u64, left) as usize);
}
