//! What each sampler promises on any input: coverage, distinctness, the same draws however they are cut, and no panic.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use lt_fast_core::counts::LabelRows;
use lt_fast_core::sampler::{
    Batches, ClassBalanced, Draws, LeastSampled, MPerClass, RepeatFactor, Weighted, WithinClass,
};
use proptest::prelude::*;

fn draw(draws: &dyn Draws, epoch: u64, start: u64, len: usize) -> Vec<i64> {
    let mut out = vec![0; len];
    draws.fill(epoch, start, &mut out).unwrap();
    out
}

/// The draws of an epoch from `sampler` in any order of seeks are those of `fresh` in one go.
fn is_pure(
    sampler: &dyn Draws,
    fresh: &dyn Draws,
    epoch: u64,
    cuts: &[(u64, usize)],
) -> Result<(), TestCaseError> {
    let whole = draw(fresh, epoch, 0, fresh.draws_per_epoch() as usize);
    for &(start, len) in cuts {
        let start = (start % fresh.draws_per_epoch()) as usize;
        let len = len.min(whole.len() - start);
        // Another epoch in between, so that nothing goes on from where it was.
        draw(sampler, epoch ^ 1, 0, 3.min(whole.len()));
        prop_assert_eq!(
            &draw(sampler, epoch, start as u64, len),
            &whole[start..start + len]
        );
    }
    Ok(())
}

fn cuts() -> impl Strategy<Value = Vec<(u64, usize)>> {
    prop::collection::vec((any::<u64>(), 0usize..200), 1..8)
}

/// Labels with `counts[c]` samples of class `c`, in turn.
fn labels(counts: &[u32]) -> Vec<u32> {
    let most = counts.iter().copied().max().unwrap_or(0);
    let of_round =
        |round| (0..counts.len() as u32).filter(move |&class| counts[class as usize] > round);
    (0..most).flat_map(of_round).collect()
}

/// Label sets in compressed rows; some samples have none.
fn rows(sets: &[Vec<u32>]) -> (Vec<i64>, Vec<u32>) {
    let mut indptr = vec![0];
    let mut indices = Vec::new();
    for set in sets {
        let mut set = set.clone();
        set.sort_unstable();
        set.dedup();
        indices.extend(set);
        indptr.push(indices.len() as i64);
    }
    (indptr, indices)
}

fn sets() -> impl Strategy<Value = Vec<Vec<u32>>> {
    prop::collection::vec(prop::collection::vec(0u32..9, 0..5), 1..40)
}

proptest! {
    #[test]
    fn repeat_factors_are_rounded_down_or_up(
        factors in prop::collection::vec(prop_oneof![4 => 0.0f64..5.0, 1 => Just(0.0)], 1..60),
        seed: u64, epoch in 0u64..1 << 40, draws in 1u64..400, cuts in cuts(),
    ) {
        prop_assume!(factors.iter().any(|factor| *factor > 0.0));
        let sampler = RepeatFactor::new(&factors, draws, seed).unwrap();
        let mut found = vec![0; factors.len()];
        for sample in draw(&sampler, epoch, 0, draws as usize) {
            found[sample as usize] += 1;
        }
        let total: f64 = factors.iter().sum();
        for (found, factor) in found.iter().zip(&factors) {
            let share = factor / total * draws as f64;
            prop_assert!((f64::from(*found) - share).abs() < 1.0 + 1e-6, "{found} {share}");
            prop_assert!(*found == 0 || *factor > 0.0);
        }
        is_pure(&sampler, &RepeatFactor::new(&factors, draws, seed).unwrap(), epoch, &cuts)?;
    }

    #[test]
    fn no_repeat_factors_panic(factors in prop::collection::vec(any::<f64>(), 0..6), draws: u64, seed: u64) {
        if let Ok(sampler) = RepeatFactor::new(&factors, draws % (1 << 16), seed) {
            for sample in draw(&sampler, 0, 0, (draws % (1 << 16)).min(50) as usize) {
                prop_assert!(factors[sample as usize] > 0.0);
            }
        }
    }

    #[test]
    fn a_group_is_distinct_and_a_cycle_shows_all(
        counts in prop::collection::vec(1u32..90, 1..10), m in 1u64..12, classes in 1u64..10,
        seed: u64, cuts in cuts(),
    ) {
        let classes = classes.min(counts.len() as u64);
        let labels = labels(&counts);
        let size = m * classes;
        let most = u64::from(*counts.iter().max().unwrap());
        // A class has a turn in every pass but for what fills no batch; whole cycles need passes of all classes.
        let passes = most.div_ceil(m) * 2;
        let draws = passes * counts.len() as u64 / classes * size;
        let build = || MPerClass::new(&labels, counts.len(), m, classes, draws, seed).unwrap();
        let sampler = build();
        let drawn = draw(&sampler, 0, 0, draws as usize);
        for batch in drawn.chunks(size as usize) {
            let mut of_batch: Vec<_> = batch.chunks(m as usize).map(|group| labels[group[0] as usize]).collect();
            for group in batch.chunks(m as usize) {
                let label = labels[group[0] as usize];
                prop_assert!(group.iter().all(|&sample| labels[sample as usize] == label));
                let mut distinct = group.to_vec();
                distinct.sort_unstable();
                distinct.dedup();
                prop_assert_eq!(distinct.len() as u64, m.min(counts[label as usize].into()));
            }
            of_batch.sort_unstable();
            of_batch.dedup();
            prop_assert_eq!(of_batch.len() as u64, classes);
        }
        if (counts.len() as u64).is_multiple_of(classes) {
            for (label, &count) in counts.iter().enumerate().filter(|(_, count)| u64::from(**count) >= m) {
                let of_class: Vec<_> = drawn.iter().filter(|sample| labels[**sample as usize] as usize == label).collect();
                let in_a_cycle = (u64::from(count) / m * m) as usize;
                for cycle in of_class.chunks_exact(in_a_cycle) {
                    let mut distinct = cycle.to_vec();
                    distinct.sort_unstable();
                    distinct.dedup();
                    prop_assert_eq!(distinct.len(), in_a_cycle);
                }
            }
        }
        is_pure(&sampler, &build(), 3, &cuts)?;
    }

    #[test]
    fn no_groups_panic(
        labels in prop::collection::vec(0u32..7, 0..30), num_classes in 0usize..9,
        m in prop_oneof![0u64..40, any::<u64>()], classes: u64, draws in 1u64..500, seed: u64, epoch in 0u64..1 << 50,
    ) {
        for classes in [classes % 9, classes] {
            if let Ok(sampler) = MPerClass::new(&labels, num_classes, m, classes, draws, seed) {
                let drawn = draw(&sampler, epoch, draws / 3, (draws - draws / 3) as usize);
                prop_assert!(drawn.iter().all(|&sample| (sample as usize) < labels.len()));
            }
        }
    }

    #[test]
    fn the_class_shown_least_comes_next(sets in sets(), seed: u64, draws in 1u64..300, cuts in cuts()) {
        let (indptr, indices) = rows(&sets);
        prop_assume!(!indices.is_empty());
        let labels = LabelRows::new(&indptr, &indices, 9).unwrap();
        let sampler = LeastSampled::new(labels.clone(), draws, seed).unwrap();
        let present: Vec<u32> = (0..9).filter(|label| indices.contains(label)).collect();
        let mut shown = [0u64; 9];
        for sample in draw(&sampler, 5, 0, draws as usize) {
            let of_sample = labels.labels_of(sample as usize);
            let least = present.iter().map(|&label| shown[label as usize]).min().unwrap();
            prop_assert!(of_sample.iter().any(|&label| shown[label as usize] == least));
            for &label in of_sample {
                shown[label as usize] += 1;
            }
        }
        is_pure(&sampler, &LeastSampled::new(labels, draws, seed).unwrap(), 5, &cuts)?;
    }

    #[test]
    fn label_rows_give_back_what_they_took(sets in sets()) {
        let (indptr, indices) = rows(&sets);
        let rows = LabelRows::new(&indptr, &indices, 9).unwrap();
        prop_assert_eq!(rows.len(), sets.len());
        let table = rows.table().unwrap();
        prop_assert_eq!(table.samples().len(), indices.len());
        for (sample, set) in sets.iter().enumerate() {
            prop_assert!(rows.labels_of(sample).iter().all(|label| set.contains(label)));
            for class in 0..9 {
                let (start, len) = table.extent(class as usize);
                let of_class = &table.samples()[start as usize..(start + len) as usize];
                prop_assert_eq!(of_class.contains(&(sample as u32)), set.contains(&class));
            }
        }
    }

    #[test]
    fn no_rows_panic(
        indptr in prop::collection::vec(prop_oneof![4 => 0i64..12, 1 => any::<i64>()], 0..8),
        indices in prop::collection::vec(prop_oneof![4 => 0u32..6, 1 => any::<u32>()], 0..12), num_classes in 0usize..7,
    ) {
        if let Ok(rows) = LabelRows::new(&indptr, &indices, num_classes) {
            let covered: usize = (0..rows.len()).map(|sample| rows.labels_of(sample).len()).sum();
            prop_assert_eq!(covered, indices.len());
            if let Ok(sampler) = LeastSampled::new(rows, 20, 1) {
                prop_assert!(draw(&sampler, 0, 0, 20).iter().all(|&sample| (sample as usize) < indptr.len() - 1));
            }
        }
    }

    #[test]
    fn weighted_draws_are_pure_and_distinct(
        weights in prop::collection::vec(prop_oneof![4 => 0.0f64..5.0, 1 => Just(0.0)], 1..200),
        share in 0.0f64..1.0, replacement: bool, seed: u64, cuts in cuts(),
    ) {
        let positive = weights.iter().filter(|weight| **weight > 0.0).count();
        prop_assume!(positive > 0);
        let draws = if replacement { 300 } else { 1 + (share * (positive - 1) as f64) as u64 };
        let build = || Weighted::new(&weights, replacement, draws, seed).unwrap();
        let mut drawn = draw(&build(), 9, 0, draws as usize);
        prop_assert!(drawn.iter().all(|&sample| weights[sample as usize] > 0.0));
        if !replacement {
            drawn.sort_unstable();
            drawn.dedup();
            prop_assert_eq!(drawn.len() as u64, draws);
        }
        is_pure(&build(), &build(), 9, &cuts)?;
    }

    #[test]
    fn strata_and_cycles_are_pure_at_any_size(
        counts in prop::collection::vec(prop_oneof![4 => 1u32..90, 1 => 90u32..1200], 1..8), batch in 1u64..40,
        cycle: bool, equal: bool, seed: u64, epoch in 0u64..1 << 30, cuts in cuts(),
    ) {
        let labels = labels(&counts);
        let probs: Vec<f64> = counts.iter().map(|&count| if equal { 1.0 } else { f64::from(count) }).collect();
        let within = if cycle { WithinClass::Cycle } else { WithinClass::Stratified(batch) };
        let build = || ClassBalanced::new(&labels, &probs, within, 2000, seed).unwrap();
        is_pure(&build(), &build(), epoch, &cuts)?;
    }

    #[test]
    fn a_rank_draws_what_the_whole_draws(
        sets in sets(), seed: u64, first in 0u64..9, step in 1u64..200, size in 1u64..70, kind in 0usize..4,
    ) {
        let (indptr, indices) = rows(&sets);
        prop_assume!(!indices.is_empty());
        let per_epoch = 6000;
        let labels = labels(&[70, 20, 3]);
        let sampler: Box<dyn Draws> = match kind {
            0 => Box::new(LeastSampled::new(LabelRows::new(&indptr, &indices, 9).unwrap(), per_epoch, seed).unwrap()),
            1 => Box::new(MPerClass::new(&labels, 3, 4, 2, per_epoch, seed).unwrap()),
            2 => Box::new(ClassBalanced::new(&labels, &[1.0, 1.0, 2.0], WithinClass::Cycle, per_epoch, seed).unwrap()),
            _ => Box::new(RepeatFactor::new(&[1.0; 50], per_epoch, seed).unwrap()),
        };
        let count = (per_epoch.div_ceil(size).saturating_sub(first)).div_ceil(step);
        prop_assume!(count > 0);
        let found = Batches { epoch: 2, first, step, count, size }.draw(&*sampler).unwrap();
        let whole = draw(&*sampler, 2, 0, per_epoch as usize);
        let batches = whole.chunks(size as usize).skip(first as usize).step_by(step as usize);
        prop_assert_eq!(found, batches.flatten().copied().collect::<Vec<_>>());
    }
}

#[test]
fn seeds_round_other_classes_up() {
    // Half a draw of each class a batch: which of them has one is the seed's choice.
    let labels = labels(&[10; 8]);
    let classes = |seed| -> Vec<u32> {
        let sampler =
            ClassBalanced::new(&labels, &[1.0; 8], WithinClass::Stratified(4), 4, seed).unwrap();
        let mut found: Vec<_> = draw(&sampler, 0, 0, 4)
            .iter()
            .map(|&sample| labels[sample as usize])
            .collect();
        found.sort_unstable();
        found
    };
    let first = classes(0);
    assert!((1..20).any(|seed| classes(seed) != first));
}
