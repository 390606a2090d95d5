// What the CPU kernels of one instruction set offer, and the plain data they work on: no torch in here.
#pragma once

#include <cstdint>

#include "mixed_margin/math.h"

namespace lt_fast::cpu {

enum class Storage { kFloat32, kFloat64, kFloat16, kBFloat16 };

// The logits and what belongs to one call, T the arithmetic type. Pointers that may be null say so.
template <class T>
struct Rows {
  const void* logits;  // unit stride in a row
  Storage storage;
  int64_t row_stride;
  int64_t rows, classes;
  const int64_t* target;
  const int64_t* target_b;  // target itself for one label
  const T* bias;            // may be null
};

// Label factors of every row: from lam, counts and weights to what multiplies the two losses.
template <class T>
struct Factors {
  const T* lam;  // null for one label
  int64_t lam_stride;
  const T* counts;         // null for the label rule mixup
  const T* weight;         // may be null
  const T* sample_weight;  // may be null
  int64_t sample_weight_stride;
  double *factor_a, *factor_b;  // (rows) results
};

template <class T>
struct Forward {
  const T* margin;  // may be null
  const double *factor_a, *factor_b;
  Settings<T> settings;
  double per_loss;
  T* loss;              // (rows), times per_loss
  void* grad;           // may be null
  T* row_numbers;       // may be null
  int64_t* prediction;  // may be null
};

template <class T>
struct Backward {
  const T* grad_output;
  int64_t grad_output_stride;  // 0 for one number
  const T* row_numbers;
  T scale;
  void* grad;
};

template <class T>
struct RowKernels {
  // Rows that are worked on together: a thread's share starts at a multiple of it.
  int64_t (*block_rows)(int64_t classes);
  void (*factors)(const Rows<T>&, const Factors<T>&, const Settings<T>&);
  // Rows [first, last). `scratch` holds scratch_size numbers.
  int64_t (*scratch_size)(const Rows<T>&);
  void (*forward)(const Rows<T>&, const Forward<T>&, int64_t first, int64_t last, T* scratch);
  void (*backward)(const Rows<T>&, const Backward<T>&, int64_t first, int64_t last, T* scratch);
};

struct InstructionSet {
  RowKernels<float> single;
  RowKernels<double> twofold;
};

InstructionSet portable_kernels();
#if defined(__x86_64__)
InstructionSet avx2_kernels();
InstructionSet avx512_kernels();
#endif

}  // namespace lt_fast::cpu
