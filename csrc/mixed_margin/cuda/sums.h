// Sums over more than a row: what the losses are divided by, and their total.
//
// Every sum has one order, so equal input gives equal bits on one kind of GPU. The blocks of a launch add up their losses
// themselves: the last one to come knows that it is the last from a count of arrivals, which it puts back to 0. So a loss
// is one launch, and no memory has to be cleared before it.
#pragma once

#include "mixed_margin/cuda/rows.h"

namespace lt_fast::cuda {

constexpr int kSumThreads = 1024;

// Counts of arrivals: 0 before and after a launch, and each of one launch alone at a time. The memory of a module is
// cleared when it is loaded.
constexpr unsigned kArrivals = 1u << 19;
static __device__ unsigned arrivals[kArrivals];

// Sum of value(0) .. value(count - 1) by the kThreadCount threads of a block, in double.
template <int kThreadCount, class Value>
__device__ double sum_over(int64_t count, Value value) {
  double sum = 0;
  for (int64_t at = threadIdx.x; at < count; at += kThreadCount) sum += static_cast<double>(value(at));
  return sum_of_row<kThreadCount>(sum);
}

// The batch's weight sum, which torch and the papers' code divide by.
template <class T>
__global__ void __launch_bounds__(kSumThreads)
    sum_of_factors(Weights<T> weights, Settings<T> settings, const int64_t* target, const int64_t* target_b,
                   int classes, int64_t rows, double* sum) {
  const double total = sum_over<kSumThreads>(rows, [&](int64_t row) {
    const int a = checked_label(target[row], row, classes);
    const int b = target_b == nullptr ? a : checked_label(target_b[row], row, classes);
    const LabelFactors<double> factors = LoadedFactors<T>::of(weights, row, a, b).checked(weights, settings, row, a, b);
    return factors.a + factors.b;
  });
  if (threadIdx.x == 0) *sum = total;
}

// What the losses are divided by, for all threads of a block.
template <int kThreadCount, class T>
__device__ double value_of(const Denominator<T>& denominator, int64_t rows, int classes) {
  if (denominator.computed != nullptr) return *denominator.computed;
  if (denominator.class_counts == nullptr) return denominator.known;
  const T *counts = denominator.class_counts, *weight = denominator.weight;
  const double total = sum_over<kThreadCount>(classes, [=](int64_t c) { return counts[c]; });
  const double weighted = sum_over<kThreadCount>(
      classes, [=](int64_t c) { return static_cast<double>(counts[c]) * static_cast<double>(weight[c]); });
  return static_cast<double>(rows) * weighted / total;
}

// Adds the sum of a block's losses, which all its threads have, to the total.
template <int kThreadCount, class T>
__device__ void add_to_total(const Total<T>& total, double of_block, int64_t rows, double denominator) {
  if (total.loss == nullptr) return;
  __shared__ bool is_last;
  if (threadIdx.x == 0) {
    total.of_block[blockIdx.x] = of_block;
    __threadfence();  // the sum is there for who sees the arrival
    is_last = atomicInc(arrivals + total.place, gridDim.x - 1) == gridDim.x - 1;
    __threadfence();  // and who was the last sees the sums of all others
  }
  __syncthreads();
  if (!is_last) return;
  // Past the first cache, which nothing keeps equal to that of other multiprocessors.
  const double sum = sum_over<kThreadCount>(gridDim.x, [=](int64_t block) { return __ldcg(total.of_block + block); });
  // No rows: 0, but for the batch's own weight sum, of which 0 / 0 is torch's NaN.
  if (threadIdx.x == 0) *total.loss = static_cast<T>(rows > 0 ? sum : sum / denominator);
}

}  // namespace lt_fast::cuda
