//! The tensor that is written: its numbers, and the order of its dimensions.

use super::normalization::{Channel, Normalization};
use crate::instruction_set;

/// The memory of a batch.
#[derive(Debug)]
pub enum Output<'a> {
    /// Single precision.
    Float32(&'a mut [f32]),
    /// Eight bits of exponent, as bits.
    Bfloat16(&'a mut [u16]),
    /// Half precision, as bits.
    Float16(&'a mut [u16]),
}

impl Output<'_> {
    /// Numbers.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Float32(out) => out.len(),
            Self::Bfloat16(out) | Self::Float16(out) => out.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Order of the dimensions of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `(B, channels, height, width)`.
    Planes,
    /// `(B, height, width, channels)`, which torch calls `channels_last`.
    Pixels,
}

/// A kind of number, made from float32 by rounding to the nearest, of two equally near to the even one.
pub trait Format {
    /// As it is stored.
    type Bits: Copy + Send;

    /// Round.
    fn of(value: f32) -> Self::Bits;
}

/// See [`Output`].
#[derive(Debug)]
pub struct Float32;
/// See [`Output`].
#[derive(Debug)]
pub struct Bfloat16;
/// See [`Output`].
#[derive(Debug)]
pub struct Float16;

impl Format for Float32 {
    type Bits = f32;

    #[inline(always)]
    fn of(value: f32) -> f32 {
        value
    }
}

impl Format for Bfloat16 {
    type Bits = u16;

    #[inline(always)]
    fn of(value: f32) -> u16 {
        let bits = value.to_bits();
        (bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16) as u16
    }
}

impl Format for Float16 {
    type Bits = u16;

    /// Large numbers become infinite, small ones lose bits; a normalised pixel is never a NaN.
    #[inline(always)]
    fn of(value: f32) -> u16 {
        let bits = value.to_bits();
        let (sign, size) = (bits >> 16 & 0x8000, bits & 0x7FFF_FFFF);
        let normal = size.wrapping_add(0xC800_0FFF + (size >> 13 & 1)) >> 13;
        let magic = f32::from_bits(0x3F00_0000); // its last bit is the smallest number's
        let small = (f32::from_bits(size) + magic).to_bits() - 0x3F00_0000;
        let finite = if size < 0x3880_0000 { small } else { normal };
        (sign | if size >= 0x4780_0000 { 0x7C00 } else { finite }) as u16
    }
}

/// An image, and the one that it is blended with: `keep * first + (1 - keep) * second`.
#[derive(Debug, Clone, Copy)]
pub struct Blend<'a> {
    /// The other image.
    pub second: &'a [u8],
    /// The share of the first.
    pub keep: f32,
}

/// Images that are read next. They are asked for from memory while one is written, a part at a time: a processor waits
/// for a few dozen lines of memory at once, and then for nothing else.
#[derive(Debug, Clone, Copy)]
pub struct Ahead<'a>(pub [&'a [u8]; 2]);

/// Bytes of an image that are asked for: the processor sees by itself that memory after them is read in order.
const MOST_AHEAD: usize = 4096;

impl Ahead<'_> {
    /// Ask for part `number` of `parts`.
    #[inline(always)]
    fn ask(self, number: usize, parts: usize) {
        for image in self.0 {
            let len = image.len().min(MOST_AHEAD);
            let part = number * len / parts..(number + 1) * len / parts;
            instruction_set::prefetch(&image[part]);
        }
    }
}

/// Write one image of a batch, which is given as planes.
#[inline(always)]
pub fn write<F: Format, const FMA: bool>(
    first: &[u8],
    blend: Option<Blend<'_>>,
    ahead: Ahead<'_>,
    normalization: &Normalization,
    layout: Layout,
    out: &mut [F::Bits],
) {
    let count = normalization.channels().len();
    let area = first.len() / count;
    if let (Layout::Pixels, 3) = (layout, count) {
        return colours::<F, FMA>(first, blend, ahead, normalization, out);
    }
    for (number, channel) in normalization.channels().iter().enumerate() {
        ahead.ask(number, count);
        let pixels = &first[number * area..][..area];
        let second = blend.map(|blend| (&blend.second[number * area..][..area], blend.keep));
        match layout {
            Layout::Planes => {
                let out = &mut out[number * area..][..area];
                plane::<F, FMA>(pixels, second, channel, out.iter_mut());
            }
            Layout::Pixels => {
                let out = out.iter_mut().skip(number).step_by(count);
                plane::<F, FMA>(pixels, second, channel, out);
            }
        }
    }
}

/// Pixels written together, so that memory is written in order.
const TOGETHER: usize = 64;

/// Write an image in colour, pixel after pixel.
#[inline(always)]
fn colours<F: Format, const FMA: bool>(
    first: &[u8],
    blend: Option<Blend<'_>>,
    ahead: Ahead<'_>,
    normalization: &Normalization,
    out: &mut [F::Bits],
) {
    let area = first.len() / 3;
    for (start, out) in (0..area)
        .step_by(TOGETHER)
        .zip(out.chunks_mut(3 * TOGETHER))
    {
        ahead.ask(start / TOGETHER, area.div_ceil(TOGETHER));
        let count = out.len() / 3;
        let mut values = [[F::of(0.0); TOGETHER]; 3];
        for (number, (values, channel)) in
            values.iter_mut().zip(normalization.channels()).enumerate()
        {
            let place = number * area + start..number * area + start + count;
            let second = blend.map(|blend| (&blend.second[place.clone()], blend.keep));
            plane::<F, FMA>(&first[place], second, channel, values[..count].iter_mut());
        }
        for (at, pixel) in out.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            *pixel = [values[0][at], values[1][at], values[2][at]];
        }
    }
}

#[inline(always)]
fn plane<'a, F: Format, const FMA: bool>(
    pixels: &[u8],
    second: Option<(&[u8], f32)>,
    channel: &Channel,
    out: impl Iterator<Item = &'a mut F::Bits>,
) where
    F::Bits: 'a,
{
    match second {
        None => channel.each::<FMA, _>(pixels, out, |out, value| *out = F::of(value)),
        Some((second, keep)) => {
            let add = 1.0 - keep;
            channel.pairs::<FMA, _>(pixels, second, out, |out, a, b| {
                *out = F::of(keep * a + add * b);
            });
        }
    }
}
