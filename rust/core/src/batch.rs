//! One batch in one pass: gather, crop, flip, augment, normalise and mix uint8 images into one tensor.
#![expect(
    clippy::inline_always,
    reason = "what is not inlined is not compiled for the caller's instruction set"
)]

mod colours;
mod normalization;
mod output;
mod placement;
mod shared;

pub use normalization::Normalization;
pub use output::{Layout, Output};
pub use placement::{MAX_PADDING, Placement, placements};
pub use shared::partners_within;

use crate::augment::{self, Augmentation, Augmenting};
use crate::error::{Error, Result, collected};
use crate::instruction_set::{self, Kernel};
use crate::interrupt::Pace;
use crate::planes::Planes;
pub use crate::planes::Shape;
use crate::profile::python_float;
use crate::rng::Stream;
use output::{Ahead, Bfloat16, Blend, Float16, Float32, Format, write};
use shared::{Room, Shared};

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
    /// Where each partner is in the batch, augmented alike, so that it is read once: see [`partners_within`]. Empty if
    /// nothing is known.
    pub within: &'a [Option<u32>],
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

    /// The image at `index`, which must be in range.
    #[inline(always)]
    fn at(self, index: i64) -> &'a [u8] {
        let size = self.shape.size();
        &self.pixels[index as usize * size..][..size]
    }
}

/// How the images of a batch are augmented, after they are cropped and flipped.
#[derive(Debug, Clone, Copy)]
pub struct Policy<'a> {
    /// What may happen to an image.
    pub augmentation: &'a Augmentation,
    /// The key of each image's draws: see [`keys`].
    pub keys: &'a [Stream],
    /// The same of each partner.
    pub partner_keys: &'a [Stream],
}

/// The keys of the samples at `positions`, for [`Policy`]: functions of (seed, epoch, view, position) alone.
///
/// # Errors
///
/// If a position is negative or too large, or the result does not fit into memory.
pub fn keys(seed: u64, epoch: u64, view: u64, positions: &[i64]) -> Result<Vec<Stream>> {
    check_range("position", positions, placement::MAX_POSITION)?;
    let keys = positions
        .iter()
        .map(|&at| augment::key(seed, epoch, view, at));
    collected(positions.len(), keys)
}

/// What a batch is made of.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Where the images are.
    pub images: Images<'a>,
    /// Which of them.
    pub indices: &'a [i64],
    /// Where each is cropped.
    pub placements: &'a [Placement],
    /// How each is augmented.
    pub policy: Option<Policy<'a>>,
    /// What each is mixed with.
    pub mix: Option<Mix<'a>>,
    /// Of each channel.
    pub normalization: &'a Normalization,
    /// Of the tensor.
    pub layout: Layout,
}

/// Write a batch to `out`.
///
/// Image b is source image `indices[b]`, cropped at `placements[b]`, augmented and normalised. With `mix` it becomes
/// `lam[b] * image b + (1 - lam[b]) * partner b`, or image b with the partner's pixels inside box b. Nothing is written
/// if any input is invalid. O(B x pixels); room for four images is allocated, and for all of them where partners are
/// among them.
///
/// # Errors
///
/// If an index or partner is out of range, a coefficient is outside `[0, 1]`, a box is outside the image, the lengths
/// disagree, or the images cannot be augmented. Those of an interrupt; then some images have been written.
pub fn fill_batch(batch: Batch<'_>, out: Output<'_>) -> Result<()> {
    let Batch { images, .. } = batch;
    check_lengths(batch, out.len())?;
    check_range("index", batch.indices, images.len())?;
    if let Some(mix) = batch.mix {
        let keys = batch.policy.map(|policy| policy.partner_keys.len());
        check_mix(mix, batch.indices.len(), keys, images)?;
    }
    let [first, second] = [Planes::new(images.shape)?, Planes::new(images.shape)?];
    if let Some(policy) = batch.policy {
        policy.augmentation.check(&first)?;
    }
    let mut room = Room::of(batch)?;
    let images = (first, second, room.shared()?);
    match out {
        Output::Float32(out) => Job::<Float32>::new(batch, images, out).run(),
        Output::Bfloat16(out) => Job::<Bfloat16>::new(batch, images, out).run(),
        Output::Float16(out) => Job::<Float16>::new(batch, images, out).run(),
    }
}

/// Change images, `(height, width, channels)` each, by their keys alone: no crop, no flip, no normalising.
///
/// # Errors
///
/// If the lengths disagree or the images cannot be augmented; those of an interrupt.
pub fn augment_images(
    images: Images<'_>,
    augmentation: &Augmentation,
    keys: &[Stream],
    out: &mut [u8],
) -> Result<()> {
    if images.len() != keys.len() || images.pixels.len() != out.len() {
        return value_error(format!(
            "positions must have one entry per image ({}), got {}",
            images.len(),
            keys.len()
        ));
    }
    let mut image = Planes::new(images.shape)?;
    augmentation.check(&image)?;
    let size = images.shape.size();
    let mut pace = Pace::default();
    for ((number, &key), out) in (0..).zip(keys).zip(out.chunks_exact_mut(size)) {
        pace.step(size)?;
        Placement::default().gather(images.at(number), images.shape, &mut image.pixels);
        instruction_set::run(Augmenting {
            augmentation,
            image: &mut image,
            key,
        });
        for (channel, plane) in image.pixels.chunks_exact(images.shape.area()).enumerate() {
            let places = out.iter_mut().skip(channel).step_by(images.shape.channels);
            for (out, &pixel) in places.zip(plane) {
                *out = pixel;
            }
        }
    }
    Ok(())
}

/// A batch that has been checked, and room for an image and its partner.
struct Job<'a, F: Format> {
    batch: Batch<'a>,
    first: Planes,
    second: Planes,
    /// Images that others are mixed with.
    shared: Shared<'a>,
    out: &'a mut [F::Bits],
}

impl<'a, F: Format> Job<'a, F> {
    fn new(
        batch: Batch<'a>,
        (first, second, shared): (Planes, Planes, Shared<'a>),
        out: &'a mut [F::Bits],
    ) -> Self {
        Self {
            batch,
            first,
            second,
            shared,
            out,
        }
    }

    fn run(self) -> Result<()> {
        instruction_set::run(self)
    }
}

impl<F: Format> Kernel for Job<'_, F> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<const FMA: bool>(mut self) -> Result<()> {
        let Self {
            batch,
            first,
            second,
            shared,
            out,
        } = &mut self;
        let size = batch.images.shape.size();
        let mut pace = Pace::default();
        for (b, out) in out.chunks_exact_mut(size).enumerate() {
            pace.step(size)?;
            if !shared.has(b) {
                batch.show(b, first);
                shared.add(b, &first.pixels);
            }
            let Some(mix) = batch.mix else {
                let next = batch.unread(b + 1, shared);
                batch.write::<F, FMA>(&first.pixels, None, next, out);
                continue;
            };
            let at = mix.within.get(b).copied().flatten().map(|at| at as usize);
            if !at.is_some_and(|at| shared.has(at)) {
                batch.show_partner(&mix, b, second);
                at.inspect(|&at| shared.add(at, &second.pixels));
            }
            let next = batch.unread(b + 1, shared);
            let partner = at.and_then(|at| shared.get(at)).unwrap_or(&second.pixels);
            let Some(boxes) = mix.boxes else {
                let keep = mix.lam[b];
                let own = shared.get(b).unwrap_or(&first.pixels);
                let second = partner;
                batch.write::<F, FMA>(own, Some(Blend { second, keep }), next, out);
                continue;
            };
            if let Some(own) = shared.get(b) {
                first.pixels.copy_from_slice(own);
            }
            paste(boxes[b], partner, first);
            batch.write::<F, FMA>(&first.pixels, None, next, out);
        }
        Ok(())
    }
}

impl Batch<'_> {
    /// Make `image` the image `b`.
    #[inline(always)]
    fn show(&self, b: usize, image: &mut Planes) {
        let pixels = self.images.at(self.indices[b]);
        self.placements[b].gather(pixels, image.shape, &mut image.pixels);
        if let Some(policy) = self.policy {
            policy.augment(image, policy.keys[b]);
        }
    }

    /// Make `image` the partner of image `b`.
    #[inline(always)]
    fn show_partner(&self, mix: &Mix<'_>, b: usize, image: &mut Planes) {
        let pixels = self.images.at(mix.partner[b]);
        mix.placements[b].gather(pixels, image.shape, &mut image.pixels);
        if let Some(policy) = self.policy {
            policy.augment(image, policy.partner_keys[b]);
        }
    }

    /// The pixels of image `b` and its partner that are still to be read; empty for what is not.
    #[inline(always)]
    fn unread(&self, b: usize, shared: &Shared<'_>) -> [&[u8]; 2] {
        let mut found = [&[][..]; 2];
        if b >= self.indices.len() {
            return found;
        }
        if !shared.has(b) {
            found[0] = self.images.at(self.indices[b]);
        }
        if let Some(mix) = self.mix {
            let at = mix.within.get(b).copied().flatten();
            if !at.is_some_and(|at| shared.has(at as usize)) {
                found[1] = self.images.at(mix.partner[b]);
            }
        }
        found
    }

    #[inline(always)]
    fn write<F: Format, const FMA: bool>(
        &self,
        first: &[u8],
        blend: Option<Blend<'_>>,
        next: [&[u8]; 2],
        out: &mut [F::Bits],
    ) {
        let ahead = Ahead(next);
        write::<F, FMA>(first, blend, ahead, self.normalization, self.layout, out);
    }
}

impl Policy<'_> {
    /// Not inlined, so that there is one copy for each instruction set, and not one for each kind of output as well.
    #[inline(never)]
    fn augment(&self, image: &mut Planes, key: Stream) {
        instruction_set::run(Augmenting {
            augmentation: self.augmentation,
            image,
            key,
        });
    }
}

/// Replace the pixels of `image` inside a box by those of its partner.
#[inline(always)]
fn paste(region: [i32; 4], partner: &[u8], image: &mut Planes) {
    let [top, left, bottom, right] = region.map(|edge| edge as usize);
    let (area, width) = (image.shape.area(), image.shape.width);
    let planes = partner.chunks_exact(area);
    for (plane, out) in planes.zip(image.pixels.chunks_exact_mut(area)) {
        for y in top..bottom {
            let row = y * width + left..y * width + right;
            out[row.clone()].copy_from_slice(&plane[row]);
        }
    }
}

fn check_lengths(batch: Batch<'_>, room: usize) -> Result<()> {
    let (count, shape) = (batch.indices.len(), batch.images.shape);
    let Shape {
        height,
        width,
        channels,
    } = shape;
    let entries = batch.normalization.channels().len();
    if entries != channels {
        return value_error(format!(
            "mean and std must have one entry per channel ({channels}), got {entries}"
        ));
    }
    let keys = batch.policy.map_or(count, |policy| policy.keys.len());
    let both = [batch.placements.len(), keys];
    if let Some(got) = both.into_iter().find(|&got| got != count) {
        return value_error(format!(
            "positions must have one entry per index ({count}), got {got}"
        ));
    }
    if Some(room) != shape.size().checked_mul(count) {
        let dimensions = match batch.layout {
            Layout::Planes => [channels, height, width],
            Layout::Pixels => [height, width, channels],
        };
        let [a, b, c] = dimensions;
        return value_error(format!(
            "out must have shape ({count}, {a}, {b}, {c}), got {room} values"
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

fn check_mix(mix: Mix<'_>, batch: usize, keys: Option<usize>, images: Images<'_>) -> Result<()> {
    let lengths = [
        ("partner", mix.partner.len()),
        ("partner placements", mix.placements.len()),
        ("partner keys", keys.unwrap_or(batch)),
        ("lam", mix.lam.len()),
        ("boxes", mix.boxes.map_or(batch, <[_]>::len)),
        (
            "within",
            if mix.within.is_empty() {
                batch
            } else {
                mix.within.len()
            },
        ),
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

fn value_error<T>(text: String) -> Result<T> {
    Err(Error::Value(text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;
    use crate::augment::{Stage, Step};
    use proptest::prelude::*;

    fn filled_batch(
        images: Images<'_>,
        indices: &[i64],
        placements: &[Placement],
        mix: Option<Mix<'_>>,
        normalization: &Normalization,
        out: &mut [f32],
    ) -> Result<()> {
        let batch = Batch {
            images,
            indices,
            placements,
            policy: None,
            mix,
            normalization,
            layout: Layout::Planes,
        };
        fill_batch(batch, Output::Float32(out))
    }

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
            filled_batch(images, &indices, &places, None, &table, &mut out).unwrap();
            prop_assert_eq!(&out, &single.concat());

            let coefficients = vec![lam; n];
            let rows: Vec<i64> = partner.iter().map(|&p| indices[p as usize]).collect();
            let cuts: Vec<Placement> = partner.iter().map(|&p| places[p as usize]).collect();
            let mut mix = Mix { partner: &rows, placements: &cuts, lam: &coefficients, boxes: None, within: &[] };
            filled_batch(images, &indices, &places, Some(mix), &table, &mut out).unwrap();
            let mixed: Vec<f32> = partner.iter().enumerate().flat_map(|(b, &p)| {
                single[b].iter().zip(&single[p as usize]).map(|(a, b)| lam * a + (1.0 - lam) * b).collect::<Vec<_>>()
            }).collect();
            prop_assert_eq!(&out, &mixed);

            let region = [height / 3, width / 2, height, width].map(|edge| edge as i32);
            let boxes = vec![region; n];
            mix.boxes = Some(&boxes);
            filled_batch(images, &indices, &places, Some(mix), &table, &mut out).unwrap();
            for (at, &value) in out.iter().enumerate() {
                let (b, y, x) = (at / shape.size(), at / width % height, at % width);
                let pasted = y >= height / 3 && x >= width / 2;
                let from = if pasted { partner[b] as usize } else { b };
                prop_assert_eq!(value.to_bits(), single[from][at % shape.size()].to_bits());
            }
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
            let mut mix = Mix { partner: &[partner], placements: &place, lam: &[lam], boxes: None, within: &[] };
            let mut out = vec![0.0; room];
            let _ = filled_batch(images, &[index], &place, Some(mix), &table, &mut out);
            mix.boxes = Some(&boxes);
            let _ = filled_batch(images, &[index], &place, Some(mix), &table, &mut out);
            let mut out = [0.0; 6];
            let _ = filled_batch(images, &[1], &place, None, &table, &mut out);
            let _ = placements(seed, seed, seed, &[position], padding, flip);
        }
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
            within: &[],
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
            filled_batch(images, indices, &place, mix, &table, &mut out)
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
    }

    /// Every operation once, each value in a range where Pillow's own limits are left.
    fn everything() -> Augmentation {
        let steps = [
            ("autocontrast", vec![]),
            ("equalize", vec![]),
            ("invert", vec![]),
            ("grayscale", vec![]),
            ("posterize", vec![2.0]),
            ("solarize", vec![100.0]),
            ("brightness", vec![1.4]),
            ("contrast", vec![0.3]),
            ("saturation", vec![2.0]),
            ("sharpness", vec![1.9]),
            ("hue", vec![-0.3]),
            ("gaussian_blur", vec![1.7]),
            ("shear_x", vec![0.3]),
            ("shear_y", vec![-0.3]),
            ("shear_x_bicubic", vec![0.2]),
            ("shear_y_bicubic", vec![-0.4]),
            ("translate_x", vec![2.5]),
            ("translate_y", vec![-1.0]),
            ("rotate", vec![33.0]),
        ];
        let step =
            |(name, values): (&str, Vec<f64>)| vec![Step::new(name, 0.9, &values, false).unwrap()];
        let alternatives = steps.into_iter().map(step).collect();
        Augmentation::new(
            vec![Stage::new(1.0, false, alternatives).unwrap(); 3],
            128,
            3,
        )
        .unwrap()
    }

    /// Augment with every set of instructions that this processor has.
    #[derive(Clone)]
    struct Each<'a>(&'a Augmentation, Planes, Stream);

    impl Kernel for Each<'_> {
        type Output = Vec<u8>;

        fn run<const FMA: bool>(mut self) -> Vec<u8> {
            self.0.apply(&mut self.1, self.2);
            self.1.pixels
        }
    }

    proptest! {
        #[test]
        fn every_instruction_set_gives_the_same(
            height in 1_usize..36, width in 1_usize..36, coloured: bool, seed: u64,
        ) {
            let shape = Shape { height, width, channels: if coloured { 3 } else { 1 } };
            let mut image = Planes::new(shape).unwrap();
            let noise = Stream::new(seed, 0, 0);
            (0..).zip(&mut image.pixels).for_each(|(at, pixel)| *pixel = noise.bits(at) as u8);
            let (augmentation, key) = (everything(), augment::key(seed, 1, 2, 3));
            let found = instruction_set::each(&Each(&augmentation, image, key));
            for (name, pixels) in &found {
                prop_assert_eq!(pixels, &found[0].1, "{}", name);
            }
        }

        #[test]
        fn a_partner_in_the_batch_is_the_same_as_one_that_is_read_by_itself(
            width in prop::sample::select(vec![5_usize, 32]), seed: u64, start in 0_i64..1000, policy: bool, paste: bool,
        ) {
            let shape = Shape { height: 7, width, channels: 3 };
            let pixels: Vec<u8> = (0..8 * shape.size()).map(|at| (at * 31 % 253) as u8).collect();
            let noise = Stream::new(seed, 0, 0);
            let indices: Vec<i64> = (0..6).map(|at| noise.below(at, 8) as i64).collect();
            let positions: Vec<i64> = (start..start + 6).collect();
            // Partners of the batch, in any order and repeated, and at last one from elsewhere.
            let order: Vec<usize> = (0..5).map(|at| noise.below(10 + at, 6) as usize).collect();
            let pick = |of: &[i64], last: i64| order.iter().map(|&at| of[at]).chain([last]).collect::<Vec<_>>();
            let (partner, others) = (pick(&indices, 3), pick(&positions, start + 77));
            let within = partners_within((&indices, &positions), (&partner, &others)).unwrap();
            prop_assert!(within[..5].iter().zip(&order).all(|(at, &wanted)| *at == Some(wanted as u32)));
            prop_assert_eq!(within[5], None);

            let cut = |positions: &[i64]| placements(seed, 1, 0, positions, 2, true).unwrap();
            let (own, theirs) = (cut(&positions), cut(&others));
            let key = |positions: &[i64]| keys(seed, 1, 0, positions).unwrap();
            let (own_keys, their_keys, augmentation) = (key(&positions), key(&others), everything());
            let normalization = Normalization::new(&[0.4; 3], &[0.3; 3]).unwrap();
            let boxes = [[1, 2, 6, 5]; 6];
            let written = |within: &[Option<u32>]| {
                let mix = Mix {
                    partner: &partner,
                    placements: &theirs,
                    lam: &[0.1, 0.3, 0.5, 0.7, 0.9, 1.0],
                    boxes: paste.then_some(&boxes),
                    within,
                };
                let batch = Batch {
                    images: Images::new(&pixels, shape).unwrap(),
                    indices: &indices,
                    placements: &own,
                    policy: policy.then_some(Policy {
                        augmentation: &augmentation,
                        keys: &own_keys,
                        partner_keys: &their_keys,
                    }),
                    mix: Some(mix),
                    normalization: &normalization,
                    layout: Layout::Planes,
                };
                let mut out = vec![0.0; 6 * shape.size()];
                fill_batch(batch, Output::Float32(&mut out)).unwrap();
                out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            };
            prop_assert_eq!(written(&within), written(&[]));
        }

        #[test]
        fn layouts_and_half_formats_hold_the_same_numbers(
            height in 1_usize..12, width in 1_usize..90, channels in 1_usize..5, dy in -3_i64..4, flip: bool, lam in 0.0..=1.0_f32,
        ) {
            let shape = Shape { height, width, channels };
            let pixels: Vec<u8> = (0..2 * shape.size()).map(|at| (at * 37 % 251) as u8).collect();
            let normalization = Normalization::new(&vec![0.4; channels], &vec![0.3; channels]).unwrap();
            let placements = [Placement { dy, dx: 1, flip }; 2];
            let (partner, coefficients) = ([1, 0], [lam; 2]);
            let mut batch = Batch {
                images: Images::new(&pixels, shape).unwrap(),
                indices: &[0, 1],
                placements: &placements,
                policy: None,
                mix: Some(Mix { partner: &partner, placements: &placements, lam: &coefficients, boxes: None, within: &[] }),
                normalization: &normalization,
                layout: Layout::Planes,
            };
            let (mut planes, mut bits) = (vec![0.0; pixels.len()], vec![0; pixels.len()]);
            fill_batch(batch, Output::Float32(&mut planes)).unwrap();
            fill_batch(batch, Output::Bfloat16(&mut bits)).unwrap();
            for (&exact, &half) in planes.iter().zip(&bits) {
                prop_assert!((f32::from_bits(u32::from(half) << 16) - exact).abs() <= exact.abs() / 256.0);
            }
            let mut last = vec![0.0; pixels.len()];
            batch.layout = Layout::Pixels;
            fill_batch(batch, Output::Float32(&mut last)).unwrap();
            for (at, value) in last.iter().enumerate() {
                let (image, place, channel) = (at / shape.size(), at % shape.size() / channels, at % channels);
                prop_assert_eq!(value.to_bits(), planes[image * shape.size() + channel * shape.area() + place].to_bits());
            }
        }
    }

    #[test]
    fn augmentation_depends_on_the_key_alone() {
        let shape = Shape {
            height: 5,
            width: 7,
            channels: 3,
        };
        let pixels: Vec<u8> = (0..6 * shape.size())
            .map(|at| (at * 31 % 256) as u8)
            .collect();
        let (augmentation, keys) = (
            everything(),
            keys(1, 2, 3, &[9, 8, 7, 6, 5, 1 << 60]).unwrap(),
        );
        let drawn = |from: usize, to: usize| {
            let images = &pixels[from * shape.size()..to * shape.size()];
            let mut out = vec![0; images.len()];
            let images = Images::new(images, shape).unwrap();
            augment_images(images, &augmentation, &keys[from..to], &mut out).unwrap();
            out
        };
        assert_eq!(
            drawn(0, 6),
            [drawn(0, 1), drawn(1, 4), drawn(4, 6)].concat()
        );
        let images = Images::new(&pixels, shape).unwrap();
        let message = augment_images(images, &augmentation, &keys[1..], &mut [])
            .unwrap_err()
            .to_string();
        assert_eq!(
            message,
            "positions must have one entry per image (6), got 5"
        );
    }
}
