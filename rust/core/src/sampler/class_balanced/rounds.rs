//! Classes in rounds, so that the draws a class has had are known at every position.

use super::Class;
use super::strata::Strata;
use crate::permutation::{LARGEST_SHUFFLE, Permutation, Shape, shuffle, shuffle_step};
use crate::rng::{Stream, stream};

/// Fractional bits of a probability.
const BITS: u32 = 52;
/// A probability of 1.
const ONE: u64 = 1 << BITS;
/// Longest round: 64 MiB while it is used.
const LONGEST: u64 = 1 << 24;
/// Draws that are passed over rather than sought.
pub const CATCH_UP: u64 = 1 << 14;

/// The class of every draw, stratified: draws come in rounds of `len`, each a keyed shuffle of the classes' quotas.
///
/// To show every sample of a class before any repeats, draw number `k` of the class must know `k`. With independent
/// class draws only a replay from the beginning would tell. Here the first `t` rounds hold
/// `floor(t * len * P(c + 1)) - floor(t * len * P(c))` draws of class `c`, where `P` are the cumulative probabilities:
/// never a whole draw away from `t * len * p_c`, so `k` follows from the position, and seeking costs O(C + len)
/// anywhere. `len >= 1 / min p` makes every quota at least 1, without which the difference above could shrink. Equal
/// probabilities give rounds of C draws with each class once: the class-aware sampling of Shen et al. 2016
/// (arXiv:1512.05830) and Kang et al. 2020 (arXiv:1910.09217).
pub struct Rounds {
    len: u64,
    quotas: Quotas,
}

/// How many draws of each class a round holds.
enum Quotas {
    /// One of each.
    Equal,
    /// By `P(0), P(1), .., P(C)` in fixed point.
    Shares(Vec<u64>),
    /// The nearest whole numbers on either side of the share, in every round: see [`Strata`].
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
    /// Gives back the position and the bound of a probability that is too small.
    pub fn weighted(probabilities: &[f64]) -> Result<Self, (usize, f64)> {
        let widths: Vec<u64> = probabilities
            .iter()
            .map(|p| (p * ONE as f64) as u64)
            .collect();
        let (smallest, at) = widths.iter().copied().zip(0..).min().unwrap_or((ONE, 0));
        if smallest < ONE / LONGEST {
            return Err((at, 1.0 / LONGEST as f64));
        }
        // The reciprocal of 1/3 is 3, although 1/3 has been rounded down.
        let shortest = ONE.div_ceil(smallest + (smallest >> 40));
        let fit = |len| fitted(&widths, len).map(|widths| (len, widths));
        let Some((len, widths)) = (shortest..shortest + 2).find_map(fit) else {
            return Err((at, 1.0 / LONGEST as f64));
        };
        let mut cumulative = vec![0; widths.len() + 1];
        for (class, width) in widths.iter().enumerate() {
            cumulative[class + 1] = cumulative[class] + width;
        }
        Ok(Self {
            len,
            quotas: Quotas::Shares(cumulative),
        })
    }

    /// Rounds of `len` draws, each holding of every class its share `len * p`, rounded down or up.
    ///
    /// Gives back the position and the bound of a probability that is too small.
    pub fn stratified(probabilities: &[f64], len: u64) -> Result<Self, (usize, f64)> {
        let quotas = Quotas::Strata(Strata::new(probabilities, len)?);
        Ok(Self { len, quotas })
    }

    /// How many draws the first `rounds` rounds hold of `class`.
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

    /// A cursor at draw `position`, from `last` where that is not far behind.
    pub fn at(
        &self,
        seed: u64,
        classes: &[Class],
        samples: &[u32],
        position: u64,
        last: Option<Cursor>,
    ) -> Cursor {
        let near = |last: &Cursor| {
            let reached = last.position(self);
            reached <= position && position - reached <= CATCH_UP
        };
        let mut cursor = last
            .filter(near)
            .unwrap_or_else(|| self.start_of(seed, classes, position / self.len));
        for _ in cursor.position(self)..position {
            cursor.skip(self, seed, classes, samples);
        }
        cursor
    }

    fn start_of(&self, seed: u64, classes: &[Class], round: u64) -> Cursor {
        let place = |(at, class): (usize, &Class)| Place::new(class, self.draws_before(round, at));
        let mut cursor = Cursor {
            round,
            offset: 0,
            order: Vec::new(),
            places: classes.iter().enumerate().map(place).collect(),
        };
        self.write_order(seed, round, &mut cursor.order);
        cursor
    }

    /// The classes of round `round` in the order of its draws: a Fisher-Yates shuffle of the quotas.
    fn write_order(&self, seed: u64, round: u64, order: &mut Vec<u32>) {
        order.clear();
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
        shuffle(Stream::new(seed, stream::CLASS_ORDER, round), order);
    }
}

/// `widths` brought to sum 1 with none below `1 / len`, at the cost of the largest; none if it cannot pay.
fn fitted(widths: &[u64], len: u64) -> Option<Vec<u64>> {
    let least = ONE.div_ceil(len);
    let mut widths: Vec<u64> = widths.iter().map(|&width| width.max(least)).collect();
    let others: u64 = widths.iter().sum::<u64>() - widths.iter().max()?;
    let largest = widths.iter_mut().max()?;
    *largest = ONE.checked_sub(others).filter(|&rest| rest >= least)?;
    Some(widths)
}

/// A place in the rounds: what is next for each class.
pub struct Cursor {
    round: u64,
    offset: usize,
    order: Vec<u32>,
    places: Vec<Place>,
}

impl Cursor {
    fn position(&self, rounds: &Rounds) -> u64 {
        self.round * rounds.len + self.offset as u64
    }

    /// The sample of the next draw.
    #[inline]
    pub fn next(&mut self, rounds: &Rounds, seed: u64, classes: &[Class], samples: &[u32]) -> u32 {
        let at = self.next_class(rounds, seed);
        self.places[at].draw(seed, &classes[at], &samples[classes[at].range()])
    }

    /// Pass over the next draw.
    fn skip(&mut self, rounds: &Rounds, seed: u64, classes: &[Class], samples: &[u32]) {
        let at = self.next_class(rounds, seed);
        if self.places[at].pass.is_some() {
            // A step of a shuffle costs less than the shuffle from its start.
            self.places[at].draw(seed, &classes[at], &samples[classes[at].range()]);
        } else {
            self.places[at].advance(&classes[at]);
        }
    }

    #[inline]
    fn next_class(&mut self, rounds: &Rounds, seed: u64) -> usize {
        if self.offset == self.order.len() {
            self.next_round(rounds, seed);
        }
        self.offset += 1;
        self.order[self.offset - 1] as usize
    }

    fn next_round(&mut self, rounds: &Rounds, seed: u64) {
        self.round += 1;
        self.offset = 0;
        rounds.write_order(seed, self.round, &mut self.order);
    }
}

/// How far a class has come: which pass over its samples and which of them is next.
struct Place {
    cycle: u64,
    index: u32,
    /// Made when the class is first drawn, so that seeking does not pay for classes that do not come.
    pass: Option<Pass>,
}

impl Place {
    fn new(class: &Class, draws: u64) -> Self {
        let cycle = draws / u64::from(class.len);
        let index = (draws % u64::from(class.len)) as u32;
        Self {
            cycle,
            index,
            pass: None,
        }
    }

    /// The sample of a draw: one of `samples`, those of the class.
    #[inline]
    fn draw(&mut self, seed: u64, class: &Class, samples: &[u32]) -> u32 {
        let (cycle, index) = (self.cycle, self.index);
        let pass = self.pass.get_or_insert_with(|| {
            let stream = Stream::new(seed, stream::WITHIN_CLASS, cycle).sub(u64::from(class.label));
            Pass::new(stream, index, samples)
        });
        let sample = match pass {
            Pass::Shuffle(stream, order) => {
                shuffle_step(*stream, order, index as usize);
                order[index as usize]
            }
            Pass::Network(order) => order
                .get(u64::from(index))
                .map_or(0, |entry| samples[entry as usize]),
        };
        self.advance(class);
        sample
    }

    #[inline]
    fn advance(&mut self, class: &Class) {
        self.index += 1;
        if self.index == class.len {
            (self.cycle, self.index, self.pass) = (self.cycle + 1, 0, None);
        }
    }
}

/// The order of a class's samples in one pass over them.
enum Pass {
    /// A Fisher-Yates shuffle, one step a draw: what has been drawn stands in front.
    Shuffle(Stream, Vec<u32>),
    /// For classes whose shuffle would take long to catch up with after a seek.
    Network(Permutation),
}

impl Pass {
    /// The pass that `stream` keys after `index` draws.
    #[cold]
    fn new(stream: Stream, index: u32, samples: &[u32]) -> Self {
        if samples.len() > LARGEST_SHUFFLE {
            return Self::Network(Permutation::new(Shape::new(samples.len() as u64), stream));
        }
        let mut order = samples.to_vec();
        for drawn in 0..index as usize {
            shuffle_step(stream, &mut order, drawn);
        }
        Self::Shuffle(stream, order)
    }
}
