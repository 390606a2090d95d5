//! One batch: where each image is cut, and the pass that fills the tensor.

#![expect(
    clippy::needless_pass_by_value,
    reason = "a function argument is extracted from Python by value"
)]

use lt_fast_core::batch::{self, Images, Mix, Normalization, Placement, Shape};
use numpy::{
    PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArray4,
    PyReadwriteArray4,
};
use pyo3::prelude::*;

use crate::error::to_python;

/// Seed, epoch, view, padding and flip: with a position, what decides a placement.
type Cropping = (u64, u64, u64, u64, bool);

/// Partners as rows of the images, their positions, mixing coefficients, boxes.
type MixArrays<'py> = (
    PyReadonlyArray1<'py, i64>,
    PyReadonlyArray1<'py, i64>,
    PyReadonlyArray1<'py, f32>,
    Option<PyReadonlyArray2<'py, i32>>,
);

#[pyfunction]
#[pyo3(signature = (positions, cropping))]
pub fn placements<'py>(
    py: Python<'py>,
    positions: PyReadonlyArray1<'py, i64>,
    cropping: Cropping,
) -> PyResult<Bound<'py, PyArray2<i64>>> {
    let drawn = placed(positions.as_slice()?, cropping).map_err(to_python)?;
    let rows: Vec<i64> = drawn
        .iter()
        .flat_map(|p| [p.dy, p.dx, i64::from(p.flip)])
        .collect();
    PyArray1::from_vec(py, rows).reshape([drawn.len(), 3])
}

#[pyfunction]
#[pyo3(signature = (images, index, positions, cropping, mean, std, mix, out))]
#[expect(
    clippy::too_many_arguments,
    reason = "all that a batch is made of, in one pass"
)]
pub fn fill_batch<'py>(
    py: Python<'py>,
    images: PyReadonlyArray4<'py, u8>,
    index: PyReadonlyArray1<'py, i64>,
    positions: PyReadonlyArray1<'py, i64>,
    cropping: Cropping,
    mean: PyReadonlyArray1<'py, f32>,
    std: PyReadonlyArray1<'py, f32>,
    mix: Option<MixArrays<'py>>,
    mut out: PyReadwriteArray4<'py, f32>,
) -> PyResult<()> {
    let (_, height, width, channels) = images.as_array().dim();
    let shape = Shape {
        height,
        width,
        channels,
    };
    let (pixels, index, positions) = (images.as_slice()?, index.as_slice()?, positions.as_slice()?);
    let (mean, std, out) = (mean.as_slice()?, std.as_slice()?, out.as_slice_mut()?);
    let mix = match &mix {
        Some((partner, positions, lam, boxes)) => Some((
            partner.as_slice()?,
            positions.as_slice()?,
            lam.as_slice()?,
            boxes.as_ref().map(regions).transpose()?,
        )),
        None => None,
    };
    let fill = || {
        let (images, normalization) = (Images::new(pixels, shape)?, Normalization::new(mean, std)?);
        let own = placed(positions, cropping)?;
        let Some((partner, positions, lam, boxes)) = mix else {
            return batch::fill_batch(images, index, &own, None, &normalization, out);
        };
        let mix = Mix {
            partner,
            placements: &placed(positions, cropping)?,
            lam,
            boxes,
        };
        batch::fill_batch(images, index, &own, Some(mix), &normalization, out)
    };
    py.detach(fill).map_err(to_python)
}

fn placed(
    positions: &[i64],
    (seed, epoch, view, padding, flip): Cropping,
) -> lt_fast_core::error::Result<Vec<Placement>> {
    batch::placements(seed, epoch, view, positions, padding, flip)
}

fn regions<'a>(boxes: &'a PyReadonlyArray2<'_, i32>) -> PyResult<&'a [[i32; 4]]> {
    let (regions, rest) = boxes.as_slice()?.as_chunks::<4>();
    if boxes.as_array().ncols() == 4 && rest.is_empty() {
        return Ok(regions);
    }
    Err(pyo3::exceptions::PyValueError::new_err(format!(
        "boxes must have rows (top, left, bottom, right), got shape {:?}",
        boxes.as_array().dim()
    )))
}
