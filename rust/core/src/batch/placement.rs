//! Where each image is cropped, and whether it is flipped.

use std::ops::Range;

use super::{check_range, colours, value_error};
use crate::error::Result;
use crate::instruction_set;
use crate::planes::Shape;
use crate::rng::{Stream, collect, stream};

/// Largest padding that [`placements`] accepts.
pub const MAX_PADDING: u64 = 1 << 31;

/// Random numbers per placement.
const DRAWS: u64 = 3;

/// Positions of samples are below this, so that their draws fit into 64 bits.
pub(super) const MAX_POSITION: usize = 1 << 61;

/// Where an output image is cropped from its source, which is zero outside its borders.
///
/// Output pixel `(y, x)` shows source pixel `(y + dy, x' + dx)`, with `x' = width - 1 - x` if flipped, else `x`: a crop
/// of the padded image at `(dy + padding, dx + padding)`, then a horizontal flip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Placement {
    /// Rows down from the source's first.
    pub dy: i64,
    /// Columns right from the source's first.
    pub dx: i64,
    /// Whether the image is flipped horizontally after the crop.
    pub flip: bool,
}

/// Placements of the samples at `positions` of an epoch, for one of their views.
///
/// Each is a function of (seed, epoch, view, position) alone. `dy` and `dx` are uniform over `[-padding, padding]`, a
/// flip, if enabled, has probability 1/2.
///
/// # Errors
///
/// If the padding exceeds 2^31, a position is negative or too large, or the result does not fit into memory.
pub fn placements(
    seed: u64,
    epoch: u64,
    view: u64,
    positions: &[i64],
    padding: u64,
    flip: bool,
) -> Result<Vec<Placement>> {
    if padding > MAX_PADDING {
        return value_error(format!(
            "crop_padding must lie in [0, {MAX_PADDING}], got {padding}"
        ));
    }
    check_range("position", positions, MAX_POSITION)?;
    // The first view uses the stream itself, so it does not change when more views are added.
    let plain = Stream::new(seed, stream::AUGMENT, epoch);
    let draws = if view == 0 { plain } else { plain.sub(view) };
    let offset = |at: u64| draws.below(at, 2 * padding + 1) as i64 - padding as i64;
    collect(0, positions.len(), |at| {
        let first = DRAWS * positions[at as usize] as u64;
        Placement {
            dy: offset(first),
            dx: offset(first + 1),
            flip: flip && draws.bits(first + 2) >> 63 == 1,
        }
    })
}

impl Placement {
    /// Write the pixels of `image`, `(height, width, channels)`, to `planes`, `(channels, height, width)`.
    ///
    /// The image is copied at one distance, as if its rows were one line; then the columns that came from a neighbouring
    /// row are made black.
    #[inline(always)]
    pub fn gather(self, image: &[u8], shape: Shape, planes: &mut [u8]) {
        let Shape {
            height,
            width,
            channels,
        } = shape;
        let (area, rows, columns) = (shape.area(), height as i64, width as i64);
        if !(-rows < self.dy && self.dy < rows && -columns < self.dx && self.dx < columns) {
            return planes.fill(0);
        }
        if width == colours::WIDTH && channels == 3 && instruction_set::permutes_bytes() {
            return if self.flip {
                colours::gather::<true>(self, image, planes);
            } else {
                colours::gather::<false>(self, image, planes);
            };
        }
        let offset = self.dy * columns + self.dx;
        let (from, to) = (offset.max(0) as usize, (-offset).max(0) as usize);
        let count = area - from - to;
        let pixels = &image[from * channels..][..count * channels];
        split(pixels, channels, planes, to..to + count);
        let hidden = match self.dx {
            1.. => width - self.dx as usize..width,
            _ => 0..-self.dx as usize,
        };
        let shown = (-self.dy).max(0) as usize..height - self.dy.max(0) as usize;
        for plane in planes.chunks_exact_mut(area) {
            if width == 32 {
                tidy_32(plane.as_chunks_mut().0, &shown, &hidden, self.flip);
            } else {
                tidy(plane, width, &shown, &hidden, self.flip);
            }
        }
    }
}

/// Make all but the rows `shown` black, and the columns `hidden`; then reverse the rows on request.
#[inline(always)]
fn tidy(plane: &mut [u8], width: usize, shown: &Range<usize>, hidden: &Range<usize>, flip: bool) {
    plane[..shown.start * width].fill(0);
    plane[shown.end * width..].fill(0);
    for row in plane[shown.start * width..shown.end * width].chunks_exact_mut(width) {
        row[hidden.clone()].fill(0);
        if flip {
            row.reverse();
        }
    }
}

/// The same for CIFAR's width, as a constant: a row is a register.
#[inline(always)]
fn tidy_32(rows: &mut [[u8; 32]], shown: &Range<usize>, hidden: &Range<usize>, flip: bool) {
    rows[..shown.start]
        .iter_mut()
        .for_each(|row| *row = [0; 32]);
    rows[shown.end..].iter_mut().for_each(|row| *row = [0; 32]);
    let (start, end) = (hidden.start as u8, hidden.end as u8);
    let mut mask = [0_u8; 32];
    for x in 0..32_u8 {
        let column = if flip { 31 - x } else { x };
        mask[usize::from(x)] = if column >= start && column < end {
            0
        } else {
            255
        };
    }
    for row in &mut rows[shown.clone()] {
        // Loops and not closures, which would be compiled apart, for one pixel at a time.
        let mut after = [0; 32];
        if flip {
            for x in 0..32 {
                after[x] = row[31 - x] & mask[x];
            }
        } else {
            for x in 0..32 {
                after[x] = row[x] & mask[x];
            }
        }
        *row = after;
    }
}

/// Write the pixels `(count, channels)` to `place` of each plane.
#[inline(always)]
fn split(pixels: &[u8], channels: usize, planes: &mut [u8], place: Range<usize>) {
    let area = planes.len() / channels;
    if channels == 3 {
        let (red, rest) = planes.split_at_mut(area);
        let (green, blue) = rest.split_at_mut(area);
        let count = place.len();
        let (red, green) = (&mut red[place.clone()], &mut green[place.clone()]);
        let blue = &mut blue[place];
        let pixels = &pixels.as_chunks::<3>().0[..count];
        for at in 0..count {
            [red[at], green[at], blue[at]] = pixels[at];
        }
        return;
    }
    for (channel, plane) in planes.chunks_exact_mut(area).enumerate() {
        let values = pixels.iter().skip(channel).step_by(channels);
        plane[place.clone()]
            .iter_mut()
            .zip(values)
            .for_each(|(out, &value)| *out = value);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn placements_do_not_depend_on_where_a_batch_is_cut(seed: u64, epoch: u64, cut in 0_usize..20, padding in 0_u64..9) {
            let positions: Vec<i64> = (5..25).collect();
            let drawn = |positions: &[i64]| placements(seed, epoch, 0, positions, padding, true).unwrap();
            let whole = drawn(&positions);
            let mut parts = drawn(&positions[..cut]);
            parts.extend(drawn(&positions[cut..]));
            prop_assert_eq!(&whole, &parts);
            let limit = padding as i64;
            prop_assert!(whole.iter().all(|p| p.dy.abs() <= limit && p.dx.abs() <= limit));
        }

        #[test]
        fn a_row_of_32_pixels_is_as_any_other(dy in -40_i64..40, dx in -40_i64..40, flip: bool, channels in 1_usize..5) {
            let (shape, place) = (Shape { height: 9, width: 32, channels }, Placement { dy, dx, flip });
            let image: Vec<u8> = (0..shape.size()).map(|at| (at * 29 % 255) as u8 + 1).collect();
            let mut planes = vec![7; shape.size()];
            place.gather(&image, shape, &mut planes);
            if channels == 3 && dx.abs() < 32 {
                let mut permuted = vec![7; shape.size()];
                if flip {
                    colours::gather::<true>(place, &image, &mut permuted);
                } else {
                    colours::gather::<false>(place, &image, &mut permuted);
                }
                prop_assert_eq!(&permuted, &planes);
            }
            for (at, &pixel) in planes.iter().enumerate() {
                let (channel, y, x) = (at / shape.area(), at / 32 % 9, at % 32);
                let (row, column) = (y as i64 + dy, (if flip { 31 - x } else { x }) as i64 + dx);
                let inside = (0..9).contains(&row) && (0..32).contains(&column);
                let source = || image[(row as usize * 32 + column as usize) * channels + channel];
                prop_assert_eq!(pixel, if inside { source() } else { 0 });
            }
        }
    }

    #[test]
    fn every_offset_and_both_sides_come_up_alike() {
        let positions: Vec<i64> = (0..90_000).collect();
        let drawn = placements(3, 1, 0, &positions, 4, true).unwrap();
        let other_view = placements(3, 1, 1, &positions, 4, true).unwrap();
        let alike = drawn
            .iter()
            .zip(&other_view)
            .filter(|(a, b)| a == b)
            .count() as f64;
        assert!((alike - 90_000.0 / 162.0).abs() < 5.0 * 24.0, "{alike}");
        let flips = drawn.iter().filter(|p| p.flip).count() as f64;
        assert!((flips - 45_000.0).abs() < 5.0 * 150.0, "{flips}");
        for offset in -4..=4 {
            let rows = drawn.iter().filter(|p| p.dy == offset).count() as f64;
            let columns = drawn.iter().filter(|p| p.dx == offset).count() as f64;
            assert!(
                (rows - 10_000.0).abs() < 500.0 && (columns - 10_000.0).abs() < 500.0,
                "{offset}: {rows}, {columns}"
            );
        }
        assert!(
            placements(3, 1, 0, &positions, 4, false)
                .unwrap()
                .iter()
                .all(|p| !p.flip)
        );
    }
}
