//! Quality of the generator: every test draws from one fixed place and allows four standard deviations.

use std::collections::HashSet;

use lt_fast_core::beta::Beta;
use lt_fast_core::permutation::{Permutation, QuickPermutation, Shape};
use lt_fast_core::rng::{self, Stream, absorb, mix};
use proptest::prelude::*;

const DRAWS: u64 = 1 << 18;

/// Two 64-bit draws next to each other in one direction.
type Pair = Box<dyn Fn(u64) -> (u64, u64)>;
type Output = fn(u64, u64) -> u64;
type Cdf = fn(f64) -> f64;

fn chi_square_z(observed: &[u64], expected: f64) -> f64 {
    let chi: f64 = observed
        .iter()
        .map(|&o| (o as f64 - expected).powi(2) / expected)
        .sum();
    let freedom = (observed.len() - 1) as f64;
    (chi - freedom) / (2.0 * freedom).sqrt()
}

/// Neighbours in each direction that a user moves in, as pairs of 64-bit draws.
fn neighbours() -> [(&'static str, Pair); 4] {
    let at = |seed, stream, epoch, position| Stream::new(seed, stream, epoch).bits(position);
    [
        (
            "position",
            Box::new(move |i| (at(3, 1, 0, i), at(3, 1, 0, i + 1))),
        ),
        (
            "epoch",
            Box::new(move |i| (at(3, 1, i, 5), at(3, 1, i + 1, 5))),
        ),
        (
            "seed",
            Box::new(move |i| (at(i, 1, 0, 5), at(i + 1, 1, 0, 5))),
        ),
        (
            "stream",
            Box::new(move |i| (at(3, i, 0, 5), at(3, i + 1, 0, 5))),
        ),
    ]
}

#[test]
fn it_is_splitmix64() {
    // The reference generator seeded with 1234567 (Vigna's splitmix64.c, as listed by Rosetta Code).
    let mut state = 1_234_567u64;
    let published = [
        6_457_827_717_110_365_317,
        3_203_168_211_198_807_973,
        9_817_491_932_198_370_423,
        4_593_380_528_125_082_431,
        16_408_922_859_458_223_821,
    ];
    for wanted in published {
        state = state.wrapping_add(rng::GOLDEN);
        assert_eq!(mix(state), wanted);
    }
    let stream = Stream::new(7, 1, 2);
    assert_eq!(
        stream.bits(4),
        mix(stream.key().wrapping_add(rng::GOLDEN.wrapping_mul(5)))
    );
}

#[test]
fn bits_are_balanced_in_every_direction() {
    let slack = 4.0 * (DRAWS as f64 / 4.0).sqrt();
    for (name, pair) in neighbours() {
        let mut ones = [0u64; 64];
        for i in 0..DRAWS {
            let word = pair(i).0;
            for (bit, count) in ones.iter_mut().enumerate() {
                *count += word >> bit & 1;
            }
        }
        for (bit, &count) in ones.iter().enumerate() {
            assert!(
                (count as f64 - DRAWS as f64 / 2.0).abs() < slack,
                "{name}: bit {bit} set {count} times"
            );
        }
    }
}

#[test]
fn neighbours_differ_in_half_of_the_bits() {
    for (name, pair) in neighbours() {
        let flipped: u64 = (0..DRAWS)
            .map(|i| u64::from((pair(i).0 ^ pair(i).1).count_ones()))
            .sum();
        let slack = 4.0 * (DRAWS as f64 * 64.0 / 4.0).sqrt();
        assert!(
            (flipped as f64 - DRAWS as f64 * 32.0).abs() < slack,
            "{name}: {flipped}"
        );
    }
}

#[test]
fn neighbours_are_uncorrelated() {
    let unit = |word: u64| (word >> 11) as f64 * 2f64.powi(-53) - 0.5;
    for (name, pair) in neighbours() {
        let sum: f64 = (0..DRAWS).map(|i| unit(pair(i).0) * unit(pair(i).1)).sum();
        let correlation = 12.0 * sum / DRAWS as f64;
        assert!(
            correlation.abs() < 4.0 / (DRAWS as f64).sqrt(),
            "{name}: {correlation}"
        );
    }
}

#[test]
fn pairs_of_neighbours_fill_the_square() {
    for (name, pair) in neighbours() {
        let mut cells = vec![0; 64 * 64];
        for i in 0..DRAWS {
            let (a, b) = pair(i);
            cells[(a >> 58 << 6 | b >> 58) as usize] += 1;
        }
        let z = chi_square_z(&cells, DRAWS as f64 / 4096.0);
        assert!(z.abs() < 4.0, "{name}: {z}");
    }
}

#[test]
fn every_input_bit_flips_every_output_bit_half_of_the_time() {
    let trials = 4_000u32;
    let slack = 5.0 * (f64::from(trials) / 4.0).sqrt(); // 3 x 4,096 comparisons: five standard deviations
    let keyed: [(&str, Output); 3] = [
        ("seed", |word, other| Stream::new(word, 1, 3).bits(other)),
        ("epoch", |word, other| Stream::new(other, 1, word).bits(0)),
        ("sub", |word, other| {
            Stream::new(other, 1, 0).sub(word).bits(0)
        }),
    ];
    for (name, output) in keyed {
        for input in 0..64 {
            let mut flips = [0u32; 64];
            for trial in 0..u64::from(trials) {
                let word = mix(trial);
                let change = output(word, trial) ^ output(word ^ 1 << input, trial);
                for (bit, count) in flips.iter_mut().enumerate() {
                    *count += (change >> bit & 1) as u32;
                }
            }
            for (bit, &count) in flips.iter().enumerate() {
                let off = (f64::from(count) - f64::from(trials) / 2.0).abs();
                assert!(off < slack, "{name}: input {input}, output {bit}: {count}");
            }
        }
    }
}

#[test]
fn keys_over_a_grid_are_distinct() {
    let mut keys = HashSet::new();
    for seed in 0..128 {
        for stream in 0..16 {
            for epoch in 0..256 {
                assert!(
                    keys.insert(Stream::new(seed, stream, epoch).key()),
                    "{seed} {stream} {epoch}"
                );
            }
        }
    }
    assert_ne!(Stream::new(0, 1, 1), Stream::new(1, 1, 0));
    assert_ne!(absorb(absorb(0, 1), 2), absorb(absorb(0, 2), 1));
}

#[test]
fn bounded_draws_are_uniform() {
    let stream = Stream::new(5, 1, 0);
    for bound in [2, 3, 7, 10, 100, 1000, 4097] {
        let mut found = vec![0; bound as usize];
        for position in 0..DRAWS {
            found[stream.below(position, bound) as usize] += 1;
        }
        let z = chi_square_z(&found, DRAWS as f64 / bound as f64);
        assert!(z.abs() < 4.0, "{bound}: {z}");
    }
}

#[test]
fn a_rejected_draw_is_replaced_without_bias() {
    // With this bound a third of the words has to be rejected, or some of its thirds would come more often.
    let bound = (1u64 << 63) / 3 * 4;
    let stream = Stream::new(8, 1, 0);
    let mut thirds = [0; 3];
    for position in 0..90_000 {
        let drawn = stream.below(position, bound);
        assert!(drawn < bound);
        thirds[(drawn / (bound / 3)).min(2) as usize] += 1;
    }
    let z = chi_square_z(&thirds, 3e4);
    assert!(z.abs() < 4.0, "{thirds:?}");
    assert_eq!(stream.below(0, 0), 0);
    assert_eq!(stream.below(0, 1), 0);
}

/// Largest distance between the empirical distribution of `drawn` and `cdf`, times the root of the number.
fn kolmogorov_smirnov(mut drawn: Vec<f64>, cdf: impl Fn(f64) -> f64) -> f64 {
    drawn.sort_by(f64::total_cmp);
    let n = drawn.len() as f64;
    let distance = |(i, &x): (usize, &f64)| {
        (cdf(x) - i as f64 / n)
            .abs()
            .max((cdf(x) - (i + 1) as f64 / n).abs())
    };
    drawn.iter().enumerate().map(distance).fold(0.0, f64::max) * n.sqrt()
}

#[test]
fn beta_follows_its_distribution() {
    let stream = Stream::new(2, 6, 0);
    let cases: [(f64, f64, Cdf); 5] = [
        (1.0, 1.0, |x| x),
        (2.0, 1.0, |x| x * x),
        (1.0, 3.0, |x| 1.0 - (1.0 - x).powi(3)),
        (0.5, 0.5, |x| x.sqrt().asin() * std::f64::consts::FRAC_2_PI),
        (2.0, 2.0, |x| x * x * (3.0 - 2.0 * x)),
    ];
    for (a, b, cdf) in cases {
        let drawn = Beta::new(a, b).unwrap().draws(stream, 0, 40_000).unwrap();
        let distance = kolmogorov_smirnov(drawn, cdf);
        assert!(distance < 1.95, "Beta({a}, {b}): {distance}"); // one in a thousand
    }
}

#[test]
fn beta_survives_extreme_parameters() {
    for (a, b) in [
        (1e-300, 1e-300),
        (5e-324, 5e-324),
        (1e-3, 1e-3),
        (1e300, 1e300),
        (f64::MAX, f64::MAX),
        (1e-300, 1e300),
    ] {
        let drawn = Beta::new(a, b)
            .unwrap()
            .draws(Stream::new(0, 6, 0), 0, 500)
            .unwrap();
        assert!(
            drawn.iter().all(|x| (0.0..=1.0).contains(x)),
            "Beta({a}, {b})"
        );
    }
    let ends = Beta::new(1e-300, 1e-300)
        .unwrap()
        .draws(Stream::new(0, 6, 0), 0, 1000)
        .unwrap();
    let high = ends.iter().filter(|&&x| x > 0.5).count();
    assert!((437..563).contains(&high), "{high}");
    for (a, b, text) in [
        (0.0, 1.0, "alpha must be finite and > 0, got 0"),
        (1.0, f64::NAN, "beta must be finite and > 0, got NaN"),
        (f64::INFINITY, 1.0, "alpha must be finite and > 0, got inf"),
    ] {
        assert_eq!(Beta::new(a, b).unwrap_err().to_string(), text);
    }
}

#[test]
fn a_part_of_the_draws_is_a_part_of_the_whole() {
    let stream = Stream::new(1, 2, 3);
    let whole = rng::uniforms(stream, 0, 100).unwrap();
    assert_eq!(rng::uniforms(stream, 40, 20).unwrap(), whole[40..60]);
    assert!(whole.iter().all(|x| (0.0..1.0).contains(x)));
    let beta = Beta::new(0.4, 2.5).unwrap();
    assert_eq!(
        beta.draws(stream, 40, 20).unwrap(),
        beta.draws(stream, 0, 100).unwrap()[40..60]
    );
    let text = rng::uniforms(stream, u64::MAX, 2).unwrap_err().to_string();
    assert_eq!(
        text,
        format!("start + n must be < 2**64, got start={}, n=2", u64::MAX)
    );
    let text = rng::uniforms(stream, 0, usize::MAX)
        .unwrap_err()
        .to_string();
    assert_eq!(
        text,
        format!(
            "cannot allocate {} elements of 8 bytes; ask for fewer at a time",
            usize::MAX
        )
    );
}

/// Writes entries of the permutation of a size that a stream keys, from one on; returns how many.
type Fill = fn(u64, Stream, u64, &mut [i64]) -> usize;

/// Both permutations: what chooses data and what draws.
const PERMUTATIONS: [Fill; 2] = [
    |len, stream, start, out| Permutation::new(Shape::new(len), stream).fill(start, out),
    |len, stream, start, out| QuickPermutation::new(Shape::new(len), stream).fill(start, out),
];

proptest! {
    #[test]
    fn a_permutation_is_a_bijection(len in prop_oneof![0u64..6000, 65_000u64..66_000], seed: u64) {
        for fill in PERMUTATIONS {
            let mut entries = vec![0; len as usize];
            prop_assert_eq!(fill(len, Stream::new(seed, 1, 0), 0, &mut entries), entries.len());
            entries.sort_unstable();
            prop_assert!(entries.into_iter().eq(0..len as i64));
        }
    }

    #[test]
    fn a_part_of_a_permutation_is_a_part_of_the_whole(
        len in prop_oneof![1u64..200, 1u64..6000], seed: u64, parts in prop::collection::vec((any::<u64>(), 0usize..100), 10),
    ) {
        for fill in PERMUTATIONS {
            let stream = Stream::new(seed, 1, 0);
            let mut whole = vec![0; len as usize];
            fill(len, stream, 0, &mut whole);
            for &(start, wanted) in &parts {
                let start = start % (len + 2);
                let mut part = vec![-1; wanted];
                let written = fill(len, stream, start, &mut part);
                let rest = &whole[whole.len().min(start as usize)..];
                prop_assert_eq!(&part[..written], &rest[..wanted.min(rest.len())]);
            }
        }
    }

    #[test]
    fn random_access_agrees_with_the_whole(len in 1u64..6000, seed: u64, picks in prop::collection::vec(any::<u64>(), 20)) {
        let permutation = Permutation::new(Shape::new(len), Stream::new(seed, 1, 0));
        let whole = permutation.to_vec().unwrap();
        for pick in picks {
            prop_assert_eq!(permutation.get(pick % len), Some(whole[(pick % len) as usize] as u64));
        }
        prop_assert_eq!(permutation.get(len), None);
        let mut tail = [0; 9];
        let written = permutation.fill(len - len.min(4), &mut tail);
        prop_assert_eq!(&tail[..written], &whole[(len - len.min(4)) as usize..]);
    }

    #[test]
    fn entries_of_a_huge_permutation_are_distinct(len in 1u64 << 40..=1 << 63, seed: u64, start: u64) {
        prop_assert!(Shape::checked(len).is_ok());
        for (len, fill) in [(len, PERMUTATIONS[0]), (len, PERMUTATIONS[1]), (1 + (len >> 32), PERMUTATIONS[1]), ((1 << 31) - len % 9, PERMUTATIONS[1])] {
            let mut entries = vec![0; 500.min(len as usize)];
            let first = start % (len - entries.len() as u64 + 1);
            prop_assert_eq!(fill(len, Stream::new(seed, 1, 0), first, &mut entries), entries.len());
            prop_assert!(entries.iter().all(|&entry| (0..=(len - 1) as i64).contains(&entry)));
            prop_assert_eq!(entries.iter().collect::<HashSet<_>>().len(), entries.len());
        }
    }
}

#[test]
fn two_entries_of_a_permutation_are_as_in_a_uniform_one() {
    // Sizes on both sides of every change of method; pairs in one row, in one column, and apart.
    for (kind, fill) in PERMUTATIONS.into_iter().enumerate() {
        for len in [5u64, 64, 65, 100, 300, 1023, 1024, 5000] {
            let columns = len.div_ceil(len.isqrt());
            for (first, second) in [(0, 1), (0, columns), (1, len - 1)] {
                let mut differences = vec![0; len as usize];
                let trials = 8_000.max(8 * len);
                for key in 0..trials {
                    let entry = |index| {
                        let mut entry = [0];
                        fill(len, Stream::new(3, 1, key), index, &mut entry);
                        entry[0] as u64
                    };
                    differences[((entry(second) + len - entry(first)) % len) as usize] += 1;
                }
                assert_eq!(differences[0], 0);
                let z = chi_square_z(&differences[1..], trials as f64 / (len - 1) as f64);
                assert!(z < 4.0, "{kind}, {len}: entries {first} and {second}: {z}");
            }
        }
    }
}

#[test]
fn the_first_entry_of_a_permutation_is_uniform() {
    for (kind, fill) in PERMUTATIONS.into_iter().enumerate() {
        for len in [2u64, 3, 64, 65, 1000, 1024, 3000] {
            let mut found = vec![0; len as usize];
            let trials = 20 * len.max(100);
            for key in 0..trials {
                let mut entry = [0];
                fill(len, Stream::new(4, 1, key), 0, &mut entry);
                found[entry[0] as usize] += 1;
            }
            let z = chi_square_z(&found, trials as f64 / len as f64);
            assert!(z < 4.0, "{kind}, {len}: {z}");
        }
    }
    let text = Shape::checked((1 << 63) + 1).unwrap_err().to_string();
    assert_eq!(text, "n must be <= 2**63, got 9223372036854775809");
}
