//! Gaussian blur, equal to Pillow's `ImageFilter.GaussianBlur`, bit for bit: three box filters in each direction.
//!
//! A box of a fractional radius weighs its two outermost pixels less (Gwosdek, Grewenig, Bruhn, Weickert 2011,
//! "Theoretical foundations of Gaussian convolution by extended box filtering"). Outside the image are its border pixels.

use crate::planes::Planes;

const PASSES: usize = 3;

/// A box filter in 24 bits of fixed point.
#[derive(Debug, Clone, Copy)]
pub struct Box {
    /// Pixels to each side with the whole weight.
    radius: usize,
    /// The weight of those.
    whole: u32,
    /// The weight of the one outside them, on each side.
    part: u32,
}

impl Box {
    /// The box whose threefold use has the standard deviation `sigma`; none if that changes nothing.
    #[must_use]
    pub fn of(sigma: f32) -> Option<Self> {
        let variance = sigma * sigma / PASSES as f32;
        let length = (12.0 * f64::from(variance) + 1.0).sqrt() as f32;
        let least = ((f64::from(length) - 1.0) / 2.0).floor() as f32;
        let mut extent = (2.0 * least + 1.0) * (least * (least + 1.0) - 3.0 * variance);
        extent /= 6.0 * (variance - (least + 1.0) * (least + 1.0));
        let radius = least + extent;
        if radius == 0.0 {
            return None;
        }
        let (one, count) = (1_u32 << 24, radius as u32 * 2 + 1);
        let whole = (one as f32 / (radius * 2.0 + 1.0)) as u32;
        Some(Self {
            radius: radius as usize,
            whole,
            part: (one - count * whole) / 2,
        })
    }
}

/// Blur every plane.
#[inline(always)]
pub fn gaussian_blur(image: &mut Planes, filter: Box) {
    for _ in 0..PASSES {
        along_rows(image, filter);
        image.swap();
    }
    for _ in 0..PASSES {
        along_columns(image, filter);
        image.swap();
    }
}

#[inline(always)]
fn along_rows(image: &mut Planes, filter: Box) {
    let (width, reach) = (image.shape.width, filter.radius + 1);
    if reach > width {
        return along_short_rows(image, filter);
    }
    let rows = image.pixels.chunks_exact(width);
    for (row, out) in rows.zip(image.spare.chunks_exact_mut(width)) {
        let line = &mut image.line[..width + 2 * reach];
        line[..reach].fill(row[0]);
        line[reach..][..width].copy_from_slice(row);
        line[reach + width..].fill(row[width - 1]);
        image.row.fill(0);
        for step in 1..2 * reach {
            for (sum, &pixel) in image.row.iter_mut().zip(&line[step..][..width]) {
                *sum += u32::from(pixel);
            }
        }
        let ends = line[..width].iter().zip(&line[2 * reach..]);
        for ((out, &sum), (&a, &b)) in out.iter_mut().zip(&image.row).zip(ends) {
            *out = filter.rounded(sum, u32::from(a) + u32::from(b));
        }
    }
}

/// For a box that is wider than the image.
#[inline(always)]
fn along_short_rows(image: &mut Planes, filter: Box) {
    let width = image.shape.width;
    let rows = image.pixels.chunks_exact(width);
    for (row, out) in rows.zip(image.spare.chunks_exact_mut(width)) {
        let pixel = |x: usize, step: isize| u32::from(row[moved(x, step, width)]);
        let reach = filter.radius as isize;
        for (x, out) in out.iter_mut().enumerate() {
            let sum = (-reach..=reach).map(|step| pixel(x, step)).sum();
            *out = filter.rounded(sum, pixel(x, -reach - 1) + pixel(x, reach + 1));
        }
    }
}

#[inline(always)]
fn along_columns(image: &mut Planes, filter: Box) {
    let (width, height, area) = (image.shape.width, image.shape.height, image.shape.area());
    let planes = image.pixels.chunks_exact(area);
    for (plane, out) in planes.zip(image.spare.chunks_exact_mut(area)) {
        for (y, out) in out.chunks_exact_mut(width).enumerate() {
            let row = |step: isize| &plane[moved(y, step, height) * width..][..width];
            image.row.fill(0);
            let reach = filter.radius as isize;
            for step in -reach..=reach {
                for (sum, &pixel) in image.row.iter_mut().zip(row(step)) {
                    *sum += u32::from(pixel);
                }
            }
            let ends = row(-reach - 1).iter().zip(row(reach + 1));
            for ((out, &sum), (&a, &b)) in out.iter_mut().zip(&image.row).zip(ends) {
                *out = filter.rounded(sum, u32::from(a) + u32::from(b));
            }
        }
    }
}

impl Box {
    #[inline(always)]
    fn rounded(self, sum: u32, ends: u32) -> u8 {
        let weighted = sum
            .wrapping_mul(self.whole)
            .wrapping_add(ends.wrapping_mul(self.part));
        (weighted.wrapping_add(1 << 23) >> 24) as u8
    }
}

/// `from + step`, at the border where that is outside.
#[inline(always)]
fn moved(from: usize, step: isize, end: usize) -> usize {
    from.saturating_add_signed(step).min(end - 1)
}
