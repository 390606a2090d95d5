//! One batch: the placement of each image, and the pass that fills the tensor.

#![expect(
    clippy::needless_pass_by_value,
    reason = "a function argument is extracted from Python by value"
)]

use lt_fast_core::batch::{self, Images, Mix, Normalization, Placement, Shape};
use lt_fast_core::error::{Result, reserved};
use lt_fast_core::source::Source;
use numpy::{
    BorrowError, PyArray1, PyArray2, PyArray4, PyArrayMethods, PyReadonlyArray4, PyReadwriteArray4,
    PyUntypedArrayMethods,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::arrays::{Array1, Column, check_aligned};
use crate::detached::detached;

/// Seed, epoch, view, padding and flip: with a position, they determine a placement.
type Cropping = (u64, u64, u64, u64, bool);

/// Partners as rows of the images, their positions, mixing coefficients, boxes.
type MixArrays<'py> = (
    Array1<'py, i64>,
    Array1<'py, i64>,
    Array1<'py, f32>,
    Option<Bound<'py, PyArray2<i32>>>,
);

#[pyfunction]
#[pyo3(signature = (positions, cropping))]
pub fn placements<'py>(
    py: Python<'py>,
    positions: Array1<'py, i64>,
    cropping: Cropping,
) -> PyResult<Bound<'py, PyArray2<i64>>> {
    let positions = Column::of("positions", &positions)?;
    let rows = detached(py, || {
        let drawn = placed(&positions, cropping)?;
        let mut rows = reserved(drawn.len().saturating_mul(3))?;
        rows.extend(drawn.iter().flat_map(|p| [p.dy, p.dx, i64::from(p.flip)]));
        Ok(rows)
    })?;
    let count = rows.len() / 3;
    PyArray1::from_vec(py, rows).reshape([count, 3])
}

#[pyfunction]
#[pyo3(signature = (images, index, positions, cropping, mean, std, mix, out))]
#[expect(
    clippy::too_many_arguments,
    reason = "all inputs of a batch, in one pass"
)]
pub fn fill_batch<'py>(
    py: Python<'py>,
    images: Bound<'py, PyArray4<u8>>,
    index: Array1<'py, i64>,
    positions: Array1<'py, i64>,
    cropping: Cropping,
    mean: Array1<'py, f32>,
    std: Array1<'py, f32>,
    mix: Option<MixArrays<'py>>,
    out: Bound<'py, PyArray4<f32>>,
) -> PyResult<()> {
    let (images, mut out) = borrowed(&images, &out)?;
    let (_, height, width, channels) = images.as_array().dim();
    let shape = Shape {
        height,
        width,
        channels,
    };
    // Pixels are not checked, so they may change meanwhile; the values that are checked are few, and copied.
    let (pixels, out) = (images.as_slice()?, out.as_slice_mut()?);
    let index = Column::of("index", &index)?;
    let positions = Column::of("positions", &positions)?;
    let (mean, std) = (Column::of("mean", &mean)?, Column::of("std", &std)?);
    let mix = mix.as_ref().map(Partners::of).transpose()?;
    detached(py, || {
        let (images, index) = (Images::new(pixels, shape)?, index.to_copy()?);
        let normalization = Normalization::new(&mean.to_copy()?, &std.to_copy()?)?;
        let own = placed(&positions, cropping)?;
        let Some(mix) = mix else {
            return batch::fill_batch(images, &index, &own, None, &normalization, out);
        };
        let (partner, lam) = (mix.partner.to_copy()?, mix.lam.to_copy()?);
        let boxes = mix.boxes.map(|boxes| boxes.to_copy()).transpose()?;
        let mix = Mix {
            partner: &partner,
            placements: &placed(&mix.positions, cropping)?,
            lam: &lam,
            boxes: boxes.as_deref().map(|edges| edges.as_chunks::<4>().0),
        };
        batch::fill_batch(images, &index, &own, Some(mix), &normalization, out)
    })
}

/// The arrays of a mix.
struct Partners<'a> {
    partner: Column<'a, i64>,
    positions: Column<'a, i64>,
    lam: Column<'a, f32>,
    boxes: Option<Column<'a, i32>>,
}

impl<'a> Partners<'a> {
    fn of((partner, positions, lam, boxes): &'a MixArrays<'_>) -> PyResult<Self> {
        Ok(Self {
            partner: Column::of("partner", partner)?,
            positions: Column::of("partner positions", positions)?,
            lam: Column::of("lam", lam)?,
            boxes: boxes.as_ref().map(regions).transpose()?,
        })
    }
}

fn regions<'a>(boxes: &'a Bound<'_, PyArray2<i32>>) -> PyResult<Column<'a, i32>> {
    if boxes.shape().last() != Some(&4) {
        return Err(PyValueError::new_err(format!(
            "boxes must have rows (top, left, bottom, right), got shape {:?}",
            boxes.shape()
        )));
    }
    Column::dense("boxes", boxes)
}

fn placed(
    positions: &Column<'_, i64>,
    (seed, epoch, view, padding, flip): Cropping,
) -> Result<Vec<Placement>> {
    batch::placements(seed, epoch, view, &positions.to_copy()?, padding, flip)
}

/// The images to read and the output to write, which no other call may use and which must not overlap the images.
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
