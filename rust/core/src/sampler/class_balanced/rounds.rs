//! Classes in rounds, so that the draws a class has had are known at every position.

use super::Class;
use crate::rng::{Stream, stream};

/// Fractional bits of a probability.
const BITS: u32 = 52;
/// Longest round: 64 MiB while it is used.
const LONGEST: u64 = 1 << 24;

/// The class of every draw, stratified: draws come in rounds of `len`, each a keyed shuffle of the classes' quotas.
///
/// To show every sample of a class before any repeats, draw number `k` of the class must know `k`. With independent
/// class draws only a replay from the beginning would tell. Here the first `t` rounds hold
/// `floor(t * len * P(c + 1)) - floor(t * len * P(c))` draws of class `c`, where `P` are the cumulative probabilities:
/// never a whole draw away from `t * len * p_c`, so `k` follows from the position, and seeking costs O(C + len)
/// anywhere. `len = 1 / min p` makes every quota at least 1 (and the difference above grow with `t`). Equal
/// probabilities give rounds of C draws with each class once: the class-aware sampling of Shen et al. 2016
/// (arXiv:1512.05830) and Kang et al. 2020 (arXiv:1910.09217).
pub struct Rounds {
    len: u64,
    /// `P(0), P(1), .., P(C)` in fixed point; none when all are equal.
    cumulative: Option<Vec<u64>>,
}

impl Rounds {
    /// Rounds of `num_classes` draws, each class once.
    pub fn uniform(num_classes: usize) -> Self {
        Self {
            len: num_classes as u64,
            cumulative: None,
        }
    }

    /// Rounds for `probabilities`, positive and of sum 1.
    ///
    /// Gives back the position and the bound of a probability that is too small.
    pub fn weighted(probabilities: &[f64]) -> Result<Self, (usize, f64)> {
        let mut sum = 0.0;
        let mut cumulative = vec![0];
        for p in probabilities {
            sum += p;
            cumulative.push((sum * 2f64.powi(BITS as i32)) as u64);
        }
        if let Some(last) = cumulative.last_mut() {
            *last = 1 << BITS;
        }
        let widths = cumulative
            .windows(2)
            .map(|pair| pair[1].saturating_sub(pair[0]));
        let (smallest, at) = widths.zip(0..).min().unwrap_or((1 << BITS, 0));
        if smallest < (1 << BITS) / LONGEST {
            return Err((at, 1.0 / LONGEST as f64));
        }
        Ok(Self {
            len: (1u64 << BITS).div_ceil(smallest),
            cumulative: Some(cumulative),
        })
    }

    /// How many draws the first `rounds` rounds hold of `class`.
    fn draws_before(&self, rounds: u64, class: usize) -> u64 {
        let Some(cumulative) = &self.cumulative else {
            return rounds;
        };
        let draws = u128::from(rounds) * u128::from(self.len);
        let up_to = |class: usize| ((draws * u128::from(cumulative[class])) >> BITS) as u64;
        up_to(class + 1) - up_to(class)
    }

    /// A cursor at draw `position`, from `last` where that is not far behind.
    pub fn at(&self, seed: u64, classes: &[Class], position: u64, last: Option<Cursor>) -> Cursor {
        let (round, offset) = (position / self.len, position % self.len);
        let mut cursor = match last {
            Some(last) if last.round == round && last.offset as u64 <= offset => last,
            // At the very end of the round before: what the classes have had is right, only the order is used up.
            Some(mut last) if last.round + 1 == round && last.offset == last.order.len() => {
                last.next_round(self, seed);
                last
            }
            _ => self.start_of(seed, classes, round),
        };
        while (cursor.offset as u64) < offset {
            let class = cursor.order[cursor.offset] as usize;
            cursor.places[class].advance(seed, &classes[class]);
            cursor.offset += 1;
        }
        cursor
    }

    fn start_of(&self, seed: u64, classes: &[Class], round: u64) -> Cursor {
        let place =
            |(at, class): (usize, &Class)| Place::new(seed, class, self.draws_before(round, at));
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
        match &self.cumulative {
            None => order.extend(0..self.len as u32),
            Some(cumulative) => {
                for class in 0..cumulative.len() - 1 {
                    let quota =
                        self.draws_before(round + 1, class) - self.draws_before(round, class);
                    order.extend(std::iter::repeat_n(class as u32, quota as usize));
                }
            }
        }
        let stream = Stream::new(seed, stream::CLASS_ORDER, round);
        for last in (1..order.len()).rev() {
            order.swap(last, stream.below(last as u64, last as u64 + 1) as usize);
        }
    }
}

/// A place in the rounds: what is next for each class.
pub struct Cursor {
    round: u64,
    offset: usize,
    order: Vec<u32>,
    places: Vec<Place>,
}

impl Cursor {
    /// The class of the next draw and the sample inside it.
    #[inline]
    pub fn next(&mut self, rounds: &Rounds, seed: u64, classes: &[Class]) -> (usize, u64) {
        if self.offset == self.order.len() {
            self.next_round(rounds, seed);
        }
        let at = self.order[self.offset] as usize;
        self.offset += 1;
        let place = &mut self.places[at];
        let sample = classes[at]
            .shape
            .entry(place.stream, u64::from(place.index));
        place.advance(seed, &classes[at]);
        (at, sample)
    }

    fn next_round(&mut self, rounds: &Rounds, seed: u64) {
        self.round += 1;
        self.offset = 0;
        rounds.write_order(seed, self.round, &mut self.order);
    }
}

/// How far a class has come: which pass over its samples, which of them is next, the pass's key.
struct Place {
    cycle: u64,
    index: u32,
    stream: Stream,
}

impl Place {
    fn new(seed: u64, class: &Class, draws: u64) -> Self {
        let cycle = draws / u64::from(class.len);
        let index = (draws % u64::from(class.len)) as u32;
        Self {
            cycle,
            index,
            stream: Self::key(seed, class, cycle),
        }
    }

    fn key(seed: u64, class: &Class, cycle: u64) -> Stream {
        Stream::new(seed, stream::WITHIN_CLASS, cycle).sub(u64::from(class.label))
    }

    #[inline]
    fn advance(&mut self, seed: u64, class: &Class) {
        self.index += 1;
        if self.index == class.len {
            self.index = 0;
            self.cycle += 1;
            self.stream = Self::key(seed, class, self.cycle);
        }
    }
}
