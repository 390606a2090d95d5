//! The gather of CIFAR's images, 32 pixels wide and in colour: a row of pixels becomes three rows of 32 bytes, each by
//! one permutation of bytes where the processor has it.

use super::Placement;

/// Pixels of a row.
pub const WIDTH: usize = 32;
/// Bytes of a row.
const BYTES: usize = 3 * WIDTH;

/// Which columns are inside the image: a window of this, moved by as many pixels as the crop is.
static INSIDE: [u8; BYTES] = {
    let mut inside = [0; BYTES];
    let mut column = WIDTH;
    while column < 2 * WIDTH {
        inside[column] = 255;
        column += 1;
    }
    inside
};

/// Write the pixels of `image`, `(height, 32, 3)`, to `planes`, `(3, height, 32)`; `dx` must be within a row.
#[inline(always)]
pub fn gather<const FLIP: bool>(place: Placement, image: &[u8], planes: &mut [u8]) {
    let (rows, _) = image.as_chunks::<BYTES>();
    let (red, rest) = planes.split_at_mut(rows.len() * WIDTH);
    let (green, blue) = rest.split_at_mut(rows.len() * WIDTH);
    let all = (red.as_chunks_mut().0.iter_mut())
        .zip(green.as_chunks_mut().0)
        .zip(blue.as_chunks_mut().0);
    let shift = if FLIP { -place.dx } else { place.dx };
    let mask = window::<WIDTH>(&INSIDE, WIDTH as i64 + shift);
    // A row at the start or the end of the image that is read from outside of it.
    let mut bordered = [0; 3 * BYTES];
    for (y, ((red, green), blue)) in (place.dy..).zip(all) {
        let Some(row) = usize::try_from(y).ok().and_then(|y| rows.get(y)) else {
            [*red, *green, *blue] = [[0; WIDTH]; 3];
            continue;
        };
        let start = y * BYTES as i64 + 3 * place.dx;
        let inside = usize::try_from(start)
            .ok()
            .and_then(|start| image.get(start..));
        let pixels = inside.and_then(<[u8]>::first_chunk).unwrap_or_else(|| {
            bordered[BYTES..2 * BYTES].copy_from_slice(row);
            window(&bordered, BYTES as i64 + 3 * place.dx)
        });
        *red = channel::<FLIP, 0>(pixels, mask);
        *green = channel::<FLIP, 1>(pixels, mask);
        *blue = channel::<FLIP, 2>(pixels, mask);
    }
}

/// `N` bytes from `start` on; those at the end where there are not enough.
#[inline(always)]
fn window<const N: usize>(bytes: &[u8], start: i64) -> &[u8; N] {
    let start = (start.max(0) as usize).min(bytes.len() - N);
    // The length is right, so the fallback is never taken.
    bytes[start..].first_chunk().unwrap_or(&[0; N])
}

#[inline(always)]
fn channel<const FLIP: bool, const CHANNEL: usize>(
    pixels: &[u8; BYTES],
    mask: &[u8; WIDTH],
) -> [u8; WIDTH] {
    let mut out = [0; WIDTH];
    for x in 0..WIDTH {
        let column = if FLIP { WIDTH - 1 - x } else { x };
        out[x] = pixels[3 * column + CHANNEL] & mask[x];
    }
    out
}
