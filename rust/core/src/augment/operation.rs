//! Operations by name, with what their value means.

use super::blends;
use super::blur::{self, gaussian_blur};
use super::geometry::Motion;
use super::hue::rotate_hue;
use super::tones;
use crate::error::{Error, Result};
use crate::planes::Planes;

/// What an operation is called, and the values that it takes.
#[derive(Debug, Clone, Copy)]
pub struct Name {
    text: &'static str,
    make: fn(f64) -> Operation,
    least: f64,
    most: f64,
}

/// The value of operations that have none.
const ONLY: (f64, f64) = (0.0, 0.0);
const FACTOR: (f64, f64) = (0.0, 1000.0);
const PIXELS: (f64, f64) = (-16384.0, 16384.0);
const SHEAR: (f64, f64) = (-100.0, 100.0);

const fn name(text: &'static str, (least, most): (f64, f64), make: fn(f64) -> Operation) -> Name {
    Name {
        text,
        make,
        least,
        most,
    }
}

const NAMES: [Name; 20] = [
    name("identity", ONLY, |_| Operation::Identity),
    name("autocontrast", ONLY, |_| Operation::AutoContrast),
    name("equalize", ONLY, |_| Operation::Equalize),
    name("invert", ONLY, |_| Operation::Invert),
    name("grayscale", ONLY, |_| Operation::Grayscale),
    name("posterize", (1.0, 8.0), |bits| {
        Operation::Posterize((0xFF00_u16 >> bits as u16) as u8)
    }),
    name("solarize", (0.0, 256.0), |from| {
        Operation::Solarize(from.ceil() as u16)
    }),
    name("brightness", FACTOR, |factor| {
        Operation::Brightness(factor as f32)
    }),
    name("contrast", FACTOR, |factor| {
        Operation::Contrast(factor as f32)
    }),
    name("saturation", FACTOR, |factor| {
        Operation::Saturation(factor as f32)
    }),
    name("sharpness", FACTOR, |factor| {
        Operation::Sharpness(factor as f32)
    }),
    name("hue", (-0.5, 0.5), |turn| {
        Operation::Hue((turn * 255.0) as i32 as u8)
    }),
    name("gaussian_blur", (0.0, 100.0), |sigma| {
        blur::Box::of(sigma as f32).map_or(Operation::Identity, Operation::GaussianBlur)
    }),
    name("shear_x", SHEAR, |by| Operation::Move(Motion::shear_x(by))),
    name("shear_y", SHEAR, |by| Operation::Move(Motion::shear_y(by))),
    name("shear_x_bicubic", SHEAR, |by| {
        Operation::Move(Motion::ShearXBicubic(by))
    }),
    name("shear_y_bicubic", SHEAR, |by| {
        Operation::Move(Motion::ShearYBicubic(by))
    }),
    name("translate_x", PIXELS, |by| {
        Operation::Move(Motion::TranslateX(by))
    }),
    name("translate_y", PIXELS, |by| {
        Operation::Move(Motion::TranslateY(by))
    }),
    name("rotate", (-3600.0, 3600.0), |degrees| {
        Motion::rotate(degrees).map_or(Operation::Identity, Operation::Move)
    }),
];

impl Name {
    /// The name that `text` is.
    ///
    /// # Errors
    /// If there is none; the message has all.
    pub fn of(text: &str) -> Result<Self> {
        if let Some(&found) = NAMES.iter().find(|name| name.text == text) {
            return Ok(found);
        }
        let all: Vec<&str> = NAMES.iter().map(|name| name.text).collect();
        let shown: String = text.chars().take(40).collect();
        Err(Error::Value(format!(
            "operation must be one of {}, got {shown:?}",
            all.join(", ")
        )))
    }

    /// Check a value of the operation.
    ///
    /// # Errors
    /// If it is out of range.
    pub fn check(self, value: f64) -> Result<()> {
        let Self {
            text, least, most, ..
        } = self;
        if (least..=most).contains(&value) {
            return Ok(());
        }
        Err(Error::Value(if (least, most) == ONLY {
            format!("{text} takes no value, got {value}; leave it out")
        } else {
            format!("{text} must have a value in [{least}, {most}], got {value}")
        }))
    }

    /// Whether the operation is one without a value.
    #[must_use]
    pub fn takes_none(self) -> bool {
        (self.least, self.most) == ONLY
    }

    /// The operation with a value that has been checked.
    #[must_use]
    pub fn with(self, value: f64) -> Operation {
        (self.make)(value)
    }
}

/// An operation with its value, ready to be applied.
#[derive(Debug, Clone, Copy)]
pub enum Operation {
    /// Nothing.
    Identity,
    /// The darkest value of each channel becomes 0, the brightest 255.
    AutoContrast,
    /// The values of each channel become equally frequent.
    Equalize,
    /// Every value from 255.
    Invert,
    /// All channels grey.
    Grayscale,
    /// The bits that are kept.
    Posterize(u8),
    /// The first value that is inverted.
    Solarize(u16),
    /// Away from black.
    Brightness(f32),
    /// Away from the mean grey.
    Contrast(f32),
    /// Away from the grey image.
    Saturation(f32),
    /// Away from the smoothed image.
    Sharpness(f32),
    /// What is added to the hue.
    Hue(u8),
    /// Three box filters in each direction.
    GaussianBlur(blur::Box),
    /// Pixels from elsewhere.
    Move(Motion),
}

impl Operation {
    /// Change the image; `fill` is shown where there is none.
    #[inline(always)]
    pub fn apply(self, image: &mut Planes, fill: u8) {
        let area = image.shape.area();
        match self {
            Self::Identity => {}
            Self::AutoContrast => {
                for plane in image.pixels.chunks_exact_mut(area) {
                    tones::autocontrast(plane);
                }
            }
            Self::Equalize => {
                for plane in image.pixels.chunks_exact_mut(area) {
                    tones::equalize(plane);
                }
            }
            Self::Invert => tones::invert(&mut image.pixels),
            Self::Grayscale => blends::grayscale(image),
            Self::Posterize(mask) => tones::posterize(&mut image.pixels, mask),
            Self::Solarize(first) => tones::solarize(&mut image.pixels, first),
            Self::Brightness(factor) => blends::brightness(&mut image.pixels, factor),
            Self::Contrast(factor) => blends::contrast(image, factor),
            Self::Saturation(factor) => blends::saturation(image, factor),
            Self::Sharpness(factor) => blends::sharpness(image, factor),
            Self::Hue(turn) => rotate_hue(image, turn),
            Self::GaussianBlur(filter) => gaussian_blur(image, filter),
            Self::Move(motion) => motion.apply(image, fill),
        }
    }
}
