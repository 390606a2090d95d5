//! One batch: the placement of each image, and the pass that fills the tensor.

#![expect(
    clippy::needless_pass_by_value,
    reason = "a function argument is extracted from Python by value"
)]

use lt_fast_core::augment;
use lt_fast_core::batch::{
    self, Batch, Images, Layout, Mix, Normalization, Output, Placement, Policy, Shape,
};
use lt_fast_core::error::{Result, filled, reserved};
use lt_fast_core::rng::Stream;
use lt_fast_core::source::Source;
use numpy::{
    BorrowError, Element, PyArray1, PyArray2, PyArray4, PyArrayMethods, PyReadonlyArray4,
    PyReadwriteArray4, PyUntypedArrayMethods,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::arrays::{Array1, Column, check_aligned};
use crate::augmentation::Augmentation;
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
#[pyo3(signature = (images, index, positions, cropping, mean, std, mix, out, augmentation = None, dtype = "float32", channels_last = false))]
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
    out: Bound<'py, PyAny>,
    augmentation: Option<Bound<'py, Augmentation>>,
    dtype: &str,
    channels_last: bool,
) -> PyResult<()> {
    let layout = if channels_last {
        Layout::Pixels
    } else {
        Layout::Planes
    };
    let mut inputs = Inputs {
        images: read(&images)?,
        index: Column::of("index", &index)?,
        positions: Column::of("positions", &positions)?,
        mean: Column::of("mean", &mean)?,
        std: Column::of("std", &std)?,
        mix: mix.as_ref().map(Partners::of).transpose()?,
        augmentation: augmentation.as_ref().map(|it| &it.get().core),
        cropping,
        layout,
    };
    match dtype {
        "float32" => inputs.fill(py, written::<f32>(&out)?, |out| Output::Float32(out)),
        "bfloat16" => inputs.fill(py, written::<u16>(&out)?, |out| Output::Bfloat16(out)),
        "float16" => inputs.fill(py, written::<u16>(&out)?, |out| Output::Float16(out)),
        other => Err(PyValueError::new_err(format!(
            "dtype must be float32, bfloat16 or float16, got {other:?}"
        ))),
    }
}

/// What a batch is made of, as arrays.
struct Inputs<'py, 'a> {
    images: PyReadonlyArray4<'py, u8>,
    index: Column<'a, i64>,
    positions: Column<'a, i64>,
    mean: Column<'a, f32>,
    std: Column<'a, f32>,
    mix: Option<Partners<'a>>,
    augmentation: Option<&'a augment::Augmentation>,
    cropping: Cropping,
    layout: Layout,
}

impl Inputs<'_, '_> {
    fn fill<T: Element + Send>(
        &mut self,
        py: Python<'_>,
        out: &Bound<'_, PyArray4<T>>,
        kind: impl Send + for<'o> FnOnce(&'o mut [T]) -> Output<'o>,
    ) -> PyResult<()> {
        let (pixels, shape) = (self.images.as_slice()?, shape_of(&self.images));
        let mut out = borrowed(out)?;
        let out = out.as_slice_mut()?;
        let Self {
            index,
            positions,
            mean,
            std,
            mix,
            augmentation,
            cropping,
            layout,
            ..
        } = self;
        // Pixels are not checked, so they may change meanwhile; the values that are checked are few, and copied.
        detached(py, || {
            let (images, index) = (Images::new(pixels, shape)?, index.to_copy()?);
            let normalization = Normalization::new(&mean.to_copy()?, &std.to_copy()?)?;
            let own = Drawn::of(positions, *cropping, augmentation.is_some())?;
            let (mut others, mut arrays) = (Drawn::default(), None);
            if let Some(mix) = mix {
                others = Drawn::of(&mix.positions, *cropping, augmentation.is_some())?;
                let boxes = mix.boxes.as_ref().map(Source::to_copy).transpose()?;
                let partner = mix.partner.to_copy()?;
                let [own, theirs] = [positions.to_copy()?, mix.positions.to_copy()?];
                let within = batch::partners_within((&index, &own), (&partner, &theirs))?;
                arrays = Some((partner, mix.lam.to_copy()?, boxes, within));
            }
            let mix = arrays.as_ref().map(|(partner, lam, boxes, within)| Mix {
                partner,
                placements: &others.placements,
                lam,
                boxes: boxes.as_deref().map(|edges| edges.as_chunks::<4>().0),
                within,
            });
            let policy = augmentation.map(|augmentation| Policy {
                augmentation,
                keys: &own.keys,
                partner_keys: &others.keys,
            });
            let batch = Batch {
                images,
                indices: &index,
                placements: &own.placements,
                policy,
                mix,
                normalization: &normalization,
                layout: *layout,
            };
            batch::fill_batch(batch, kind(out))
        })
    }
}

/// Where images are cropped, and the keys of their policy.
#[derive(Default)]
struct Drawn {
    placements: Vec<Placement>,
    keys: Vec<Stream>,
}

impl Drawn {
    fn of(positions: &Column<'_, i64>, cropping: Cropping, keyed: bool) -> Result<Self> {
        let (seed, epoch, view, padding, flip) = cropping;
        let positions = positions.to_copy()?;
        let mut keys = Vec::new();
        if keyed {
            keys = batch::keys(seed, epoch, view, &positions)?;
        }
        Ok(Self {
            placements: batch::placements(seed, epoch, view, &positions, padding, flip)?,
            keys,
        })
    }
}

#[pyfunction]
#[pyo3(signature = (images, positions, augmentation, seed, epoch, view))]
pub fn augmented<'py>(
    py: Python<'py>,
    images: Bound<'py, PyArray4<u8>>,
    positions: Array1<'py, i64>,
    augmentation: Bound<'py, Augmentation>,
    seed: u64,
    epoch: u64,
    view: u64,
) -> PyResult<Bound<'py, PyArray4<u8>>> {
    let read = read(&images)?;
    let (pixels, shape) = (read.as_slice()?, shape_of(&read));
    let positions = Column::of("positions", &positions)?;
    let augmentation = &augmentation.get().core;
    let changed = detached(py, || {
        let keys = batch::keys(seed, epoch, view, &positions.to_copy()?)?;
        let mut out = filled(pixels.len(), &0)?;
        batch::augment_images(Images::new(pixels, shape)?, augmentation, &keys, &mut out)?;
        Ok(out)
    })?;
    PyArray1::from_vec(py, changed).reshape(read.as_array().dim())
}

fn shape_of(images: &PyReadonlyArray4<'_, u8>) -> Shape {
    let (_, height, width, channels) = images.as_array().dim();
    Shape {
        height,
        width,
        channels,
    }
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

const IN_USE: &str = "must not be written to by another call at the same time";

fn read<'py>(images: &Bound<'py, PyArray4<u8>>) -> PyResult<PyReadonlyArray4<'py, u8>> {
    let read = images.try_readonly();
    read.map_err(|_| PyValueError::new_err(format!("images {IN_USE}")))
}

fn written<'a, 'py, T: Element>(
    out: &'a Bound<'py, PyAny>,
) -> PyResult<&'a Bound<'py, PyArray4<T>>> {
    out.cast::<PyArray4<T>>().map_err(|_| {
        let bits = 8 * size_of::<T>();
        PyTypeError::new_err(format!(
            "out must be an array of four dimensions with numbers of {bits} bits, float32 or uint16 by its dtype"
        ))
    })
}

/// The output, which no other call may use and which must not overlap the images.
fn borrowed<'py, T: Element>(out: &Bound<'py, PyArray4<T>>) -> PyResult<PyReadwriteArray4<'py, T>> {
    check_aligned("out", out)?;
    out.try_readwrite().map_err(|error| {
        PyValueError::new_err(match error {
            BorrowError::NotWriteable => "out must be writeable".to_owned(),
            _ => format!("out {IN_USE}, nor share memory with images"),
        })
    })
}
