//! One batch in one pass: gather, crop, flip, normalise and mix uint8 images into float32 planes.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::interrupt::poll;
use crate::profile::python_float;
use crate::rng::{Stream, collect, stream};

/// Largest padding that [`placements`] accepts.
pub const MAX_PADDING: u64 = 1 << 31;

/// Random numbers per placement.
const DRAWS: u64 = 3;

/// Positions of samples are below this, so that their draws fit into 64 bits.
const MAX_POSITION: usize = 1 << 61;

/// Height, width and channels of every image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Values per pixel.
    pub channels: usize,
}

impl Shape {
    /// Values per image.
    #[must_use]
    pub fn size(self) -> usize {
        self.height * self.width * self.channels
    }
}

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

/// `((pixel / 255) - mean) / std` of every pixel value in every channel, in float32 as torchvision computes it.
#[derive(Debug, Clone)]
pub struct Normalization {
    tables: Vec<[f32; 256]>,
}

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
        let table =
            |(m, s): (&f32, &f32)| std::array::from_fn(|pixel| (pixel as f32 / 255.0 - m) / s);
        Ok(Self {
            tables: mean.iter().zip(std).map(table).collect(),
        })
    }
}

/// The partner of each image and the mixing coefficients.
#[derive(Debug, Clone, Copy)]
pub struct Mix<'a> {
    /// Index of each image's partner in the images; it need not be in the batch.
    pub partner: &'a [i64],
    /// Where each partner is cropped from its source.
    pub placements: &'a [Placement],
    /// Mixing coefficient of the first image, in `[0, 1]`.
    pub lam: &'a [f32],
    /// With boxes `(top, left, bottom, right)` the partner's pixels replace those inside the box, and `lam` changes no
    /// pixel; without, the two images are blended.
    pub boxes: Option<&'a [[i32; 4]]>,
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
    /// If the shape has no pixel, or the number of pixels is not a multiple of the image size.
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

    /// The image at `index`, which must be in range, as `placement` shows it.
    fn view(self, index: i64, placement: Placement) -> View<'a> {
        let size = self.shape.size();
        View {
            image: &self.pixels[index as usize * size..][..size],
            shape: self.shape,
            placement,
        }
    }
}

/// Write the batch of `indices` to `out`, `(B, channels, height, width)`.
///
/// Image b is source image `indices[b]`, cropped at `placements[b]` and normalised. With `mix` it becomes
/// `lam[b] * image b + (1 - lam[b]) * partner b`, or image b with the partner's pixels inside box b. Nothing is written
/// if any input is invalid. O(B x pixels), no allocation.
///
/// # Errors
///
/// If an index or partner is out of range, a coefficient is outside `[0, 1]`, a box is outside the image, or the
/// lengths disagree. Those of an interrupt; then some images have been written.
pub fn fill_batch(
    images: Images<'_>,
    indices: &[i64],
    placements: &[Placement],
    mix: Option<Mix<'_>>,
    normalization: &Normalization,
    out: &mut [f32],
) -> Result<()> {
    check_lengths(images, indices, placements, normalization, out)?;
    check_range("index", indices, images.len())?;
    if let Some(mix) = mix {
        check_mix(mix, indices.len(), images)?;
    }
    for (b, canvas) in out.chunks_exact_mut(images.shape.size()).enumerate() {
        poll()?;
        let first = images.view(indices[b], placements[b]);
        match mix {
            None => first.draw(normalization, canvas, |out, value| *out = value),
            Some(mix) => mix.draw(b, &first, images, normalization, canvas),
        }
    }
    Ok(())
}

impl Mix<'_> {
    /// Write mixture `b` of the image `first` with its partner.
    #[inline]
    fn draw(
        &self,
        b: usize,
        first: &View<'_>,
        images: Images<'_>,
        normalization: &Normalization,
        canvas: &mut [f32],
    ) {
        let second = images.view(self.partner[b], self.placements[b]);
        if let Some(boxes) = self.boxes {
            first.draw(normalization, canvas, |out, value| *out = value);
            second.paste(normalization, canvas, boxes[b]);
            return;
        }
        let (keep, add) = (self.lam[b], 1.0 - self.lam[b]);
        first.draw(normalization, canvas, |out, value| *out = keep * value);
        second.draw(normalization, canvas, |out, value| *out += add * value);
    }
}

/// One source image, seen through its placement.
struct View<'a> {
    image: &'a [u8],
    shape: Shape,
    placement: Placement,
}

impl View<'_> {
    /// Call `put` for every value of `canvas`, plane by plane, with the normalised pixel of that position.
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

    /// Write the normalised pixels of this view inside the box `(top, left, bottom, right)`, which must be inside the
    /// image.
    fn paste(&self, normalization: &Normalization, canvas: &mut [f32], region: [i32; 4]) {
        let Shape {
            height,
            width,
            channels,
        } = self.shape;
        let [top, left, bottom, right] = region.map(|edge| edge as usize);
        for (channel, plane) in canvas.chunks_exact_mut(height * width).enumerate() {
            let table = &normalization.tables[channel];
            for y in top..bottom {
                let source = self.source_row(y);
                for (x, out) in (left..right).zip(&mut plane[y * width + left..]) {
                    let column = if self.placement.flip {
                        width - 1 - x
                    } else {
                        x
                    };
                    let pixel = match &source {
                        Some((row, shown)) if shown.contains(&column) => {
                            row[(column - shown.start) * channels + channel]
                        }
                        _ => 0,
                    };
                    *out = table[usize::from(pixel)];
                }
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

    /// The source pixels of row `y` of the crop, and the columns of the crop (before the flip) that they fill; none if
    /// the row is above or below the source.
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
        let first = row * width + column(dx); // for an empty range this may be the row's end
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
            "mean and std must have one entry per channel ({channels}), got {tables}"
        ));
    }
    if placements.len() != batch {
        return value_error(format!(
            "positions must have one entry per index ({batch}), got {}",
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

fn check_mix(mix: Mix<'_>, batch: usize, images: Images<'_>) -> Result<()> {
    let lengths = [
        ("partner", mix.partner.len()),
        ("partner placements", mix.placements.len()),
        ("lam", mix.lam.len()),
        ("boxes", mix.boxes.map_or(batch, <[_]>::len)),
    ];
    if let Some((name, got)) = lengths.iter().find(|(_, length)| *length != batch) {
        return value_error(format!(
            "{name} must have one entry per image of the batch ({batch}), got {got}"
        ));
    }
    check_range("partner (an index of an image)", mix.partner, images.len())?;
    if let Some(at) = mix.lam.iter().position(|lam| !(0.0..=1.0).contains(lam)) {
        return value_error(format!(
            "lam must lie in [0, 1] (coefficient of the first image), got {} at position {at}",
            python_float(mix.lam[at])
        ));
    }
    mix.boxes
        .map_or(Ok(()), |boxes| check_boxes(boxes, images.shape))
}

fn check_boxes(boxes: &[[i32; 4]], Shape { height, width, .. }: Shape) -> Result<()> {
    let edges = |from: i32, to: i32, end: usize| {
        from >= 0 && from <= to && usize::try_from(to).is_ok_and(|to| to <= end)
    };
    let inside = |&[top, left, bottom, right]: &[i32; 4]| {
        edges(top, bottom, height) && edges(left, right, width)
    };
    match boxes.iter().position(|region| !inside(region)) {
        Some(at) => value_error(format!(
            "boxes must be (top, left, bottom, right) inside the image ({height}, {width}), got {:?} at position {at}",
            boxes[at]
        )),
        None => Ok(()),
    }
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

fn value_error<T>(text: String) -> Result<T> {
    Err(Error::Value(text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The batch computed pixel by pixel from the definition.
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

            let coefficients = vec![lam; n];
            let rows: Vec<i64> = partner.iter().map(|&p| indices[p as usize]).collect();
            let cuts: Vec<Placement> = partner.iter().map(|&p| places[p as usize]).collect();
            let mut mix = Mix { partner: &rows, placements: &cuts, lam: &coefficients, boxes: None };
            fill_batch(images, &indices, &places, Some(mix), &table, &mut out).unwrap();
            let mixed: Vec<f32> = partner.iter().enumerate().flat_map(|(b, &p)| {
                single[b].iter().zip(&single[p as usize]).map(|(a, b)| lam * a + (1.0 - lam) * b).collect::<Vec<_>>()
            }).collect();
            prop_assert_eq!(&out, &mixed);

            let region = [height / 3, width / 2, height, width].map(|edge| edge as i32);
            let boxes = vec![region; n];
            mix.boxes = Some(&boxes);
            fill_batch(images, &indices, &places, Some(mix), &table, &mut out).unwrap();
            for (at, &value) in out.iter().enumerate() {
                let (b, y, x) = (at / shape.size(), at / width % height, at % width);
                let pasted = y >= height / 3 && x >= width / 2;
                let from = if pasted { partner[b] as usize } else { b };
                prop_assert_eq!(value.to_bits(), single[from][at % shape.size()].to_bits());
            }
        }

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
        fn no_input_panics(
            index: i64, partner: i64, lam: f32, dy: i64, dx: i64, flip: bool, room in 0_usize..20,
            seed: u64, position: i64, padding: u64, edges: [i32; 4],
        ) {
            let shape = Shape { height: 2, width: 3, channels: 1 };
            let images = Images::new(&[7; 12], shape).unwrap();
            let table = Normalization::new(&[lam], &[1.0]).or_else(|_| Normalization::new(&[0.0], &[1.0])).unwrap();
            let place = [Placement { dy, dx, flip }];
            let boxes = [edges];
            let mut mix = Mix { partner: &[partner], placements: &place, lam: &[lam], boxes: None };
            let mut out = vec![0.0; room];
            let _ = fill_batch(images, &[index], &place, Some(mix), &table, &mut out);
            mix.boxes = Some(&boxes);
            let _ = fill_batch(images, &[index], &place, Some(mix), &table, &mut out);
            let mut out = [0.0; 6];
            let _ = fill_batch(images, &[1], &place, None, &table, &mut out);
            let _ = placements(seed, seed, seed, &[position], padding, flip);
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

    fn mix<'a>(partner: &'a [i64], lam: &'a [f32], boxes: Option<&'a [[i32; 4]]>) -> Mix<'a> {
        Mix {
            partner,
            placements: &[Placement {
                dy: 0,
                dx: 0,
                flip: false,
            }],
            lam,
            boxes,
        }
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
        let message = |indices: &[i64], mix: Option<Mix<'_>>, room: usize| {
            let mut out = vec![0.0; room];
            fill_batch(images, indices, &place, mix, &table, &mut out)
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
            "positions must have one entry per index (2), got 1"
        );
        assert_eq!(
            message(&[0], None, 3),
            "out must have shape (1, 1, 1, 2), got 3 values"
        );
        assert_eq!(
            message(&[0], Some(mix(&[2], &[0.5], None)), 2),
            "partner (an index of an image) must lie in [0, 2), got 2 at position 0"
        );
        assert_eq!(
            message(&[0], Some(mix(&[0, 0], &[0.5], None)), 2),
            "partner must have one entry per image of the batch (1), got 2"
        );
        for region in [[0, 0, 2, 1], [0, 2, 1, 1], [-1, 0, 1, 1]] {
            assert_eq!(
                message(&[0], Some(mix(&[0], &[0.5], Some(&[region]))), 2),
                format!(
                    "boxes must be (top, left, bottom, right) inside the image (1, 2), got {region:?} at position 0"
                )
            );
        }
        for (lam, shown) in [(-0.5, "-0.5"), (1.5, "1.5"), (f32::NAN, "nan")] {
            assert_eq!(
                message(&[0], Some(mix(&[0], &[lam], None)), 2),
                format!(
                    "lam must lie in [0, 1] (coefficient of the first image), got {shown} at position 0"
                )
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
