//! Loops over pixels, compiled for several instruction sets and chosen when the program runs.
//!
//! The results are the same for all: no loop depends on the width of a vector, and a multiplication is fused with an
//! addition where the code says so alone ([`f32::mul_add`]).
#![expect(
    clippy::inline_always,
    reason = "what is not inlined is not compiled for the caller's instruction set"
)]

/// A loop that is compiled for every instruction set.
///
/// Implementations mark `run` and everything that it calls `#[inline(always)]`, so that all of it is compiled for the
/// instruction set of the caller.
pub trait Kernel {
    /// What the loop gives.
    type Output;

    /// Run the loop; `FMA` says whether a fused multiplication is one instruction.
    fn run<const FMA: bool>(self) -> Self::Output;
}

/// Run `kernel` with the best instructions of this processor.
#[inline]
pub fn run<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if has_avx512() {
            // SAFETY: the processor has the instructions.
            return unsafe { avx512(kernel) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: as above.
            return unsafe { avx2(kernel) };
        }
    }
    portable(kernel)
}

/// Run `kernel` with the instructions that every processor of this architecture has.
#[inline(never)]
fn portable<K: Kernel>(kernel: K) -> K::Output {
    if cfg!(target_arch = "aarch64") {
        kernel.run::<true>()
    } else {
        kernel.run::<false>()
    }
}

/// AVX-512 as processors have it since Ice Lake and Zen 4; older ones lower their clock for it.
#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx2,fma")]
fn avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<true>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<true>()
}

/// Whether [`run`] chooses instructions that permute the bytes of a register in any way.
#[inline(always)]
#[must_use]
pub fn permutes_bytes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return has_avx512();
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// Ask for `bytes`, which will be read soon, to be brought from memory.
#[inline(always)]
pub fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for line in bytes.chunks(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the address is valid, and nothing is read or written.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}

/// `value` cut off at 0 and 255 and truncated, in one conversion; 0 for a NaN.
#[inline(always)]
#[must_use]
#[expect(clippy::manual_clamp, reason = "clamp keeps a NaN")]
pub fn to_pixel(value: f32) -> u8 {
    let inside = value.max(0.0).min(255.0);
    // SAFETY: `max` and `min` give their other argument for a NaN, so the number is in the range of an integer.
    unsafe { inside.to_int_unchecked::<i32>() as u8 }
}

/// The same in double precision.
#[inline(always)]
#[must_use]
#[expect(clippy::manual_clamp, reason = "clamp keeps a NaN")]
pub fn to_pixel_f64(value: f64) -> u8 {
    let inside = value.max(0.0).min(255.0);
    // SAFETY: as above.
    unsafe { inside.to_int_unchecked::<i32>() as u8 }
}

/// Every version that this processor can run, by name: all give the same.
#[cfg(test)]
pub fn each<K: Kernel + Clone>(kernel: &K) -> Vec<(&'static str, K::Output)> {
    let mut found = vec![("portable", portable(kernel.clone()))];
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor has the instructions.
            found.push(("avx2", unsafe { avx2(kernel.clone()) }));
        }
        if has_avx512() {
            // SAFETY: as above.
            found.push(("avx512", unsafe { avx512(kernel.clone()) }));
        }
    }
    found
}
