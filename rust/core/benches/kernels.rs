//! The bare kernels: nanoseconds an index that a sampler writes into a buffer which is there already.
//!
//! `cargo bench -p lt-fast-core --bench kernels` prints CSV: one line for each sampler on the counts of CIFAR-100-LT
//! and ImageNet-LT and those of a Pareto profile with the classes, the largest and the smallest class of iNaturalist
//! 2018; "kernel" for a whole epoch at once, "kernel, by batches" for calls of 128 draws. Best of ten runs of at least
//! 20 ms; each fills epochs that no run has filled before, as training does. One thread.

use std::hint::black_box;
use std::time::Instant;

use lt_fast_core::counts::LabelRows;
use lt_fast_core::error::Result;
use lt_fast_core::permutation::shuffle;
use lt_fast_core::profile::{Profile, long_tailed_counts};
use lt_fast_core::rng::{Stream, stream};
use lt_fast_core::sampler::confusion_pairs::{Choice, Weights};
use lt_fast_core::sampler::{
    ClassBalanced, ConfusionPairs, Draws, LeastSampled, MPerClass, RepeatFactor, Shuffled,
    Weighted, WithinClass,
};

const SEED: u64 = 0;
const BATCH: usize = 128;
const RUNS: usize = 10;
const SHORTEST: f64 = 0.02;
const PAIR_EPOCH: u64 = 500 * 2 * BATCH as u64;
/// Name, classes, largest class, imbalance ratio, shape of the tail.
const SETS: [(&str, usize, i64, f64, Profile); 3] = [
    ("cifar100-lt", 100, 500, 100.0, Profile::Exponential),
    ("imagenet-lt", 1000, 1280, 256.0, Profile::Pareto),
    ("inaturalist-2018", 8142, 1000, 500.0, Profile::Pareto),
];

/// What is drawn, how, and the kernel that does it.
type Kernel = (&'static str, &'static str, Box<dyn Draws>);

fn main() -> Result<()> {
    println!("counts,samples,draw,output,sampler,ns per index");
    for (name, classes, largest, ratio, profile) in SETS {
        let set = DataSet::new(classes, largest, ratio, profile)?;
        report(name, set.labels.len(), set.by_class()?);
        report(name, set.labels.len(), set.by_sample()?);
    }
    for classes in [100, 1000] {
        let set = DataSet::new(classes, 500, 100.0, Profile::Exponential)?;
        let kernel: Kernel = ("confusion pairs", "lt-fast", set.confusion_pairs()?);
        report(
            &format!("{classes} classes"),
            set.labels.len(),
            vec![kernel],
        );
    }
    Ok(())
}

fn report(counts: &str, samples: usize, kernels: Vec<Kernel>) {
    for (draw, sampler, kernel) in kernels {
        let len = kernel.draws_per_epoch() as usize;
        for (output, chunk) in [("kernel", len), ("kernel, by batches", BATCH)] {
            let cost = nanoseconds(&*kernel, chunk);
            println!(r#"{counts},{samples},"{draw}","{output}",{sampler},{cost:.3}"#);
        }
    }
}

/// The least that an index costs where an epoch is filled `chunk` draws at a time.
fn nanoseconds(kernel: &dyn Draws, chunk: usize) -> f64 {
    let mut out = vec![0; kernel.draws_per_epoch() as usize];
    let mut epoch = 0;
    let mut pass = || {
        let start = Instant::now();
        for (part, first) in out.chunks_mut(chunk).zip((0..).step_by(chunk)) {
            black_box(kernel.fill(epoch, first, part).is_ok());
        }
        black_box(&mut out);
        epoch += 1;
        start.elapsed().as_secs_f64()
    };
    let passes = (SHORTEST / pass().max(1e-9)).ceil().max(1.0);
    let best = (0..RUNS)
        .map(|_| (0..passes as usize).map(|_| pass()).sum::<f64>())
        .fold(f64::INFINITY, f64::min);
    best / passes / kernel.draws_per_epoch() as f64 * 1e9
}

/// Labels in a random order, and how many there are of each.
struct DataSet {
    labels: Vec<u32>,
    counts: Vec<i64>,
}

impl DataSet {
    fn new(classes: usize, largest: i64, ratio: f64, profile: Profile) -> Result<Self> {
        let counts = long_tailed_counts(largest, classes, ratio, profile)?;
        let mut labels: Vec<u32> = (0..)
            .zip(&counts)
            .flat_map(|(class, &count)| std::iter::repeat_n(class, count as usize))
            .collect();
        shuffle(Stream::new(SEED, stream::SUBSET, 0), &mut labels);
        Ok(Self { labels, counts })
    }

    /// One number a class from its count.
    fn of_classes(&self, rule: impl Fn(f64) -> f64) -> Vec<f64> {
        self.counts
            .iter()
            .map(|&count| rule(count as f64))
            .collect()
    }

    /// One number a sample from the count of its class.
    fn of_samples(&self, rule: impl Fn(f64) -> f64) -> Vec<f64> {
        let of_class = self.of_classes(rule);
        self.labels
            .iter()
            .map(|&label| of_class[label as usize])
            .collect()
    }

    fn class_balanced(&self, q: f64, within: WithinClass) -> Result<Box<dyn Draws>> {
        let probabilities = self.of_classes(|count| count.powf(q));
        let len = self.labels.len() as u64;
        let kernel = ClassBalanced::new(&self.labels, &probabilities, within, len, SEED)?;
        Ok(Box::new(kernel))
    }

    fn by_class(&self) -> Result<Vec<Kernel>> {
        let (cycle, replace) = (WithinClass::Cycle, WithinClass::Replace);
        let strata = WithinClass::Stratified(BATCH as u64);
        let (classes, m) = (self.counts.len(), 4);
        let per_batch = BATCH as u64 / m;
        let whole = self.labels.len() as u64 / BATCH as u64 * BATCH as u64;
        let groups = MPerClass::new(&self.labels, classes, m, per_batch, whole, SEED)?;
        Ok(vec![
            (
                "class-balanced",
                "lt-fast replace",
                self.class_balanced(0.0, replace)?,
            ),
            (
                "class-balanced",
                "lt-fast cycle",
                self.class_balanced(0.0, cycle)?,
            ),
            (
                "square-root",
                "lt-fast replace",
                self.class_balanced(0.5, replace)?,
            ),
            (
                "square-root",
                "lt-fast cycle",
                self.class_balanced(0.5, cycle)?,
            ),
            ("stratified", "lt-fast", self.class_balanced(1.0, strata)?),
            ("m per class", "lt-fast", Box::new(groups)),
        ])
    }

    fn by_sample(&self) -> Result<Vec<Kernel>> {
        let len = self.labels.len() as u64;
        let weights = self.of_samples(f64::recip);
        let independent = Weighted::new(&weights, true, len, SEED)?;
        let distinct = Weighted::new(&weights, false, len / 2, SEED)?;
        Ok(vec![
            (
                "shuffled",
                "lt-fast",
                Box::new(Shuffled::new(len, len, SEED)?),
            ),
            ("weighted", "lt-fast", Box::new(independent)),
            ("weighted, distinct", "lt-fast", Box::new(distinct)),
            ("repeat factor", "lt-fast", self.repeat_factor()?),
            (
                "multi-label, least sampled",
                "lt-fast",
                self.least_sampled()?,
            ),
        ])
    }

    /// As LVIS is sampled, with the mean count as the threshold: classes below it are repeated.
    fn repeat_factor(&self) -> Result<Box<dyn Draws>> {
        let mean = self.labels.len() as f64 / self.counts.len() as f64;
        let factors = self.of_samples(|count| (mean / count).sqrt().max(1.0));
        let len = factors.iter().sum::<f64>().round() as u64;
        Ok(Box::new(RepeatFactor::new(&factors, len, SEED)?))
    }

    /// Two labels a sample: its class, and one of eight groups of classes.
    fn least_sampled(&self) -> Result<Box<dyn Draws>> {
        let (classes, groups) = (self.counts.len() as u32, 8);
        let labels: Vec<u32> = self
            .labels
            .iter()
            .flat_map(|&label| [label, classes + label % groups])
            .collect();
        let starts: Vec<i64> = (0..=labels.len() as i64).step_by(2).collect();
        let rows = LabelRows::new(&starts, &labels, (classes + groups) as usize)?;
        let kernel = LeastSampled::new(rows, self.labels.len() as u64, SEED)?;
        Ok(Box::new(kernel))
    }

    /// Every class is taken for every other one, for few of them often.
    fn confusion_pairs(&self) -> Result<Box<dyn Draws>> {
        let classes = self.counts.len();
        let stream = Stream::new(SEED, stream::MIX, 0);
        let all = 0..(classes * classes) as i64;
        let target: Vec<i64> = all.clone().map(|cell| cell / classes as i64).collect();
        let predicted: Vec<i64> = all.clone().map(|cell| cell % classes as i64).collect();
        let weight: Vec<f64> = all
            .map(|cell| stream.uniform(cell as u64).powi(4))
            .collect();
        let cells = Weights {
            target: &target,
            predicted: &predicted,
            weight: &weight,
        };
        let choice = Choice {
            temperature: 1.0,
            uniform_fraction: 0.0,
        };
        let kernel = ConfusionPairs::new(&self.labels, classes, cells, choice, PAIR_EPOCH, SEED)?;
        Ok(Box::new(kernel))
    }
}
