//! Operations that give every value of a channel another one: equal to those of Pillow's `ImageOps`.

use crate::instruction_set::to_pixel_f64;

/// `ImageOps.invert`.
#[inline(always)]
pub fn invert(pixels: &mut [u8]) {
    for pixel in pixels {
        *pixel = 255 - *pixel;
    }
}

/// `ImageOps.posterize`: keep the bits of `mask`.
#[inline(always)]
pub fn posterize(pixels: &mut [u8], mask: u8) {
    for pixel in pixels {
        *pixel &= mask;
    }
}

/// `ImageOps.solarize`: invert the values from `first` on.
#[inline(always)]
pub fn solarize(pixels: &mut [u8], first: u16) {
    for pixel in pixels {
        *pixel = if u16::from(*pixel) < first {
            *pixel
        } else {
            255 - *pixel
        };
    }
}

/// `ImageOps.autocontrast` of one channel: its smallest value becomes 0, its largest 255.
#[inline(always)]
pub fn autocontrast(plane: &mut [u8]) {
    let (mut low, mut high) = (255, 0);
    for &pixel in &*plane {
        low = low.min(pixel);
        high = high.max(pixel);
    }
    if high <= low {
        return;
    }
    let scale = 255.0 / f64::from(high - low);
    let offset = -f64::from(low) * scale;
    let mut table = [0; 256];
    for (value, out) in (0..).zip(&mut table) {
        *out = to_pixel_f64(f64::from(value) * scale + offset);
    }
    look_up(plane, &table);
}

/// `ImageOps.equalize` of one channel: its values become equally frequent.
#[inline(always)]
pub fn equalize(plane: &mut [u8]) {
    let counts = histogram(plane);
    let Some(brightest) = counts.iter().rposition(|&count| count > 0) else {
        return;
    };
    let step = (plane.len() as u32 - counts[brightest]) / 255;
    if step == 0 {
        return; // also where the plane has one value alone
    }
    let mut sums = [0_u32; 256];
    let mut seen = step / 2;
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum = seen;
        seen += count;
    }
    let mut table = [0; 256];
    for (out, sum) in table.iter_mut().zip(sums) {
        // Truncating gives `sum / step` of integers: a quotient below 2^32 is 2^-32 or more from the next integer.
        *out = to_pixel_f64(f64::from(sum) / f64::from(step));
    }
    look_up(plane, &table);
}

/// How often each value occurs. Four tables, so that equal values in a row do not wait for each other.
#[inline(always)]
fn histogram(plane: &[u8]) -> [u32; 256] {
    let mut counts = [[0_u32; 256]; 4];
    let (fours, rest) = plane.as_chunks::<4>();
    for four in fours {
        for (table, &pixel) in counts.iter_mut().zip(four) {
            table[usize::from(pixel)] += 1;
        }
    }
    for &pixel in rest {
        counts[0][usize::from(pixel)] += 1;
    }
    let [mut sum, others @ ..] = counts;
    for table in others {
        for (total, count) in sum.iter_mut().zip(table) {
            *total += count;
        }
    }
    sum
}

#[inline(always)]
fn look_up(plane: &mut [u8], table: &[u8; 256]) {
    for pixel in plane {
        *pixel = table[usize::from(*pixel)];
    }
}
