//! The kernel for equal classes with replacement: 64 random bits per sample, eight samples at a time with AVX-512.

use super::{Class, below_32};
use crate::error::{Result, collected};
use crate::rng::Stream;

/// Position of a class in one word: count in the high half, start in the low half, so that one load reads both.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
struct Extent(u64);

impl Extent {
    fn of(class: &Class) -> Self {
        Self(u64::from(class.len) << 32 | u64::from(class.start))
    }

    #[inline]
    fn start(self) -> u64 {
        self.0 & 0xFFFF_FFFF
    }

    #[inline]
    fn len(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Classes with equal probabilities.
pub struct Uniform {
    extents: Vec<Extent>,
    #[cfg(target_arch = "x86_64")]
    vector: bool,
}

impl Uniform {
    /// The kernel over `classes`, none of them empty.
    ///
    /// # Errors
    /// If the table of them does not fit into memory.
    pub fn new(classes: &[Class]) -> Result<Self> {
        Ok(Self {
            extents: collected(classes.len(), classes.iter().map(Extent::of))?,
            #[cfg(target_arch = "x86_64")]
            vector: vector_unit(),
        })
    }

    /// Draws `start..` of `stream`: entries of `samples`, the table of these classes.
    pub fn fill(&self, samples: &[u32], stream: Stream, start: u64, out: &mut [i64]) {
        #[cfg(target_arch = "x86_64")]
        if self.vector {
            // SAFETY: the constructor has detected the instructions; extents are inside `samples`, because both come
            // from one table.
            let fill = |start, out: &mut [i64]| unsafe {
                avx512::fill(&self.extents, samples, stream, start, out)
            };
            let mut at = 0;
            while at < out.len() {
                at += fill(start + at as u64, &mut out[at..]);
                let end = out.len().min(at + 8);
                self.fill_plainly(samples, stream, start + at as u64, &mut out[at..end]);
                at = end;
            }
            return;
        }
        self.fill_plainly(samples, stream, start, out);
    }

    fn fill_plainly(&self, samples: &[u32], stream: Stream, start: u64, out: &mut [i64]) {
        for (slot, position) in out.iter_mut().zip(start..) {
            *slot = self.draw(samples, stream, position);
        }
    }

    #[inline]
    fn draw(&self, samples: &[u32], stream: Stream, position: u64) -> i64 {
        let bits = stream.bits(position);
        let fresh = |word| stream.sub(position).sub(word);
        let class = below_32((bits >> 32) as u32, self.extents.len() as u32, || fresh(0));
        let extent = self.extents[class as usize];
        let offset = below_32(bits as u32, extent.len(), || fresh(1));
        i64::from(samples[(extent.start() + offset) as usize])
    }
}

#[cfg(target_arch = "x86_64")]
fn vector_unit() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{
        __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_cmplt_epu64_mask,
        _mm512_cvtepu32_epi64, _mm512_i64gather_epi32, _mm512_i64gather_epi64, _mm512_mul_epu32,
        _mm512_mullo_epi64, _mm512_set1_epi64, _mm512_setr_epi64, _mm512_srli_epi64,
        _mm512_storeu_si512, _mm512_xor_si512,
    };

    use super::Extent;
    use crate::rng::{GOLDEN, Stream};

    /// Bit-identical to the plain kernel, up to the first group of eight with a possible rejected draw. Returns how
    /// many draws were written, a multiple of eight; the caller makes the next eight with the plain kernel and calls
    /// again.
    ///
    /// # Safety
    /// The processor must have AVX-512 F, DQ and VL; every extent must be inside `samples` and not empty.
    #[target_feature(enable = "avx512f,avx512dq,avx512vl")]
    pub unsafe fn fill(
        extents: &[Extent],
        samples: &[u32],
        stream: Stream,
        start: u64,
        out: &mut [i64],
    ) -> usize {
        // Indices of a gather are signed 64-bit words here, so any position in `samples` fits.
        let classes = word(extents.len() as u64);
        let low = word(0xFFFF_FFFF);
        let step = word(GOLDEN.wrapping_mul(8));
        let lanes = _mm512_setr_epi64(1, 2, 3, 4, 5, 6, 7, 8);
        let positions = _mm512_add_epi64(word(start), lanes);
        let mut counter = _mm512_add_epi64(
            word(stream.key()),
            _mm512_mullo_epi64(positions, word(GOLDEN)),
        );
        let mut done = 0;
        for eight in out.chunks_exact_mut(8) {
            let bits = mix(counter);
            counter = _mm512_add_epi64(counter, step);
            let product = _mm512_mul_epu32(_mm512_srli_epi64::<32>(bits), classes);
            let class = _mm512_srli_epi64::<32>(product);
            // SAFETY: `class` is below `extents.len()`.
            let extent = unsafe { _mm512_i64gather_epi64::<8>(class, extents.as_ptr().cast()) };
            let count = _mm512_srli_epi64::<32>(extent);
            let offset = _mm512_mul_epu32(bits, count);
            let rejected = _mm512_cmplt_epu64_mask(_mm512_and_si512(product, low), classes)
                | _mm512_cmplt_epu64_mask(_mm512_and_si512(offset, low), count);
            if rejected != 0 {
                break;
            }
            let place = _mm512_add_epi64(
                _mm512_and_si512(extent, low),
                _mm512_srli_epi64::<32>(offset),
            );
            // SAFETY: `place` is inside its extent.
            let drawn = unsafe { _mm512_i64gather_epi32::<4>(place, samples.as_ptr().cast()) };
            // SAFETY: `eight` holds 64 bytes; the store needs no alignment.
            unsafe { _mm512_storeu_si512(eight.as_mut_ptr().cast(), _mm512_cvtepu32_epi64(drawn)) };
            done += 8;
        }
        done
    }

    #[target_feature(enable = "avx512f")]
    fn word(value: u64) -> __m512i {
        _mm512_set1_epi64(value as i64)
    }

    /// [`crate::rng::mix`] of eight words.
    #[target_feature(enable = "avx512f,avx512dq")]
    fn mix(bits: __m512i) -> __m512i {
        let bits = _mm512_xor_si512(bits, _mm512_srli_epi64::<30>(bits));
        let bits = _mm512_mullo_epi64(bits, word(0xBF58_476D_1CE4_E5B9));
        let bits = _mm512_xor_si512(bits, _mm512_srli_epi64::<27>(bits));
        let bits = _mm512_mullo_epi64(bits, word(0x94D0_49BB_1331_11EB));
        _mm512_xor_si512(bits, _mm512_srli_epi64::<31>(bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn eight_at_a_time_are_the_same_draws(
            counts in prop::collection::vec(1u32..3000, 1..40), seed: u64, start in 0u64..1 << 62, len in 0usize..600,
        ) {
            let mut classes = Vec::new();
            let mut first = 0;
            for (label, len) in (0..).zip(counts) {
                classes.push(Class { label, start: first, len });
                first += len;
            }
            let samples: Vec<u32> = (0..first).map(|sample| sample.wrapping_mul(0x9E37_79B1)).collect();
            let kernel = Uniform::new(&classes).unwrap();
            let stream = Stream::new(seed, stream::SAMPLER, 3);
            let (mut found, mut wanted) = (vec![0; len], vec![0; len]);
            kernel.fill(&samples, stream, start, &mut found);
            kernel.fill_plainly(&samples, stream, start, &mut wanted);
            prop_assert_eq!(found, wanted);
        }
    }

    #[test]
    fn rejected_draws_are_the_same() {
        // Counts near 2^21.6: a block in a hundred holds a candidate for rejection.
        let classes = [
            Class {
                label: 0,
                start: 0,
                len: 3 << 20,
            },
            Class {
                label: 1,
                start: 1,
                len: (3 << 20) - 7,
            },
        ];
        let samples: Vec<u32> = (0..3 << 20).collect();
        let kernel = Uniform::new(&classes).unwrap();
        let stream = Stream::new(1, stream::SAMPLER, 0);
        let (mut found, mut wanted) = (vec![0; 100_003], vec![0; 100_003]);
        kernel.fill(&samples, stream, 5, &mut found);
        kernel.fill_plainly(&samples, stream, 5, &mut wanted);
        assert_eq!(found, wanted);
    }
}
