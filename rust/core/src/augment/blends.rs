//! Operations that move an image towards a plainer one or away from it: equal to Pillow's `ImageEnhance`, bit for bit.
//!
//! `Image.blend(plain, image, factor)` is `plain + factor * (image - plain)` in float32, cut off at 0 and 255 and then
//! truncated.

use crate::instruction_set::to_pixel;
use crate::planes::Planes;

#[inline(always)]
fn blend(plain: u8, pixel: u8, factor: f32) -> u8 {
    let (plain, pixel) = (i32::from(plain), i32::from(pixel));
    let mixed = plain as f32 + factor * (pixel - plain) as f32;
    to_pixel(mixed)
}

/// The grey of a pixel, as Pillow's conversion from RGB to L has it (ITU-R 601-2, in 16 bits of fixed point).
#[inline(always)]
fn grey(red: u8, green: u8, blue: u8) -> u8 {
    let sum = 19595 * u32::from(red) + 38470 * u32::from(green) + 7471 * u32::from(blue);
    ((sum + 0x8000) >> 16) as u8
}

/// `ImageEnhance.Brightness`: away from black.
#[inline(always)]
pub fn brightness(pixels: &mut [u8], factor: f32) {
    for pixel in pixels {
        *pixel = blend(0, *pixel, factor);
    }
}

/// `ImageEnhance.Contrast`: away from the mean of the grey image.
#[inline(always)]
pub fn contrast(image: &mut Planes, factor: f32) {
    let area = image.shape.area();
    let sum: u64 = match image.colours() {
        Some([red, green, blue]) => {
            let colours = red.iter().zip(green.iter()).zip(blue.iter());
            colours.map(|((&r, &g), &b)| u64::from(grey(r, g, b))).sum()
        }
        None => image.pixels.iter().map(|&pixel| u64::from(pixel)).sum(),
    };
    let mean = (sum as f64 / area as f64 + 0.5) as u8;
    for pixel in &mut image.pixels {
        *pixel = blend(mean, *pixel, factor);
    }
}

/// `ImageEnhance.Color`: away from the grey image.
#[inline(always)]
pub fn saturation(image: &mut Planes, factor: f32) {
    let Some([red, green, blue]) = image.colours() else {
        return;
    };
    for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
        let grey = grey(*red, *green, *blue);
        *red = blend(grey, *red, factor);
        *green = blend(grey, *green, factor);
        *blue = blend(grey, *blue, factor);
    }
}

/// Pillow's conversion to L, in every channel.
#[inline(always)]
pub fn grayscale(image: &mut Planes) {
    let Some([red, green, blue]) = image.colours() else {
        return;
    };
    for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
        let grey = grey(*red, *green, *blue);
        (*red, *green, *blue) = (grey, grey, grey);
    }
}

/// `ImageEnhance.Sharpness`: away from `ImageFilter.SMOOTH`, which leaves the border as it is.
#[inline(always)]
pub fn sharpness(image: &mut Planes, factor: f32) {
    let (area, width, height) = (image.shape.area(), image.shape.width, image.shape.height);
    if width < 3 || height < 3 {
        return;
    }
    image.spare.copy_from_slice(&image.pixels);
    let planes = image.pixels.chunks_exact(area);
    for (plane, out) in planes.zip(image.spare.chunks_exact_mut(area)) {
        for y in 1..height - 1 {
            let rows = [y - 1, y, y + 1].map(|row| &plane[row * width..][..width]);
            let out = &mut out[y * width..][..width];
            sharpen_row(rows, &mut image.row, factor, &mut out[1..width - 1]);
        }
    }
    image.swap();
}

/// `sums` is room for the sum of each column.
#[inline(always)]
fn sharpen_row(rows: [&[u8]; 3], sums: &mut [u32], factor: f32, out: &mut [u8]) {
    let [above, own, below] = rows;
    for (((sum, &a), &b), &c) in sums.iter_mut().zip(above).zip(own).zip(below) {
        *sum = u32::from(a) + u32::from(b) + u32::from(c);
    }
    let sides = sums.iter().zip(&sums[2..]);
    let columns = sums[1..].iter().zip(sides);
    for ((out, &centre), (&middle, (&left, &right))) in out.iter_mut().zip(&own[1..]).zip(columns) {
        let sum = left + middle + right + 4 * u32::from(centre);
        // sum / 13, rounded: the fractions are multiples of 1/13, so Pillow's float32 rounds the same way.
        let smooth = ((2 * sum + 13) * DIVIDE_BY_26) >> 20;
        *out = blend(smooth as u8, centre, factor);
    }
}

/// `n / 26` is `n * DIVIDE_BY_26 >> 20` for every `n` up to 26 * 255 + 13.
const DIVIDE_BY_26: u32 = 40_330;
