// What the CUDA kernels are made of: the arguments of a call, reductions over the lanes of a row, and checked labels and
// factors. The maths itself is in math.h, shared with the CPU.
#pragma once

#include <cuda_runtime.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <cstdint>
#include <cstdio>
#include <type_traits>

#include "mixed_margin/cuda/layout.h"
#include "mixed_margin/math.h"

namespace lt_fast::cuda {

// Half types are computed in float32.
template <class In>
using Arithmetic = std::conditional_t<std::is_same_v<In, double>, double, float>;

// The `Maths` of one row a thread.
template <class T>
struct ScalarMaths {
  using Value = T;
  LT_FAST_HD T constant(double x) { return static_cast<T>(x); }
  LT_FAST_HD T lowest() { return -static_cast<T>(__builtin_inff()); }
  LT_FAST_HD T select(bool mask, T yes, T no) { return mask ? yes : no; }
  // Of a number and a NaN both give the number.
  LT_FAST_HD float max(float a, float b) { return ::fmaxf(a, b); }
  LT_FAST_HD double max(double a, double b) { return ::fmax(a, b); }
  LT_FAST_HD float min(float a, float b) { return ::fminf(a, b); }
  LT_FAST_HD double min(double a, double b) { return ::fmin(a, b); }
  LT_FAST_HD float exp(float x) { return ::expf(x); }
  LT_FAST_HD double exp(double x) { return ::exp(x); }
  LT_FAST_HD float log(float x) { return ::logf(x); }
  LT_FAST_HD double log(double x) { return ::log(x); }
  LT_FAST_HD float log1p(float x) { return ::log1pf(x); }
  LT_FAST_HD double log1p(double x) { return ::log1p(x); }
  // Alone among the products the compiler must not fuse these into a sum: their rounding is looked at.
#if defined(__CUDA_ARCH__)
  LT_FAST_HD float product(float a, float b) { return ::__fmul_rn(a, b); }
  LT_FAST_HD double product(double a, double b) { return ::__dmul_rn(a, b); }
#else
  LT_FAST_HD float product(float a, float b) { return a * b; }
  LT_FAST_HD double product(double a, double b) { return a * b; }
#endif
  LT_FAST_HD float product_lost(float a, float b, float p) { return ::fmaf(a, b, -p); }
  LT_FAST_HD double product_lost(double a, double b, double p) { return ::fma(a, b, -p); }
};

// ------------------------------------------------------------------------------------------------- arguments

// A vector with one element for every row, with one for all of them (step 0), or none: then a number stands for all rows.
template <class T>
struct PerRow {
  const T* data;
  int64_t step;
  T number;
  __device__ T at(int64_t row) const { return data == nullptr ? number : data[row * step]; }
};

// Logits and labels: what both directions read. Pointers that may be null say so.
template <class In>
struct Rows {
  const In* logits;
  int64_t stride;  // between rows, in elements; the columns of a row lie side by side
  int64_t rows;
  int columns;
  const int64_t* target;
  const int64_t* target_b;     // null for one label
  const Arithmetic<In>* bias;  // may be null

  __device__ const In* at(int64_t row) const { return logits + row * stride; }
};

template <class T>
struct Weights {
  PerRow<T> lam;  // 1 for one label
  PerRow<T> sample;
  const T* counts;  // null for one label and for the label rule mixup
  const T* weight;  // may be null
  const T* margin;  // may be null
};

// What the sum of the losses is divided by, by one of three ways. Where it depends on data it stands on the device: no
// one waits for it. With class counts every block computes it for itself: rows times the training set's mean weight.
template <class T>
struct Denominator {
  double known;
  const double* computed;          // null: not this one
  const T *class_counts, *weight;  // null: not this one
};

// Where the sum of the losses goes. Each block writes its own, and the last one to come adds them up in their order.
template <class T>
struct Total {
  double* of_block;
  unsigned place;  // of the launch's count of arrivals
  T* loss;         // null: none is wanted
};

template <class In>
struct Forward {
  using T = Arithmetic<In>;
  Rows<In> rows;
  Weights<T> weights;
  Settings<T> settings;
  Denominator<T> denominator;
  Total<T> total;
  T* loss;              // (N,) over the denominator; null with a total
  In* grad;             // may be null
  T* row_numbers;       // may be null
  int64_t* prediction;  // may be null
};

template <class In>
struct Backward {
  using T = Arithmetic<In>;
  Rows<In> rows;
  PerRow<T> grad_output;
  const T* row_numbers;
  Settings<T> settings;
  In* grad;
};

// ------------------------------------------------------------------------------------------------ reductions

template <class T>
__device__ T from_lane(T value, int distance) {
  return __shfl_xor_sync(0xffffffffu, value, distance);
}

// Combines a value of each of the kLanes lanes of a row; all of them get the result. The order is fixed and
// the combination commutative, so equal input gives equal bits. Every thread of the block has to come here.
template <int kLanes, class V, class Combine>
__device__ V reduce_row(V value, Combine combine) {
  constexpr int kWarp = kLanes < 32 ? kLanes : 32;
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value = combine(value, from_lane(value, distance));
  }
  if constexpr (kLanes > 32) {
    __shared__ V of_warp[threads_per_block(kLanes) / 32];
    __syncthreads();  // the last reduction may still be read
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
    __syncthreads();
    const V* of_row = of_warp + threadIdx.x / kLanes * (kLanes / 32);
    value = of_row[0];
#pragma unroll
    for (int warp = 1; warp < kLanes / 32; ++warp) value = combine(value, of_row[warp]);
  }
  return value;
}

template <int kLanes, class T>
__device__ T largest_of_row(T value) {
  return reduce_row<kLanes>(value, [](T x, T y) { return ScalarMaths<T>::max(x, y); });
}

template <int kLanes, class T>
__device__ T sum_of_row(T value) {
  return reduce_row<kLanes>(value, [](T x, T y) { return x + y; });
}

// The largest logit and its column: a NaN is larger than any number, and of equal ones the first counts.
template <class T>
struct Best {
  T value;
  int column;

  __device__ static Best none() { return {ScalarMaths<T>::lowest(), INT32_MAX}; }
  __device__ bool before(const Best& other) const {
    const bool is_nan = value != value, other_is_nan = other.value != other.value;
    if (is_nan != other_is_nan) return is_nan;
    if (!is_nan && value != other.value) return value > other.value;
    return column < other.column;
  }
};

template <class T>
__device__ Best<T> from_lane(Best<T> best, int distance) {
  return {from_lane(best.value, distance), from_lane(best.column, distance)};
}

template <int kLanes, class T>
__device__ int prediction_of_row(Best<T> best) {
  return reduce_row<kLanes>(best, [](Best<T> x, Best<T> y) { return y.before(x) ? y : x; }).column;
}

// ------------------------------------------------------------------------------------------------------ checks

// Stops the kernel: the host hears of it as a device-side assertion at its next call, without having waited
// for it.
__device__ inline void stop(const char* rule) { __assert_fail(rule, "lt_fast", 0, "mixed_margin_loss"); }

__device__ inline int checked_label(int64_t label, int64_t row, int columns) {
  if (label < 0 || label >= columns) {
    printf("target must lie in [0, %d), got %lld at position %lld\n", columns, static_cast<long long>(label),
           static_cast<long long>(row));
    stop("target lies in [0, num_classes)");
  }
  return static_cast<int>(label);
}

template <class T>
__device__ void check_lam(T factor, int64_t row) {
  if (!(factor >= T{0} && factor <= T{1})) {
    printf("lam must lie in [0, 1], got %g at position %lld\n", static_cast<double>(factor),
           static_cast<long long>(row));
    stop("lam lies in [0, 1]");
  }
}

template <class T>
__device__ void check_sample_weight(T weight, int64_t row) {
  if (!(weight >= T{0} && weight < -ScalarMaths<T>::lowest())) {
    printf("sample_weight must be finite and >= 0, got %g at position %lld\n", static_cast<double>(weight),
           static_cast<long long>(row));
    stop("sample_weight is finite and >= 0");
  }
}

template <class T>
__device__ void check_class_value(T value, int label, const char* name) {
  if (!(value >= T{0} && value < -ScalarMaths<T>::lowest())) {
    printf("%s must be finite and >= 0 in every class, got %g for class %d\n", name, static_cast<double>(value), label);
    stop("class vectors are finite and >= 0");
  }
}

// The label rules divide by the count of a class that occurs.
template <class T>
__device__ void check_count(T count, int label) {
  if (!(count >= T{1})) {
    printf("class_counts must be >= 1 in every class for this label_rule, got %g for class %d\n",
           static_cast<double>(count), label);
    stop("class_counts is >= 1");
  }
}

// ----------------------------------------------------------------------------------------------- label factors

// A class vector's values at the two labels of a row.
template <class T>
struct AtLabels {
  T a, b;

  __device__ static AtLabels of(const T* vector, int a, int b, T missing) {
    if (vector == nullptr) return {missing, missing};
    return {vector[a], vector[b]};
  }
};

// What multiplies the losses of the two labels depends on all of this. It is loaded before any of it is checked: no load
// passes a check that may stop the kernel.
template <class T>
struct LoadedFactors {
  T lam, sample;
  AtLabels<T> count, weight;

  __device__ static LoadedFactors of(const Weights<T>& weights, int64_t row, int a, int b) {
    return {weights.lam.at(row), weights.sample.at(row), AtLabels<T>::of(weights.counts, a, b, T{1}),
            AtLabels<T>::of(weights.weight, a, b, T{1})};
  }

  __device__ LabelFactors<double> checked(const Weights<T>& weights, const Settings<T>& settings, int64_t row, int a,
                                          int b) const {
    check_lam(lam, row);
    check_sample_weight(sample, row);
    LabelFactors<double> factors{double{lam}, 1 - double{lam}};
    if (weights.counts != nullptr) {
      check_count(count.a, a);
      check_count(count.b, b);
      factors = label_factors<ScalarMaths<double>>(double{lam}, double{count.a}, double{count.b}, settings);
    }
    check_class_value(weight.a, a, "weight");
    check_class_value(weight.b, b, "weight");
    return {factors.a * double{sample} * double{weight.a}, factors.b * double{sample} * double{weight.b}};
  }
};

}  // namespace lt_fast::cuda
