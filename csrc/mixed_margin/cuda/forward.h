// The CUDA kernels of the forward direction: loss, gradient, row numbers and prediction from one read of the
// logits.
#pragma once

#include "mixed_margin/cuda/rows.h"

namespace lt_fast::cuda {

// ---------------------------------------------------------------------------------------- a row in registers

// The columns that one lane holds: slots lane, lane + kLanes, ...
template <class In, int kLanes, int kSlots>
struct Held {
  using T = Arithmetic<In>;
  SlottedRow shape;
  int lane;
  T values[kSlots][kWidth<In>];

  __device__ int slot(int k) const { return lane + k * kLanes; }

  __device__ void load(const In* row) {
#pragma unroll
    for (int k = 0; k < kSlots; ++k) load_slot(row, shape, slot(k), ScalarMaths<T>::lowest(), values[k]);
  }

  __device__ void store(In* row, bool aligned) const {
#pragma unroll
    for (int k = 0; k < kSlots; ++k) store_slot(row, shape, slot(k), aligned, values[k]);
  }

  // Calls visit(column, value) for all of them, ascending; the value may be changed. What lies beyond the row
  // has a column that the shape does not contain.
  template <class Visit>
  __device__ void each(Visit visit) {
#pragma unroll
    for (int k = 0; k < kSlots; ++k) {
#pragma unroll
      for (int i = 0; i < kWidth<In>; ++i) visit(shape.first_column(slot(k)) + i, values[k][i]);
    }
  }
};

template <class In, int kLanes, int kSlots>
__device__ int predict(Held<In, kLanes, kSlots>& held) {
  using T = Arithmetic<In>;
  Best<T> best = Best<T>::none();
  held.each([&](int column, T& z) {
    const Best<T> candidate{z, column};
    if (held.shape.contains(column) && candidate.before(best)) best = candidate;
  });
  return prediction_of_row<kLanes>(best);
}

template <int kLanes, class T>
__device__ Leader<T> leader_of_row(Leader<T> leader, T scale) {
  return reduce_row<kLanes>(leader, [=](Leader<T> x, Leader<T> y) { return x.before(y, scale) ? x : y; });
}

// Turns the held logits into exp(t) and sums them. Labels, and what is no column, count as -inf.
template <class In, int kLanes, int kSlots>
__device__ Others<Arithmetic<In>> exponentiate(Held<In, kLanes, kSlots>& held, const Forward<In>& call,
                                               const Settings<Arithmetic<In>>& s,
                                               const Labels<Arithmetic<In>>& labels) {
  using T = Arithmetic<In>;
  const T lowest = ScalarMaths<T>::lowest(), scale = s.scale;
  const T* bias = call.rows.bias;

  T largest = lowest;
  held.each([&](int column, T& z) {
    if (labels.has(column)) z = lowest;
    largest = ScalarMaths<T>::max(largest, z);
  });
  Others<T> others{};
  others.largest = largest_of_row<kLanes>(largest);
  others.reference = reference_of<ScalarMaths<T>>(others.largest, labels.z_a, labels.z_b);

  if (bias != nullptr) {
    Leader<T> leader = Leader<T>::none();
    held.each([&](int column, T& z) {
      if (z != lowest && leads<ScalarMaths<T>>(z, bias[column], leader.z, leader.bias, scale))
        leader = {z, bias[column]};
    });
    leader = leader_of_row<kLanes>(leader, scale);
    others.reference = reference_of<ScalarMaths<T>>(leader.z, labels.z_a, labels.z_b);
    if (!leader.is_none()) others.level = leader.bias;
  }

  T rest = 0, sum_t = 0;
  const bool smooth = s.label_smoothing > 0;
  held.each([&](int column, T& z) {
    const T t = z != lowest ? term(z, others.reference, others.level, scale, bias, column) : z;
    if (smooth && held.shape.contains(column) && !labels.has(column)) sum_t += t;
    z = ScalarMaths<T>::exp(t);
    rest += z;
  });
  others.rest = sum_of_row<kLanes>(rest);
  if (smooth) others.sum_t = sum_of_row<kLanes>(sum_t);
  return others;
}

template <class In, int kLanes, int kElements>
__global__ void __launch_bounds__(threads_per_block(kLanes)) forward_in_registers(const Forward<In> call) {
  using T = Arithmetic<In>;
  const Rows<In>& rows = call.rows;
  const Settings<T> s = call.settings;
  for (int64_t block = blockIdx.x; block * rows_per_block(kLanes) < rows.rows; block += gridDim.x) {
    // Lanes without a row of their own repeat the last one: reductions need every thread.
    const int64_t wanted = block * rows_per_block(kLanes) + threadIdx.x / kLanes;
    const int64_t row = wanted < rows.rows ? wanted : rows.rows - 1;
    Held<In, kLanes, kElements / kWidth<In>> held{slots_of(rows.at(row), rows.columns), int(threadIdx.x % kLanes), {}};
    held.load(rows.at(row));
    const Labels<T> labels = labels_of(rows, row);
    const int prediction = call.prediction == nullptr ? 0 : predict(held);
    const Others<T> others = exponentiate(held, call, s, labels);
    const RowResult<T> result = shared_result_of<kLanes>(call, s, row, labels, others);
    if (wanted != row) continue;

    if (held.lane == 0) store_numbers(call, row, others, result);
    if (held.lane == 0 && call.prediction != nullptr) call.prediction[row] = prediction;
    if (call.grad == nullptr) continue;
    In* grad = call.grad + row * rows.columns;
    held.each([&](int column, T& e) { e = gradient_of(result, labels, column, e); });
    held.store(grad, slots_of(grad, rows.columns).lead == held.shape.lead);
  }
}

// -------------------------------------------------------------------------------------- a row too long for
// that

// Sums over some columns, relative to the class with their largest term: any two of them can be merged. In double, as a
// row may have many slots, and biases may level what lies far below the largest logit. Without a bias all biases are 0.
template <class T>
struct Partial {
  T largest;  // logit
  Leader<T> leader;
  double rest, sum_t;
  double columns;  // how many, for moving sum_t

  __device__ static Partial none() { return {ScalarMaths<T>::lowest(), Leader<T>::none(), 0.0, 0.0, 0.0}; }

  // The same sums relative to a class whose term is larger by `lead`. Without a leader `rest` is 0, or NaN from a NaN
  // logit, and `sum_t` 0, -inf or NaN: they stay it.
  __device__ Partial behind(double lead) const {
    if (leader.is_none()) return *this;
    return {largest, leader, rest * double{ScalarMaths<T>::exp(static_cast<T>(-lead))}, sum_t - columns * lead,
            columns};
  }
};

// How far the term of `x` lies above that of `y`.
template <class T>
__device__ double lead_of(const Leader<T>& x, const Leader<T>& y, T scale) {
  return biased_term<ScalarMaths<double>>(double{x.z}, double{x.bias}, double{y.z}, double{y.bias}, double{scale});
}

template <class T>
__device__ Partial<T> merged(const Partial<T>& x, const Partial<T>& y, T scale) {
  const T largest = ScalarMaths<T>::max(x.largest, y.largest);
  const bool x_leads = x.leader.before(y.leader, scale);
  const Partial<T>&first = x_leads ? x : y, &second = x_leads ? y : x;
  const Partial<T> moved = second.behind(second.leader.is_none() ? 0.0 : -lead_of(second.leader, first.leader, scale));
  return {largest, first.leader, first.rest + moved.rest, first.sum_t + moved.sum_t, first.columns + moved.columns};
}

template <class T>
__device__ Partial<T> from_lane(const Partial<T>& p, int distance) {
  return {from_lane(p.largest, distance), from_lane(p.leader, distance), from_lane(p.rest, distance),
          from_lane(p.sum_t, distance), from_lane(p.columns, distance)};
}

// The sums of one slot's columns, with labels and what lies beyond the row left out.
template <class In>
__device__ Partial<Arithmetic<In>> partial_of(const Forward<In>& call, Arithmetic<In> scale, const SlottedRow& shape,
                                              int slot, const Labels<Arithmetic<In>>& labels,
                                              const Arithmetic<In> (&z)[kWidth<In>]) {
  using T = Arithmetic<In>;
  const int first = shape.first_column(slot);
  const auto counts = [&](int column) { return shape.contains(column) && !labels.has(column); };
  const auto bias = [&](int column) { return call.rows.bias == nullptr ? T{0} : call.rows.bias[column]; };
  Partial<T> sums = Partial<T>::none();
#pragma unroll
  for (int i = 0; i < kWidth<In>; ++i) {
    if (!counts(first + i)) continue;
    sums.largest = ScalarMaths<T>::max(sums.largest, z[i]);
    const T b = bias(first + i);
    if (leads<ScalarMaths<T>>(z[i], b, sums.leader.z, sums.leader.bias, scale)) sums.leader = {z[i], b};
  }
#pragma unroll
  for (int i = 0; i < kWidth<In>; ++i) {
    if (!counts(first + i)) continue;
    const bool has_term = z[i] != ScalarMaths<T>::lowest() && !sums.leader.is_none();
    const T t = has_term ? term(z[i], sums.leader.z, sums.leader.bias, scale, call.rows.bias, first + i)
                         : z[i] + bias(first + i);  // -inf, or NaN
    sums.rest += double{ScalarMaths<T>::exp(t)};
    sums.sum_t += double{t};
    sums.columns += 1;
  }
  return sums;
}

template <class In>
__global__ void __launch_bounds__(kStreamLanes) forward_streamed(const Forward<In> call) {
  using T = Arithmetic<In>;
  const Rows<In>& rows = call.rows;
  const Settings<T> s = call.settings;
  const T scale = s.scale;
  for (int64_t row = blockIdx.x; row < rows.rows; row += gridDim.x) {
    const In* logits = rows.at(row);
    const SlottedRow shape = slots_of(logits, rows.columns);
    const Labels<T> labels = labels_of(rows, row);
    Partial<T> sums = Partial<T>::none();
    Best<T> best = Best<T>::none();
    T z[kWidth<In>];
    for (int slot = threadIdx.x; slot < shape.slots(); slot += kStreamLanes) {
      load_slot(logits, shape, slot, ScalarMaths<T>::lowest(), z);
      sums = merged(sums, partial_of(call, scale, shape, slot, labels, z), scale);
      if (call.prediction == nullptr) continue;
      for (int i = 0; i < kWidth<In>; ++i) {
        const Best<T> candidate{z[i], shape.first_column(slot) + i};
        if (shape.contains(candidate.column) && candidate.before(best)) best = candidate;
      }
    }
    sums =
        reduce_row<kStreamLanes>(sums, [=](const Partial<T>& x, const Partial<T>& y) { return merged(x, y, scale); });
    const int prediction = call.prediction == nullptr ? 0 : prediction_of_row<kStreamLanes>(best);

    const T reference = reference_of<ScalarMaths<T>>(sums.leader.z, labels.z_a, labels.z_b);
    const T level = sums.leader.is_none() ? T{0} : sums.leader.bias;
    const Others<T> others{sums.largest, reference, level, static_cast<T>(sums.rest), static_cast<T>(sums.sum_t)};
    const RowResult<T> result = shared_result_of<kStreamLanes>(call, s, row, labels, others);
    if (threadIdx.x == 0) store_numbers(call, row, others, result);
    if (threadIdx.x == 0 && call.prediction != nullptr) call.prediction[row] = prediction;
    if (call.grad == nullptr) continue;
    write_gradient<kStreamLanes>(rows, row, threadIdx.x, labels, reference, level, scale, result, call.grad);
  }
}

}  // namespace lt_fast::cuda
