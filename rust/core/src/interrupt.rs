//! Interruptible work: a long loop asks between pieces whether it shall continue.
//!
//! The crate knows nothing of signals. Its caller installs a question for the current thread with [`during`], and the
//! loops of the crate ask it with [`poll`] after some tens of microseconds of work. Without a question `poll` costs one
//! read of a thread-local cell.

use std::cell::Cell;

use crate::error::Result;

/// Asked often: an error ends the routine that asks.
pub type Question = fn() -> Result<()>;

/// Elements of cheap work between two questions.
pub const PIECE: usize = 1 << 14;

thread_local! {
    static ASKED: Cell<Option<Question>> = const { Cell::new(None) };
}

/// Run `work` so that its loops ask `question`; what was asked before is asked again afterwards, also after a panic.
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

/// Ask whether to continue.
///
/// # Errors
/// What the question answers, as a rule [`crate::error::Error::Interrupted`].
#[inline]
pub fn poll() -> Result<()> {
    ASKED.get().map_or(Ok(()), |question| question())
}

/// Asks once in [`PIECE`] elements of a loop whose steps may be as small as one.
#[derive(Debug, Default)]
pub struct Pace(usize);

impl Pace {
    /// A step over `elements` more.
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

/// Call `work` with pieces of `values` of at most [`PIECE`] elements and the position of each, asking in between.
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
