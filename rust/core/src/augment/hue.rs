//! Rotation of the hue, as torchvision has it for PIL images: by way of Pillow's HSV in uint8.
//!
//! Pillow computes some steps in float64 and stores them in float32; the same steps are rounded here.

use crate::instruction_set::to_pixel_f64;
use crate::planes::Planes;

/// `functional.adjust_hue` on a PIL image: add `turn` to the hue, which has 256 values in a circle.
#[inline(always)]
pub fn rotate_hue(image: &mut Planes, turn: u8) {
    let Some([red, green, blue]) = image.colours() else {
        return;
    };
    for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
        let [hue, saturation, value] = hsv([*red, *green, *blue]);
        [*red, *green, *blue] = rgb(hue.wrapping_add(turn), saturation, value);
    }
}

#[inline(always)]
fn hsv([red, green, blue]: [u8; 3]) -> [u8; 3] {
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let saturation = range / f32::from(most);
    let [r, g, b] = [red, green, blue].map(|colour| f32::from(most - colour) / range);
    let hue = if red == most {
        b - g
    } else if green == most {
        (2.0 + f64::from(r) - f64::from(b)) as f32
    } else {
        (4.0 + f64::from(g) - f64::from(r)) as f32
    };
    let turns = f64::from(hue) / 6.0 + 1.0; // from 5/6 to 11/6
    let hue = if turns < 1.0 { turns } else { turns - 1.0 } as f32;
    let stored = |share: f32| to_pixel_f64(f64::from(share) * 255.0);
    [stored(hue), stored(saturation), most]
}

#[inline(always)]
fn rgb(hue: u8, saturation: u8, value: u8) -> [u8; 3] {
    if saturation == 0 {
        return [value; 3];
    }
    let turn = f64::from(hue) * 6.0 / 255.0;
    let sextant = to_pixel_f64(turn);
    let fraction = f64::from((turn - f64::from(sextant)) as f32);
    let share = f64::from((f64::from(saturation) / 255.0) as f32);
    let stored = |part: f64| rounded(f64::from(value) * part);
    let (low, falling) = (stored(1.0 - share), stored(1.0 - share * fraction));
    let rising = stored(1.0 - share * (1.0 - fraction));
    match sextant % 6 {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}

/// `round`: the half goes up.
#[inline(always)]
fn rounded(value: f64) -> u8 {
    let whole = to_pixel_f64(value);
    whole + u8::from(value - f64::from(whole) >= 0.5)
}
