//! One image in memory of its own, a plane for each channel: what operations change in place.

use crate::error::{Result, filled};

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
    /// Pixels per image.
    #[must_use]
    pub fn area(self) -> usize {
        self.height * self.width
    }

    /// Values per image.
    #[must_use]
    pub fn size(self) -> usize {
        self.area() * self.channels
    }
}

/// An image, `(channels, height, width)`, and room for another of its size.
#[derive(Debug, Clone)]
pub struct Planes {
    /// Of the image.
    pub shape: Shape,
    /// The planes, one after the other.
    pub pixels: Vec<u8>,
    /// Room for a result that cannot be written in place; [`Planes::swap`] makes it the image.
    pub spare: Vec<u8>,
    /// Room for a number per pixel of a row.
    pub row: Vec<u32>,
    /// Room for the pixels of a row or a column and their neighbours outside.
    pub line: Vec<u8>,
    /// Room for the places of the pixels of a row or a column.
    pub fractions: Vec<f64>,
}

impl Planes {
    /// A black image.
    ///
    /// # Errors
    /// If it does not fit into memory.
    pub fn new(shape: Shape) -> Result<Self> {
        Ok(Self {
            shape,
            pixels: filled(shape.size(), &0)?,
            spare: filled(shape.size(), &0)?,
            row: filled(shape.width, &0)?,
            fractions: filled(shape.height.max(shape.width), &0.0)?,
            line: filled(3 * (shape.height.max(shape.width) + 1), &0)?,
        })
    }

    /// Make the spare image the image.
    #[inline]
    pub fn swap(&mut self) {
        std::mem::swap(&mut self.pixels, &mut self.spare);
    }

    /// The planes of an image in colour; none for any other number of channels.
    #[inline]
    pub fn colours(&mut self) -> Option<[&mut [u8]; 3]> {
        if self.shape.channels != 3 {
            return None;
        }
        let (red, rest) = self.pixels.split_at_mut(self.shape.area());
        let (green, blue) = rest.split_at_mut(self.shape.area());
        Some([red, green, blue])
    }
}
