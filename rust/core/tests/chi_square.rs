//! Ten million draws of every sampler against the distribution that it promises.
//!
//! Seeds are fixed, so that a test passes always or never. `z` is a chi-square statistic less its mean, in standard
//! deviations: beyond 4.5 once in 10^5 samplers that are right.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use lt_fast_core::counts::LabelRows;
use lt_fast_core::permutation::{QuickPermutation, Shape};
use lt_fast_core::rng::Stream;
use lt_fast_core::sampler::confusion_pairs::{Choice, Weights};
use lt_fast_core::sampler::{
    ClassBalanced, ConfusionPairs, Draws, LeastSampled, MPerClass, RepeatFactor, Shuffled,
    Weighted, WithinClass,
};

const DRAWS: u64 = 10_000_000;
const SIZES: [u32; 6] = [90, 20, 9, 3, 1, 7];
const PROBS: [f64; 6] = [5.0, 1.0, 2.0, 0.5, 3.0, 0.1];

/// Labels with `SIZES[c]` samples of class `c`, in turn.
fn labels() -> Vec<u32> {
    let of_round = |round| (0..6u32).filter(move |&class| SIZES[class as usize] > round);
    (0..90).flat_map(of_round).collect()
}

/// Calls `see` with the number and the samples of blocks of `len` draws, `DRAWS` in all, epoch after epoch.
fn each_block(draws: &dyn Draws, len: usize, mut see: impl FnMut(u64, &[i64])) {
    let per_epoch = draws.draws_per_epoch();
    assert_eq!(per_epoch % len as u64, 0);
    let mut block = vec![0; len];
    for number in 0..DRAWS / len as u64 {
        let start = number * len as u64;
        draws
            .fill(start / per_epoch, start % per_epoch, &mut block)
            .unwrap();
        see(number, &block);
    }
}

fn counted(draws: &dyn Draws, samples: usize) -> Vec<u64> {
    let mut found = vec![0; samples];
    each_block(draws, 1000, |_, block| {
        for &sample in block {
            found[sample as usize] += 1;
        }
    });
    found
}

/// Of independent draws: cells where nothing is expected must be empty.
fn multinomial_z(observed: &[u64], expected: impl Iterator<Item = f64>) -> f64 {
    let (mut chi, mut freedom) = (0.0, -1.0);
    for (&observed, expected) in observed.iter().zip(expected) {
        if expected == 0.0 {
            assert_eq!(observed, 0);
        } else {
            chi += (observed as f64 - expected).powi(2) / expected;
            freedom += 1.0;
        }
    }
    (chi - freedom) / (2.0 * freedom).sqrt()
}

/// Of `trials` choices of cells without replacement, each cell with probability `q`.
fn inclusion_z(observed: &[u64], trials: u64, q: f64) -> f64 {
    let (cells, expected) = (observed.len() as f64, trials as f64 * q);
    let square = |&observed: &u64| (observed as f64 - expected).powi(2);
    let chi =
        observed.iter().map(square).sum::<f64>() / (expected * (1.0 - q)) * (cells - 1.0) / cells;
    (chi - (cells - 1.0)) / (2.0 * (cells - 1.0)).sqrt()
}

fn assert_near(z: f64, what: impl std::fmt::Debug) {
    assert!(z.abs() < 4.5, "{what:?}: {z}");
}

#[test]
fn class_balanced_with_replacement() {
    let labels = labels();
    for probs in [[1.0; 6], PROBS] {
        let total: f64 = probs.iter().sum();
        let share = |&label: &u32| probs[label as usize] / total / f64::from(SIZES[label as usize]);
        let draws = ClassBalanced::new(&labels, &probs, WithinClass::Replace, 100_000, 5).unwrap();
        let found = counted(&draws, labels.len());
        let expected = labels.iter().map(|label| DRAWS as f64 * share(label));
        assert_near(multinomial_z(&found, expected), probs);
    }
}

#[test]
fn class_balanced_in_cycles() {
    let labels = labels();
    let draws = ClassBalanced::new(&labels, &[1.0; 6], WithinClass::Cycle, 6 * 50_000, 6).unwrap();
    let mut turns = [[0; 6]; 6];
    // Which sample of the largest class comes at which place of a pass over it.
    let mut places = vec![[0; 90]; 90];
    let rank: Vec<usize> = (0..labels.len())
        .map(|at| labels[..at].iter().filter(|label| **label == 0).count())
        .collect();
    each_block(&draws, 6, |round, block| {
        for (turn, &sample) in block.iter().enumerate() {
            let class = labels[sample as usize] as usize;
            turns[class][turn] += 1;
            if class == 0 {
                places[(round % 90) as usize][rank[sample as usize]] += 1;
            }
        }
    });
    let rounds = DRAWS / 6;
    for (class, turns) in turns.iter().enumerate() {
        assert_eq!(turns.iter().sum::<u64>(), rounds);
        assert_near(inclusion_z(turns, rounds, 1.0 / 6.0), class);
    }
    for (place, samples) in places.iter().enumerate() {
        let passes = samples.iter().sum();
        assert_near(inclusion_z(samples, passes, 1.0 / 90.0), place);
    }
}

#[test]
fn weighted_cycles_give_every_class_its_share() {
    let labels = labels();
    let draws = ClassBalanced::new(&labels, &PROBS, WithinClass::Cycle, 100_000, 6).unwrap();
    let found = counted(&draws, labels.len());
    let total: f64 = PROBS.iter().sum();
    for (found, &label) in found.iter().zip(&labels) {
        let share = DRAWS as f64 * PROBS[label as usize] / total / f64::from(SIZES[label as usize]);
        assert!(
            (*found as f64 - share).abs() <= 2.0,
            "{label}: {found} {share}"
        );
    }
}

#[test]
fn strata() {
    // Four, two, one and one of eight: any place of a batch is as good as any other.
    let labels: Vec<u32> = (0..400)
        .map(|sample| [0, 0, 0, 0, 1, 1, 2, 3][sample % 8])
        .collect();
    let probs = [4.0, 2.0, 1.0, 1.0];
    let draws = ClassBalanced::new(&labels, &probs, WithinClass::Stratified(8), 80_000, 7).unwrap();
    let mut places = [[0; 8]; 4];
    let mut samples = vec![0u64; 400];
    each_block(&draws, 8, |_, block| {
        for (place, &sample) in block.iter().enumerate() {
            places[labels[sample as usize] as usize][place] += 1;
            samples[sample as usize] += 1;
        }
    });
    for (places, p) in places.iter().zip(probs) {
        assert_eq!(places.iter().sum::<u64>(), DRAWS / 8 * p as u64);
        assert_near(inclusion_z(places, DRAWS / 8, p / 8.0), p);
    }
    assert!(samples.iter().all(|&found| found == DRAWS / 400));
}

#[test]
fn strata_round_each_class_up_as_often_as_its_share() {
    // 2.4, 1.5 and 0.1 of four draws.
    let labels: Vec<u32> = (0..30).map(|sample| sample % 3).collect();
    let shares = [2.4, 1.5, 0.1];
    let (mut found, seeds) = ([0u64; 3], 20_000);
    for seed in 0..seeds {
        let draws =
            ClassBalanced::new(&labels, &shares, WithinClass::Stratified(4), 4, seed).unwrap();
        let mut batch = [0; 4];
        draws.fill(0, 0, &mut batch).unwrap();
        for sample in batch {
            found[labels[sample as usize] as usize] += 1;
        }
    }
    for (found, share) in found.iter().zip(shares) {
        let up = share.fract();
        let off = *found as f64 - seeds as f64 * share;
        // Shares are rounded to a sixteenth of the rarest.
        assert!(
            off.abs() < 4.5 * (seeds as f64 * up * (1.0 - up)).sqrt() + 0.01 * seeds as f64,
            "{share}: {off}"
        );
    }
}

#[test]
fn weighted_with_replacement() {
    let weights: Vec<f64> = (0..200)
        .map(|sample| f64::from(sample % 7) * 1.01f64.powi(sample))
        .collect();
    let total: f64 = weights.iter().sum();
    let draws = Weighted::new(&weights, true, 100_000, 8).unwrap();
    let found = counted(&draws, weights.len());
    let expected = weights.iter().map(|weight| DRAWS as f64 * weight / total);
    assert_near(multinomial_z(&found, expected), "weighted");
}

#[test]
fn weighted_without_replacement() {
    // Ten of a hundred: few enough that a bound on the keys holds most of them back.
    let weights: Vec<f64> = (0..100).map(|sample| f64::from(1 + sample % 5)).collect();
    let total: f64 = weights.iter().sum();
    let draws = Weighted::new(&weights, false, 10, 9).unwrap();
    let (mut first, mut second) = (vec![0; 100], vec![0; 100]);
    each_block(&draws, 10, |_, block| {
        first[block[0] as usize] += 1;
        second[block[1] as usize] += 1;
    });
    let epochs = DRAWS as f64 / 10.0;
    let chance = |weight: f64| weight / total;
    assert_near(
        multinomial_z(&first, weights.iter().map(|w| epochs * chance(*w))),
        "first",
    );
    let after = |weight: f64| -> f64 {
        let any: f64 = weights
            .iter()
            .map(|other| chance(*other) / (total - other))
            .sum();
        weight * (any - chance(weight) / (total - weight))
    };
    assert_near(
        multinomial_z(&second, weights.iter().map(|w| epochs * after(*w))),
        "second",
    );
}

#[test]
fn all_orders_of_a_few_weights() {
    // Four of four: every key is sorted.
    let weights = [4.0, 2.0, 1.0, 0.5];
    let draws = Weighted::new(&weights, false, 4, 10).unwrap();
    let (mut found, epochs) = (vec![0u64; 256], 200_000);
    for epoch in 0..epochs {
        let mut order = [0; 4];
        draws.fill(epoch, 0, &mut order).unwrap();
        found[order
            .iter()
            .fold(0, |code, &sample| 4 * code + sample as usize)] += 1;
    }
    let expected = (0..256usize).map(|code| {
        let order = [code >> 6, code >> 4 & 3, code >> 2 & 3, code & 3];
        let (mut left, mut chance) = (7.5, epochs as f64);
        for (at, &sample) in order.iter().enumerate() {
            if order[..at].contains(&sample) {
                return 0.0;
            }
            chance *= weights[sample] / left;
            left -= weights[sample];
        }
        chance
    });
    assert_near(multinomial_z(&found, expected), "orders");
}

#[test]
fn confusion_pairs() {
    let labels = labels();
    let (target, predicted) = (
        [0i64, 0, 0, 1, 1, 2, 3, 3, 4],
        [1i64, 2, 5, 0, 3, 0, 0, 4, 5],
    );
    let weight = [3.0, 1.0, 2.0, 1.0, 1.0, 5.0, 1.0, 9.0, 2.0];
    let weights = Weights {
        target: &target,
        predicted: &predicted,
        weight: &weight,
    };
    let choice = Choice {
        temperature: 2.0,
        uniform_fraction: 0.2,
    };
    let draws = ConfusionPairs::new(&labels, 6, weights, choice, 100_000, 11).unwrap();
    let mut cells = vec![0; 36];
    let mut samples = [vec![0u64; labels.len()], vec![0; labels.len()]];
    each_block(&draws, 2, |_, pair| {
        let class = |at: usize| labels[pair[at] as usize] as usize;
        cells[6 * class(0) + class(1)] += 1;
        samples[0][pair[0] as usize] += 1;
        samples[1][pair[1] as usize] += 1;
    });
    let mut shares = [0.0; 36];
    for first in 0..6 {
        let of_row = || (0..9).filter(|&cell| target[cell] == first as i64);
        let total: f64 = of_row().map(|cell| weight[cell].sqrt()).sum();
        let uniform = if total == 0.0 { 1.0 } else { 0.2 };
        for cell in of_row() {
            shares[6 * first + predicted[cell] as usize] += 0.8 * weight[cell].sqrt() / total;
        }
        for other in (0..6).filter(|&other| other != first) {
            shares[6 * first + other] += uniform / 5.0;
        }
    }
    let pairs = DRAWS as f64 / 2.0;
    assert_near(
        multinomial_z(&cells, shares.iter().map(|share| pairs / 6.0 * share)),
        "cells",
    );
    for (side, samples) in samples.iter().enumerate() {
        for class in 0..6 {
            let of_class = |at: &usize| labels[*at] == class;
            let found: Vec<u64> = (0..labels.len())
                .filter(of_class)
                .map(|at| samples[at])
                .collect();
            let share = found.iter().sum::<u64>() as f64 / found.len() as f64;
            if found.len() > 1 {
                assert_near(
                    multinomial_z(&found, found.iter().map(|_| share)),
                    (side, class),
                );
            }
        }
    }
}

#[test]
fn m_per_class() {
    // Four of six classes with three samples each, so that a pass leaves out two classes.
    let labels = labels();
    let draws = MPerClass::new(&labels, 6, 3, 4, 120_000, 12).unwrap();
    let (mut classes, mut samples) = (vec![0; 6], vec![0u64; labels.len()]);
    each_block(&draws, 12, |_, batch| {
        for group in batch.chunks(3) {
            classes[labels[group[0] as usize] as usize] += 1;
            for &sample in group {
                samples[sample as usize] += 1;
            }
        }
    });
    let batches = DRAWS / 12;
    assert_near(inclusion_z(&classes, batches, 4.0 / 6.0), "classes");
    for class in 0..6 {
        let found: Vec<u64> = (0..labels.len())
            .filter(|&at| labels[at] == class)
            .map(|at| samples[at])
            .collect();
        let total: u64 = found.iter().sum();
        assert_eq!(total, 3 * classes[class as usize]);
        if found.len() > 1 {
            // Cycles show every sample of a class that three divides, less those of the passes that left it out.
            let z = multinomial_z(
                &found,
                found.iter().map(|_| total as f64 / found.len() as f64),
            );
            assert!(z < 4.5, "{class}: {z}");
        }
    }
}

#[test]
fn repeat_factors() {
    let factors: Vec<f64> = (0..80).map(|sample| f64::from(sample) / 31.6).collect();
    let draws = RepeatFactor::new(&factors, 100, 13).unwrap();
    let total: f64 = factors.iter().sum();
    let (mut found, mut places) = (vec![0u64; 80], vec![0; 100]);
    each_block(&draws, 100, |_, epoch| {
        for (place, &sample) in epoch.iter().enumerate() {
            found[sample as usize] += 1;
            places[place] += u64::from(sample >= 70);
        }
    });
    let epochs = DRAWS as f64 / 100.0;
    for (sample, (found, factor)) in found.iter().zip(&factors).enumerate() {
        // One offset an epoch rounds all of them, so each is judged by itself.
        let share = factor / total * 100.0;
        let deviation = (epochs * share.fract() * (1.0 - share.fract())).sqrt();
        assert!(
            (*found as f64 - epochs * share).abs() <= 4.5 * deviation + 1e-3,
            "{sample}: {found}"
        );
    }
    let shown = places.iter().sum::<u64>() as f64 / DRAWS as f64;
    assert_near(inclusion_z(&places, DRAWS / 100, shown), "places");
}

#[test]
fn least_sampled() {
    let labels = labels();
    let indptr: Vec<i64> = (0..=labels.len() as i64).collect();
    let rows = LabelRows::new(&indptr, &labels, 6).unwrap();
    let draws = LeastSampled::new(rows, DRAWS, 14).unwrap();
    let (mut turns, mut samples) = ([[0; 6]; 6], vec![0; labels.len()]);
    let mut position = 0;
    each_block(&draws, 1000, |_, block| {
        for &sample in block {
            turns[labels[sample as usize] as usize][position % 6] += 1;
            samples[sample as usize] += 1;
            position += 1;
        }
    });
    let rounds = DRAWS / 6;
    for (class, turns) in turns.iter().enumerate() {
        assert!(turns.iter().sum::<u64>().abs_diff(rounds) <= 1);
        assert_near(inclusion_z(turns, rounds, 1.0 / 6.0), class);
        let found: Vec<u64> = (0..labels.len())
            .filter(|&at| labels[at] as usize == class)
            .map(|at| samples[at])
            .collect();
        if found.len() > 1 {
            let share = rounds as f64 / found.len() as f64;
            assert_near(multinomial_z(&found, found.iter().map(|_| share)), class);
        }
    }
}

/// Rows of a table of positions and values over many permutations.
fn assert_uniform(table: &[u64], len: usize, what: &str) {
    for (position, values) in table.chunks(len).enumerate() {
        let trials = values.iter().sum();
        assert_near(
            inclusion_z(values, trials, 1.0 / len as f64),
            (what, position),
        );
    }
}

#[test]
fn shuffled() {
    let draws = Shuffled::new(20, 20, 15).unwrap();
    let mut table = vec![0; 400];
    each_block(&draws, 20, |_, pass| {
        for (position, &value) in pass.iter().enumerate() {
            table[20 * position + value as usize] += 1;
        }
    });
    assert_uniform(&table, 20, "shuffled");
}

#[test]
fn keyed_permutations() {
    let mut table = vec![0; 10_000];
    let mut entries = [0; 100];
    for key in 0..DRAWS / 100 {
        QuickPermutation::new(Shape::new(100), Stream::new(16, 1, key)).fill(0, &mut entries);
        for (position, &value) in entries.iter().enumerate() {
            table[100 * position + value as usize] += 1;
        }
    }
    assert_uniform(&table, 100, "keyed");
}
