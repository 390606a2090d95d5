// The CUDA kernel of the backward direction: the gradient again, from the logits and the numbers kept of each
// row.
#pragma once

#include "mixed_margin_cuda.h"

namespace lt_fast {

template <class In, int kLanes>
__global__ void __launch_bounds__(threads_per_block(kLanes)) backward_rows(const Backward<In> call) {
  using T = Arithmetic<In>;
  const Rows<In>& rows = call.rows;
  const int64_t step = int64_t{gridDim.x} * rows_per_block(kLanes);
  const int64_t first = int64_t{blockIdx.x} * rows_per_block(kLanes) + threadIdx.x / kLanes;
  for (int64_t row = first; row < rows.rows; row += step) {
    const T* numbers = call.row_numbers + row * kRowNumbers;
    const T outer = call.grad_output.at(row);
    const RowResult<T> result{T{0}, numbers[kPull] * outer, numbers[kUniform] * outer, numbers[kOwnA] * outer,
                              numbers[kOwnB] * outer};
    write_gradient<kLanes>(rows, row, threadIdx.x % kLanes, labels_of(rows, row), numbers[kReference], numbers[kLevel],
                           call.scale, result, call.grad);
  }
}

}  // namespace lt_fast
