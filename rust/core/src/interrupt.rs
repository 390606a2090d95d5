//! Interruptible work: long loops check between pieces whether to continue.
//!
//! The crate does not handle signals. Its caller installs a callback for the current thread with [`during`], and the
//! loops of the crate call it with [`poll`] after some tens of microseconds of work. Without a callback `poll` costs
//! one read of a thread-local cell.

use std::cell::Cell;

use crate::error::Result;

/// The callback; an error ends the routine that called it.
pub type Question = fn() -> Result<()>;

/// Elements of cheap work between two calls of the callback.
pub const PIECE: usize = 1 << 14;

thread_local! {
    static ASKED: Cell<Option<Question>> = const { Cell::new(None) };
}

/// Run `work` with `question` as the callback; the previous callback is restored afterwards, also after a panic.
pub fn during<T>(question: Question, work: impl FnOnce() -> T) -> T {
    struct Restore(Option<Question>);
    impl Drop for Restore {
        fn drop(&mut self) {
            ASKED.set(self.0);
        }
    }
    let _restore = Restore(ASKED.replace(Some(question)));
    work()
}

/// Check whether to continue.
///
/// # Errors
/// The error of the callback, usually [`crate::error::Error::Interrupted`].
#[inline]
pub fn poll() -> Result<()> {
    ASKED.get().map_or(Ok(()), |question| question())
}

/// Polls once per [`PIECE`] elements of a loop with steps of any size.
#[derive(Debug, Default)]
pub struct Pace(usize);

impl Pace {
    /// Count `elements` more.
    ///
    /// # Errors
    /// Those of [`poll`].
    #[inline]
    pub fn step(&mut self, elements: usize) -> Result<()> {
        self.0 += elements;
        if self.0 < PIECE {
            return Ok(());
        }
        self.0 = 0;
        poll()
    }
}

/// Call `work` with pieces of `values` of at most [`PIECE`] elements and their positions, polling in between.
///
/// # Errors
/// Those of [`poll`].
#[inline]
pub fn in_pieces<T>(values: &mut [T], mut work: impl FnMut(usize, &mut [T])) -> Result<()> {
    for (number, piece) in values.chunks_mut(PIECE).enumerate() {
        poll()?;
        work(number * PIECE, piece);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn no() -> Result<()> {
        Err(Error::Interrupted)
    }

    #[test]
    fn the_question_is_asked_inside_alone() {
        assert_eq!(poll(), Ok(()));
        during(no, || {
            assert_eq!(poll(), Err(Error::Interrupted));
            during(|| Ok(()), || assert_eq!(poll(), Ok(())));
            assert_eq!(poll(), Err(Error::Interrupted));
        });
        assert_eq!(poll(), Ok(()));
    }

    #[test]
    fn small_steps_ask_now_and_then() {
        during(no, || {
            let mut pace = Pace::default();
            assert_eq!(pace.step(PIECE - 1), Ok(()));
            assert_eq!(pace.step(1), Err(Error::Interrupted));
            assert_eq!(pace.step(1), Ok(()));
        });
    }

    #[test]
    fn pieces_cover_everything_once() {
        let mut values = vec![0; 2 * PIECE + 3];
        in_pieces(&mut values, |start, piece| {
            (start..).zip(piece).for_each(|(at, slot)| *slot += at + 1);
        })
        .unwrap();
        assert!(
            values
                .iter()
                .zip(1..)
                .all(|(&found, wanted)| found == wanted)
        );
    }
}
