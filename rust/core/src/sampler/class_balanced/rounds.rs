//! Classes in rounds, so that the number of earlier draws of a class is known at every position.

use super::Class;
use super::strata::Strata;
use crate::error::{Error, Result, collected, filled, reserved};
use crate::interrupt::{PIECE, Pace, poll};
use crate::permutation::{QuickPermutation, SMALL, Shape, shuffle_many};
use crate::rng::{Stream, stream};

/// Fractional bits of a fixed-point probability.
const BITS: u32 = 52;
/// The fixed-point probability 1.
const ONE: u64 = 1 << BITS;
/// Longest round, in draws: its order takes 64 MiB.
const LONGEST: u64 = 1 << 24;
/// Longest distance, in draws, that a cursor skips over draw by draw; a longer one is a seek, which shuffles a round.
pub const CATCH_UP: u64 = 1 << 14;

/// The class of every draw, stratified: draws come in rounds of `len`, each a keyed shuffle of the classes' quotas.
///
/// Showing every sample of a class before any repeats requires to know, for each draw, how many draws of its class came
/// before. With independent class draws only a replay from the beginning gives that number. With rounds it has a closed
/// form: the first `t` rounds contain `floor(t * len * P(c + 1)) - floor(t * len * P(c))` draws of class `c`, where `P`
/// are the cumulative probabilities. That differs from `t * len * p_c` by less than one draw, the quotas of a round sum
/// to `len` exactly (the floors telescope), and a seek costs O(C + len) at any position.
///
/// `len >= 1 / min p` makes `len * p_c >= 1`, so that each round adds at least one to the floor of every cumulative
/// share: quotas are at least 1, and the difference of the two floors never decreases from round to round.
///
/// Equal probabilities give rounds of C draws with each class once: the class-aware sampling of Shen et al. 2016
/// (arXiv:1512.05830) and Kang et al. 2020 (arXiv:1910.09217).
pub struct Rounds {
    len: u64,
    quotas: Quotas,
}

/// Why probabilities have no rounds.
#[derive(Debug)]
pub enum Refused {
    /// A probability is too small: its position, and the smallest probability allowed.
    TooSmall(usize, f64),
    /// Any other error.
    Other(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// The number of draws of each class in a round.
enum Quotas {
    /// One draw of each class.
    Equal,
    /// Given by `P(0), P(1), .., P(C)` in fixed point.
    Shares(Vec<u64>),
    /// The share rounded down or up, in every round: see [`Strata`].
    Strata(Strata),
}

impl Rounds {
    /// Rounds of `num_classes` draws, each class once.
    pub fn uniform(num_classes: usize) -> Self {
        Self {
            len: num_classes as u64,
            quotas: Quotas::Equal,
        }
    }

    /// Rounds for `probabilities`, positive and of sum 1.
    ///
    /// # Errors
    /// [`Refused::TooSmall`] if a round would be longer than [`LONGEST`].
    pub fn weighted(probabilities: &[f64]) -> std::result::Result<Self, Refused> {
        let widths = probabilities.iter().map(|p| (p * ONE as f64) as u64);
        let widths: Vec<u64> = collected(probabilities.len(), widths)?;
        let (smallest, at) = widths.iter().copied().zip(0..).min().unwrap_or((ONE, 0));
        if smallest < ONE / LONGEST {
            return Err(Refused::TooSmall(at, 1.0 / LONGEST as f64));
        }
        // A width is rounded down, so its reciprocal may round up past an exact integer: 1/3 must give 3, not 4.
        // Enlarging the width by 2^-40 absorbs that rounding; `fitted` raises the widths that then fall below `1 /
        // len`.
        let shortest = ONE.div_ceil(smallest + (smallest >> 40));
        let (mut len, mut fit) = (shortest, fitted(&widths, shortest)?);
        if fit.is_none() {
            (len, fit) = (shortest + 1, fitted(&widths, shortest + 1)?);
        }
        let Some(widths) = fit else {
            return Err(Refused::TooSmall(at, 1.0 / LONGEST as f64));
        };
        let mut cumulative = filled(widths.len() + 1, &0)?;
        for (class, width) in widths.iter().enumerate() {
            cumulative[class + 1] = cumulative[class] + width;
        }
        Ok(Self {
            len,
            quotas: Quotas::Shares(cumulative),
        })
    }

    /// Rounds of `len` draws, each with the share `len * p` of every class, rounded down or up.
    ///
    /// # Errors
    /// [`Refused::TooSmall`] if a block would be too long: see [`Strata::new`].
    pub fn stratified(
        probabilities: &[f64],
        len: u64,
        seed: u64,
    ) -> std::result::Result<Self, Refused> {
        let quotas = Quotas::Strata(Strata::new(probabilities, len, seed)?);
        Ok(Self { len, quotas })
    }

    /// Number of draws of `class` in the first `rounds` rounds.
    fn draws_before(&self, rounds: u64, class: usize) -> u64 {
        let cumulative = match &self.quotas {
            Quotas::Equal => return rounds,
            Quotas::Shares(cumulative) => cumulative,
            Quotas::Strata(strata) => return strata.draws_before(rounds, class),
        };
        let draws = u128::from(rounds) * u128::from(self.len);
        let up_to = |class: usize| ((draws * u128::from(cumulative[class])) >> BITS) as u64;
        up_to(class + 1) - up_to(class)
    }

    /// The classes of round `round` in the order of its draws: a Fisher-Yates shuffle of the quotas.
    fn write_order(&self, seed: u64, round: u64, order: &mut Vec<u32>) -> Result<()> {
        order.clear();
        if order.try_reserve_exact(self.len as usize).is_err() {
            *order = reserved(self.len as usize)?;
        }
        let mut add = |class: usize, quota: u64| {
            order.extend(std::iter::repeat_n(class as u32, quota as usize));
        };
        match &self.quotas {
            Quotas::Equal => (0..self.len as usize).for_each(|class| add(class, 1)),
            Quotas::Shares(cumulative) => (0..cumulative.len() - 1).for_each(|class| {
                let before = self.draws_before(round, class);
                add(class, self.draws_before(round + 1, class) - before);
            }),
            Quotas::Strata(strata) => {
                (0..strata.num_classes()).for_each(|class| add(class, strata.quota(round, class)));
            }
        }
        shuffle_many(Stream::new(seed, stream::CLASS_ORDER, round), order)
    }
}

/// Raise `widths` to at least `1 / len` each and reduce the largest so that the sum is 1. None if the largest would
/// fall below `1 / len` itself.
fn fitted(widths: &[u64], len: u64) -> Result<Option<Vec<u64>>> {
    let least = ONE.div_ceil(len);
    let raised = widths.iter().map(|&width| width.max(least));
    let mut widths = collected(widths.len(), raised)?;
    let sum: u64 = widths.iter().sum();
    let Some(largest) = widths.iter_mut().max() else {
        return Ok(None);
    };
    let rest = ONE.checked_sub(sum - *largest);
    Ok(match rest.filter(|&rest| rest >= least) {
        Some(rest) => {
            *largest = rest;
            Some(widths)
        }
        None => None,
    })
}

/// Rounds over classes, and the order of the samples within each class.
pub struct Cycles {
    rounds: Rounds,
    members: Vec<Member>,
    seed: u64,
    /// Capacity for samples looked up ahead, over all classes.
    ahead: usize,
}

/// A class, and the keys of the passes over its samples.
struct Member {
    class: Class,
    shape: Shape,
    orders: Stream,
    /// Position of its samples in [`Cursor::ahead`].
    ahead: usize,
}

impl Cycles {
    /// Rounds over `classes`, keyed by `seed`.
    ///
    /// # Errors
    /// If the table of the classes does not fit into memory.
    pub fn new(rounds: Rounds, classes: &[Class], seed: u64) -> Result<Self> {
        let mut ahead = 0;
        let member = |class: &Class| {
            let member = Member {
                class: *class,
                shape: Shape::new(u64::from(class.len)),
                orders: Stream::new(seed, stream::WITHIN_CLASS, u64::from(class.label)),
                ahead,
            };
            ahead += ahead_of(class.len);
            member
        };
        let members = collected(classes.len(), classes.iter().map(member))?;
        Ok(Self {
            rounds,
            members,
            seed,
            ahead,
        })
    }

    /// A cursor at draw `position`, made from `last`.
    ///
    /// # Errors
    /// If its round does not fit into memory; those of an interrupt.
    pub fn at(&self, position: u64, last: Option<Cursor>) -> Result<Cursor> {
        let mut cursor = match last {
            Some(last) => last,
            None => self.nowhere()?,
        };
        let reached = cursor.position(self);
        if !(reached <= position && position - reached <= CATCH_UP) {
            self.seek(&mut cursor, position)?;
        }
        while cursor.position(self) < position {
            if cursor.offset.is_multiple_of(PIECE) {
                poll()?;
            }
            cursor.skip(self)?;
        }
        Ok(cursor)
    }

    fn nowhere(&self) -> Result<Cursor> {
        let place = Place {
            seek: 0,
            left: 0,
            wanted: 0,
            index: 0,
            cycle: 0,
        };
        Ok(Cursor {
            round: u64::MAX / self.rounds.len,
            offset: 0,
            seek: 0,
            order: Vec::new(),
            places: filled(self.members.len(), &place)?,
            ahead: filled(self.ahead, &0)?,
        })
    }

    /// Move to the start of the round of `position`, or to `position` itself where that is possible without looking at
    /// the round's earlier draws.
    fn seek(&self, cursor: &mut Cursor, position: u64) -> Result<()> {
        cursor.round = position / self.rounds.len;
        cursor.offset = 0;
        cursor.seek += 1;
        self.rounds
            .write_order(self.seed, cursor.round, &mut cursor.order)?;
        if matches!(self.rounds.quotas, Quotas::Equal) {
            // Each class occurs once per round, so its number of earlier draws is the number of rounds, whatever the
            // offset.
            cursor.offset = (position % self.rounds.len) as usize;
        }
        Ok(())
    }
}

/// A position in the rounds: the next sample of each class.
pub struct Cursor {
    round: u64,
    offset: usize,
    /// Number of the last seek. A [`Place`] of an earlier seek is outdated.
    seek: u64,
    order: Vec<u32>,
    places: Vec<Place>,
    ahead: Vec<u32>,
}

impl Cursor {
    fn position(&self, cycles: &Cycles) -> u64 {
        self.round * cycles.rounds.len + self.offset as u64
    }

    /// Write the samples of the next draws.
    ///
    /// # Errors
    /// If a round does not fit into memory; those of an interrupt.
    pub fn fill(&mut self, cycles: &Cycles, samples: &[u32], out: &mut [i64]) -> Result<()> {
        let (mut rest, mut asking) = (out, Pace::default());
        while !rest.is_empty() {
            self.open_round(cycles)?;
            let turns = &self.order[self.offset..];
            let (run, after) = rest.split_at_mut(rest.len().min(turns.len()).min(PIECE));
            for (slot, &turn) in run.iter_mut().zip(turns) {
                let (at, member) = (turn as usize, &cycles.members[turn as usize]);
                let place = &mut self.places[at];
                place.refresh(cycles, at, self.round, self.seek);
                *slot = i64::from(place.draw(member, samples, &mut self.ahead[member.ahead..]));
            }
            self.offset += run.len();
            asking.step(run.len())?;
            rest = after;
        }
        Ok(())
    }

    /// Skip the next draw.
    fn skip(&mut self, cycles: &Cycles) -> Result<()> {
        self.open_round(cycles)?;
        let at = self.order[self.offset] as usize;
        self.places[at].refresh(cycles, at, self.round, self.seek);
        self.places[at].advance(&cycles.members[at].class);
        self.offset += 1;
        Ok(())
    }

    /// Start the next round if this one is at its end.
    fn open_round(&mut self, cycles: &Cycles) -> Result<()> {
        if self.offset == self.order.len() {
            self.round += 1;
            self.offset = 0;
            cycles
                .rounds
                .write_order(cycles.seed, self.round, &mut self.order)?;
        }
        Ok(())
    }
}

/// The progress of a class: the number of its pass over the samples, and the next index in that pass.
#[derive(Clone)]
struct Place {
    cycle: u64,
    index: u32,
    /// Number of samples looked up ahead and not yet used.
    left: u16,
    /// Number of samples to look up next time.
    wanted: u16,
    seek: u64,
}

impl Place {
    fn after(draws: u64, class: &Class, seek: u64) -> Self {
        Self {
            cycle: draws / u64::from(class.len),
            index: (draws % u64::from(class.len)) as u32,
            left: 0,
            wanted: FIRST as u16,
            seek,
        }
    }

    /// Update an outdated progress at the first turn of class `at` after a seek. A seek moves to the start of a round,
    /// so the earlier draws of the class are those of whole rounds. Updating on demand makes a seek independent of C.
    #[inline]
    fn refresh(&mut self, cycles: &Cycles, at: usize, round: u64, seek: u64) {
        if self.seek != seek {
            let draws = cycles.rounds.draws_before(round, at);
            *self = Self::after(draws, &cycles.members[at].class, seek);
        }
    }

    /// The sample of the next draw of the class; `ahead` contains looked-up samples in reverse order.
    #[inline]
    fn draw(&mut self, member: &Member, samples: &[u32], ahead: &mut [u32]) -> u32 {
        if self.left == 0 {
            self.look_ahead(member, &samples[member.class.range()], ahead);
        }
        let sample = ahead[self.left as usize - 1];
        self.advance(&member.class);
        sample
    }

    /// Look up the next samples of the pass.
    fn look_ahead(&mut self, member: &Member, samples: &[u32], ahead: &mut [u32]) {
        let order = QuickPermutation::new(member.shape, member.orders.sub(self.cycle));
        let mut entries = [0; SMALL as usize];
        let len = member.class.len;
        // A small class is shuffled from the beginning in any case: look up all that is left of the pass.
        let wanted = if u64::from(len) <= SMALL {
            len as usize
        } else {
            self.wanted.into()
        };
        let found = order.fill(u64::from(self.index), &mut entries[..wanted]);
        for (slot, &entry) in ahead.iter_mut().zip(entries[..found].iter().rev()) {
            *slot = samples[entry as usize];
        }
        self.left = found as u16;
        self.wanted = ahead_of(len) as u16;
    }

    #[inline]
    fn advance(&mut self, class: &Class) {
        self.left = self.left.saturating_sub(1);
        self.index += 1;
        if self.index == class.len {
            (self.cycle, self.index) = (self.cycle + 1, 0);
        }
    }
}

/// Samples to look up ahead after a seek: few, because another seek may follow.
const FIRST: usize = 16;

/// Number of samples of a class to look up at a time. Small classes are shuffled whole; of larger ones, many cost
/// little more than one, because the permutation computes them together.
fn ahead_of(len: u32) -> usize {
    const MANY: usize = 32;
    if u64::from(len) <= SMALL {
        len as usize
    } else {
        MANY
    }
}
