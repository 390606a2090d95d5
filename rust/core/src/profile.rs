//! Class sizes of a long-tailed data set.

use crate::error::{Error, Result};
use crate::rng::collect;

/// Largest number of classes of a profile: far beyond any data set, and small enough that a typing error cannot exhaust
/// the memory.
pub const MAX_CLASSES: usize = 1 << 24;

/// Shape of the Pareto profile. Fitted: with 1,000 classes from 1,280 down to 5 the counts sum to 115,846, the size
/// of ImageNet-LT, and 1.5 % of the images are in another class than in the published list. (Its authors name a power
/// of 6, which in this formula gives 121,937 images.)
pub const PARETO_SHAPE: f64 = 5.412_667;

/// The shape of the tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Decreases by the same factor from each class to the next.
    Exponential,
    /// The first half of the classes has the largest count, the rest the smallest.
    Step,
    /// Quantiles of a Pareto (Lomax) distribution, as ImageNet-LT's counts are.
    Pareto,
}

impl std::str::FromStr for Profile {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "exp" => Ok(Self::Exponential),
            "step" => Ok(Self::Step),
            "pareto" => Ok(Self::Pareto),
            _ => Err(Error::Value(format!(
                "profile must be 'exp', 'step' or 'pareto', got '{name}'"
            ))),
        }
    }
}

/// Counts of a long-tailed set, largest class first.
///
/// `exp` and `step` repeat the float operations of LDAM-DRW's `get_img_num_per_cls` in their order, truncation
/// included: `int(largest * (1 / imbalance_ratio) ** (c / (C - 1.0)))`. One difference: where that product is an
/// ulp below 1 although `largest >= imbalance_ratio` (49 by 49), the class keeps 1 sample instead of none.
/// `pareto` is `smallest + (largest - smallest) * q(c) / q(0)` to the nearest integer, with
/// `q(c) = (C / (c + 1)) ** (1 / PARETO_SHAPE) - 1`.
///
/// # Errors
///
/// If a value is out of its range, or the smallest class would be empty.
pub fn long_tailed_counts(
    largest: i64,
    num_classes: usize,
    imbalance_ratio: f64,
    profile: Profile,
) -> Result<Vec<i64>> {
    check(largest, num_classes, imbalance_ratio)?;
    let full = largest as f64;
    let factor = 1.0 / imbalance_ratio;
    let kept = |class: usize| match profile {
        Profile::Exponential => full * factor.powf(steps_down(class, num_classes)),
        Profile::Step if class < num_classes / 2 || num_classes == 1 => full,
        Profile::Step => full * factor,
        Profile::Pareto => pareto(class, num_classes, full, factor).round(),
    };
    collect(0, num_classes, |class| {
        (kept(class as usize) as i64).clamp(1, largest)
    })
}

fn check(largest: i64, num_classes: usize, imbalance_ratio: f64) -> Result<()> {
    let refuse = |text: String| Err(Error::Value(text));
    if largest < 1 {
        return refuse(format!(
            "largest must be >= 1 (samples of the largest class), got {largest}"
        ));
    }
    if !(1..=MAX_CLASSES).contains(&num_classes) {
        return refuse(format!(
            "num_classes must lie in [1, {MAX_CLASSES}], got {num_classes}"
        ));
    }
    check_ratio(imbalance_ratio)?;
    if num_classes == 1 && imbalance_ratio > 1.0 {
        return refuse(format!(
            "num_classes must be >= 2 for an imbalance_ratio of {imbalance_ratio}, got 1"
        ));
    }
    if (largest as f64) / imbalance_ratio < 1.0 {
        return refuse(format!(
            "imbalance_ratio must leave every class a sample (largest / imbalance_ratio >= 1), \
             got {imbalance_ratio} with a largest class of {largest}; use at most {largest}"
        ));
    }
    Ok(())
}

fn check_ratio(ratio: f64) -> Result<()> {
    if ratio.is_finite() && ratio >= 1.0 {
        return Ok(());
    }
    let rule = "imbalance_ratio must be >= 1 (largest over smallest class)";
    if !ratio.is_finite() {
        return Err(Error::Value(format!(
            "{rule} and finite, got {}",
            python_float(ratio)
        )));
    }
    let inverse = (1.0 / ratio * 100.0).round() / 100.0; // other code writes 0.01 for 100
    let hint = if ratio > 0.0 && inverse.is_finite() {
        format!("; did you mean {inverse}?")
    } else {
        String::new()
    };
    Err(Error::Value(format!("{rule}, got {ratio}{hint}")))
}

/// A float as Python prints it: `nan` and `inf` in lower case.
pub(crate) fn python_float(value: impl std::fmt::Display) -> String {
    value.to_string().to_lowercase()
}

fn steps_down(class: usize, num_classes: usize) -> f64 {
    if num_classes == 1 {
        0.0
    } else {
        class as f64 / (num_classes as f64 - 1.0)
    }
}

fn pareto(class: usize, num_classes: usize, largest: f64, factor: f64) -> f64 {
    if class == 0 {
        return largest; // exact: the formulas below would round
    }
    let quantile = |rank: usize| (num_classes as f64 / rank as f64).powf(1.0 / PARETO_SHAPE) - 1.0;
    let smallest = largest * factor;
    smallest + (largest - smallest) * (quantile(class + 1) / quantile(1))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(largest: i64, classes: usize, ratio: f64, profile: Profile) -> Vec<i64> {
        long_tailed_counts(largest, classes, ratio, profile).unwrap()
    }

    #[test]
    fn cifar10_lists_as_published() {
        let expected = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50];
        assert_eq!(counts(5000, 10, 100.0, Profile::Exponential), expected);
        assert_eq!(
            counts(5000, 10, 200.0, Profile::Step).iter().sum::<i64>(),
            25_125
        );
    }

    #[test]
    fn pareto_is_imagenet_lt() {
        let fitted = counts(1280, 1000, 256.0, Profile::Pareto);
        assert_eq!(
            (fitted[0], fitted[999], fitted.iter().sum::<i64>()),
            (1280, 5, 115_846)
        );
    }

    #[test]
    fn one_class_and_equal_classes() {
        for profile in [Profile::Exponential, Profile::Step, Profile::Pareto] {
            assert_eq!(counts(7, 1, 1.0, profile), [7]);
            assert_eq!(counts(7, 3, 1.0, profile), [7, 7, 7]);
            assert_eq!(counts(49, 2, 49.0, profile), [49, 1]);
        }
    }

    proptest! {
        #[test]
        fn falls_from_largest_to_smallest(
            largest in 1_i64..1_000_000, classes in 2_usize..300, share in 0.0..1.0_f64, step in 0..3_u8,
        ) {
            let ratio = (largest as f64).powf(share);
            let profile = [Profile::Exponential, Profile::Step, Profile::Pareto][step as usize];
            let found = counts(largest, classes, ratio, profile);
            prop_assert_eq!(found[0], largest);
            prop_assert!(found.windows(2).all(|pair| pair[0] >= pair[1]));
            let smallest = (largest as f64 / ratio).floor() as i64;
            prop_assert!((found[classes - 1] - smallest).abs() <= 1 && found[classes - 1] >= 1);
        }

        #[test]
        fn no_input_panics(largest: i64, classes: usize, ratio: f64) {
            for profile in [Profile::Exponential, Profile::Step, Profile::Pareto] {
                let _ = long_tailed_counts(largest, classes % 1000, ratio, profile);
                let _ = long_tailed_counts(largest, classes.max(MAX_CLASSES + 1), ratio, profile);
            }
        }
    }
}
