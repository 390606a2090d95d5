// The CUDA kernels of the backward direction: the gradient again, from the logits and the numbers kept of each row,
// and a ready gradient times what the loss was multiplied by.
#pragma once

#include "mixed_margin/cuda/gradient.h"

namespace lt_fast::cuda {

template <class In, int kLanes>
__global__ void __launch_bounds__(threads_per_block(kLanes)) backward_rows(const Backward<In> call) {
  using T = Arithmetic<In>;
  const Rows<In>& rows = call.rows;
  const int64_t step = int64_t{gridDim.x} * rows_per_block(kLanes);
  const int64_t first = int64_t{blockIdx.x} * rows_per_block(kLanes) + threadIdx.x / kLanes;
  for (int64_t row = first; row < rows.rows; row += step) {
    const int64_t label_a = rows.target[row], label_b = rows.target_b == nullptr ? label_a : rows.target_b[row];
    const T* numbers = call.row_numbers + row * kRowNumbers;
    const T outer = call.grad_output.at(row);
    const RowGradient<T> gradient{numbers[kPull] * outer, numbers[kUniform] * outer, numbers[kOwnA] * outer,
                                  numbers[kOwnB] * outer};
    const Exponentials<T> exponentials(numbers[kReference], numbers[kLevel], call.settings.scale, rows.bias,
                                       rows.columns);
    const int a = checked_label(label_a, row, rows.columns), b = checked_label(label_b, row, rows.columns);
    const StreamedRow<In, kLanes> streamed{slots_of(rows.at(row), rows.columns), int(threadIdx.x % kLanes),
                                           rows.at(row), a, b};
    write_gradient<kLanes>(streamed, a, b, exponentials, gradient, call.grad + row * rows.columns);
  }
}

constexpr int kRescaleThreads = 256;

// Enough to fill any GPU, and few to start and end where there is nothing to do.
inline unsigned rescale_blocks(int64_t count) {
  const int64_t wanted = (count + kRescaleThreads - 1) / kRescaleThreads;
  return static_cast<unsigned>(wanted < 4096 ? wanted : 4096);
}

// Where the factor is 1 the threads end at once: the gradient is then written by the forward and by nobody else.
template <class T>
__global__ void __launch_bounds__(kRescaleThreads) rescale(T* grad, int64_t count, const T* factor) {
  const T by = *factor;
  if (by == T{1}) return;
  const int64_t step = int64_t{gridDim.x} * kRescaleThreads;
  for (int64_t at = int64_t{blockIdx.x} * kRescaleThreads + threadIdx.x; at < count; at += step) grad[at] *= by;
}

}  // namespace lt_fast::cuda
