//! What the samplers promise: coverage, balance, and draws that depend on nothing but their position.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use lt_fast_core::error::{Error, Result};
use lt_fast_core::sampler::{Batches, ClassBalanced, Draws, Shuffled, WithinClass};
use proptest::prelude::*;

/// Labels with `counts[c]` samples of class `c`, classes in turn rather than in blocks.
fn labels(counts: &[u32]) -> Vec<u32> {
    let most = counts.iter().copied().max().unwrap_or(0);
    let of_round =
        |round| (0..counts.len() as u32).filter(move |&class| counts[class as usize] > round);
    (0..most).flat_map(of_round).collect()
}

fn draw(draws: &dyn Draws, epoch: u64, start: u64, len: usize) -> Vec<i64> {
    let mut out = vec![0; len];
    draws.fill(epoch, start, &mut out).unwrap();
    out
}

/// Chi-square of `observed` against `expected`, in standard deviations of its own distribution.
fn chi_square_z(observed: &[u64], expected: &[f64]) -> f64 {
    let chi: f64 = observed
        .iter()
        .zip(expected)
        .map(|(&o, e)| (o as f64 - e).powi(2) / e)
        .sum();
    let freedom = (observed.len() - 1) as f64;
    (chi - freedom) / (2.0 * freedom).sqrt()
}

fn counted(labels: &[u32], drawn: &[i64], classes: usize) -> Vec<u64> {
    let mut counts = vec![0; classes];
    for &sample in drawn {
        counts[labels[sample as usize] as usize] += 1;
    }
    counts
}

fn message(result: Result<impl Sized>) -> String {
    match result {
        Ok(_) => panic!("no error"),
        Err(error) => error.to_string(),
    }
}

fn within() -> impl Strategy<Value = WithinClass> {
    prop_oneof![Just(WithinClass::Cycle), Just(WithinClass::Replace)]
}

fn counts() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(1u32..30, 1..12)
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_draws(
        (counts, probs) in counts().prop_flat_map(|counts| {
            let len = counts.len();
            (Just(counts), prop::collection::vec(0.01f64..1.0, len))
        }),
        within in within(), seed: u64, epoch in 0u64..50, cuts in prop::collection::vec(0usize..400, 1..8),
    ) {
        let labels = labels(&counts);
        let whole = draw(&ClassBalanced::new(&labels, &probs, within, 400, seed).unwrap(), epoch, 0, 400);
        let sampler = ClassBalanced::new(&labels, &probs, within, 400, seed).unwrap();
        for cut in cuts {
            let len = 40.min(400 - cut);
            prop_assert_eq!(&draw(&sampler, epoch, cut as u64, len), &whole[cut..cut + len]);
        }
    }

    #[test]
    fn a_cycle_shows_every_sample_before_any_repeats(
        (counts, probs) in counts().prop_flat_map(|counts| {
            let len = counts.len();
            (Just(counts), prop::collection::vec(0.01f64..1.0, len))
        }),
        seed: u64, epochs in 1u64..4,
    ) {
        let labels = labels(&counts);
        let sampler = ClassBalanced::new(&labels, &probs, WithinClass::Cycle, 500, seed).unwrap();
        let drawn: Vec<_> = (0..epochs).flat_map(|epoch| draw(&sampler, epoch, 0, 500)).collect();
        for (class, &count) in counts.iter().enumerate() {
            let of_class: Vec<_> = drawn.iter().filter(|&&s| labels[s as usize] as usize == class).collect();
            for cycle in of_class.chunks(count as usize) {
                let mut distinct = cycle.to_vec();
                distinct.sort_unstable();
                distinct.dedup();
                prop_assert_eq!(distinct.len(), cycle.len());
            }
        }
    }

    #[test]
    fn after_any_round_a_class_is_less_than_a_draw_from_its_share(
        weights in prop::collection::vec(1u32..20, 2..10), seed: u64, rounds in 1usize..20,
    ) {
        let total: u32 = weights.iter().sum();
        let smallest = *weights.iter().min().unwrap();
        let probs: Vec<_> = weights.iter().map(|&w| f64::from(w)).collect();
        let labels = labels(&vec![7; weights.len()]);
        let sampler = ClassBalanced::new(&labels, &probs, WithinClass::Cycle, 1 << 20, seed).unwrap();
        let len = rounds * total.div_ceil(smallest) as usize;
        let found = counted(&labels, &draw(&sampler, 0, 0, len), weights.len());
        for (found, p) in found.iter().zip(probs) {
            let share = len as f64 * p / f64::from(total);
            prop_assert!((*found as f64 - share).abs() < 1.0 + 1e-6, "{found} {share}");
        }
    }

    #[test]
    fn equal_probabilities_show_each_class_once_a_round(counts in counts(), seed: u64, epoch in 0u64..9) {
        let labels = labels(&counts);
        let classes = counts.len();
        let rounds = 20;
        let sampler = ClassBalanced::new(&labels, &vec![3.0; classes], WithinClass::Cycle, (rounds * classes) as u64, seed).unwrap();
        for round in draw(&sampler, epoch, 0, rounds * classes).chunks(classes) {
            prop_assert_eq!(counted(&labels, round, classes), vec![1; classes]);
        }
    }

    #[test]
    fn shuffled_passes_cover_everything(len in 1u64..3000, seed: u64, epoch: u64, passes in 1usize..4) {
        let sampler = Shuffled::new(len, u64::MAX, seed).unwrap();
        for pass in draw(&sampler, epoch, 0, passes * len as usize).chunks(len as usize) {
            let mut pass = pass.to_vec();
            pass.sort_unstable();
            prop_assert!(pass.into_iter().eq(0..len as i64));
        }
    }

    #[test]
    fn strided_batches_are_the_batches_of_the_whole(
        first in 0u64..6, step in 1u64..40, size in 1u64..9, long: bool, seed: u64, within in within(),
    ) {
        let labels = labels(&[9, 3, 1]);
        let per_epoch = if long { 9999 } else { 60 };
        let sampler = ClassBalanced::new(&labels, &[1.0, 2.0, 1.0], within, per_epoch, seed).unwrap();
        let batches = per_epoch.div_ceil(size);
        prop_assume!(first < batches);
        let count = (batches - first).div_ceil(step);
        let found = Batches { epoch: 3, first, step, count, size }.draw(&sampler).unwrap();
        let whole = draw(&sampler, 3, 0, per_epoch as usize);
        let wanted: Vec<_> = whole.chunks(size as usize).skip(first as usize).step_by(step as usize).flatten().copied().collect();
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn no_request_panics(epoch: u64, first: u64, step: u64, count in prop_oneof![0u64..100, any::<u64>()], size: u64, n: u64, t: u64, seed: u64) {
        if let Ok(sampler) = Shuffled::new(n, t.min(1 << 20), seed) {
            let _ = Batches { epoch, first, step, count, size }.draw(&sampler);
            let _ = Batches { epoch: epoch % 8, first: first % 8, step: 1 + step % 3, count: count % 9, size: 1 + size % 64 }.draw(&sampler);
        }
    }

    #[test]
    fn no_probabilities_panic(probs in prop::collection::vec(any::<f64>(), 0..6), labels in prop::collection::vec(0u32..7, 0..20), within in within()) {
        if let Ok(sampler) = ClassBalanced::new(&labels, &probs, within, 100, 0) {
            for sample in draw(&sampler, 0, 0, 100) {
                prop_assert!(probs[labels[sample as usize] as usize] > 0.0);
            }
        }
    }
}

#[test]
fn independent_draws_have_the_probabilities() {
    let sizes: [u32; 6] = [50, 20, 9, 3, 1, 7];
    let labels = labels(&sizes);
    for probs in [[1.0; 6], [5.0, 1.0, 2.0, 0.5, 3.0, 0.1]] {
        let sampler =
            ClassBalanced::new(&labels, &probs, WithinClass::Replace, 2_000_000, 5).unwrap();
        let drawn = draw(&sampler, 2, 0, 2_000_000);
        let mut found = vec![0; labels.len()];
        for sample in drawn {
            found[sample as usize] += 1;
        }
        let total: f64 = probs.iter().sum();
        let share =
            |&label: &u32| 2e6 * probs[label as usize] / total / f64::from(sizes[label as usize]);
        let expected: Vec<_> = labels.iter().map(share).collect();
        let z = chi_square_z(&found, &expected);
        assert!(z.abs() < 4.0, "{z}");
    }
}

#[test]
fn neighbouring_draws_are_independent() {
    let labels = labels(&[10; 8]);
    for probs in [[1.0; 8], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0]] {
        let sampler =
            ClassBalanced::new(&labels, &probs, WithinClass::Replace, 1 << 21, 11).unwrap();
        let drawn = draw(&sampler, 0, 0, 1 << 21);
        let class = |sample: i64| labels[sample as usize] as usize;
        let mut pairs = vec![0; 64];
        drawn
            .chunks_exact(2)
            .for_each(|pair| pairs[8 * class(pair[0]) + class(pair[1])] += 1);
        let total: f64 = probs.iter().sum();
        let expected: Vec<_> = (0..64)
            .map(|cell| f64::from(1 << 20) * probs[cell / 8] * probs[cell % 8] / (total * total))
            .collect();
        let z = chi_square_z(&pairs, &expected);
        assert!(z.abs() < 4.0, "{z}");
    }
}

#[test]
fn seeds_and_epochs_differ() {
    let labels = labels(&[40, 20, 5]);
    for within in [WithinClass::Cycle, WithinClass::Replace] {
        let first = |seed, epoch| {
            let sampler = ClassBalanced::new(&labels, &[1.0; 3], within, 60, seed).unwrap();
            draw(&sampler, epoch, 0, 60)
        };
        assert_ne!(first(0, 1), first(1, 0));
        assert_ne!(first(0, 0), first(0, 1));
        assert_ne!(first(0, 0), first(1, 0));
    }
}

#[test]
fn the_order_inside_a_cycle_is_uniform() {
    // One class of 4 samples, one cycle a seed: all 24 orders equally often.
    let mut found = vec![0; 256];
    for seed in 0..48_000 {
        let sampler = ClassBalanced::new(&[0; 4], &[1.0], WithinClass::Cycle, 4, seed).unwrap();
        found[draw(&sampler, 0, 0, 4)
            .iter()
            .fold(0, |code, &sample| 4 * code + sample as usize)] += 1;
    }
    found.retain(|&count| count > 0);
    assert_eq!(found.len(), 24);
    let z = chi_square_z(&found, &[2000.0; 24]);
    assert!(z.abs() < 4.0, "{z}");
}

#[test]
fn a_class_beyond_the_shuffle_cycles_too() {
    let sizes = [70_000u32, 3];
    let labels = labels(&sizes);
    let sampler = ClassBalanced::new(&labels, &[1.0, 1.0], WithinClass::Cycle, 140_000, 9).unwrap();
    let drawn = draw(&sampler, 0, 0, 140_000);
    let mut seen = vec![0u32; labels.len()];
    for &sample in &drawn {
        seen[sample as usize] += 1;
    }
    assert!(
        seen.iter()
            .zip(&labels)
            .all(|(&seen, &label)| label == 1 || seen == 1)
    );
    assert_eq!(draw(&sampler, 0, 99_999, 50), drawn[99_999..100_049]);
}

#[test]
fn seeking_far_ahead_works() {
    let labels = labels(&[40, 20, 5]);
    for (within, probs) in [
        (WithinClass::Cycle, [1.0; 3]),
        (WithinClass::Cycle, [5.0, 2.0, 1.0]),
        (WithinClass::Replace, [1.0; 3]),
    ] {
        let sampler = ClassBalanced::new(&labels, &probs, within, 1 << 40, 0).unwrap();
        let far = draw(&sampler, (1 << 23) - 1, (1 << 40) - 500, 500);
        let found = counted(&labels, &far, 3);
        let total: f64 = probs.iter().sum();
        for (found, p) in found.iter().zip(probs) {
            assert!(
                (*found as f64 - 500.0 * p / total).abs() < 60.0,
                "{found} {p}"
            );
        }
    }
}

#[test]
fn messages() {
    let class_balanced = |probs: &[f64]| {
        message(ClassBalanced::new(
            &[0, 0, 2],
            probs,
            WithinClass::Cycle,
            10,
            0,
        ))
    };
    assert_eq!(
        class_balanced(&[1.0, f64::NAN, 1.0]),
        "class_probs must be finite and >= 0, got NaN for class 1"
    );
    assert_eq!(
        class_balanced(&[1.0, 0.0, -1.0]),
        "class_probs must be finite and >= 0, got -1 for class 2"
    );
    assert_eq!(
        class_balanced(&[0.0; 3]),
        "class_probs must have a positive entry, got 3 zeros"
    );
    assert_eq!(
        class_balanced(&[1.0; 2]),
        "labels must lie in [0, 2), got 2 at position 2"
    );
    assert_eq!(
        class_balanced(&[1.0, 0.5, 1.0]),
        "class_probs must be 0 for a class without samples, got 0.5 for class 1; set it to 0, or pass empty='ignore'"
    );
    assert_eq!(
        class_balanced(&[1.0, 0.0, 1e-9]),
        "class_probs must be 0 or >= 6.0e-8 of their sum with within_class='cycle' (a round of classes shows each of \
         them), got 1.0e-9 for class 2; pass within_class='replace'"
    );
    assert_eq!(
        message(Shuffled::new(0, 1, 0)),
        "the data set must hold at least 1 sample, got 0"
    );
    assert_eq!(
        message(Shuffled::new(u64::MAX, 1, 0)),
        format!("n must be <= 2**63, got {}", u64::MAX)
    );

    let sampler = Shuffled::new(10, 10, 0).unwrap();
    let batches = |epoch, first, step, count, size| {
        Batches {
            epoch,
            first,
            step,
            count,
            size,
        }
        .draw(&sampler)
    };
    assert_eq!(
        message(batches(0, 0, 1, 1, 0)),
        "batch_size and step must be >= 1, got 0 and 1"
    );
    assert_eq!(
        message(batches(0, 0, 0, 1, 4)),
        "batch_size and step must be >= 1, got 4 and 0"
    );
    assert_eq!(
        message(batches(0, 1, 2, 2, 4)),
        "batches must lie in [0, 3), got first=1, step=2, count=2"
    );
    assert!(matches!(batches(0, 3, 1, 1, 4), Err(Error::Index(_))));
    assert_eq!(
        message(batches(u64::MAX, 0, 1, 1, 4)),
        format!(
            "epoch must be < {} (2**63 draws in all), got {}",
            (1u64 << 63) / 10,
            u64::MAX
        )
    );
    assert_eq!(batches(0, 2, 1, 1, 4).unwrap().len(), 2);
}
