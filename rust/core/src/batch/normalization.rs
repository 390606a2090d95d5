//! Pixels to normalised float32.

use super::value_error;
use crate::error::Result;
use crate::profile::python_float;

/// `((pixel / 255) - mean) / std` of every pixel value in every channel, in float32 as torchvision computes it.
#[derive(Debug, Clone)]
pub struct Normalization {
    channels: Vec<Channel>,
}

/// The values of one channel.
#[derive(Debug, Clone)]
pub struct Channel {
    table: [f32; 256],
    line: Option<Line>,
}

/// The table as arithmetic that a processor does for many pixels at once: two roundings instead of a division each.
#[derive(Debug, Clone, Copy)]
struct Line {
    mean: f32,
    /// `1 / std`, and what its rounding to float32 left.
    high: f32,
    low: f32,
}

/// `1 / 255`, and what its rounding to float32 left.
const UNIT: (f32, f32) = reciprocal(255.0);

impl Normalization {
    /// One table per channel; `mean` and `std` are in units of `pixel / 255`.
    ///
    /// # Errors
    ///
    /// If the lengths differ, a mean is not finite, or a standard deviation not positive and finite.
    pub fn new(mean: &[f32], std: &[f32]) -> Result<Self> {
        if mean.len() != std.len() {
            return value_error(format!(
                "mean and std must have one entry per channel, got {} and {}",
                mean.len(),
                std.len()
            ));
        }
        if let Some(c) = mean.iter().position(|m| !m.is_finite()) {
            return value_error(format!(
                "mean must be finite, got {} for channel {c}",
                python_float(mean[c])
            ));
        }
        if let Some(c) = std.iter().position(|s| !(s.is_finite() && *s > 0.0)) {
            return value_error(format!(
                "std must be positive and finite, got {} for channel {c}",
                python_float(std[c])
            ));
        }
        let channels = mean.iter().zip(std).map(|(&m, &s)| Channel::new(m, s));
        Ok(Self {
            channels: channels.collect(),
        })
    }

    /// One for each channel of the images.
    #[must_use]
    pub fn channels(&self) -> &[Channel] {
        &self.channels
    }
}

impl Channel {
    fn new(mean: f32, std: f32) -> Self {
        let table = std::array::from_fn(|pixel| (pixel as f32 / 255.0 - mean) / std);
        let (high, low) = reciprocal(std);
        let line = Line { mean, high, low };
        let equal = |(pixel, value): (u8, &f32)| line.value(pixel).to_bits() == value.to_bits();
        Self {
            table,
            line: (0..=255).zip(&table).all(equal).then_some(line),
        }
    }

    /// Call `put` with each of `out` and the normalised pixel of that place.
    #[inline(always)]
    pub fn each<'a, const FMA: bool, T: 'a>(
        &self,
        pixels: &[u8],
        out: impl Iterator<Item = &'a mut T>,
        put: impl Fn(&mut T, f32),
    ) {
        let both = out.zip(pixels);
        match self.line {
            Some(line) if FMA => both.for_each(|(out, &pixel)| put(out, line.value(pixel))),
            _ => both.for_each(|(out, &pixel)| put(out, self.table[usize::from(pixel)])),
        }
    }

    /// The same with the normalised pixels of two images.
    #[inline(always)]
    pub fn pairs<'a, const FMA: bool, T: 'a>(
        &self,
        first: &[u8],
        second: &[u8],
        out: impl Iterator<Item = &'a mut T>,
        put: impl Fn(&mut T, f32, f32),
    ) {
        let all = out.zip(first).zip(second);
        match self.line {
            Some(line) if FMA => {
                all.for_each(|((out, &a), &b)| put(out, line.value(a), line.value(b)));
            }
            _ => {
                let value = |pixel: u8| self.table[usize::from(pixel)];
                all.for_each(|((out, &a), &b)| put(out, value(a), value(b)));
            }
        }
    }
}

impl Line {
    #[inline(always)]
    fn value(self, pixel: u8) -> f32 {
        let pixel = f32::from(pixel);
        let centred = pixel.mul_add(UNIT.0, pixel * UNIT.1) - self.mean;
        centred.mul_add(self.high, centred * self.low)
    }
}

const fn reciprocal(of: f32) -> (f32, f32) {
    let exact = 1.0 / of as f64;
    let high = exact as f32;
    (high, (exact - high as f64) as f32)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arithmetic_equals_the_table(mean in -2.0_f32..2.0, std in 1e-3_f32..4.0) {
            let made = Normalization::new(&[mean], &[std]).unwrap();
            let pixels: Vec<u8> = (0..=255).collect();
            let mut out = [[0.0; 256]; 2];
            made.channels[0].each::<true, _>(&pixels, out[0].iter_mut(), |out, value| *out = value);
            made.channels[0].each::<false, _>(&pixels, out[1].iter_mut(), |out, value| *out = value);
            prop_assert_eq!(out[0].map(f32::to_bits), out[1].map(f32::to_bits));
        }
    }

    #[test]
    fn the_usual_constants_need_no_table() {
        let made = Normalization::new(&[0.4914, 0.4822, 0.4465], &[0.2023, 0.1994, 0.2010]);
        assert!(
            made.unwrap()
                .channels
                .iter()
                .all(|channel| channel.line.is_some())
        );
    }

    #[test]
    fn refuses_what_cannot_be_divided_by() {
        assert!(Normalization::new(&[0.0], &[0.0]).is_err());
        assert!(Normalization::new(&[f32::NAN], &[1.0]).is_err());
        assert!(Normalization::new(&[0.0], &[]).is_err());
    }
}
