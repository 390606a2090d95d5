// SIMD packs for the CPU kernels: GCC's vector types, and intrinsics only where those have no word for it.
//
// `Lanes<T, N>` is the `Maths` of mixed_margin_loss.h for N rows at a time, and the loads and stores for N columns.
// Everything has internal linkage: this file is compiled once per instruction set, and the linker must not merge them.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

// GCC's own judgement leaves parts of the inner loops as calls, with the sums in memory and the registers saved.
#define LT_FAST_INLINED __attribute__((always_inline))
#define LT_FAST_INLINE inline LT_FAST_INLINED

namespace lt_fast {
namespace {

template <class T>
struct Float;

template <>
struct Float<float> {
  using Int = int32_t;
  static constexpr int kMantissaBits = 23, kExponentBias = 127;
  static constexpr float kRoundToInt = 12582912.0f;  // 1.5 * 2^23: adding it leaves an integer in the low bits
  static constexpr float kSmallestExponent = -87.33654f, kLargestExponent = 88.3f;  // of e^x: normal numbers only
  static constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;        // high times any exponent is exact
  static constexpr float kSqrtHalf = 0.70710678f;
  static constexpr int kLogTerms = 5;  // 2 atanh(s) = 2 s (1 + s^2/3 + ...), s^2 < 0.03: the next term is below 1e-8
};

template <>
struct Float<double> {
  using Int = int64_t;
  static constexpr int kMantissaBits = 52, kExponentBias = 1023;
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
  static inline Value pick(uint32_t bits, Value yes, Value no) { return select(mask_of(bits), yes, no); }

  // ---- reductions, in a fixed order

  static inline T sum(Value v) {
    T total = 0;
    T part[N];
    std::memcpy(part, &v, sizeof v);
    for (int width = N / 2; width > 0; width /= 2)
      for (int lane = 0; lane < width; ++lane) part[lane] += part[lane + width];
    total = part[0];
    return total;
  }
  static inline T largest(Value v) {
    T part[N];
    std::memcpy(part, &v, sizeof v);
    for (int width = N / 2; width > 0; width /= 2)
      for (int lane = 0; lane < width; ++lane)
        part[lane] = part[lane + width] > part[lane] ? part[lane + width] : part[lane];
    return part[0];
  }

  // ---- exponential and logarithm

  // e^r - 1 - r over r^2, for |r| <= ln(2) / 2.
  static inline Value exp_tail(Value r);
  // p * 2^n; `shifted` is n + kRoundToInt, whose low bits are the integer n. What lies below e^smallest becomes 0.
  static inline Value times_power_of_two(Value x, Value p, Value shifted) {
    Whole n;
    std::memcpy(&n, &shifted, sizeof n);
    Int origin;
    const T round_to_int = F::kRoundToInt;
    std::memcpy(&origin, &round_to_int, sizeof origin);
    const Whole bits = (n - origin + F::kExponentBias) << F::kMantissaBits;
    Value power;
    std::memcpy(&power, &bits, sizeof power);
    return x < constant(F::kSmallestExponent) ? Value{} : p * power;
  }

  // e^x for x <= kLargestExponent (above it: any value), 0 below the smallest normal number, NaN for NaN.
  // Relative error below 2 units in the last place.
  static LT_FAST_INLINE Value exp_bounded(Value x) {
    const Value shifted = x * static_cast<T>(1.44269504088896340736) + F::kRoundToInt;
    const Value n = shifted - F::kRoundToInt;
    const Value r = (x - n * F::kLn2High) - n * F::kLn2Low;
    const Value p = exp_tail(r) * (r * r) + (r + T{1});
    return times_power_of_two(x, p, shifted);
  }
  static inline Value exp(Value x) { return exp_bounded(x > F::kLargestExponent ? constant(F::kLargestExponent) : x); }

  // ln x for positive normal x; infinity and NaN give themselves.
  static inline Value log(Value x) {
    Whole bits, base;
    std::memcpy(&bits, &x, sizeof bits);
    const Value sqrt_half = constant(F::kSqrtHalf);
    std::memcpy(&base, &sqrt_half, sizeof base);
    const Whole e = (bits - base) >> F::kMantissaBits;
    const Whole mantissa = bits - (e << F::kMantissaBits);  // in [sqrt(1/2), sqrt(2))
    Value m;
    std::memcpy(&m, &mantissa, sizeof m);
    const Value exponent = __builtin_convertvector(e, Value);
    const Value f = m - T{1}, s = f / (f + T{2}), square = s * s;
    Value series = constant(T{1} / (2 * F::kLogTerms + 1));
    for (int k = F::kLogTerms - 1; k >= 1; --k) series = series * square + T{1} / (2 * k + 1);
    const Value small = s * square * series * T{2} + exponent * F::kLn2Low;
    const Value result = exponent * F::kLn2High + (small + s * T{2});
    return x < -lowest() ? result : x;
  }
  // ln(1 + x) for x >= 0, also where 1 + x rounds to 1.
  static inline Value log1p(Value x) {
    const Value w = x + T{1};
    return log(w) + (x - (w - T{1})) / w;
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
    Value p = constant(T(kInverseFactorial[0]));
    for (int k = 1; k < 12; ++k) p = p * r + T(kInverseFactorial[k]);
    return p;
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
inline Floats::Value Floats::pick(uint32_t bits, Value yes, Value no) {
  return _mm512_mask_blend_ps(static_cast<__mmask16>(bits), no, yes);
}
template <>
inline Doubles::Value Doubles::pick(uint32_t bits, Value yes, Value no) {
  return _mm512_mask_blend_pd(static_cast<__mmask8>(bits), no, yes);
}
// The comparison is true for NaN, so that NaN stays.
template <>
inline Floats::Value Floats::times_power_of_two(Value x, Value p, Value shifted) {
  const __mmask16 keep = _mm512_cmp_ps_mask(x, constant(F::kSmallestExponent), _CMP_NLT_UQ);
  return _mm512_maskz_scalef_ps(keep, p, shifted - F::kRoundToInt);
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
inline float Floats::sum(Value v) {
  return _mm512_reduce_add_ps(v);
}
template <>
inline float Floats::largest(Value v) {
  return _mm512_reduce_max_ps(v);
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

#endif

}  // namespace
}  // namespace lt_fast
