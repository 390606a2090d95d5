//! One batch in one pass: gather, crop, flip, normalise and mix uint8 images into float32 planes.

use std::ops::Range;

use crate::error::{Error, Result, reserved};
use crate::interrupt::poll;
use crate::profile::python_float;
use crate::rng::{Stream, collect, stream};

/// Widest border that [`placements`] crops from.
pub const MAX_PADDING: u64 = 1 << 31;

/// Numbers that one placement takes from its stream.
const DRAWS: u64 = 3;

/// Height, width and channels of every image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Values a pixel.
    pub channels: usize,
}

impl Shape {
    /// Values an image.
    #[must_use]
    pub fn size(self) -> usize {
        self.height * self.width * self.channels
    }
}

/// Where an output image is cut from its source, which is black outside its borders.
///
/// Output pixel `(y, x)` shows source pixel `(y + dy, x' + dx)`, with `x' = width - 1 - x` if flipped, else `x`: a crop
/// of the padded image at `(dy + padding, dx + padding)`, then a horizontal flip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Placement {
    /// Rows down from the source's first.
    pub dy: i64,
    /// Columns right from the source's first.
    pub dx: i64,
    /// Mirrored left to right, after the crop.
    pub flip: bool,
}

impl Placement {
    /// Placements from rows `(dy, dx, flip)`, one after the other; any flip but 0 mirrors.
    ///
    /// # Errors
    ///
    /// If the values are no whole number of rows.
    pub fn from_rows(values: &[i64]) -> Result<Vec<Self>> {
        let (rows, rest) = values.as_chunks::<3>();
        if !rest.is_empty() {
            return value_error(format!(
                "placements must have rows (dy, dx, flip), got {} values",
                values.len()
            ));
        }
        let mut placements = reserved(rows.len())?;
        placements.extend(rows.iter().map(|&[dy, dx, flip]| Self {
            dy,
            dx,
            flip: flip != 0,
        }));
        Ok(placements)
    }
}

/// `((pixel / 255) - mean) / std` of every pixel value in every channel, in float32 as torchvision computes it.
#[derive(Debug, Clone)]
pub struct Normalization {
    tables: Vec<[f32; 256]>,
}

impl Normalization {
    /// One table a channel; `mean` and `std` are in units of `pixel / 255`.
    ///
    /// # Errors
    ///
    /// If the lengths differ, a mean is not finite, or a standard deviation not positive and finite.
    pub fn new(mean: &[f32], std: &[f32]) -> Result<Self> {
        if mean.len() != std.len() {
            return value_error(format!(
                "mean and std must have one entry a channel, got {} and {}",
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
        let table =
            |(m, s): (&f32, &f32)| std::array::from_fn(|pixel| (pixel as f32 / 255.0 - m) / s);
        Ok(Self {
            tables: mean.iter().zip(std).map(table).collect(),
        })
    }
}

/// Which image each one is mixed with, and how much of the first remains.
#[derive(Debug, Clone, Copy)]
pub struct Pairs<'a> {
    /// Position in the batch of each image's partner.
    pub partner: &'a [i64],
    /// Factor of the first image, in `[0, 1]`.
    pub lam: &'a [f32],
}

/// The images a batch is gathered from: `(N, height, width, channels)`, dense.
#[derive(Debug, Clone, Copy)]
pub struct Images<'a> {
    pixels: &'a [u8],
    shape: Shape,
}

impl<'a> Images<'a> {
    /// Images of one shape, one after the other.
    ///
    /// # Errors
    ///
    /// If the shape has no pixel, or the pixels are no whole number of images.
    pub fn new(pixels: &'a [u8], shape: Shape) -> Result<Self> {
        let Shape {
            height,
            width,
            channels,
        } = shape;
        let size = height
            .checked_mul(width)
            .and_then(|area| area.checked_mul(channels));
        match size {
            Some(size) if size > 0 && pixels.len().is_multiple_of(size) => {
                Ok(Self { pixels, shape })
            }
            _ => value_error(format!(
                "images must hold whole images of at least one pixel, got {} bytes for ({height}, {width}, {channels})",
                pixels.len()
            )),
        }
    }

    fn len(self) -> usize {
        self.pixels.len() / self.shape.size()
    }

    /// The image at `index`, which must be in range.
    fn get(self, index: i64) -> &'a [u8] {
        let size = self.shape.size();
        &self.pixels[index as usize * size..][..size]
    }
}

/// Write the batch of `indices` to `out`, `(B, channels, height, width)`.
///
/// Image b is source image `indices[b]` cut at `placements[b]` and normalised; with `pairs` it becomes
/// `lam[b] * image b + (1 - lam[b]) * image partner[b]`, both of this batch, each with its own placement. Nothing is
/// written unless all input is right. O(B x pixels), no allocation.
///
/// # Errors
///
/// Those of an interrupt, after which some images have been written. If an index or partner is out of range, a factor outside `[0, 1]`, or a length does not fit the others.
pub fn fill_batch(
    images: Images<'_>,
    indices: &[i64],
    placements: &[Placement],
    pairs: Option<Pairs<'_>>,
    normalization: &Normalization,
    out: &mut [f32],
) -> Result<()> {
    check_lengths(images, indices, placements, normalization, out)?;
    check_range("index", indices, images.len())?;
    if let Some(pairs) = pairs {
        check_pairs(pairs, indices.len())?;
    }
    for (b, canvas) in out.chunks_exact_mut(images.shape.size()).enumerate() {
        poll()?;
        let view = |at: usize| View {
            image: images.get(indices[at]),
            shape: images.shape,
            placement: placements[at],
        };
        match pairs {
            None => view(b).draw(normalization, canvas, |out, value| *out = value),
            Some(Pairs { partner, lam }) => {
                let (first, second) = (lam[b], 1.0 - lam[b]);
                view(b).draw(normalization, canvas, |out, value| *out = first * value);
                view(partner[b] as usize)
                    .draw(normalization, canvas, |out, value| *out += second * value);
            }
        }
    }
    Ok(())
}

/// One source image as its placement shows it.
struct View<'a> {
    image: &'a [u8],
    shape: Shape,
    placement: Placement,
}

impl View<'_> {
    /// Hand every value of `canvas`, plane by plane, to `put` with the normalised pixel that belongs there.
    #[inline]
    fn draw(&self, normalization: &Normalization, canvas: &mut [f32], put: impl Fn(&mut f32, f32)) {
        let Shape { height, width, .. } = self.shape;
        for (channel, plane) in canvas.chunks_exact_mut(height * width).enumerate() {
            let table = &normalization.tables[channel];
            for (y, row) in plane.chunks_exact_mut(width).enumerate() {
                self.draw_row(y, channel, table, row, &put);
            }
        }
    }

    #[inline]
    fn draw_row(
        &self,
        y: usize,
        channel: usize,
        table: &[f32; 256],
        row: &mut [f32],
        put: &impl Fn(&mut f32, f32),
    ) {
        let black = |out: &mut f32| put(out, table[0]);
        let Some((source, shown)) = self.source_row(y) else {
            return row.iter_mut().for_each(black);
        };
        let flip = self.placement.flip;
        let before = if flip {
            row.len() - shown.end
        } else {
            shown.start
        };
        let (left, rest) = row.split_at_mut(before);
        let (middle, right) = rest.split_at_mut(shown.len());
        left.iter_mut().for_each(black);
        let pixels = source
            .iter()
            .skip(channel)
            .step_by(self.shape.channels)
            .map(|&pixel| table[usize::from(pixel)]);
        if flip {
            middle
                .iter_mut()
                .rev()
                .zip(pixels)
                .for_each(|(out, value)| put(out, value));
        } else {
            middle
                .iter_mut()
                .zip(pixels)
                .for_each(|(out, value)| put(out, value));
        }
        right.iter_mut().for_each(black);
    }

    /// The pixels that row `y` of the crop shows, and the columns of the crop (before the flip) that show them; none
    /// if the row lies above or below the source.
    #[inline]
    fn source_row(&self, y: usize) -> Option<(&[u8], Range<usize>)> {
        let Shape {
            height,
            width,
            channels,
        } = self.shape;
        let Placement { dy, dx, .. } = self.placement;
        let row = usize::try_from(dy.saturating_add(y as i64))
            .ok()
            .filter(|&row| row < height)?;
        let column = |edge: i64| edge.clamp(0, width as i64) as usize;
        let shown = column(dx.saturating_neg())..column((width as i64).saturating_sub(dx));
        let first = row * width + column(dx); // where nothing is shown this may be the row's end
        Some((
            &self.image[first * channels..][..shown.len() * channels],
            shown,
        ))
    }
}

fn check_lengths(
    images: Images<'_>,
    indices: &[i64],
    placements: &[Placement],
    normalization: &Normalization,
    out: &[f32],
) -> Result<()> {
    let (
        batch,
        Shape {
            height,
            width,
            channels,
        },
    ) = (indices.len(), images.shape);
    let tables = normalization.tables.len();
    if tables != channels {
        return value_error(format!(
            "mean and std must have one entry a channel ({channels}), got {tables}"
        ));
    }
    if placements.len() != batch {
        return value_error(format!(
            "placements must have one row an index ({batch}), got {}",
            placements.len()
        ));
    }
    if Some(out.len()) != images.shape.size().checked_mul(batch) {
        return value_error(format!(
            "out must have shape ({batch}, {channels}, {height}, {width}), got {} values",
            out.len()
        ));
    }
    Ok(())
}

fn check_range(name: &str, values: &[i64], end: usize) -> Result<()> {
    let wrong = |&value: &i64| usize::try_from(value).map_or(true, |value| value >= end);
    match values.iter().position(wrong) {
        Some(at) => Err(Error::Index(format!(
            "{name} must lie in [0, {end}), got {} at position {at}",
            values[at]
        ))),
        None => Ok(()),
    }
}

fn check_pairs(Pairs { partner, lam }: Pairs<'_>, batch: usize) -> Result<()> {
    if partner.len() != batch || lam.len() != batch {
        return value_error(format!(
            "partner and lam must have one entry an image of the batch ({batch}), got {} and {}",
            partner.len(),
            lam.len()
        ));
    }
    check_range("partner (a position in the batch)", partner, batch)?;
    match lam.iter().position(|factor| !(0.0..=1.0).contains(factor)) {
        Some(at) => {
            let shown = python_float(lam[at]);
            value_error(format!(
                "lam must lie in [0, 1] (factor of the first image), got {shown} at position {at}"
            ))
        }
        None => Ok(()),
    }
}

/// Placements of `n` images from global position `start` on: image p is a function of (seed, epoch, p) alone.
///
/// `dy` and `dx` are uniform over `[-padding, padding]`, the flip has probability 1/2 where it is allowed.
///
/// # Errors
///
/// If the padding passes 2^31, or the positions or the memory end.
pub fn placements(
    seed: u64,
    epoch: u64,
    start: u64,
    n: usize,
    padding: u64,
    flip: bool,
) -> Result<Vec<Placement>> {
    if padding > MAX_PADDING {
        return value_error(format!(
            "crop_padding must lie in [0, {MAX_PADDING}], got {padding}"
        ));
    }
    if start
        .checked_add(n as u64)
        .and_then(|end| end.checked_mul(DRAWS))
        .is_none()
    {
        return value_error(format!(
            "start + n must be < 2**64 / {DRAWS}, got start={start}, n={n}"
        ));
    }
    let draws = Stream::new(seed, stream::AUGMENT, epoch);
    let offset = |at: u64| draws.below(at, 2 * padding + 1) as i64 - padding as i64;
    collect(start, n, |position| Placement {
        dy: offset(DRAWS * position),
        dx: offset(DRAWS * position + 1),
        flip: flip && draws.bits(DRAWS * position + 2) >> 63 == 1,
    })
}

fn value_error<T>(text: String) -> Result<T> {
    Err(Error::Value(text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The batch once more, pixel by pixel from the definition.
    fn slowly(
        images: &[u8],
        shape: Shape,
        index: i64,
        place: Placement,
        mean: f32,
        std: f32,
    ) -> Vec<f32> {
        let Shape {
            height,
            width,
            channels,
        } = shape;
        let mut out = Vec::new();
        for channel in 0..channels {
            for y in 0..height as i64 {
                for x in 0..width as i64 {
                    let row = y + place.dy;
                    let column = (if place.flip { width as i64 - 1 - x } else { x }) + place.dx;
                    let inside =
                        (0..height as i64).contains(&row) && (0..width as i64).contains(&column);
                    let at = || {
                        (index * shape.size() as i64
                            + (row * width as i64 + column) * channels as i64)
                            as usize
                    };
                    let pixel = if inside { images[at() + channel] } else { 0 };
                    out.push((f32::from(pixel) / 255.0 - mean) / std);
                }
            }
        }
        out
    }

    fn any_placement() -> impl Strategy<Value = Placement> {
        let offset = || prop_oneof![-7_i64..8, Just(i64::MIN / 4), Just(i64::MAX / 4)];
        (offset(), offset(), any::<bool>()).prop_map(|(dy, dx, flip)| Placement { dy, dx, flip })
    }

    proptest! {
        #[test]
        fn equals_the_definition(
            height in 1_usize..6, width in 1_usize..6, channels in 1_usize..4,
            (places, partner) in prop::collection::vec(any_placement(), 1..5).prop_flat_map(|places| {
                let n = places.len();
                (Just(places), prop::collection::vec(0..n as i64, n))
            }),
            lam in 0.0..=1.0_f32, salt: u8,
        ) {
            let shape = Shape { height, width, channels };
            let n = places.len();
            let pixels: Vec<u8> = (0..n * shape.size()).map(|i| (i as u8).wrapping_mul(31).wrapping_add(salt)).collect();
            let indices: Vec<i64> = (0..n as i64).rev().collect();
            let (mean, std) = (0.4_f32, 0.25_f32);
            let table = Normalization::new(&vec![mean; channels], &vec![std; channels]).unwrap();
            let images = Images::new(&pixels, shape).unwrap();
            let single: Vec<Vec<f32>> = indices.iter().zip(&places)
                .map(|(&index, &place)| slowly(&pixels, shape, index, place, mean, std)).collect();

            let mut out = vec![f32::NAN; pixels.len()];
            fill_batch(images, &indices, &places, None, &table, &mut out).unwrap();
            prop_assert_eq!(&out, &single.concat());

            let factors = vec![lam; n];
            let pairs = Pairs { partner: &partner, lam: &factors };
            fill_batch(images, &indices, &places, Some(pairs), &table, &mut out).unwrap();
            let mixed: Vec<f32> = partner.iter().enumerate().flat_map(|(b, &p)| {
                single[b].iter().zip(&single[p as usize]).map(|(a, b)| lam * a + (1.0 - lam) * b).collect::<Vec<_>>()
            }).collect();
            prop_assert_eq!(out, mixed);
        }

        #[test]
        fn placements_do_not_depend_on_where_a_batch_is_cut(seed: u64, epoch: u64, cut in 0_usize..20, padding in 0_u64..9) {
            let whole = placements(seed, epoch, 5, 20, padding, true).unwrap();
            let mut parts = placements(seed, epoch, 5, cut, padding, true).unwrap();
            parts.extend(placements(seed, epoch, 5 + cut as u64, 20 - cut, padding, true).unwrap());
            prop_assert_eq!(&whole, &parts);
            let limit = padding as i64;
            prop_assert!(whole.iter().all(|p| p.dy.abs() <= limit && p.dx.abs() <= limit));
        }

        #[test]
        fn no_input_panics(
            index: i64, partner: i64, lam: f32, dy: i64, dx: i64, flip: bool, room in 0_usize..20,
            start: u64, n in 0_usize..9, padding: u64,
        ) {
            let shape = Shape { height: 2, width: 3, channels: 1 };
            let images = Images::new(&[7; 12], shape).unwrap();
            let table = Normalization::new(&[lam], &[1.0]).or_else(|_| Normalization::new(&[0.0], &[1.0])).unwrap();
            let pairs = Pairs { partner: &[partner], lam: &[lam] };
            let place = [Placement { dy, dx, flip }];
            let mut out = vec![0.0; room];
            let _ = fill_batch(images, &[index], &place, Some(pairs), &table, &mut out);
            let mut out = [0.0; 6];
            let _ = fill_batch(images, &[1], &place, None, &table, &mut out);
            let _ = placements(start, start, start, n, padding, flip);
        }
    }

    #[test]
    fn every_offset_and_both_sides_come_up_alike() {
        let drawn = placements(3, 1, 0, 90_000, 4, true).unwrap();
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
            placements(3, 1, 0, 100, 4, false)
                .unwrap()
                .iter()
                .all(|p| !p.flip)
        );
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let shape = Shape {
            height: 1,
            width: 2,
            channels: 1,
        };
        let images = Images::new(&[1, 2, 3, 4], shape).unwrap();
        let table = Normalization::new(&[0.0], &[1.0]).unwrap();
        let place = [Placement::default()];
        let message = |indices: &[i64], pairs: Option<Pairs<'_>>, room: usize| {
            let mut out = vec![0.0; room];
            fill_batch(images, indices, &place, pairs, &table, &mut out)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            message(&[2], None, 2),
            "index must lie in [0, 2), got 2 at position 0"
        );
        assert_eq!(
            message(&[i64::MIN], None, 2),
            format!("index must lie in [0, 2), got {} at position 0", i64::MIN)
        );
        assert_eq!(
            message(&[0, 1], None, 4),
            "placements must have one row an index (2), got 1"
        );
        assert_eq!(
            message(&[0], None, 3),
            "out must have shape (1, 1, 1, 2), got 3 values"
        );
        let pairs = Pairs {
            partner: &[1],
            lam: &[0.5],
        };
        assert_eq!(
            message(&[0], Some(pairs), 2),
            "partner (a position in the batch) must lie in [0, 1), got 1 at position 0"
        );
        for (lam, shown) in [(-0.5, "-0.5"), (1.5, "1.5"), (f32::NAN, "nan")] {
            let expected = format!(
                "lam must lie in [0, 1] (factor of the first image), got {shown} at position 0"
            );
            assert_eq!(
                message(
                    &[0],
                    Some(Pairs {
                        partner: &[0],
                        lam: &[lam]
                    }),
                    2
                ),
                expected
            );
        }
        assert!(Images::new(&[1, 2, 3], shape).is_err());
        assert!(
            Images::new(
                &[],
                Shape {
                    height: usize::MAX,
                    width: 2,
                    channels: 2
                }
            )
            .is_err()
        );
        assert!(
            Normalization::new(&[0.0], &[0.0]).is_err()
                && Normalization::new(&[f32::NAN], &[1.0]).is_err()
        );
    }
}
