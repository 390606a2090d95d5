//! Lists of Python integers, from integers that have been made already.
//!
//! A sampler gives out the same indices in every epoch. Making a Python integer for each draw, and freeing it after the
//! batch, costs several times what the draw does; so the integers below [`KEPT`] are made once a process, when they are
//! first drawn, and kept: from then on an element of a list is a reference and a store. A place takes 8 bytes and an
//! integer 32, so all of them take 5 MB. That is as many as fit a processor's second cache and a little more: with
//! larger data sets an integer that lies anywhere in memory comes later than a new one, made where the last was freed.
//! Hence a call that holds an index beyond makes all of its integers afresh.
//!
//! *Soundness.* A place is null or an owned reference that is never given back: what has been read from the table
//! stays alive. Places change by compare-and-swap only, so nothing rests on the interpreter's lock, no lock of our own
//! can be left taken by a fork, and a child goes on with the parent's integers. Nothing runs when the interpreter ends.
//! Sub-interpreters would need a table each; `PyO3` refuses to load a module into a second one.

use std::ptr::{from_ref, null_mut};
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use pyo3::ffi::{Py_DECREF, Py_INCREF, PyList_New, PyList_SetItem, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyList;

/// How many integers are kept. Measured with 2 MB of second cache: at 120,000 samples kept ones win by 3 to 25 %, at
/// 230,000 new ones may.
const KEPT: usize = 1 << 17;
/// Elements from the first look at an integer to its use, and from the first look at its place to that.
const AHEAD: usize = 16;

/// Elements from one look for signals to the next, some milliseconds.
const AT_ONCE: usize = 1 << 16;

/// Zeroed memory, which costs nothing before it is touched.
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

/// How an integer is made.
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

/// The first `len` of `values` as a list; what follows is needed soon.
fn list_of<'py>(
    py: Python<'py>,
    values: &[i64],
    len: usize,
    make: Make,
) -> PyResult<Bound<'py, PyList>> {
    // SAFETY: a slice's length fits; a null result is turned into the error that it stands for.
    let list = unsafe { Bound::from_owned_ptr_or_err(py, PyList_New(len as isize))? };
    let put = |at: usize, integer: *mut PyObject| {
        // SAFETY: nobody else has seen the list, `at` lies inside, and the reference to the integer is passed on.
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

/// Fetch the integer that is needed soon, and the place of one that is needed a little later.
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
    // SAFETY: a hint, which any address may be given to.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// A new reference to the integer `value`, which the table has from now on.
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

/// Make `value` and keep it in `place`.
#[cold]
fn keep(py: Python<'_>, value: i64, place: &AtomicPtr<PyObject>) -> PyResult<*mut PyObject> {
    let made = value.into_pyobject(py)?.into_ptr();
    // SAFETY: one reference more, for the table ...
    unsafe { Py_INCREF(made) };
    if place
        .compare_exchange(null_mut(), made, Release, Relaxed)
        .is_err()
    {
        // SAFETY: ... given back where another thread has been faster.
        unsafe { Py_DECREF(made) };
    }
    Ok(made)
}
