// Exponentials of a row's columns, and its gradient from them.
#pragma once

#include "mixed_margin/cuda/slots.h"

namespace lt_fast::cuda {

// 2^x to 2^-22 of itself; what lies below the smallest normal number is 0.
__device__ inline float power_of_two(float x) {
#if defined(__CUDA_ARCH__)
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
  return power;
#else
  // For the tests, which have no GPU: as far off as one may be, in both directions.
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  const float power = ::exp2f(x) * (bits % 2 == 0 ? 1 - 0x1p-22f : 1 + 0x1p-22f);
  return power < 0x1p-126f ? 0.0f : power;  // NaN stays
#endif
}

constexpr double kLog2E = 1.4426950408889634;

// exp(t) of the columns, see math.h. In float32 it is a power of two, whose exponent is rounded: scale * log2(e), the
// difference and the product add |t| * 2^-23 to the relative error, most where exp(t) is negligible compared with the
// largest term's 1.
template <class T>
struct Exponentials {
  T reference, level, scale, factor;
  const T* bias;  // may be null
  int last;       // column

  __device__ Exponentials(T reference, T level, T scale, const T* bias, int columns)
      : reference(reference),
        level(level),
        scale(scale),
        factor(sizeof(T) == 4 ? static_cast<T>(double{scale} * kLog2E) : scale),
        bias(bias),
        last(columns - 1) {}

  // A slot may reach beyond the row, where there is no bias: what it holds there is hidden, so any bias will do.
  __device__ T bias_of(int column) const { return bias[column < 0 ? 0 : column < last ? column : last]; }

  __device__ T term(T z, int column) const {
    if (bias == nullptr) return (z - reference) * scale;
    return biased_term<ScalarMaths<T>>(z, bias_of(column), reference, level, scale);
  }

  template <bool kBias>
  __device__ T of(T z, int column) const {
    if constexpr (sizeof(T) == 8) {
      return ScalarMaths<T>::exp(term(z, column));
    } else if constexpr (kBias) {
      return power_of_two(term(z, column) * static_cast<float>(kLog2E));
    } else {
      return power_of_two((z - reference) * factor);
    }
  }
};

// What the gradient of a row is made of: `pull * exp(t) - uniform`, but for the labels.
template <class T>
struct RowGradient {
  T pull, uniform, own_a, own_b;
};

template <bool kBias, int kLanes, class In, class Row>
__device__ void write_whole_slots(const Row& row, const Exponentials<Arithmetic<In>>& exponentials,
                                  const RowGradient<Arithmetic<In>>& gradient, In* grad) {
  using T = Arithmetic<In>;
  const T pull = gradient.pull, uniform = gradient.uniform;
  each_slot<kLanes, kBatch>(
      row.lane, row.shape.first_whole(), row.shape.end_whole(), [&](int slot) { return row.load(slot); },
      [&](int slot, const Slot& loaded) {
        const int first = row.shape.first_column(slot);
        Values<In> values = widened<In>(loaded);
        values.each(
            [&](int i, T& value) { value = pull * exponentials.template of<kBias>(value, first + i) - uniform; });
        store_slot(grad + first, narrowed(values));
      });
}

// Column by column, which any address allows.
template <class In, class Row>
__device__ void write_columns(const Row& row, int slot, const Exponentials<Arithmetic<In>>& exponentials,
                              const RowGradient<Arithmetic<In>>& gradient, In* grad) {
  using T = Arithmetic<In>;
#pragma unroll 1
  for (int i = 0; i < kWidth<In>; ++i) {
    const int column = row.shape.first_column(slot) + i;
    if (!row.shape.contains(column)) continue;
    const T z = static_cast<T>(row.column(column));
    const T e = exponentials.bias == nullptr ? exponentials.template of<false>(z, column)
                                             : exponentials.template of<true>(z, column);
    grad[column] = static_cast<In>(gradient.pull * e - gradient.uniform);
  }
}

// Each lane writes the slots that are its own, and then the labels among them: no loop looks for labels.
template <int kLanes, class In, class Row>
__device__ void write_gradient(const Row& row, int a, int b, const Exponentials<Arithmetic<In>>& exponentials,
                               const RowGradient<Arithmetic<In>>& gradient, In* grad) {
  const SlottedRow& shape = row.shape;
  const int lane = row.lane, last = shape.slots() - 1;
  if (slots_of(grad, shape.columns).lead != shape.lead) {
    for (int slot = lane; slot <= last; slot += kLanes) write_columns(row, slot, exponentials, gradient, grad);
  } else {
    if (exponentials.bias == nullptr) {
      write_whole_slots<false, kLanes>(row, exponentials, gradient, grad);
    } else {
      write_whole_slots<true, kLanes>(row, exponentials, gradient, grad);
    }
    if (lane == 0 && !shape.is_whole(0)) write_columns(row, 0, exponentials, gradient, grad);
    if (last % kLanes == lane && last > 0 && !shape.is_whole(last))
      write_columns(row, last, exponentials, gradient, grad);
  }
  if (shape.slot_of(a) % kLanes == lane) grad[a] = static_cast<In>(gradient.own_a);
  if (shape.slot_of(b) % kLanes == lane) grad[b] = static_cast<In>(gradient.own_b);
}

}  // namespace lt_fast::cuda
