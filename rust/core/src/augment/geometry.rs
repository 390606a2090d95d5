//! Shear, translation and rotation, equal to Pillow's `Image.transform(AFFINE)` and `Image.rotate`, bit for bit.
//!
//! A matrix `(a, b, c, d, e, f)` gives the place `(a x + b y + c, d x + e y + f)` in the image whose pixel is shown at
//! `(x, y)`. A place outside shows the fill.

use crate::instruction_set::to_pixel_f64;
use crate::planes::{Planes, Shape};

/// Where the pixels of a transformed image come from.
#[derive(Debug, Clone, Copy)]
pub enum Motion {
    /// Along the rows, in proportion to the row's number.
    ShearX(f64),
    /// Along the columns.
    ShearY(f64),
    /// As `ShearX`, with bicubic interpolation.
    ShearXBicubic(f64),
    /// As `ShearY`, with bicubic interpolation.
    ShearYBicubic(f64),
    /// Right by so many pixels.
    TranslateX(f64),
    /// Down by so many pixels.
    TranslateY(f64),
    /// Counter-clockwise about the centre: the cosine and sine of the angle, as Pillow rounds them.
    Rotate(f64, f64),
    /// By a quarter, a half or three quarters of a turn counter-clockwise, of a square where it is not a half.
    Turn(u8),
}

impl Motion {
    /// `functional.affine` of torchvision with the shear that its policies pass for a magnitude.
    #[must_use]
    pub fn shear_x(magnitude: f64) -> Self {
        Self::ShearX(angle_of(magnitude).tan())
    }

    /// The same along the columns, where torchvision divides the sine by the cosine.
    #[must_use]
    pub fn shear_y(magnitude: f64) -> Self {
        let angle = angle_of(magnitude);
        Self::ShearY(angle.sin() / angle.cos())
    }

    /// `Image.rotate` by so many degrees; none if that changes nothing.
    #[must_use]
    pub fn rotate(degrees: f64) -> Option<Self> {
        let degrees = degrees.rem_euclid(360.0);
        if degrees == 0.0 {
            return None;
        }
        if degrees % 90.0 == 0.0 {
            return Some(Self::Turn((degrees / 90.0) as u8));
        }
        let angle = -degrees.to_radians();
        Some(Self::Rotate(rounded(angle.cos()), rounded(angle.sin())))
    }

    /// Move the image.
    #[inline(always)]
    pub fn apply(self, image: &mut Planes, fill: u8) {
        let Shape { height, width, .. } = image.shape;
        match self {
            Self::ShearX(m) => nearest(image, [1.0, m, 0.0, 0.0, 1.0, 0.0], fill),
            Self::ShearY(m) => nearest(image, [1.0, 0.0, 0.0, m, 1.0, 0.0], fill),
            Self::ShearXBicubic(m) => along_rows(image, (height, width), m, fill),
            Self::ShearYBicubic(m) => along_columns(image, m, fill),
            Self::TranslateX(by) => translate(image, by, 0.0, fill),
            Self::TranslateY(by) => translate(image, 0.0, by, fill),
            Self::Rotate(cos, sin) => nearest(image, about_centre(image.shape, cos, sin), fill),
            Self::Turn(2) => turn(image, |y, x| (height - 1 - y, width - 1 - x)),
            Self::Turn(quarters) if height != width => {
                let sine = if quarters == 1 { -1.0 } else { 1.0 };
                nearest(image, about_centre(image.shape, 0.0, sine), fill);
            }
            Self::Turn(1) => turn(image, |y, x| (x, width - 1 - y)),
            Self::Turn(_) => turn(image, |y, x| (height - 1 - x, y)),
        }
    }
}

/// The angle whose tangent is `magnitude`, by way of degrees as torchvision computes it.
fn angle_of(magnitude: f64) -> f64 {
    magnitude.atan().to_degrees().to_radians()
}

/// Python's `round(value, 15)`.
fn rounded(value: f64) -> f64 {
    format!("{value:.15}").parse().unwrap_or(value)
}

fn about_centre(shape: Shape, cos: f64, sin: f64) -> [f64; 6] {
    let (x, y) = (shape.width as f64 / 2.0, shape.height as f64 / 2.0);
    let right = cos * -x + sin * -y + 0.0;
    let down = -sin * -x + cos * -y + 0.0;
    [cos, sin, right + x, -sin, cos, down + y]
}

#[inline(always)]
fn turn(image: &mut Planes, from: impl Fn(usize, usize) -> (usize, usize)) {
    let Shape { width, .. } = image.shape;
    let area = image.shape.area();
    let planes = image.pixels.chunks_exact(area);
    for (plane, out) in planes.zip(image.spare.chunks_exact_mut(area)) {
        for (y, row) in out.chunks_exact_mut(width).enumerate() {
            for (x, out) in row.iter_mut().enumerate() {
                let (row, column) = from(y, x);
                *out = plane[row * width + column];
            }
        }
    }
    image.swap();
}

/// Pillow's transform to the nearest pixel: in 16 bits of fixed point, where numbers fit.
#[inline(always)]
#[expect(
    clippy::many_single_char_names,
    reason = "a matrix, as Pillow names it"
)]
fn nearest(image: &mut Planes, matrix: [f64; 6], fill: u8) {
    let [a, b, c, d, e, f] = matrix;
    if b == 0.0 && d == 0.0 {
        return scale(image, matrix, fill);
    }
    let Shape { height, width, .. } = image.shape;
    let (right, down) = (width as f64, height as f64);
    let fits =
        |x: f64, y: f64| (x * a + y * b + c).abs() < 32768.0 && (x * d + y * e + f).abs() < 32768.0;
    if !(fits(0.0, 0.0) && fits(right, down) && fits(0.0, down) && fits(right, 0.0)) {
        return nearest_float(image, matrix, fill);
    }
    let fixed = |value: f64| (value * 65536.0 + 0.5).floor() as i32;
    let (a, b, d, e, first_x, first_y) = (
        fixed(a),
        fixed(b),
        fixed(d),
        fixed(e),
        fixed(c + a * 0.5 + b * 0.5),
        fixed(f + d * 0.5 + e * 0.5),
    );
    shown(image, fill, |y, row| {
        let start_x = first_x.wrapping_add(b.wrapping_mul(y as i32));
        let start_y = first_y.wrapping_add(e.wrapping_mul(y as i32));
        for (x, place) in (0_i32..).zip(row) {
            let column = start_x.wrapping_add(a.wrapping_mul(x)) >> 16;
            let line = start_y.wrapping_add(d.wrapping_mul(x)) >> 16;
            let inside = (column as u32) < width as u32 && (line as u32) < height as u32;
            let at = (line as u32)
                .wrapping_mul(width as u32)
                .wrapping_add(column as u32);
            *place = if inside { at } else { u32::MAX };
        }
    });
}

/// The same for numbers that do not fit into fixed point; Pillow adds up rounded steps here, so this does too.
#[inline(always)]
#[expect(
    clippy::many_single_char_names,
    reason = "a matrix, as Pillow names it"
)]
fn nearest_float(image: &mut Planes, [a, b, c, d, e, f]: [f64; 6], fill: u8) {
    let Shape { height, width, .. } = image.shape;
    let (mut first_x, mut first_y) = (c + b * 0.5 + a * 0.5, f + e * 0.5 + d * 0.5);
    shown(image, fill, |_, row| {
        let (mut at_x, mut at_y) = (first_x, first_y);
        for place in row {
            *place = place_of(at_y, at_x, height, width);
            at_x += a;
            at_y += d;
        }
        first_x += b;
        first_y += e;
    });
}

/// Pillow's transform without shear: a table of columns, and rows one after the other.
#[inline(always)]
fn scale(image: &mut Planes, [a, _, c, _, e, f]: [f64; 6], fill: u8) {
    let Shape { height, width, .. } = image.shape;
    let mut at_y = f + e * 0.5;
    shown(image, fill, |_, row| {
        let mut at_x = c + a * 0.5;
        for place in row {
            *place = place_of(at_y, at_x, height, width);
            at_x += a;
        }
        at_y += e;
    });
}

/// Pillow's transform by a distance alone: where its columns follow one another, rows are copied.
#[inline(always)]
fn translate(image: &mut Planes, right: f64, down: f64, fill: u8) {
    let Shape { height, width, .. } = image.shape;
    let (mut at_x, mut count, mut start) = (0.5 - right, 0, None);
    for x in 0..width {
        if at_x >= 0.0 && at_x < width as f64 {
            let (first, column) = *start.get_or_insert((x, at_x as usize));
            if at_x as usize != column + (x - first) {
                return scale(image, [1.0, 0.0, -right, 0.0, 1.0, -down], fill);
            }
            count += 1;
        }
        at_x += 1.0;
    }
    let (first, column) = start.unwrap_or_default();
    let area = image.shape.area();
    image.spare.fill(fill);
    let planes = image.pixels.chunks_exact(area);
    for (plane, out) in planes.zip(image.spare.chunks_exact_mut(area)) {
        let mut at_y = 0.5 - down;
        for row in out.chunks_exact_mut(width) {
            if at_y >= 0.0 && at_y < height as f64 {
                let from = at_y as usize * width + column;
                row[first..first + count].copy_from_slice(&plane[from..from + count]);
            }
            at_y += 1.0;
        }
    }
    image.swap();
}

/// The number of the pixel at a place, or [`u32::MAX`] outside.
#[inline(always)]
fn place_of(y: f64, x: f64, height: usize, width: usize) -> u32 {
    let inside = y >= 0.0 && y < height as f64 && x >= 0.0 && x < width as f64;
    if inside {
        y as u32 * width as u32 + x as u32
    } else {
        u32::MAX
    }
}

/// Show in every row the pixels whose numbers `number` writes, in all planes.
#[inline(always)]
fn shown(image: &mut Planes, fill: u8, mut number: impl FnMut(usize, &mut [u32])) {
    let (area, width) = (image.shape.area(), image.shape.width);
    for y in 0..image.shape.height {
        number(y, &mut image.row);
        let planes = image.pixels.chunks_exact(area);
        for (plane, out) in planes.zip(image.spare.chunks_exact_mut(area)) {
            let out = &mut out[y * width..][..width];
            for (out, &place) in out.iter_mut().zip(&image.row) {
                *out = plane.get(place as usize).copied().unwrap_or(fill);
            }
        }
    }
    image.swap();
}

/// Pillow's bicubic shear along the rows. Its rows lie on rows of the image, so the other direction changes nothing.
///
/// The four neighbours of a pixel are one column right of those of the pixel before it, but where a place is rounded
/// across a column; there every pixel is looked up.
#[inline(always)]
fn along_rows(image: &mut Planes, (height, width): (usize, usize), magnitude: f64, fill: u8) {
    let area = image.shape.area();
    for y in 0..height {
        let shift = magnitude * (y as f64 + 0.5);
        let place = |x: usize| (x as f64 + 0.5) + shift;
        let column = |x: usize| (place(x) - 0.5).floor();
        let (first, end) = inside(width, place);
        let step = |x: usize| (column(x) - column(first)) as usize;
        let even = (first..end).all(|x| step(x) == x - first);
        let left = if first < end {
            column(first) as i64 - 1
        } else {
            0
        };
        for (x, fraction) in (first..end).zip(&mut image.fractions) {
            *fraction = place(x) - 0.5 - column(x);
        }
        for plane in 0..image.shape.channels {
            let line = &image.pixels[plane * area + y * width..][..width];
            let out = &mut image.spare[plane * area + y * width..][..width];
            out[..first].fill(fill);
            out[end..].fill(fill);
            if !even {
                for (x, out) in (first..end).zip(&mut out[first..end]) {
                    let start = column(x) as i64 - 1;
                    let at = |step: i64| line[(start + step).clamp(0, width as i64 - 1) as usize];
                    *out = cubic([at(0), at(1), at(2), at(3)], image.fractions[x - first]);
                }
                continue;
            }
            let around = &mut image.line[..end - first + 3];
            for (step, pixel) in (left..).zip(&mut *around) {
                *pixel = line[step.clamp(0, width as i64 - 1) as usize];
            }
            let neighbours = around
                .iter()
                .zip(&around[1..])
                .zip(&around[2..])
                .zip(&around[3..]);
            let places = neighbours.zip(&image.fractions);
            for (out, ((((&a, &b), &c), &d), &fraction)) in out[first..end].iter_mut().zip(places) {
                *out = cubic([a, b, c, d], fraction);
            }
        }
    }
    image.swap();
}

/// The columns, from the first to the one after the last, whose places are inside the image.
#[inline(always)]
fn inside(width: usize, place: impl Fn(usize) -> f64) -> (usize, usize) {
    let first = (0..width).position(|x| place(x) >= 0.0).unwrap_or(width);
    let end = (0..width)
        .position(|x| place(x) >= width as f64)
        .unwrap_or(width);
    (first.min(end), end)
}

/// The same along the columns: of the image with rows and columns exchanged.
#[inline(always)]
fn along_columns(image: &mut Planes, magnitude: f64, fill: u8) {
    let Shape { height, width, .. } = image.shape;
    transpose(image, (height, width));
    along_rows(image, (width, height), magnitude, fill);
    transpose(image, (width, height));
}

#[inline(always)]
fn transpose(image: &mut Planes, (height, width): (usize, usize)) {
    let area = image.shape.area();
    let planes = image.pixels.chunks_exact(area);
    for (plane, out) in planes.zip(image.spare.chunks_exact_mut(area)) {
        for (y, row) in plane.chunks_exact(width).enumerate() {
            for (x, &pixel) in row.iter().enumerate() {
                out[x * height + y] = pixel;
            }
        }
    }
    image.swap();
}

/// Pillow's cubic between the two pixels in the middle, whose derivatives are the differences of their neighbours.
#[inline(always)]
fn cubic(pixels: [u8; 4], fraction: f64) -> u8 {
    let [v1, v2, v3, v4] = pixels.map(f64::from);
    let (p2, p3, p4) = (-v1 + v3, 2.0 * (v1 - v2) + v3 - v4, -v1 + v2 - v3 + v4);
    to_pixel_f64(v2 + fraction * (p2 + fraction * (p3 + fraction * p4)))
}
