//! Draw a class by its probability, then a sample of it.

mod rounds;
mod strata;
mod uniform;

use std::ops::Range;
use std::sync::Mutex;

use self::rounds::{Cursor, Cycles, Refused, Rounds};
use self::uniform::Uniform;
use super::Draws;
use crate::alias::Alias;
use crate::counts::ClassTable;
use crate::error::{Error, Result, collected};
use crate::interrupt::in_pieces;
use crate::rng::{Stream, stream};
use crate::source::Source;

/// How a sample of the drawn class is selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithinClass {
    /// Every sample of the class before any repeats, and classes in rounds: see [`Rounds`].
    Cycle,
    /// Class and sample independently at every draw.
    Replace,
    /// As [`WithinClass::Cycle`], with rounds of this many draws, each with the share of every class rounded down or
    /// up.
    Stratified(u64),
}

/// A class that can be drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Class {
    pub(super) label: u32,
    pub(super) start: u32,
    pub(super) len: u32,
}

impl Class {
    /// The class `label` of a table.
    pub(super) fn of(table: &ClassTable, label: usize) -> Self {
        let (start, len) = table.extent(label);
        Self {
            label: label as u32,
            start,
            len,
        }
    }

    /// Position of its samples in the table.
    pub(super) fn range(&self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

/// The sampler: a table of the samples by class, and a rule for the class of a draw.
pub struct ClassBalanced {
    table: ClassTable,
    classes: Vec<Class>,
    rule: Rule,
    draws_per_epoch: u64,
    seed: u64,
}

enum Rule {
    /// Equal probabilities: 64 random bits select class and sample.
    Uniform(Uniform),
    /// Any probabilities: one random number for the class, one for the sample.
    Weighted(Alias),
    /// Rounds, with a cache of the last position: continuing is cheaper than a seek. It never changes a result.
    Rounds(Cycles, Mutex<Option<Cursor>>),
}

impl ClassBalanced {
    /// A sampler over `labels` with one probability per class. They are normalised to sum 1, and 0 excludes a class.
    ///
    /// # Errors
    /// If a label has no probability; if a probability is negative or not finite, all are 0, or one of a class without
    /// samples is positive; if one is too small for a round (see [`Rounds`]); if rounds have no draw.
    pub fn new(
        labels: &(impl Source<u32> + ?Sized),
        class_probs: &[f64],
        within: WithinClass,
        draws_per_epoch: u64,
        seed: u64,
    ) -> Result<Self> {
        let table = ClassTable::new(labels, class_probs.len())?;
        Self::over(table, class_probs, within, draws_per_epoch, seed)
    }

    /// The same over an existing table, in which a sample may belong to several classes.
    ///
    /// # Errors
    /// As [`ClassBalanced::new`].
    pub fn over(
        table: ClassTable,
        class_probs: &[f64],
        within: WithinClass,
        draws_per_epoch: u64,
        seed: u64,
    ) -> Result<Self> {
        let (classes, probabilities) = drawable(&table, class_probs)?;
        let uniform = all_equal(&probabilities);
        let cycles = |rounds| {
            Cycles::new(rounds, &classes, seed).map(|it| Rule::Rounds(it, Mutex::default()))
        };
        let rule = match within {
            WithinClass::Cycle if uniform => cycles(Rounds::uniform(classes.len()))?,
            WithinClass::Cycle => cycles(weighted_rounds(&classes, &probabilities)?)?,
            WithinClass::Stratified(0) => {
                return Err(Error::Value("batch_size must be at least 1, got 0".into()));
            }
            WithinClass::Stratified(len) => cycles(
                Rounds::stratified(&probabilities, len, seed).map_err(|found| {
                    too_small(&classes, &probabilities, found, "", "use larger batches")
                })?,
            )?,
            WithinClass::Replace if uniform => Rule::Uniform(Uniform::new(&classes)?),
            WithinClass::Replace => Rule::Weighted(Alias::new(&probabilities)?),
        };
        Ok(Self {
            table,
            classes,
            rule,
            draws_per_epoch,
            seed,
        })
    }

    fn sample(&self, class: &Class, offset: u64) -> i64 {
        i64::from(self.table.samples()[(u64::from(class.start) + offset) as usize])
    }

    fn weighted(&self, alias: &Alias, stream: Stream, position: u64) -> i64 {
        let class = &self.classes[alias.pick(stream.bits(2 * position))];
        self.sample(class, stream.below(2 * position + 1, u64::from(class.len)))
    }

    fn rounds(
        &self,
        cycles: &Cycles,
        kept: &Mutex<Option<Cursor>>,
        start: u64,
        out: &mut [i64],
    ) -> Result<()> {
        // If the lock is taken (by another thread, or by the parent of a fork) only the cache is lost.
        let mut kept = kept.try_lock().ok();
        let last = kept.as_mut().and_then(|kept| kept.take());
        let mut cursor = cycles.at(start, last)?;
        cursor.fill(cycles, self.table.samples(), out)?;
        if let Some(kept) = kept.as_mut() {
            **kept = Some(cursor);
        }
        Ok(())
    }
}

impl Draws for ClassBalanced {
    fn draws_per_epoch(&self) -> u64 {
        self.draws_per_epoch
    }

    /// Rounds skip over the draws before a near position, whoever calls.
    fn near(&self) -> u64 {
        match &self.rule {
            Rule::Uniform(_) | Rule::Weighted(_) => 16,
            Rule::Rounds(..) => rounds::CATCH_UP,
        }
    }

    fn fill(&self, epoch: u64, start: u64, out: &mut [i64]) -> Result<()> {
        let stream = Stream::new(self.seed, stream::SAMPLER, epoch);
        match &self.rule {
            Rule::Uniform(kernel) => in_pieces(out, |at, piece| {
                kernel.fill(self.table.samples(), stream, start + at as u64, piece);
            }),
            Rule::Weighted(alias) => in_pieces(out, |at, piece| {
                piece
                    .iter_mut()
                    .zip(start + at as u64..)
                    .for_each(|(slot, at)| *slot = self.weighted(alias, stream, at));
            }),
            // Rounds continue across epochs, so that a class larger than its share of an epoch is still shown
            // completely.
            Rule::Rounds(cycles, kept) => {
                self.rounds(cycles, kept, epoch * self.draws_per_epoch + start, out)
            }
        }
    }
}

/// The classes with a positive probability, and these probabilities normalised to sum 1.
fn drawable(table: &ClassTable, class_probs: &[f64]) -> Result<(Vec<Class>, Vec<f64>)> {
    for (class, &p) in class_probs.iter().enumerate() {
        if !(p.is_finite() && p >= 0.0) {
            return Err(Error::Value(format!(
                "class_probs must be finite and >= 0, got {p} for class {class}"
            )));
        }
        if p > 0.0 && table.extent(class).1 == 0 {
            return Err(Error::Value(format!(
                "class_probs must be 0 for a class without samples, got {p} for class {class}; \
                 set it to 0, or pass empty='ignore'"
            )));
        }
    }
    let largest = class_probs.iter().copied().fold(0.0, f64::max);
    if largest == 0.0 {
        return Err(Error::Value(format!(
            "class_probs must have a positive entry, got {} zeros",
            class_probs.len()
        )));
    }
    // Dividing by the largest first keeps the sum finite.
    let total: f64 = class_probs.iter().map(|p| p / largest).sum();
    let kept = |class: &usize| class_probs[*class] > 0.0;
    let number = (0..class_probs.len()).filter(kept).count();
    let classes = (0..class_probs.len())
        .filter(kept)
        .map(|class| Class::of(table, class));
    let probabilities = class_probs
        .iter()
        .filter(|p| **p > 0.0)
        .map(|p| p / largest / total);
    Ok((
        collected(number, classes)?,
        collected(number, probabilities)?,
    ))
}

#[expect(
    clippy::float_cmp,
    reason = "only exactly equal probabilities may be drawn as equal"
)]
fn all_equal(probabilities: &[f64]) -> bool {
    probabilities.windows(2).all(|pair| pair[0] == pair[1])
}

fn weighted_rounds(classes: &[Class], probabilities: &[f64]) -> Result<Rounds> {
    Rounds::weighted(probabilities).map_err(|found| {
        too_small(
            classes,
            probabilities,
            found,
            " with within_class='cycle' (a round of classes shows each of them)",
            "pass within_class='replace'",
        )
    })
}

fn too_small(
    classes: &[Class],
    probabilities: &[f64],
    refused: Refused,
    rule: &str,
    advice: &str,
) -> Error {
    let (at, smallest) = match refused {
        Refused::TooSmall(at, smallest) => (at, smallest),
        Refused::Other(error) => return error,
    };
    Error::Value(format!(
        "class_probs must be 0 or >= {smallest:.1e} of their sum{rule}, got {:.1e} for class {}; {advice}",
        probabilities[at], classes[at].label
    ))
}

/// Lemire's bounded draw from 32 bits, `bound >= 1`; a rejected one is replaced from the stream that `fresh` returns.
#[inline]
pub(super) fn below_32<S: FnOnce() -> Stream>(bits: u32, bound: u32, fresh: S) -> u64 {
    let product = u64::from(bits) * u64::from(bound);
    if product as u32 >= bound || product as u32 >= bound.wrapping_neg() % bound {
        return product >> 32;
    }
    fresh().below(0, u64::from(bound))
}
