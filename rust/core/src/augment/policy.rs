//! Policies: which operations change an image, each choice a pure function of the image's key.

use super::operation::{Name, Operation};
use crate::error::{Error, Result, reserved};
use crate::instruction_set::Kernel;
use crate::planes::Planes;
use crate::profile::python_float;
use crate::rng::{Stream, stream};

/// Most steps, alternatives and values of one list.
const MOST: usize = 1 << 12;

/// Most lists of steps that a stage applies in random order.
const MOST_SHUFFLED: usize = 16;

/// An operation that is applied with a probability, with one of several values.
#[derive(Debug, Clone)]
pub struct Step {
    probability: f64,
    values: Values,
}

#[derive(Debug, Clone)]
enum Values {
    /// Equally likely.
    Listed(Vec<Operation>),
    /// Uniform between two.
    Between(Name, f64, f64),
}

impl Step {
    /// The operation `name` with one of `values`, which are equally likely, or with a value uniform between the two of
    /// them if `between`. An operation without a value has no `values`.
    ///
    /// # Errors
    /// If there is no such operation, it does not take such a value, or the probability is outside `[0, 1]`.
    pub fn new(name: &str, probability: f64, values: &[f64], between: bool) -> Result<Self> {
        check_probability(probability)?;
        let name = Name::of(name)?;
        let nothing = [0.0];
        let values = if values.is_empty() && name.takes_none() {
            &nothing
        } else {
            values
        };
        check_count("values of an operation", values.len())?;
        values.iter().try_for_each(|&value| name.check(value))?;
        let values = match *values {
            [low, high] if between && low <= high => Values::Between(name, low, high),
            _ if between => {
                return Err(Error::Value(format!(
                    "values between must be two, the smaller one first, got {values:?}"
                )));
            }
            _ => {
                let mut listed = reserved(values.len())?;
                listed.extend(values.iter().map(|&value| name.with(value)));
                Values::Listed(listed)
            }
        };
        Ok(Self {
            probability,
            values,
        })
    }

    /// Two draws, whether the operation is applied or not.
    #[inline(always)]
    fn apply(&self, image: &mut Planes, fill: u8, draws: &mut Draws) {
        let applied = draws.uniform() < self.probability;
        let operation = match &self.values {
            Values::Listed(listed) => {
                let chosen = draws.below(listed.len());
                applied.then(|| listed[chosen])
            }
            Values::Between(name, low, high) => {
                let share = draws.uniform();
                applied.then(|| name.with((low + (high - low) * share).clamp(*low, *high)))
            }
        };
        if let Some(operation) = operation {
            operation.apply(image, fill);
        }
    }
}

/// Lists of steps, of which one is chosen, or all in random order.
#[derive(Debug, Clone)]
pub struct Stage {
    probability: f64,
    shuffled: bool,
    alternatives: Vec<Vec<Step>>,
}

impl Stage {
    /// With `probability`, one of `alternatives`, or with `shuffled` each of them, in random order.
    ///
    /// # Errors
    /// If there is none, or too many, or the probability is outside `[0, 1]`.
    pub fn new(probability: f64, shuffled: bool, alternatives: Vec<Vec<Step>>) -> Result<Self> {
        check_probability(probability)?;
        check_count("alternatives of a stage", alternatives.len())?;
        if shuffled && alternatives.len() > MOST_SHUFFLED {
            return Err(Error::Value(format!(
                "alternatives of a shuffled stage must be at most {MOST_SHUFFLED}, got {}",
                alternatives.len()
            )));
        }
        Ok(Self {
            probability,
            shuffled,
            alternatives,
        })
    }

    #[inline(always)]
    fn apply(&self, image: &mut Planes, fill: u8, draws: &mut Draws) {
        if draws.uniform() >= self.probability {
            return;
        }
        let count = self.alternatives.len();
        let mut order = [0; MOST_SHUFFLED];
        let order = if self.shuffled {
            for (number, slot) in order.iter_mut().enumerate() {
                *slot = number;
            }
            for last in (1..count).rev() {
                order.swap(last, draws.below(last + 1));
            }
            &order[..count]
        } else {
            order[0] = draws.below(count);
            &order[..1]
        };
        for &number in order {
            for step in &self.alternatives[number] {
                step.apply(image, fill, draws);
            }
        }
    }
}

/// What happens to an image after it is cropped and flipped: stages, and then a black square.
#[derive(Debug, Clone)]
pub struct Augmentation {
    stages: Vec<Stage>,
    fill: u8,
    cutout: usize,
}

impl Augmentation {
    /// The stages one after the other. `fill` is shown where an operation has no pixel; `cutout` is the side of the
    /// square, 0 for none.
    ///
    /// # Errors
    /// If there are too many stages.
    pub fn new(stages: Vec<Stage>, fill: u8, cutout: u32) -> Result<Self> {
        if !stages.is_empty() {
            check_count("stages", stages.len())?;
        }
        Ok(Self {
            stages,
            fill,
            cutout: cutout as usize,
        })
    }

    /// Refuse images that the operations are not defined for.
    ///
    /// # Errors
    /// If they have neither one nor three channels, or too many pixels.
    pub fn check(&self, image: &Planes) -> Result<()> {
        let shape = image.shape;
        if shape.channels != 1 && shape.channels != 3 {
            return Err(Error::Value(format!(
                "augmentation takes images of 1 or 3 channels, got {}",
                shape.channels
            )));
        }
        if shape.height >= 1 << 15 || shape.width >= 1 << 15 {
            return Err(Error::Value(format!(
                "augmentation takes images of at most 32767 rows and columns, got ({}, {})",
                shape.height, shape.width
            )));
        }
        Ok(())
    }

    /// Change the image whose draws are `key`: see [`key`].
    #[inline(always)]
    pub fn apply(&self, image: &mut Planes, key: Stream) {
        let mut draws = Draws { key, next: 0 };
        for stage in &self.stages {
            stage.apply(image, self.fill, &mut draws);
        }
        if self.cutout > 0 {
            self.cut_out(image, &mut draws);
        }
    }

    /// Black, `cutout` pixels wide and high, about a centre anywhere in the image.
    #[inline(always)]
    fn cut_out(&self, image: &mut Planes, draws: &mut Draws) {
        let (height, width, area) = (image.shape.height, image.shape.width, image.shape.area());
        let (row, column) = (draws.below(height), draws.below(width));
        let half = self.cutout / 2;
        let left = column.saturating_sub(half)..(column + half).min(width);
        for plane in image.pixels.chunks_exact_mut(area) {
            for y in row.saturating_sub(half)..(row + half).min(height) {
                plane[y * width..][left.clone()].fill(0);
            }
        }
    }
}

/// The draws of one image: of a seed, an epoch, a view and the image's position in the epoch.
#[must_use]
pub fn key(seed: u64, epoch: u64, view: u64, position: i64) -> Stream {
    Stream::new(seed, stream::POLICY, epoch)
        .sub(view)
        .sub(position as u64)
}

/// Change one image, compiled for every instruction set.
pub struct Augmenting<'a> {
    /// What happens.
    pub augmentation: &'a Augmentation,
    /// To which image.
    pub image: &'a mut Planes,
    /// By which draws.
    pub key: Stream,
}

impl Kernel for Augmenting<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        self.augmentation.apply(self.image, self.key);
    }
}

/// Draws of one image, in the order in which they are needed.
struct Draws {
    key: Stream,
    next: u64,
}

impl Draws {
    #[inline(always)]
    fn uniform(&mut self) -> f64 {
        self.next += 1;
        self.key.uniform(self.next - 1)
    }

    #[inline(always)]
    fn below(&mut self, bound: usize) -> usize {
        self.next += 1;
        self.key.below(self.next - 1, bound as u64) as usize
    }
}

fn check_probability(probability: f64) -> Result<()> {
    if (0.0..=1.0).contains(&probability) {
        return Ok(());
    }
    Err(Error::Value(format!(
        "probability must lie in [0, 1], got {}",
        python_float(probability)
    )))
}

fn check_count(what: &str, count: usize) -> Result<()> {
    if (1..=MOST).contains(&count) {
        return Ok(());
    }
    Err(Error::Value(format!(
        "{what} must be 1 to {MOST}, got {count}"
    )))
}
