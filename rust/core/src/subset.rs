//! Long-tailed subsets of balanced data sets.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result, filled, reserved, zeros};
use crate::interrupt::{PIECE, poll};
use crate::mt19937::Mt19937;
use crate::permutation::{Permutation, Shape};
use crate::rng::{Stream, stream};
use crate::source::{Source, changed};

/// How the samples of a class are ordered before the first ones are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// LDAM-DRW's subset: `NumPy`'s legacy generator shuffles class after class.
    Ldam,
    /// A permutation per class, keyed by (seed, class): classes are independent of each other.
    Counter,
}

impl std::str::FromStr for Method {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "ldam" => Ok(Self::Ldam),
            "counter" => Ok(Self::Counter),
            _ => Err(Error::Value(format!(
                "method must be 'ldam' or 'counter', got '{name}'"
            ))),
        }
    }
}

/// Number of samples of each class, from class 0 to the largest label. O(N + C).
///
/// # Errors
///
/// If a label is negative or a class has no sample.
pub fn class_sizes(labels: &(impl Source<i64> + ?Sized)) -> Result<Vec<i64>> {
    let mut top = None;
    labels.try_each(|at, label| {
        if label < 0 {
            return Err(Error::Value(format!(
                "labels must be >= 0, got {label} at position {at}"
            )));
        }
        top = top.max(Some(label));
        Ok(())
    })?;
    let Some(top) = top else {
        return Err(Error::Value(
            "labels must have at least one sample, got none".into(),
        ));
    };
    let hint = "map the classes to 0..C-1 first";
    if top as u64 >= labels.len() as u64 {
        return Err(Error::Value(format!(
            "labels must hold every class from 0 to the largest, got {} samples and a largest label of {top}; {hint}",
            labels.len()
        )));
    }
    let mut sizes = filled(top as usize + 1, &0_i64)?;
    labels.try_each(|_, label| {
        *sizes
            .get_mut(label as usize)
            .ok_or_else(|| changed("labels"))? += 1;
        Ok(())
    })?;
    match sizes.iter().position(|&size| size == 0) {
        Some(empty) => Err(Error::Value(format!(
            "labels must hold every class from 0 to the largest ({top}), got no sample of class {empty}; {hint}"
        ))),
        None => Ok(sizes),
    }
}

/// Positions in `labels` of the subset that keeps `counts[c]` samples of class c: class after class, in the order of
/// the draw.
///
/// With [`Method::Ldam`] the result is LDAM-DRW's for `rand_number = seed`, bit for bit. With either method a class's
/// samples are the first ones of an order that does not depend on `counts`, so smaller subsets are contained in larger
/// ones. O(N + C); [`Method::Counter`] distributes the classes over threads.
///
/// # Errors
///
/// If a label is negative, a class has no sample, an entry of `counts` is 0 or above the class size, or `counts` has
/// another length; if the seed of [`Method::Ldam`] is not below 2^32, the range of its generator.
pub fn long_tailed_indices(
    labels: &(impl Source<i64> + ?Sized),
    counts: &[i64],
    seed: u64,
    method: Method,
) -> Result<Vec<i64>> {
    let sizes = class_sizes(labels)?;
    check_counts(counts, &sizes)?;
    let mut members = by_class(labels, &sizes)?;
    let legacy = legacy_seed(seed, method)?;
    // Each count is at most the size of its class, so their sum is at most the number of labels.
    let total = counts.iter().sum::<i64>() as usize;
    let mut kept = zeros(total)?;
    let classes = classes_of(&mut members, &sizes, &mut kept, counts)?;
    match method {
        Method::Ldam => keep_one_after_the_other(classes, &mut Mt19937::new(legacy))?,
        Method::Counter => keep_side_by_side(classes, total, seed)?,
    }
    Ok(kept)
}

/// A class's samples, and the output slice for the kept ones.
struct Class<'a> {
    number: u64,
    members: &'a mut [i64],
    kept: &'a mut [i64],
}

fn classes_of<'a>(
    mut members: &'a mut [i64],
    sizes: &[i64],
    mut kept: &'a mut [i64],
    counts: &[i64],
) -> Result<Vec<Class<'a>>> {
    let mut classes = reserved(sizes.len())?;
    for (number, (&size, &count)) in (0..).zip(sizes.iter().zip(counts)) {
        let (of_class, other_members) = members.split_at_mut(size as usize);
        let (place, other_places) = kept.split_at_mut(count as usize);
        (members, kept) = (other_members, other_places);
        classes.push(Class {
            number,
            members: of_class,
            kept: place,
        });
    }
    Ok(classes)
}

fn keep_one_after_the_other(classes: Vec<Class>, generator: &mut Mt19937) -> Result<()> {
    for class in classes {
        generator.shuffle(class.members)?;
        class
            .kept
            .copy_from_slice(&class.members[..class.kept.len()]);
    }
    Ok(())
}

/// Fewest samples per thread: below it, starting the thread costs more than its work.
const SERIAL: usize = 1 << 15;

/// Distribute the classes over threads that end before this returns. There is no thread pool, which a fork would break.
fn keep_side_by_side(classes: Vec<Class>, total: usize, seed: u64) -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let shares = shared(classes, total.div_ceil(threads).max(SERIAL));
    let extra = shares.len().min(threads).saturating_sub(1);
    let (queue, stopped) = (Mutex::new(shares), AtomicBool::new(false));
    // Only the calling thread has an interrupt callback, so it polls for all of them.
    let stop = || {
        if stopped.load(Relaxed) {
            return Err(Error::Interrupted);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let work = || keep_from(&queue, seed, &stop);
        // If a thread cannot be started, the others do its part.
        let helpers: Vec<_> = (0..extra)
            .filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        let mut outcome = keep_from(&queue, seed, &poll);
        while outcome.is_ok() && helpers.iter().any(|helper| !helper.is_finished()) {
            std::thread::park_timeout(std::time::Duration::from_micros(100));
            outcome = poll();
        }
        stopped.store(outcome.is_err(), Relaxed);
        outcome
    })
}

/// The classes in parts of at least `least` kept samples; the last part may be smaller.
fn shared(mut classes: Vec<Class>, least: usize) -> Vec<Vec<Class>> {
    let mut shares = Vec::new();
    while !classes.is_empty() {
        let mut held = 0;
        let fit = classes.iter().take_while(|class| {
            let more = held < least;
            held += class.kept.len();
            more
        });
        let rest = classes.split_off(fit.count());
        shares.push(std::mem::replace(&mut classes, rest));
    }
    shares
}

fn keep_from(
    queue: &Mutex<Vec<Vec<Class>>>,
    seed: u64,
    ask: &impl Fn() -> Result<()>,
) -> Result<()> {
    while let Some(share) = next_of(queue) {
        for mut class in share {
            keep_by_key(&mut class, seed, ask)?;
        }
    }
    Ok(())
}

fn next_of<T>(queue: &Mutex<Vec<T>>) -> Option<T> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

fn keep_by_key(class: &mut Class, seed: u64, ask: &impl Fn() -> Result<()>) -> Result<()> {
    let shape = Shape::new(class.members.len() as u64);
    let order = Permutation::new(shape, Stream::new(seed, stream::SUBSET, class.number));
    for (piece, start) in class.kept.chunks_mut(PIECE).zip((0..).step_by(PIECE)) {
        ask()?;
        order.fill(start, piece);
        for slot in piece {
            *slot = class.members[*slot as usize];
        }
    }
    Ok(())
}

fn legacy_seed(seed: u64, method: Method) -> Result<u32> {
    match (u32::try_from(seed), method) {
        (Ok(seed), _) => Ok(seed),
        (Err(_), Method::Counter) => Ok(0), // not used
        (Err(_), Method::Ldam) => Err(Error::Value(format!(
            "seed must be < 2**32 for method 'ldam' (NumPy's legacy generator), got {seed}; or use method 'counter'"
        ))),
    }
}

fn check_counts(counts: &[i64], sizes: &[i64]) -> Result<()> {
    if counts.len() != sizes.len() {
        return Err(Error::Value(format!(
            "counts must have one entry a class ({} in labels), got {}",
            sizes.len(),
            counts.len()
        )));
    }
    let Some(class) = counts
        .iter()
        .zip(sizes)
        .position(|(&count, &size)| count < 1 || count > size)
    else {
        return Ok(());
    };
    let (count, size) = (counts[class], sizes[class]);
    Err(Error::Value(if count < 1 {
        format!("counts must be >= 1 in every class, got {count} for class {class}")
    } else {
        format!(
            "counts must not exceed the samples there are, got {count} for class {class}, which has {size}"
        )
    }))
}

/// Positions of the samples, sorted by class, ascending inside a class.
fn by_class(labels: &(impl Source<i64> + ?Sized), sizes: &[i64]) -> Result<Vec<i64>> {
    let (mut next, mut ends) = (reserved(sizes.len())?, reserved(sizes.len())?);
    let mut start = 0;
    for &size in sizes {
        next.push(start);
        start += size as usize;
        ends.push(start);
    }
    let mut members = filled(labels.len(), &0)?;
    let mut place = |label: i64, position: usize| {
        let at = next.get_mut(label as usize)?;
        *members.get_mut(*at)? = position as i64;
        *at += 1;
        Some(())
    };
    labels.try_each(|position, label| place(label, position).ok_or_else(|| changed("labels")))?;
    if next != ends {
        return Err(changed("labels"));
    }
    Ok(members)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const METHODS: [Method; 2] = [Method::Ldam, Method::Counter];

    #[test]
    fn first_positions_as_published() {
        let labels: Vec<i64> = (0..50_000).map(|i| i / 5000).collect();
        let kept = long_tailed_indices(&labels, &[5; 10], 0, Method::Ldam).unwrap();
        assert_eq!(kept[..5], [398, 3833, 4836, 4572, 636]);
        assert_eq!(
            kept[45..].iter().map(|i| i - 45_000).collect::<Vec<_>>(),
            [2204, 3816, 2206, 2507, 1926]
        );
    }

    #[test]
    fn shares_among_threads_change_nothing() {
        let sizes = [70_000_usize, 3, 40_000, 1, 66_000, 500];
        let labels: Vec<i64> = (0..)
            .zip(sizes)
            .flat_map(|(class, size)| std::iter::repeat_n(class, size))
            .collect();
        let counts = [70_000, 2, 39_000, 1, 100, 500];
        let kept = long_tailed_indices(&labels, &counts, 7, Method::Counter).unwrap();
        let (mut expected, mut start) = (Vec::new(), 0);
        for (class, (size, count)) in (0..).zip(sizes.into_iter().zip(counts)) {
            let stream = Stream::new(7, stream::SUBSET, class);
            let order = Permutation::new(Shape::new(size as u64), stream);
            expected.extend((0..count as u64).map(|at| start + order.get(at).unwrap() as i64));
            start += size as i64;
        }
        assert_eq!(kept, expected);
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let message = |labels: &[i64], counts: &[i64]| {
            long_tailed_indices(labels, counts, 0, Method::Ldam)
                .unwrap_err()
                .to_string()
        };
        assert!(message(&[0, -1], &[1]).contains("got -1 at position 1"));
        assert!(message(&[], &[1]).contains("got none"));
        assert!(
            message(&[0, i64::MAX], &[1])
                .contains("2 samples and a largest label of 9223372036854775807")
        );
        assert!(message(&[0, 0, 2], &[1]).contains("no sample of class 1"));
        assert!(message(&[0, 1], &[1]).contains("one entry a class (2 in labels), got 1"));
        assert!(message(&[0, 1], &[1, 0]).contains("got 0 for class 1"));
        assert!(message(&[0, 1], &[1, 2]).contains("got 2 for class 1, which has 1"));
        let large = long_tailed_indices(&[0], &[1], 1 << 32, Method::Ldam)
            .unwrap_err()
            .to_string();
        assert!(large.contains("seed must be < 2**32"));
        assert_eq!(
            long_tailed_indices(&[0], &[1], 1 << 32, Method::Counter),
            Ok(vec![0])
        );
    }

    proptest! {
        #[test]
        fn keeps_the_counts_and_nests(
            sizes in prop::collection::vec(1_usize..60, 1..8), seed in 0_u64..1 << 32, share in 0.0..1.0_f64,
        ) {
            let mut labels: Vec<i64> =
                sizes.iter().enumerate().flat_map(|(class, &size)| vec![class as i64; size]).collect();
            let turn = labels.len() / 3;
            labels.rotate_left(turn); // classes need not be sorted
            let full: Vec<i64> = sizes.iter().map(|&size| size as i64).collect();
            let fewer: Vec<i64> = full.iter().map(|&size| ((size as f64 * share) as i64).max(1)).collect();
            for method in METHODS {
                let all = long_tailed_indices(&labels, &full, seed, method).unwrap();
                let some = long_tailed_indices(&labels, &fewer, seed, method).unwrap();
                let mut sorted = all.clone();
                sorted.sort_unstable();
                prop_assert!(sorted.iter().copied().eq(0..labels.len() as i64));
                let mut start = 0;
                let mut kept = some.as_slice();
                for (class, (&size, &count)) in full.iter().zip(&fewer).enumerate() {
                    let (head, tail) = kept.split_at(count as usize);
                    prop_assert!(head.iter().all(|&i| labels[i as usize] == class as i64));
                    prop_assert_eq!(head, &all[start..start + count as usize]);
                    start += size as usize;
                    kept = tail;
                }
                prop_assert!(kept.is_empty());
            }
        }

        #[test]
        fn no_input_panics(
            labels in prop::collection::vec(prop_oneof![0_i64..4, any::<i64>()], 0..9),
            counts in prop::collection::vec(prop_oneof![0_i64..4, any::<i64>()], 0..5), seed: u64,
        ) {
            for method in METHODS {
                let _ = long_tailed_indices(&labels, &counts, seed, method);
            }
        }
    }
}
