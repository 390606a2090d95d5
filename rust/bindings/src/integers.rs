//! Lists of Python integers that reuse cached integer objects.
//!
//! A sampler returns the same indices in every epoch. Creating a Python integer for each draw and freeing it after the
//! batch costs several times as much as the draw, so integers below [`KEPT`] are created once per process, when first
//! drawn, and cached: afterwards an element of a list is a reference count and a store. An entry of the table takes 8
//! bytes and an integer 32, so all of them take 5 MB, a little more than a processor's second-level cache. With larger
//! data sets, loading a cached integer from main memory takes longer than creating one where the last was freed; hence
//! a call with an index beyond the table creates all of its integers.
//!
//! *Soundness.* An entry is null or an owned reference that is never released, so a pointer read from the table stays
//! valid. Entries change by compare-and-swap only: nothing depends on the interpreter's lock, there is no lock that a
//! fork could leave taken, and a child process uses the parent's integers. Nothing runs at interpreter shutdown.
//! Sub-interpreters would need a table each; `PyO3` refuses to load a module into a second one.

use std::ptr::{from_ref, null_mut};
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use pyo3::ffi::{Py_DECREF, Py_INCREF, PyList_New, PyList_SetItem, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyList;

/// Number of cached integers. Measured with a second-level cache of 2 MB: at 120,000 samples cached integers are 3 to
/// 25 % faster, at 230,000 new ones may be.
const KEPT: usize = 1 << 17;
/// Prefetch distance, in elements: from the prefetch of an integer to its use, and from the prefetch of its entry to
/// that.
const AHEAD: usize = 16;

/// Elements between two checks for signals, some milliseconds.
const AT_ONCE: usize = 1 << 16;

/// Zeroed memory, which the operating system maps when it is first touched.
static MADE: [AtomicPtr<PyObject>; KEPT] = [const { AtomicPtr::new(null_mut()) }; KEPT];

/// `values` as a Python list.
pub fn list<'py>(py: Python<'py>, values: &[i64]) -> PyResult<Bound<'py, PyList>> {
    list_of(py, values, values.len(), maker(values))
}

/// `values`, `size` at a time, as a Python list of lists.
pub fn lists<'py>(py: Python<'py>, values: &[i64], size: usize) -> PyResult<Bound<'py, PyList>> {
    let (make, mut since) = (maker(values), 0);
    let lists = list_of(py, &[], 0, make)?;
    for (number, chunk) in values.chunks(size.max(1)).enumerate() {
        since += chunk.len();
        if since >= AT_ONCE {
            since = 0;
            py.check_signals()?;
        }
        let rest = values.get(number * size..).unwrap_or_default();
        lists.append(list_of(py, rest, chunk.len(), make)?)?;
    }
    Ok(lists)
}

/// Where an integer comes from.
#[derive(Clone, Copy, PartialEq)]
enum Make {
    Once,
    Afresh,
}

fn maker(values: &[i64]) -> Make {
    if values.iter().all(|&value| (value as u64) < KEPT as u64) {
        Make::Once
    } else {
        Make::Afresh
    }
}

/// The first `len` of `values` as a list; the others are prefetched.
fn list_of<'py>(
    py: Python<'py>,
    values: &[i64],
    len: usize,
    make: Make,
) -> PyResult<Bound<'py, PyList>> {
    // SAFETY: a slice's length fits; a null result is turned into the error that it stands for.
    let list = unsafe { Bound::from_owned_ptr_or_err(py, PyList_New(len as isize))? };
    let put = |at: usize, integer: *mut PyObject| {
        // SAFETY: the list is not shared yet, `at` is inside, and the reference to the integer is moved into it.
        unsafe { PyList_SetItem(list.as_ptr(), at as isize, integer) };
    };
    for (at, &value) in values.iter().enumerate().take(len) {
        if at.is_multiple_of(AT_ONCE) && at > 0 {
            py.check_signals()?;
        }
        if make == Make::Once {
            look_ahead(values, at);
            put(at, kept(py, value)?);
        } else {
            put(at, value.into_pyobject(py)?.into_ptr());
        }
    }
    // SAFETY: that is what `PyList_New` makes.
    Ok(unsafe { list.cast_into_unchecked() })
}

/// Prefetch the integer that is needed soon, and the entry of one that is needed a little later.
#[inline]
fn look_ahead(values: &[i64], at: usize) {
    let place = |ahead: usize| MADE.get(*values.get(at + ahead)? as usize);
    if let Some(place) = place(AHEAD) {
        prefetch(place.load(Relaxed));
    }
    if let Some(place) = place(2 * AHEAD) {
        prefetch(from_ref(place));
    }
}

#[inline]
fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint and accepts any address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// A new reference to the integer `value`, which is added to the table.
#[inline]
fn kept(py: Python<'_>, value: i64) -> PyResult<*mut PyObject> {
    match MADE.get(value as usize) {
        Some(place) => {
            let integer = place.load(Acquire);
            if integer.is_null() {
                return keep(py, value, place);
            }
            // SAFETY: the table's own reference keeps it alive.
            unsafe { Py_INCREF(integer) };
            Ok(integer)
        }
        None => Ok(value.into_pyobject(py)?.into_ptr()),
    }
}

/// Create `value` and store it in the entry `place`.
#[cold]
fn keep(py: Python<'_>, value: i64, place: &AtomicPtr<PyObject>) -> PyResult<*mut PyObject> {
    let made = value.into_pyobject(py)?.into_ptr();
    // SAFETY: one more reference, for the table ...
    unsafe { Py_INCREF(made) };
    if place
        .compare_exchange(null_mut(), made, Release, Relaxed)
        .is_err()
    {
        // SAFETY: ... released if another thread has been faster.
        unsafe { Py_DECREF(made) };
    }
    Ok(made)
}
