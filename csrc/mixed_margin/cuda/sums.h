// The CUDA kernels that make one number: the reduced loss, and what it is divided by.
//
// One block and a fixed order, so equal input gives equal bits; a second launch of it costs less than a
// counter in memory that would have to be cleared before every call.
#pragma once

#include "mixed_margin/cuda/rows.h"

namespace lt_fast::cuda {

constexpr int kSumThreads = 1024;

// Sum of value(0) .. value(count - 1) by one block, in double and in one order.
template <class Value>
__device__ double sum_over(int64_t count, Value value) {
  double sum = 0;
  for (int64_t at = threadIdx.x; at < count; at += kSumThreads) sum += static_cast<double>(value(at));
  return sum_of_row<kSumThreads>(sum);
}

// The batch's weight sum, which torch and the papers' code divide by.
template <class T>
__global__ void __launch_bounds__(kSumThreads)
    sum_of_factors(Weights<T> weights, Settings<T> settings, const int64_t* target, const int64_t* target_b,
                   int classes, int64_t rows, double* sum) {
  const double total = sum_over(rows, [&](int64_t row) {
    const int a = checked_label(target[row], row, classes);
    const int b = target_b == nullptr ? a : checked_label(target_b[row], row, classes);
    const LabelFactors<double> factors = LoadedFactors<T>::of(weights, row, a, b).checked(weights, settings, row, a, b);
    return factors.a + factors.b;
  });
  if (threadIdx.x == 0) *sum = total;
}

// Rows times the training set's mean weight.
template <class T>
__global__ void __launch_bounds__(kSumThreads)
    expected_weight(const T* counts, const T* weight, int classes, int64_t rows, double* sum) {
  const double total = sum_over(classes, [=](int64_t c) { return counts[c]; });
  const double weighted =
      sum_over(classes, [=](int64_t c) { return static_cast<double>(counts[c]) * static_cast<double>(weight[c]); });
  if (threadIdx.x == 0) *sum = static_cast<double>(rows) * weighted / total;
}

template <class T>
__global__ void __launch_bounds__(kSumThreads)
    reduce_loss(const T* row_loss, int64_t rows, Denominator denominator, T* loss) {
  const double sum = sum_over(rows, [=](int64_t row) { return row_loss[row]; });
  if (threadIdx.x == 0) *loss = static_cast<T>(rows > 0 ? sum : sum / denominator.value());
}

}  // namespace lt_fast::cuda
