//! Where each image is cropped, and whether it is flipped.

use super::{check_range, value_error};
use crate::error::Result;
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
        let offset = self.dy * columns + self.dx;
        let (from, to) = (offset.max(0) as usize, (-offset).max(0) as usize);
        let count = area - from - to;
        split(
            &image[from * channels..][..count * channels],
            channels,
            planes,
            to..to + count,
        );
        for plane in planes.chunks_exact_mut(area) {
            plane[..to].fill(0);
            plane[to + count..].fill(0);
            let hidden = match self.dx {
                1.. => width - self.dx as usize..width,
                _ => 0..-self.dx as usize,
            };
            for row in plane.chunks_exact_mut(width) {
                row[hidden.clone()].fill(0);
                if self.flip {
                    reverse(row);
                }
            }
        }
    }
}

/// Write the pixels `(count, channels)` to `place` of each plane.
#[inline(always)]
fn split(pixels: &[u8], channels: usize, planes: &mut [u8], place: std::ops::Range<usize>) {
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

/// Reverse a row, eight pixels from each end at a time.
#[inline(always)]
fn reverse(mut row: &mut [u8]) {
    while row.len() >= 16 {
        let whole = std::mem::take(&mut row);
        let (first, rest) = whole.split_at_mut(8);
        let (inner, last) = rest.split_at_mut(rest.len() - 8);
        let swapped = |half: &[u8]| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(half);
            u64::from_ne_bytes(bytes).swap_bytes().to_ne_bytes()
        };
        let (left, right) = (swapped(first), swapped(last));
        first.copy_from_slice(&right);
        last.copy_from_slice(&left);
        row = inner;
    }
    row.reverse();
}
