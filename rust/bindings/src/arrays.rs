//! Arrays of `NumPy`, read without the interpreter's lock.
//!
//! While a call runs detached, other threads may write to the arrays it reads. A Rust slice promises that its memory
//! does not change, so an array is a pointer from which each element is copied once ([`Source`]); the core checks and
//! uses the copy. Any bytes are a valid number of the array's type; a number written at the same time may be read half.

use std::marker::PhantomData;

use lt_fast_core::source::Source;
use numpy::{
    Element, PyArray, PyArray1, PyArrayMethods, PyUntypedArrayMethods, ndarray::Dimension,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

/// An argument: any one-dimensional array of numbers `T`.
pub type Array1<'py, T> = Bound<'py, PyArray1<T>>;

/// The elements of an array that its argument keeps alive.
pub struct Column<'a, T> {
    first: *const T,
    len: usize,
    /// Bytes from an element to the next.
    stride: isize,
    array: PhantomData<&'a T>,
}

// SAFETY: elements are plain numbers, and they are copied through the pointer, never borrowed.
unsafe impl<T: Send> Send for Column<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Column<'_, T> {}

impl<'a, T: Element + Copy> Column<'a, T> {
    /// All elements, with any stride.
    pub fn of(name: &str, array: &'a Array1<'_, T>) -> PyResult<Self> {
        check_aligned(name, array)?;
        let stride = array.strides().first().copied().unwrap_or(0);
        Ok(Self::new(array, stride))
    }

    /// All elements of an array of any dimension, which must be contiguous.
    pub fn dense<D: Dimension>(name: &str, array: &'a Bound<'_, PyArray<T, D>>) -> PyResult<Self> {
        check_aligned(name, array)?;
        if !array.is_c_contiguous() {
            return Err(PyTypeError::new_err(format!(
                "{name} must be contiguous; pass a copy"
            )));
        }
        Ok(Self::new(array, size_of::<T>() as isize))
    }

    fn new<D: Dimension>(array: &'a Bound<'_, PyArray<T, D>>, stride: isize) -> Self {
        Self {
            first: array.data(),
            len: array.len(),
            stride,
            array: PhantomData,
        }
    }
}

impl<T: Copy + Default> Source<T> for Column<'_, T> {
    fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn copy_to(&self, start: usize, out: &mut [T]) {
        let len = out.len().min(self.len.saturating_sub(start));
        if self.stride == size_of::<T>() as isize {
            // SAFETY: elements `start..start + len` exist, and `out` does not overlap them: it is a unique borrow.
            unsafe { std::ptr::copy_nonoverlapping(self.first.add(start), out.as_mut_ptr(), len) };
            return;
        }
        for (at, slot) in (start..).zip(out).take(len) {
            // SAFETY: element `at` exists at this distance from the first, with the same alignment.
            *slot = unsafe {
                self.first
                    .byte_offset(at as isize * self.stride)
                    .read_volatile()
            };
        }
    }
}

/// Refuse unaligned arrays, such as a view into bytes: Rust may not read a number from an unaligned address.
pub fn check_aligned<T: Element, D: Dimension>(
    name: &str,
    array: &Bound<'_, PyArray<T, D>>,
) -> PyResult<()> {
    let strides = array.strides().iter().zip(array.shape());
    let mut steps = strides.filter(|&(_, &len)| len > 1).map(|(&step, _)| step);
    let aligned = |step: isize| step.unsigned_abs().is_multiple_of(align_of::<T>());
    if array.data().is_aligned() && steps.all(aligned) {
        return Ok(());
    }
    Err(PyValueError::new_err(format!(
        "{name} must be aligned in memory; pass a copy"
    )))
}
