//! Arrays of which each element is read once and copied before it is checked.
//!
//! The memory behind an array of another language may change while it is read: another thread may write to it. The
//! checked value must be the value that is used, so routines over large arrays copy blocks and read each element once.

use crate::error::{Error, Result, reserved};
use crate::interrupt::poll;

/// Elements copied at a time.
const BLOCK: usize = 1 << 9;

/// A sequence of numbers to copy from. Its values may change between two copies, its length may not.
pub trait Source<T: Copy + Default> {
    /// Number of elements.
    fn len(&self) -> usize;

    /// Copy elements `start..start + out.len()`, which exist.
    fn copy_to(&self, start: usize, out: &mut [T]);

    /// Whether there is no element.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Call `visit` with each element and its position, in order.
    ///
    /// # Errors
    /// The first error of `visit`, or of an interrupt.
    #[inline]
    fn try_each(&self, visit: impl FnMut(usize, T) -> Result<()>) -> Result<()> {
        self.try_range(0, self.len(), visit)
    }

    /// [`Source::try_each`] for positions `start..end`, which exist.
    ///
    /// # Errors
    /// The first error of `visit`, or of an interrupt.
    #[inline]
    fn try_range(
        &self,
        start: usize,
        end: usize,
        mut visit: impl FnMut(usize, T) -> Result<()>,
    ) -> Result<()> {
        let mut block = [T::default(); BLOCK];
        for start in (start..end).step_by(BLOCK) {
            poll()?;
            let block = &mut block[..BLOCK.min(end - start)];
            self.copy_to(start, block);
            for (at, &mut value) in (start..).zip(block) {
                visit(at, value)?;
            }
        }
        Ok(())
    }

    /// A copy of all elements.
    ///
    /// # Errors
    /// If it does not fit into memory.
    fn to_copy(&self) -> Result<Vec<T>> {
        let mut copy = reserved(self.len())?;
        for start in (0..self.len()).step_by(BLOCK) {
            poll()?;
            let end = self.len().min(start + BLOCK);
            copy.resize(end, T::default());
            self.copy_to(start, &mut copy[start..end]);
        }
        Ok(copy)
    }
}

impl<T: Copy + Default> Source<T> for [T] {
    fn len(&self) -> usize {
        self.len()
    }

    #[inline]
    fn copy_to(&self, start: usize, out: &mut [T]) {
        out.copy_from_slice(&self[start..start + out.len()]);
    }
}

impl<T: Copy + Default> Source<T> for Vec<T> {
    fn len(&self) -> usize {
        self.len()
    }

    #[inline]
    fn copy_to(&self, start: usize, out: &mut [T]) {
        self.as_slice().copy_to(start, out);
    }
}

impl<T: Copy + Default, const N: usize> Source<T> for [T; N] {
    fn len(&self) -> usize {
        N
    }

    #[inline]
    fn copy_to(&self, start: usize, out: &mut [T]) {
        self.as_slice().copy_to(start, out);
    }
}

/// The error for an array that changed between two readings.
#[must_use]
pub fn changed(name: &str) -> Error {
    Error::Value(format!(
        "{name} must not change while they are read, and another thread changed them; pass a copy"
    ))
}
