//! One batch: where each image is cut, and the pass that fills the tensor.

#![expect(
    clippy::needless_pass_by_value,
    reason = "a function argument is extracted from Python by value"
)]

use lt_fast_core::batch::{self, Images, Normalization, Pairs, Placement, Shape};
use lt_fast_core::error::reserved;
use lt_fast_core::source::Source;
use numpy::{
    BorrowError, PyArray1, PyArray2, PyArray4, PyArrayMethods, PyReadonlyArray4, PyReadwriteArray4,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::arrays::{Array1, Column, check_aligned};
use crate::detached::detached;

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
    let rows = detached(py, || {
        let drawn = batch::placements(seed, epoch, start, n, crop_padding, flip)?;
        let mut rows = reserved(n.saturating_mul(3))?;
        rows.extend(drawn.iter().flat_map(|p| [p.dy, p.dx, i64::from(p.flip)]));
        Ok(rows)
    })?;
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
    images: Bound<'py, PyArray4<u8>>,
    indices: Array1<'py, i64>,
    placements: Bound<'py, PyArray2<i64>>,
    mean: Array1<'py, f32>,
    std: Array1<'py, f32>,
    pairs: Option<(Array1<'py, i64>, Array1<'py, f32>)>,
    out: Bound<'py, PyArray4<f32>>,
) -> PyResult<()> {
    let (images, mut out) = borrowed(&images, &out)?;
    let (_, height, width, channels) = images.as_array().dim();
    let shape = Shape {
        height,
        width,
        channels,
    };
    // Pixels are not judged, so they may change; what is judged is small, and copied.
    let (pixels, out) = (images.as_slice()?, out.as_slice_mut()?);
    let indices = Column::of("indices", &indices)?;
    let rows = Column::dense("placements", &placements)?;
    let (mean, std) = (Column::of("mean", &mean)?, Column::of("std", &std)?);
    let pairs = match &pairs {
        Some((partner, lam)) => Some((Column::of("partner", partner)?, Column::of("lam", lam)?)),
        None => None,
    };
    detached(py, || {
        let (images, indices) = (Images::new(pixels, shape)?, indices.to_copy()?);
        let normalization = Normalization::new(&mean.to_copy()?, &std.to_copy()?)?;
        let placements = Placement::from_rows(&rows.to_copy()?)?;
        let (partner, lam) = match pairs {
            Some((partner, lam)) => (Some(partner.to_copy()?), lam.to_copy()?),
            None => (None, Vec::new()),
        };
        let pairs = partner
            .as_deref()
            .map(|partner| Pairs { partner, lam: &lam });
        batch::fill_batch(images, &indices, &placements, pairs, &normalization, out)
    })
}

/// The images to read from, and what is written to: no other call's, and not the images' own memory.
fn borrowed<'py>(
    images: &Bound<'py, PyArray4<u8>>,
    out: &Bound<'py, PyArray4<f32>>,
) -> PyResult<(PyReadonlyArray4<'py, u8>, PyReadwriteArray4<'py, f32>)> {
    check_aligned("out", out)?;
    let in_use = "must not be written to by another call at the same time";
    let images = images
        .try_readonly()
        .map_err(|_| PyValueError::new_err(format!("images {in_use}")))?;
    let out = out.try_readwrite().map_err(|error| {
        PyValueError::new_err(match error {
            BorrowError::NotWriteable => "out must be writeable".to_owned(),
            _ => format!("out {in_use}, nor share memory with images"),
        })
    })?;
    Ok((images, out))
}
