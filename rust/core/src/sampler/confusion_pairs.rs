//! Pairs of samples of classes that the model confuses.

use super::Draws;
use super::class_balanced::{Class, below_32};
use crate::alias::Alias;
use crate::counts::{ClassTable, check_classes};
use crate::error::{Error, Result, collected, filled, reserved};
use crate::interrupt::{PIECE, in_pieces, poll};
use crate::rng::{Stream, stream};
use crate::source::Source;

/// Weights of `(target, predicted)` pairs, cell by cell; each cell at most once.
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a> {
    /// True class of each cell.
    pub target: &'a [i64],
    /// Predicted class of each cell.
    pub predicted: &'a [i64],
    /// Counts or any other weights, finite and >= 0.
    pub weight: &'a [f64],
}

/// How the weights determine the partner class.
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    /// A partner class has probability proportional to `weight^(1 / temperature)`.
    pub temperature: f64,
    /// Fraction of the pairs whose partner class is uniform over all other classes.
    pub uniform_fraction: f64,
}

/// Draw `2 n` is a sample of a uniformly drawn class, draw `2 n + 1` a sample of a class that it was
/// predicted as.
///
/// Pair `n` uses numbers `4 n .. 4 n + 4` of the stream: O(1) at any position.
pub struct ConfusionPairs {
    table: ClassTable,
    classes: Vec<Class>,
    /// One for each of `classes`.
    partners: Vec<Partners>,
    uniform_fraction: f64,
    draws_per_epoch: u64,
    seed: u64,
}

/// The classes that one class was predicted as, as positions in `ConfusionPairs::classes`.
#[derive(Debug, Default)]
struct Partners {
    classes: Vec<u32>,
    alias: Option<Alias>,
}

impl ConfusionPairs {
    /// Pairs of samples of `labels` by `weights`. Cells on the diagonal, of weight 0, or of a class without samples
    /// are ignored. The partner of a class that was predicted as no other class is uniform over all other classes.
    ///
    /// # Errors
    /// If a label or a cell is out of range, a weight is negative or not finite, the lengths differ, fewer than
    /// two classes have samples, the temperature is not positive and finite, or the fraction is not in
    /// `[0, 1]`.
    pub fn new(
        labels: &(impl Source<u32> + ?Sized),
        num_classes: usize,
        weights: Weights<'_>,
        choice: Choice,
        draws_per_epoch: u64,
        seed: u64,
    ) -> Result<Self> {
        check_choice(choice)?;
        check_classes(num_classes)?;
        check_weights(weights, num_classes)?;
        let table = ClassTable::new(labels, num_classes)?;
        let classes = with_samples(&table)?;
        if classes.len() < 2 {
            return Err(Error::Value(format!(
                "labels must have at least 2 classes with samples to make pairs, got {}",
                classes.len()
            )));
        }
        let partners = partners_of(&classes, num_classes, weights, choice.temperature)?;
        Ok(Self {
            table,
            classes,
            partners,
            uniform_fraction: choice.uniform_fraction,
            draws_per_epoch,
            seed,
        })
    }

    fn pair(&self, stream: Stream, number: u64) -> [i64; 2] {
        let at = 4 * number;
        let bits = stream.bits(at);
        let fresh = |word| stream.sub(at).sub(word);
        let first = below_32((bits >> 32) as u32, self.classes.len() as u32, || fresh(0)) as usize;
        let class = &self.classes[first];
        let sample = self.sample(class, below_32(bits as u32, class.len, || fresh(1)));
        let class = &self.classes[self.partner(stream, at + 1, first)];
        let partner = self.sample(class, stream.below(at + 3, u64::from(class.len)));
        [sample, partner]
    }

    /// The class of the second sample, from numbers `at` and `at + 1`.
    fn partner(&self, stream: Stream, at: u64, first: usize) -> usize {
        let row = &self.partners[first];
        match &row.alias {
            Some(alias)
                if self.uniform_fraction == 0.0 || stream.uniform(at) >= self.uniform_fraction =>
            {
                row.classes[alias.pick(stream.bits(at + 1))] as usize
            }
            _ => {
                let other = stream.below(at + 1, self.classes.len() as u64 - 1) as usize;
                other + usize::from(other >= first)
            }
        }
    }

    fn sample(&self, class: &Class, offset: u64) -> i64 {
        i64::from(self.table.samples()[(u64::from(class.start) + offset) as usize])
    }
}

impl Draws for ConfusionPairs {
    fn draws_per_epoch(&self) -> u64 {
        self.draws_per_epoch
    }

    fn fill(&self, epoch: u64, start: u64, out: &mut [i64]) -> Result<()> {
        let stream = Stream::new(self.seed, stream::CONFUSION_PAIR, epoch);
        let cut = ((start % 2) as usize).min(out.len());
        let (half, whole) = out.split_at_mut(cut);
        if let [slot] = half {
            *slot = self.pair(stream, start / 2)[1];
        }
        let first = start.div_ceil(2);
        // `PIECE` is even, so a piece contains whole pairs.
        in_pieces(whole, |at, piece| {
            for (pair, number) in piece.chunks_mut(2).zip(first + at as u64 / 2..) {
                let drawn = self.pair(stream, number);
                pair.copy_from_slice(&drawn[..pair.len()]);
            }
        })
    }
}

fn with_samples(table: &ClassTable) -> Result<Vec<Class>> {
    let classes = (0..table.num_classes())
        .map(|label| Class::of(table, label))
        .filter(|class| class.len > 0);
    collected(table.num_classes(), classes)
}

fn partners_of(
    classes: &[Class],
    num_classes: usize,
    weights: Weights<'_>,
    temperature: f64,
) -> Result<Vec<Partners>> {
    let mut places = filled(num_classes, &None)?;
    for (place, class) in classes.iter().enumerate() {
        places[class.label as usize] = Some(place);
    }
    let mut rows: Vec<(Vec<u32>, Vec<f64>)> = filled(classes.len(), &Default::default())?;
    let cells = weights.target.iter().zip(weights.predicted);
    for (at, ((&target, &predicted), &weight)) in cells.zip(weights.weight).enumerate() {
        if at.is_multiple_of(PIECE) {
            poll()?;
        }
        let (first, second) = (places[target as usize], places[predicted as usize]);
        if let (Some(first), Some(second)) = (first, second)
            && first != second
            && weight > 0.0
        {
            push(&mut rows[first].0, second as u32)?;
            push(&mut rows[first].1, weight)?;
        }
    }
    let mut partners = reserved(classes.len())?;
    for (classes, weights) in rows {
        poll()?;
        let alias = if classes.is_empty() {
            None
        } else {
            Some(Alias::new(&softened(&weights, temperature)?)?)
        };
        partners.push(Partners { classes, alias });
    }
    Ok(partners)
}

fn push<T>(values: &mut Vec<T>, value: T) -> Result<()> {
    if values.try_reserve(1).is_err() {
        return Err(Error::Memory(
            "cannot allocate the table of partners; pass fewer cells".into(),
        ));
    }
    values.push(value);
    Ok(())
}

/// `weight^(1 / temperature)`, normalised to sum 1. Weights are divided by the largest first, so that no power
/// overflows.
fn softened(weights: &[f64], temperature: f64) -> Result<Vec<f64>> {
    let largest = weights.iter().copied().fold(0.0, f64::max);
    let powers = weights
        .iter()
        .map(|weight| (weight / largest).powf(temperature.recip()));
    let mut powers = collected(weights.len(), powers)?;
    let total: f64 = powers.iter().sum();
    for power in &mut powers {
        *power /= total;
    }
    Ok(powers)
}

fn check_choice(choice: Choice) -> Result<()> {
    let Choice {
        temperature,
        uniform_fraction,
    } = choice;
    if !(temperature.is_finite() && temperature > 0.0) {
        return Err(Error::Value(format!(
            "temperature must be finite and > 0, got {temperature}"
        )));
    }
    if !(0.0..=1.0).contains(&uniform_fraction) {
        return Err(Error::Value(format!(
            "uniform_fraction must lie in [0, 1], got {uniform_fraction}"
        )));
    }
    Ok(())
}

fn check_weights(weights: Weights<'_>, num_classes: usize) -> Result<()> {
    let Weights {
        target,
        predicted,
        weight,
    } = weights;
    if target.len() != predicted.len() || target.len() != weight.len() {
        return Err(Error::Value(format!(
            "confusion must have a target, a predicted class and a weight a cell, got {}, {} and {}",
            target.len(),
            predicted.len(),
            weight.len()
        )));
    }
    let outside = |class: i64| class as u64 >= num_classes as u64;
    for (at, &weight) in weight.iter().enumerate() {
        let (from, to) = (target[at], predicted[at]);
        if outside(from) || outside(to) {
            return Err(Error::Value(format!(
                "confusion must have classes in [0, {num_classes}), got a cell ({from}, {to})"
            )));
        }
        if !(weight.is_finite() && weight >= 0.0) {
            return Err(Error::Value(format!(
                "confusion must be finite and >= 0, got {weight} for target {from}, predicted {to}"
            )));
        }
    }
    Ok(())
}
