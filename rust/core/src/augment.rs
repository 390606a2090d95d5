//! Strong augmentation of uint8 images in memory: operations, each equal to Pillow's bit for bit, and policies of them.
//!
//! An image has three channels or one. Colour operations leave an image of one channel as it is, as Pillow does.
#![expect(
    clippy::inline_always,
    reason = "what is not inlined is not compiled for the caller's instruction set"
)]

mod blends;
mod blur;
mod geometry;
mod hue;
mod operation;
mod policy;
mod tones;

pub use policy::{Augmentation, Augmenting, Stage, Step, key};
