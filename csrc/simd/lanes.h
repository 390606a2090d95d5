// SIMD packs for the CPU kernels: the vector types of GCC and Clang, and intrinsics only where those have no word for it.
// On Windows that takes Clang: Microsoft's own compiler has no such types.
//
// `Lanes<T, N>` is the `Maths` of mixed_margin/math.h for N rows at a time, and the loads and stores for N columns.
// Everything has internal linkage: this file is compiled once per instruction set, and the linker must not merge them.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#if !defined(__GNUC__)
#error "the CPU kernels need GCC or Clang: on Windows set CXX=clang++"
#endif

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

// GCC's own judgement leaves parts of the inner loops as calls, with the sums in memory and the registers saved.
#define LT_FAST_INLINED __attribute__((always_inline))
#define LT_FAST_INLINE inline LT_FAST_INLINED
#define LT_FAST_APART __attribute__((noinline))

namespace lt_fast::simd {
namespace {

template <class T>
struct Float;

template <>
struct Float<float> {
  using Int = int32_t;
  static constexpr int kMantissaBits = 23;
  static constexpr float kRoundToInt = 12582912.0f;  // 1.5 * 2^23: adding it leaves an integer in the low bits
  static constexpr float kSmallestExponent = -87.33654f, kLargestExponent = 88.3f;  // of e^x: normal numbers only
  static constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;        // high times any exponent is exact
  static constexpr float kSqrtHalf = 0.70710678f;
  static constexpr float kLargest = 3.40282347e38f;
  static constexpr int kLogTerms = 5;  // 2 atanh(s) = 2 s (1 + s^2/3 + ...), s^2 < 0.03: the next term is below 1e-9
};

template <>
struct Float<double> {
  using Int = int64_t;
  static constexpr int kMantissaBits = 52;
  static constexpr double kRoundToInt = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double kSmallestExponent = -708.396, kLargestExponent = 709.0;
  static constexpr double kLn2High = 0.693145751953125, kLn2Low = 1.42860682030941723212e-6;
  static constexpr double kSqrtHalf = 0.70710678118654752;
  static constexpr int kLogTerms = 11;  // the next term is below 1e-17
};

template <class T, int N>
struct Lanes {
  using F = Float<T>;
  using Int = typename F::Int;
  typedef T Value __attribute__((vector_size(N * sizeof(T))));
  typedef Int Whole __attribute__((vector_size(N * sizeof(T))));  // also the type of a comparison's result
  typedef std::make_unsigned_t<Int> Bits __attribute__((vector_size(N * sizeof(T))));  // arithmetic on them may wrap
  static constexpr int kLanes = N;
  static constexpr uint32_t kAll = N == 32 ? ~0u : (1u << N) - 1u;

  static inline Value constant(T x) { return Value{} + x; }
  static inline Value lowest() { return constant(-static_cast<T>(__builtin_inff())); }
  static inline Value select(Whole mask, Value yes, Value no) { return mask ? yes : no; }
  // Of a number and a NaN both give b.
  static inline Value max(Value a, Value b) { return a > b ? a : b; }
  static inline Value min(Value a, Value b) { return a < b ? a : b; }

  // ---- products to twice the digits

  static inline Value product(Value a, Value b) { return a * b; }
  // a * b - p without rounding, for p = product(a, b). Here from halves of the digits, whose products are exact.
  static inline Value product_lost(Value a, Value b, Value p) {
    const Value a_high = upper_half(a), b_high = upper_half(b), a_low = a - a_high, b_low = b - b_high;
    return ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low;
  }
  static inline Value upper_half(Value x) {
    Whole bits;
    std::memcpy(&bits, &x, sizeof bits);
    bits &= ~((Int{1} << (F::kMantissaBits / 2 + 1)) - 1);
    std::memcpy(&x, &bits, sizeof x);
    return x;
  }

  // ---- memory

  static inline Value load(const T* p) {
    Value v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  static inline void store(T* p, Value v) { std::memcpy(p, &v, sizeof v); }

  // The lanes whose bit is set are read, the others are `fill` and their memory is not touched.
  static inline Value load_some(const T* p, uint32_t bits, Value fill) {
    for (int lane = 0; lane < N; ++lane)
      if (bits >> lane & 1u) fill[lane] = p[lane];
    return fill;
  }
  static inline void store_some(T* p, uint32_t bits, Value v) {
    for (int lane = 0; lane < N; ++lane)
      if (bits >> lane & 1u) p[lane] = v[lane];
  }
  static inline Whole mask_of(uint32_t bits) {
    Whole lane_bit{};
    for (int lane = 0; lane < N; ++lane) lane_bit[lane] = Int{1} << lane;
    return (lane_bit & static_cast<Int>(bits)) != 0;
  }
  // first, first + 1, ...
  static LT_FAST_INLINE Whole indices(Int first) {
    Whole index{};
    for (int lane = 0; lane < N; ++lane) index[lane] = lane;
    return index + first;
  }

  // ---- reductions, in a fixed order

  // Combines the lanes of each of N packs: lane r of the result is what pack r comes to. N reductions at once take a
  // third of the steps of N single ones. `packs` is overwritten.
  template <class Combine>
  static LT_FAST_INLINE Value across(Value* packs, Combine combine) {
    for (int width = N / 2; width > 0; width /= 2)
      for (int at = 0; at < width; ++at)
        packs[at] = combine(zip<0>(packs[at], packs[at + width]), zip<N / 2>(packs[at], packs[at + width]));
    return packs[0];
  }
  static LT_FAST_INLINE Value sums(Value* packs) {
    return across(packs, [](Value a, Value b) LT_FAST_INLINED { return a + b; });
  }
  static LT_FAST_INLINE Value largest(Value* packs) {
    return across(packs, [](Value a, Value b) LT_FAST_INLINED { return max(a, b); });
  }
  // a[from], b[from], a[from + 1], b[from + 1], ...
#if defined(__clang__)
  template <int kFrom, int... kLane>
  static LT_FAST_INLINE Value zip_lanes(Value a, Value b, std::integer_sequence<int, kLane...>) {
    return __builtin_shufflevector(a, b, kFrom + kLane / 2 + kLane % 2 * N...);
  }
  template <int kFrom>
  static LT_FAST_INLINE Value zip(Value a, Value b) {
    return zip_lanes<kFrom>(a, b, std::make_integer_sequence<int, N>{});
  }
#else  // GCC, which has Clang's word since version 12
  template <int kFrom>
  static LT_FAST_INLINE Value zip(Value a, Value b) {
    Whole order{};
    for (int lane = 0; lane < N; ++lane) order[lane] = kFrom + lane / 2 + (lane % 2) * N;
    return __builtin_shuffle(a, b, order);
  }
#endif

  // ---- exponential and logarithm

  // e^r - 1 - r over r^2, for |r| <= ln(2) / 2.
  static inline Value exp_tail(Value r);
  // p * 2^n; `shifted` is n + kRoundToInt, whose low bits are the integer n. What lies below e^smallest becomes 0.
  static inline Value times_power_of_two(Value x, Value p, Value shifted) {
    Value power = constant(1);
    Bits n, bits;
    std::memcpy(&n, &shifted, sizeof n);
    std::memcpy(&bits, &power, sizeof bits);
    bits += n << F::kMantissaBits;  // what lies above n's bits is shifted out
    std::memcpy(&power, &bits, sizeof power);
    return x < constant(F::kSmallestExponent) ? Value{} : p * power;
  }

  // e^x for x <= kLargestExponent (above it: any value), 0 below the smallest normal number, NaN for NaN.
  // Relative error below 2 units in the last place; where powers of two come from a table, up to |x| 2^-24 besides, from
  // rounding log2(e): at x = -16 these are 1e-6 of what is 1e-7 next to 1.
  static LT_FAST_INLINE Value exp_bounded(Value x) {
    const Value shifted = x * static_cast<T>(1.44269504088896340736) + F::kRoundToInt;
    const Value n = shifted - F::kRoundToInt;
    const Value r = (x - n * F::kLn2High) - n * F::kLn2Low;
    const Value p = exp_tail(r) * (r * r) + (r + T{1});
    return times_power_of_two(x, p, shifted);
  }
  // e^(x scale) for factor = exp_factor(scale), bounded likewise. Where there is fused arithmetic, scale and log2(e) are
  // one factor and the product is not rounded; rounding the factor adds |x scale| 2^-24 to the relative error, as rounding
  // the product does elsewhere.
  static inline T exp_factor(T scale) { return scale; }
  static LT_FAST_INLINE Value exp_scaled(Value x, T factor) { return exp_bounded(x * factor); }
  static inline Value exp(Value x) { return exp_bounded(x > F::kLargestExponent ? constant(F::kLargestExponent) : x); }

  // ln x for positive normal x; infinity and NaN give themselves.
  static inline Value log(Value x) { return log_of(x, x, T{0}); }
  // ln(1 + x) for x >= 0, also where 1 + x rounds to 1.
  static inline Value log1p(Value x) { return log_of(x + T{1}, x, T{1}); }

  // ln w, where w is `part + whole` rounded, from part alone where w is close to 1.
  static inline Value log_of(Value w, Value part, T whole) {
    Bits bits, base;
    std::memcpy(&bits, &w, sizeof bits);
    const Value sqrt_half = constant(F::kSqrtHalf);
    std::memcpy(&base, &sqrt_half, sizeof base);
    const Whole e = (Whole)(bits - base) >> F::kMantissaBits;
    const Bits mantissa = bits - ((Bits)e << F::kMantissaBits);  // in [sqrt(1/2), sqrt(2))
    Value m;
    std::memcpy(&m, &mantissa, sizeof m);
    const Value exponent = __builtin_convertvector(e, Value);
    const Value f = select(e == 0, part - (T{1} - whole), m - T{1}), s = f / (f + T{2}), square = s * s;
    const Value small = s * square * log_series(square) * T{2} + exponent * F::kLn2Low;
    const Value result = exponent * F::kLn2High + (small + s * T{2});
    return w < -lowest() ? result : w;
  }
  // 1/3 + q/5 + q^2/7 + ..., even and odd powers apart: each a chain of half the length.
  static inline Value log_series(Value q) {
    const Value square = q * q;
    Value even{}, odd{};
    for (int k = F::kLogTerms - 1; k >= 0; --k) {
      Value& chain = k % 2 == 0 ? even : odd;
      chain = chain * square + T{1} / (2 * k + 3);
    }
    return odd * q + even;
  }
};

// Minimax polynomial of degree 4, relative error of e^r 4e-9.
template <class T, int N>
inline typename Lanes<T, N>::Value Lanes<T, N>::exp_tail(Value r) {
  if constexpr (sizeof(T) == 4) {
    Value p = r * T(0.0013814540579915047) + T(0.00836874544620514);
    p = p * r + T(0.04166838899254799);
    p = p * r + T(0.1666652113199234);
    return p * r + T(0.4999999403953552);
  } else {
    // Taylor: 1/2! ... 1/13!; the next term is below 1e-17.
    constexpr double kInverseFactorial[] = {1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800,
                                            1.0 / 362880,     1.0 / 40320,     1.0 / 5040,     1.0 / 720,
                                            1.0 / 120,        1.0 / 24,        1.0 / 6,        1.0 / 2};
    // Even and odd powers apart: each a chain of half the length.
    const Value square = r * r;
    Value odd = constant(T(kInverseFactorial[0])), even = constant(T(kInverseFactorial[1]));
    for (int k = 2; k < 12; k += 2) {
      odd = odd * square + T(kInverseFactorial[k]);
      even = even * square + T(kInverseFactorial[k + 1]);
    }
    return odd * r + even;
  }
}

// ---------------------------------------------------------------------------------------- AVX2 and AVX-512 words

#if defined(__AVX512F__)

using Floats = Lanes<float, 16>;
using Doubles = Lanes<double, 8>;

template <>
inline Floats::Value Floats::load_some(const float* p, uint32_t bits, Value fill) {
  return _mm512_mask_loadu_ps(fill, static_cast<__mmask16>(bits), p);
}
template <>
inline Doubles::Value Doubles::load_some(const double* p, uint32_t bits, Value fill) {
  return _mm512_mask_loadu_pd(fill, static_cast<__mmask8>(bits), p);
}
template <>
inline void Floats::store_some(float* p, uint32_t bits, Value v) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>(bits), v);
}
template <>
inline void Doubles::store_some(double* p, uint32_t bits, Value v) {
  _mm512_mask_storeu_pd(p, static_cast<__mmask8>(bits), v);
}
template <>
inline float Floats::exp_factor(float scale) {
  const double factor = scale * 1.44269504088896340736;
  return factor < F::kLargest ? static_cast<float>(factor) : F::kLargest;  // infinity times 0 would be NaN
}
// 32 powers of two in two registers take five bits off the remainder, which leaves a parabola of the polynomial:
// x factor = n + r for n in steps of 1/32, and 2^r is 1 + r ln 2 + ... for |r| <= 1/64, with a relative error of 5e-8.
template <>
LT_FAST_INLINE Floats::Value Floats::exp_scaled(Value x, float factor) {
  const Value powers = {1.0f,        1.0218972f,  1.04427373f, 1.06714046f, 1.09050775f, 1.1143868f,
                        1.13878858f, 1.1637249f,  1.18920708f, 1.21524739f, 1.24185777f, 1.26905096f,
                        1.29683959f, 1.32523668f, 1.35425556f, 1.38390994f};
  const Value more_powers = {1.41421354f, 1.44518077f, 1.47682619f, 1.50916445f, 1.54221082f, 1.5759809f,
                             1.61049032f, 1.64575553f, 1.68179286f, 1.71861935f, 1.75625217f, 1.79470909f,
                             1.8340081f,  1.87416768f, 1.91520655f, 1.95714414f};
  constexpr float kRoundToStep = 393216.0f;  // 1.5 * 2^18
  const Value shifted = _mm512_fmadd_ps(x, constant(factor), constant(kRoundToStep));
  const Value n = shifted - kRoundToStep;
  const Value r = _mm512_fmsub_ps(x, constant(factor), n);
  const Value q = r * (r * 0.240226492f + 0.693157315f);
  const Value power = _mm512_permutex2var_ps(powers, _mm512_castps_si512(shifted), more_powers);
  // The comparison is true for NaN, so that NaN stays. scalef takes the integer part of n.
  const __mmask16 keep = _mm512_cmp_ps_mask(n, constant(-126), _CMP_NLT_UQ);
  return _mm512_maskz_scalef_ps(keep, power * q + power, n);
}
template <>
LT_FAST_INLINE Floats::Value Floats::exp_bounded(Value x) {
  return exp_scaled(x, exp_factor(1));
}
template <>
inline Doubles::Value Doubles::times_power_of_two(Value x, Value p, Value shifted) {
  const __mmask8 keep = _mm512_cmp_pd_mask(x, constant(F::kSmallestExponent), _CMP_NLT_UQ);
  return _mm512_maskz_scalef_pd(keep, p, shifted - F::kRoundToInt);
}
template <>
inline Floats::Value Floats::product_lost(Value a, Value b, Value p) {
  return _mm512_fmsub_ps(a, b, p);
}
template <>
inline Doubles::Value Doubles::product_lost(Value a, Value b, Value p) {
  return _mm512_fmsub_pd(a, b, p);
}
template <>
inline Floats::Value Floats::max(Value a, Value b) {
  return _mm512_max_ps(a, b);
}
template <>
inline Doubles::Value Doubles::max(Value a, Value b) {
  return _mm512_max_pd(a, b);
}

#elif defined(__AVX2__)

using Floats = Lanes<float, 8>;
using Doubles = Lanes<double, 4>;

template <>
inline Floats::Value Floats::load_some(const float* p, uint32_t bits, Value fill) {
  const Whole mask = mask_of(bits);
  return select(mask, _mm256_maskload_ps(p, (__m256i)mask), fill);
}
template <>
inline Doubles::Value Doubles::load_some(const double* p, uint32_t bits, Value fill) {
  const Whole mask = mask_of(bits);
  return select(mask, _mm256_maskload_pd(p, (__m256i)mask), fill);
}
template <>
inline void Floats::store_some(float* p, uint32_t bits, Value v) {
  _mm256_maskstore_ps(p, (__m256i)mask_of(bits), v);
}
template <>
inline void Doubles::store_some(double* p, uint32_t bits, Value v) {
  _mm256_maskstore_pd(p, (__m256i)mask_of(bits), v);
}
template <>
inline float Floats::exp_factor(float scale) {
  const double factor = scale * 1.44269504088896340736;
  return factor < F::kLargest ? static_cast<float>(factor) : F::kLargest;  // infinity times 0 would be NaN
}
// Eight powers of two in a register take three bits off the remainder, as 32 do for AVX-512; the relative error is 3e-8.
// Each power's bits are lowered by k, which adding the bits of n and k to the exponent makes good.
template <>
LT_FAST_INLINE Floats::Value Floats::exp_scaled(Value x, float factor) {
  const __m256i powers =
      _mm256_setr_epi32(0x3f800000, 0x3f7b95c2, 0x3f7837f0, 0x3f75fed7, 0x3f7504f3, 0x3f75672a, 0x3f7744fd, 0x3f7ac0c7);
  constexpr float kRoundToEighth = 1572864.0f;  // 1.5 * 2^20
  const Value shifted = _mm256_fmadd_ps(x, constant(factor), constant(kRoundToEighth));
  const Value n = shifted - kRoundToEighth;
  const Value r = _mm256_fmsub_ps(x, constant(factor), n);
  const Value q = r * ((r * 0.0554962233f + 0.240257636f) * r + 0.693147242f);
  const __m256i steps = _mm256_castps_si256(shifted);
  const Value power =
      _mm256_castsi256_ps(_mm256_add_epi32(_mm256_permutevar8x32_epi32(powers, steps), _mm256_slli_epi32(steps, 20)));
  // The comparison is true for NaN, so that NaN stays.
  const __m256 keep = _mm256_cmp_ps(n, constant(-126), _CMP_NLT_UQ);
  return _mm256_and_ps(keep, power * q + power);
}
template <>
LT_FAST_INLINE Floats::Value Floats::exp_bounded(Value x) {
  return exp_scaled(x, exp_factor(1));
}
template <>
inline Floats::Value Floats::product_lost(Value a, Value b, Value p) {
  return _mm256_fmsub_ps(a, b, p);
}
template <>
inline Doubles::Value Doubles::product_lost(Value a, Value b, Value p) {
  return _mm256_fmsub_pd(a, b, p);
}
template <>
inline Floats::Value Floats::max(Value a, Value b) {
  return _mm256_max_ps(a, b);
}
template <>
inline Doubles::Value Doubles::max(Value a, Value b) {
  return _mm256_max_pd(a, b);
}

#else

using Floats = Lanes<float, 4>;
using Doubles = Lanes<double, 2>;

#if defined(__aarch64__)  // NEON, which every processor of the architecture has; fused arithmetic is part of it
template <>
inline Floats::Value Floats::product_lost(Value a, Value b, Value p) {
  return vfmaq_f32(-p, a, b);
}
template <>
inline Doubles::Value Doubles::product_lost(Value a, Value b, Value p) {
  return vfmaq_f64(-p, a, b);
}
#endif

#endif

}  // namespace
}  // namespace lt_fast::simd
