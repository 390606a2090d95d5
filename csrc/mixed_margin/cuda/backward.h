// The CUDA kernels of the backward direction: the gradient again, from the logits and the numbers kept of each row,
// and a ready gradient times what the loss was multiplied by.
#pragma once

#include "mixed_margin/cuda/rows.h"

namespace lt_fast::cuda {

template <class In, int kLanes>
__global__ void __launch_bounds__(threads_per_block(kLanes)) backward_rows(const Backward<In> call) {
  using T = Arithmetic<In>;
  const Rows<In>& rows = call.rows;
  const T scale = call.settings.scale;
  const int64_t step = int64_t{gridDim.x} * rows_per_block(kLanes);
  const int64_t first = int64_t{blockIdx.x} * rows_per_block(kLanes) + threadIdx.x / kLanes;
  for (int64_t row = first; row < rows.rows; row += step) {
    const T* numbers = call.row_numbers + row * kRowNumbers;
    const T outer = call.grad_output.at(row);
    const RowResult<T> result{T{0}, numbers[kPull] * outer, numbers[kUniform] * outer, numbers[kOwnA] * outer,
                              numbers[kOwnB] * outer};
    write_gradient<kLanes>(rows, row, threadIdx.x % kLanes, labels_of(rows, row), numbers[kReference], numbers[kLevel],
                           scale, result, call.grad);
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
