// What the CUDA kernels are made of: the arguments of a call, reductions over the lanes of a row, loads and
// stores of 16-byte slots, and the numbers of one row. The maths itself is in math.h, shared
// with the CPU.
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

// What the sum of the losses is divided by. Where it depends on data it stands on the device: no one waits
// for it.
struct Denominator {
  double known;
  const double* computed;  // null: `known` counts
  __device__ double value() const { return computed == nullptr ? known : *computed; }
};

template <class In>
struct Forward {
  using T = Arithmetic<In>;
  Rows<In> rows;
  Weights<T> weights;
  Settings<T> settings;
  Denominator denominator;
  T* loss;              // (N,) over the denominator
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
    __shared__ V of_warp[kLanes / 32];
    __syncthreads();  // the last reduction may still be read
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
    __syncthreads();
    value = of_warp[0];
    for (int warp = 1; warp < kLanes / 32; ++warp) value = combine(value, of_warp[warp]);
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

// ----------------------------------------------------------------------------------------------- slots of a
// row

template <class In>
constexpr int kWidth = kVectorBytes / static_cast<int>(sizeof(In));

template <class In>
struct alignas(kVectorBytes) Slot {
  In values[kWidth<In>];
};

// The slot's columns as arithmetic values, `fill` where it reaches beyond the row.
template <class In, class T>
__device__ void load_slot(const In* row, const SlottedRow& shape, int slot, T fill, T (&values)[kWidth<In>]) {
  const int first = shape.first_column(slot);
  if (shape.is_whole(slot)) {
    const Slot<In> whole = *reinterpret_cast<const Slot<In>*>(row + first);
#pragma unroll
    for (int i = 0; i < kWidth<In>; ++i) values[i] = static_cast<T>(whole.values[i]);
  } else {
#pragma unroll
    for (int i = 0; i < kWidth<In>; ++i) {
      values[i] = shape.contains(first + i) ? static_cast<T>(row[first + i]) : fill;
    }
  }
}

// `aligned`: the row begins as far from a slot's boundary as the one that was loaded.
template <class In, class T>
__device__ void store_slot(In* row, const SlottedRow& shape, int slot, bool aligned, const T (&values)[kWidth<In>]) {
  const int first = shape.first_column(slot);
  if (aligned && shape.is_whole(slot)) {
    Slot<In> whole;
#pragma unroll
    for (int i = 0; i < kWidth<In>; ++i) whole.values[i] = static_cast<In>(values[i]);
    *reinterpret_cast<Slot<In>*>(row + first) = whole;
  } else {
#pragma unroll
    for (int i = 0; i < kWidth<In>; ++i) {
      if (shape.contains(first + i)) row[first + i] = static_cast<In>(values[i]);
    }
  }
}

template <class In>
__device__ SlottedRow slots_of(const In* row, int columns) {
  return slotted_row(reinterpret_cast<uintptr_t>(row), columns, sizeof(In));
}

// ----------------------------------------------------------------------------------------------------- a row

// Stops the kernel: the host hears of it as a device-side assertion at its next call, without having waited
// for it.
__device__ inline void stop(const char* rule) { __assert_fail(rule, "lt_fast", 0, "mixed_margin_loss"); }

__device__ inline int checked_label(const int64_t* labels, int64_t row, int columns) {
  const int64_t label = labels[row];
  if (label < 0 || label >= columns) {
    printf("target must lie in [0, %d), got %lld at position %lld\n", columns, static_cast<long long>(label),
           static_cast<long long>(row));
    stop("target lies in [0, num_classes)");
  }
  return static_cast<int>(label);
}

template <class T>
__device__ T checked_lam(const PerRow<T>& lam, int64_t row) {
  const T factor = lam.at(row);
  if (!(factor >= T{0} && factor <= T{1})) {
    printf("lam must lie in [0, 1], got %g at position %lld\n", static_cast<double>(factor),
           static_cast<long long>(row));
    stop("lam lies in [0, 1]");
  }
  return factor;
}

template <class T>
__device__ T checked_sample_weight(const PerRow<T>& weights, int64_t row) {
  const T weight = weights.at(row);
  if (!(weight >= T{0} && weight < -ScalarMaths<T>::lowest())) {
    printf("sample_weight must be finite and >= 0, got %g at position %lld\n", static_cast<double>(weight),
           static_cast<long long>(row));
    stop("sample_weight is finite and >= 0");
  }
  return weight;
}

template <class T>
__device__ T checked_class_value(const T* values, int label, const char* name) {
  const T value = values[label];
  if (!(value >= T{0} && value < -ScalarMaths<T>::lowest())) {
    printf("%s must be finite and >= 0 in every class, got %g for class %d\n", name, static_cast<double>(value), label);
    stop("class vectors are finite and >= 0");
  }
  return value;
}

// The label rules divide by the count of a class that occurs.
template <class T>
__device__ T checked_count(const T* counts, int label) {
  const T count = counts[label];
  if (!(count >= T{1})) {
    printf("class_counts must be >= 1 in every class for this label_rule, got %g for class %d\n",
           static_cast<double>(count), label);
    stop("class_counts is >= 1");
  }
  return count;
}

// The two labels of a row, equal ones where there is only one.
template <class T>
struct Labels {
  int a, b;
  T z_a, z_b;

  __device__ bool same() const { return a == b; }
  __device__ bool has(int column) const { return column == a || column == b; }
};

template <class In>
__device__ Labels<Arithmetic<In>> labels_of(const Rows<In>& rows, int64_t row) {
  using T = Arithmetic<In>;
  const int a = checked_label(rows.target, row, rows.columns);
  const int b = rows.target_b == nullptr ? a : checked_label(rows.target_b, row, rows.columns);
  return {a, b, static_cast<T>(rows.at(row)[a]), static_cast<T>(rows.at(row)[b])};
}

// What a row's columns other than the labels amount to.
template <class T>
struct Others {
  T largest;           // logit
  T reference, level;  // see math.h
  T rest, sum_t;
};

// t of a column.
template <class T>
__device__ T term(T z, T reference, T level, T scale, const T* bias, int column) {
  if (bias == nullptr) return (z - reference) * scale;
  return biased_term<ScalarMaths<T>>(z, bias[column], reference, level, scale);
}

// A class by its logit and bias: the reference and the level of terms relative to it.
template <class T>
struct Leader {
  T z, bias;

  __device__ static Leader none() { return {ScalarMaths<T>::lowest(), ScalarMaths<T>::lowest()}; }
  __device__ bool is_none() const { return z == ScalarMaths<T>::lowest(); }
  // Both orders must give the same, so the comparison always starts from the larger logit.
  __device__ bool before(const Leader& other, T scale) const {
    if (z < other.z || (z == other.z && bias < other.bias)) {
      return leads<ScalarMaths<T>>(z, bias, other.z, other.bias, scale);
    }
    return !leads<ScalarMaths<T>>(other.z, other.bias, z, bias, scale);
  }
};

template <class T>
__device__ Leader<T> from_lane(Leader<T> leader, int distance) {
  return {from_lane(leader.z, distance), from_lane(leader.bias, distance)};
}

// What multiplies the losses of the two labels.
template <class T>
__device__ LabelFactors<double> factors_of(const Weights<T>& weights, const Settings<T>& settings, int64_t row, int a,
                                           int b) {
  const double lam = checked_lam(weights.lam, row), sample = checked_sample_weight(weights.sample, row);
  LabelFactors<double> factors{lam, 1 - lam};
  if (weights.counts != nullptr) {
    const double count_a = checked_count(weights.counts, a), count_b = checked_count(weights.counts, b);
    factors = label_factors<ScalarMaths<double>>(lam, count_a, count_b, settings);
  }
  const double weight_a = weights.weight == nullptr ? T{1} : checked_class_value(weights.weight, a, "weight");
  const double weight_b = weights.weight == nullptr ? T{1} : checked_class_value(weights.weight, b, "weight");
  return {factors.a * sample * weight_a, factors.b * sample * weight_b};
}

// The gap that the maximum rules read. The batch-first rule repeats the published Maximum-Margin code: the
// score of the batch's first label for every row, and a 0 in the place of the own class among the others.
template <class T>
__device__ double gap_of(MarginRule rule, T largest_other, const Labels<T>& labels, double z_own, T z_other,
                         double z_first) {
  const double rival = labels.same() ? largest_other : ScalarMaths<T>::max(largest_other, z_other);
  if (rule == MarginRule::kBatchFirstLabel) return z_first - ScalarMaths<double>::max(rival, 0);
  return z_own - rival;
}

// t of a label.
template <class In>
__device__ double label_term(const Forward<In>& call, const Settings<Arithmetic<In>>& s,
                             const Others<Arithmetic<In>>& others, Arithmetic<In> z, int label) {
  const double t = (double{z} - double{others.reference}) * double{s.scale};
  return call.rows.bias == nullptr ? t : t + (double{call.rows.bias[label]} - double{others.level});
}

// Both branches of a row: every lane computes the same.
template <class In>
__device__ RowResult<Arithmetic<In>> result_of(const Forward<In>& call, const Settings<Arithmetic<In>>& s, int64_t row,
                                               const Labels<Arithmetic<In>>& labels,
                                               const Others<Arithmetic<In>>& others) {
  using T = Arithmetic<In>;
  const Rows<In>& rows = call.rows;
  const LabelFactors<double> factors = factors_of(call.weights, s, row, labels.a, labels.b);
  const T* margin = call.weights.margin;
  RowInputs<double> inputs{};
  inputs.rest = others.rest;
  inputs.sum_t = others.sum_t;
  inputs.t_a = label_term(call, s, others, labels.z_a, labels.a);
  inputs.t_b = label_term(call, s, others, labels.z_b, labels.b);
  inputs.margin_a = margin == nullptr ? T{0} : checked_class_value(margin, labels.a, "margin");
  inputs.margin_b = margin == nullptr ? T{0} : checked_class_value(margin, labels.b, "margin");
  inputs.factor_a = factors.a;
  inputs.factor_b = factors.b;
  if (s.margin_rule != MarginRule::kFixed) {
    const int64_t* target_b = rows.target_b == nullptr ? rows.target : rows.target_b;
    const T first_a = static_cast<T>(rows.at(row)[checked_label(rows.target, 0, rows.columns)]);
    const T first_b = static_cast<T>(rows.at(row)[checked_label(target_b, 0, rows.columns)]);
    inputs.gap_a = gap_of(s.margin_rule, others.largest, labels, labels.z_a, labels.z_b, first_a);
    inputs.gap_b = gap_of(s.margin_rule, others.largest, labels, labels.z_b, labels.z_a, first_b);
  }
  const double per_loss = 1 / call.denominator.value();
  const RowResult<double> result = finish_row<ScalarMaths<double>>(inputs, labels.same(), per_loss, s);
  return {static_cast<T>(result.loss), static_cast<T>(result.pull), static_cast<T>(result.uniform),
          static_cast<T>(result.own_a), static_cast<T>(result.own_b)};
}

// The same for the kLanes lanes of a row. Many GPUs have few units for doubles: one warp computes for all of a block.
template <int kLanes, class In>
__device__ RowResult<Arithmetic<In>> shared_result_of(const Forward<In>& call, const Settings<Arithmetic<In>>& s,
                                                      int64_t row, const Labels<Arithmetic<In>>& labels,
                                                      const Others<Arithmetic<In>>& others) {
  if constexpr (kLanes <= 32) {
    return result_of(call, s, row, labels, others);
  } else {
    __shared__ RowResult<Arithmetic<In>> result;  // the next row's reductions come between reading and writing it
    if (threadIdx.x < 32) {
      const RowResult<Arithmetic<In>> computed = result_of(call, s, row, labels, others);
      if (threadIdx.x == 0) result = computed;
    }
    __syncthreads();
    return result;
  }
}

// One lane writes a row's numbers.
template <class In>
__device__ void store_numbers(const Forward<In>& call, int64_t row, const Others<Arithmetic<In>>& others,
                              const RowResult<Arithmetic<In>>& result) {
  call.loss[row] = result.loss;
  if (call.row_numbers == nullptr) return;
  Arithmetic<In>* numbers = call.row_numbers + row * kRowNumbers;
  numbers[kReference] = others.reference;
  numbers[kLevel] = others.level;
  numbers[kPull] = result.pull;
  numbers[kUniform] = result.uniform;
  numbers[kOwnA] = result.own_a;
  numbers[kOwnB] = result.own_b;
}

// ----------------------------------------------------------------------------------------------- the
// gradient

template <class T>
__device__ T gradient_of(const RowResult<T>& result, const Labels<T>& labels, int column, T e) {
  if (column == labels.a) return result.own_a;
  if (column == labels.b) return result.own_b;
  return result.pull * e - result.uniform;
}

// Reads the row and writes its gradient, exponentials computed on the way: for rows that no register holds,
// and for the backward direction. `lane` of kLanes.
template <int kLanes, class In>
__device__ void write_gradient(const Rows<In>& rows, int64_t row, int lane, const Labels<Arithmetic<In>>& labels,
                               Arithmetic<In> reference, Arithmetic<In> level, Arithmetic<In> scale,
                               const RowResult<Arithmetic<In>>& result, In* grads) {
  using T = Arithmetic<In>;
  const SlottedRow shape = slots_of(rows.at(row), rows.columns);
  In* grad = grads + row * rows.columns;
  const bool aligned = slots_of(grad, rows.columns).lead == shape.lead;
  T values[kWidth<In>];
  for (int slot = lane; slot < shape.slots(); slot += kLanes) {
    load_slot(rows.at(row), shape, slot, ScalarMaths<T>::lowest(), values);
#pragma unroll
    for (int i = 0; i < kWidth<In>; ++i) {
      const int column = shape.first_column(slot) + i;
      if (!shape.contains(column)) continue;
      const T e = ScalarMaths<T>::exp(term(values[i], reference, level, scale, rows.bias, column));
      values[i] = gradient_of(result, labels, column, e);
    }
    store_slot(grad, shape, slot, aligned, values);
  }
}

}  // namespace lt_fast::cuda
