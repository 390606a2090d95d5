//! Images that a batch needs twice: for themselves, and as partners of others.

use std::cell::Cell;

use super::Batch;
use crate::error::{Result, collected, filled};

/// Bytes that a thread keeps for its next batch; fresh memory for each would cost more than reading images twice.
const MOST_KEPT: usize = 1 << 24;

thread_local! {
    static KEPT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Where each partner is in the batch: an image of the same index and position, and so of the same augmentation.
///
/// Found where the positions of the batch are consecutive, as those of a loader are; other partners are read by
/// themselves, with the same result.
///
/// # Errors
///
/// If the result does not fit into memory.
pub fn partners_within(
    (indices, positions): (&[i64], &[i64]),
    (partner, partner_positions): (&[i64], &[i64]),
) -> Result<Vec<Option<u32>>> {
    let first = positions.first().copied().unwrap_or(0);
    let place = |(&index, &position): (&i64, &i64)| {
        let at = usize::try_from(position.wrapping_sub(first)).ok()?;
        let same = positions.get(at) == Some(&position) && indices.get(at) == Some(&index);
        same.then(|| u32::try_from(at).ok()).flatten()
    };
    collected(
        partner.len(),
        partner.iter().zip(partner_positions).map(place),
    )
}

/// Room for all images of a batch of which some are partners of others; empty for other batches.
pub struct Room {
    bytes: Vec<u8>,
    used: usize,
    count: usize,
    size: usize,
}

impl Room {
    /// Make room, or take what this thread has kept.
    pub fn of(batch: Batch<'_>) -> Result<Self> {
        let within = batch.mix.map_or(&[][..], |mix| mix.within);
        let (count, size) = (batch.indices.len(), batch.images.shape.size());
        let used = count * size;
        let worth = batch.policy.is_some() || used <= MOST_KEPT;
        if !worth || within.iter().all(Option::is_none) {
            return Ok(Self {
                bytes: Vec::new(),
                used: 0,
                count: 0,
                size,
            });
        }
        let mut bytes = KEPT.take();
        if bytes.len() < used {
            bytes = filled(used, &0)?;
        }
        Ok(Self {
            bytes,
            used,
            count,
            size,
        })
    }

    /// No image yet.
    ///
    /// # Errors
    ///
    /// If it does not fit into memory.
    pub fn shared(&mut self) -> Result<Shared<'_>> {
        Ok(Shared {
            planes: &mut self.bytes[..self.used],
            ready: filled(self.count, &false)?,
            size: self.size,
        })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if (1..=MOST_KEPT).contains(&self.bytes.len()) {
            KEPT.set(std::mem::take(&mut self.bytes));
        }
    }
}

/// The images of a batch that have been read, as planes, where some are needed twice.
pub struct Shared<'a> {
    planes: &'a mut [u8],
    /// One for each image; empty where none is needed twice.
    ready: Vec<bool>,
    size: usize,
}

impl Shared<'_> {
    /// Whether image `b` has been read.
    #[inline(always)]
    pub fn has(&self, b: usize) -> bool {
        self.ready.get(b) == Some(&true)
    }

    /// Add image `b`, if it has a place.
    #[inline(always)]
    pub fn add(&mut self, b: usize, pixels: &[u8]) {
        if let Some(ready) = self.ready.get_mut(b) {
            *ready = true;
            self.planes[b * self.size..][..self.size].copy_from_slice(pixels);
        }
    }

    /// The planes of image `b`, if they are there.
    #[inline(always)]
    pub fn get(&self, b: usize) -> Option<&[u8]> {
        self.has(b)
            .then(|| &self.planes[b * self.size..][..self.size])
    }
}
