//! Python bindings: borrow, detach, call the core, return. All rules are in the core.

#![deny(clippy::indexing_slicing)]

mod arrays;
mod augmentation;
mod batch;
mod confusion;
mod detached;
mod draws;
mod error;
mod image_list;
mod integers;
mod numpy_api;
mod profile;
mod sampler;
mod subset;

use pyo3::pymodule;

/// The Rust part of `lt_fast`; `python/lt_fast/_rust.pyi` has the types.
///
/// `gil_used = false`: a free-threaded interpreter leaves its lock off. What threads share is one of these:
///
/// - classes are `frozen`, so no call borrows one mutably and none is "already borrowed";
/// - `Draws` and `Augmentation` never change. What some samplers keep of their last call is behind a lock that a second
///   call does not wait for: it computes the same without (`sampler/shuffled.rs`, `try_lock`);
/// - `ConfusionCounts` has a lock that is held for one addition, by a thread that is detached;
/// - the table of integers is atomic (`integers.rs`);
/// - arrays are read as if others wrote to them, which they may with the lock, too, as calls run detached (`arrays.rs`).
///   An output is borrowed by one call; a second one is a `ValueError` (`batch.rs`). One rule is left to the caller: no
///   thread changes shape, strides or size of an array that another one passes to a call.
#[pymodule(gil_used = false)]
mod _rust {
    use lt_fast_core::fault::note_panics;
    use lt_fast_core::rng::stream;
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        note_panics();
        crate::numpy_api::load(module.py())
    }

    #[pymodule_export]
    const STREAM_SAMPLER: u64 = stream::SAMPLER;
    #[pymodule_export]
    const STREAM_CLASS_ORDER: u64 = stream::CLASS_ORDER;
    #[pymodule_export]
    const STREAM_WITHIN_CLASS: u64 = stream::WITHIN_CLASS;
    #[pymodule_export]
    const STREAM_AUGMENT: u64 = stream::AUGMENT;
    #[pymodule_export]
    const STREAM_PARTNER: u64 = stream::PARTNER;
    #[pymodule_export]
    const STREAM_MIX: u64 = stream::MIX;
    #[pymodule_export]
    const STREAM_INIT: u64 = stream::INIT;
    #[pymodule_export]
    const STREAM_SUBSET: u64 = stream::SUBSET;
    #[pymodule_export]
    const STREAM_LABEL_NOISE: u64 = stream::LABEL_NOISE;
    #[pymodule_export]
    const STREAM_CONFUSION_PAIR: u64 = stream::CONFUSION_PAIR;
    #[pymodule_export]
    const STREAM_POLICY: u64 = stream::POLICY;

    #[pymodule_export]
    use crate::augmentation::Augmentation;
    #[pymodule_export]
    use crate::batch::{augmented, fill_batch, placements};
    #[pymodule_export]
    use crate::confusion::ConfusionCounts;
    #[pymodule_export]
    use crate::draws::{beta, integers, permutation, uniform};
    #[pymodule_export]
    use crate::image_list::parse_image_list;
    #[pymodule_export]
    use crate::profile::long_tailed_counts;
    #[pymodule_export]
    use crate::sampler::{
        Draws, class_balanced, confusion_pairs, least_sampled, m_per_class, multilabel,
        repeat_factor, shuffled, stratified, weighted,
    };
    #[pymodule_export]
    use crate::subset::{class_sizes, long_tailed_indices};
}
