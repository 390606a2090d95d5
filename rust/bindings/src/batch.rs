//! One batch: where each image is cut, and the pass that fills the tensor.

#![expect(
    clippy::needless_pass_by_value,
    reason = "a function argument is extracted from Python by value"
)]

use lt_fast_core::batch::{self, Images, Normalization, Pairs, Placement, Shape};
use numpy::{
    PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArray4,
    PyReadwriteArray4,
};
use pyo3::prelude::*;

use crate::error::to_python;

#[pyfunction]
#[pyo3(signature = (seed, epoch, start, n, crop_padding, flip))]
pub fn placements(
    py: Python<'_>,
    seed: u64,
    epoch: u64,
    start: u64,
    n: usize,
    crop_padding: u64,
    flip: bool,
) -> PyResult<Bound<'_, PyArray2<i64>>> {
    let drawn = batch::placements(seed, epoch, start, n, crop_padding, flip).map_err(to_python)?;
    let rows: Vec<i64> = drawn
        .iter()
        .flat_map(|p| [p.dy, p.dx, i64::from(p.flip)])
        .collect();
    PyArray1::from_vec(py, rows).reshape([n, 3])
}

#[pyfunction]
#[pyo3(signature = (images, indices, placements, mean, std, pairs, out))]
#[expect(
    clippy::too_many_arguments,
    reason = "all that a batch is made of, in one pass"
)]
pub fn fill_batch<'py>(
    py: Python<'py>,
    images: PyReadonlyArray4<'py, u8>,
    indices: PyReadonlyArray1<'py, i64>,
    placements: PyReadonlyArray2<'py, i64>,
    mean: PyReadonlyArray1<'py, f32>,
    std: PyReadonlyArray1<'py, f32>,
    pairs: Option<(PyReadonlyArray1<'py, i64>, PyReadonlyArray1<'py, f32>)>,
    mut out: PyReadwriteArray4<'py, f32>,
) -> PyResult<()> {
    let (_, height, width, channels) = images.as_array().dim();
    let shape = Shape {
        height,
        width,
        channels,
    };
    let (pixels, indices, rows) = (
        images.as_slice()?,
        indices.as_slice()?,
        placements.as_slice()?,
    );
    let (mean, std, out) = (mean.as_slice()?, std.as_slice()?, out.as_slice_mut()?);
    let pairs = match &pairs {
        Some((partner, lam)) => Some(Pairs {
            partner: partner.as_slice()?,
            lam: lam.as_slice()?,
        }),
        None => None,
    };
    let fill = || {
        let (images, normalization) = (Images::new(pixels, shape)?, Normalization::new(mean, std)?);
        batch::fill_batch(
            images,
            indices,
            &Placement::from_rows(rows)?,
            pairs,
            &normalization,
            out,
        )
    };
    py.detach(fill).map_err(to_python)
}
