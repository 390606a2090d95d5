// Checks of an op's tensors and their views as pointers, the same for every device. What is wrong with a type or a shape is
// a RuntimeError in Python; the values are checked where they can be read: on the CPU by cpu.cpp, on a GPU by its kernels.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <cmath>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "torch_api/schema.h"

namespace lt_fast {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using OptionalTensor = std::optional<Tensor>;

template <class T>
constexpr ScalarType kScalarType = std::is_same_v<T, double> ? ScalarType::Double : ScalarType::Float;

// torch::stable::new_empty goes through the dispatcher, which takes longer than the allocation of a small tensor.
inline Tensor empty_like(const Tensor& like, std::initializer_list<int64_t> sizes, ScalarType type) {
  static const int32_t kTypes[] = {aoti_torch_dtype_float32(), aoti_torch_dtype_float64(), aoti_torch_dtype_float16(),
                                   aoti_torch_dtype_bfloat16(), aoti_torch_dtype_int64()};
  const int32_t dtype = kTypes[type == ScalarType::Float      ? 0
                               : type == ScalarType::Double   ? 1
                               : type == ScalarType::Half     ? 2
                               : type == ScalarType::BFloat16 ? 3
                                                              : 4];
  const bool on_cpu = like.is_cpu();
  const int64_t strides[2] = {sizes.size() == 2 ? sizes.begin()[1] : 1, 1};
  AtenTensorHandle handle;
  STABLE_TORCH_ERROR_CODE_CHECK(
      aoti_torch_empty_strided(static_cast<int64_t>(sizes.size()), sizes.begin(), strides, dtype,
                               on_cpu ? aoti_torch_device_type_cpu() : aoti_torch_device_type_cuda(),
                               on_cpu ? 0 : like.get_device_index(), &handle));
  return Tensor(handle);
}

inline bool same_device(const Tensor& tensor, const Tensor& logits) {
  if (logits.is_cpu()) return tensor.is_cpu();
  return tensor.is_cuda() && tensor.get_device_index() == logits.get_device_index();
}

inline void check_logits(const Tensor& logits) {
  STD_TORCH_CHECK(logits.dim() == 2, "logits must have shape (N, C), got ", logits.dim(), " dimensions");
  STD_TORCH_CHECK(logits.size(1) >= 2, "logits must have at least 2 classes, got ", logits.size(1));
}

inline Tensor made_contiguous(const Tensor& tensor) {
  return tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor);
}

// Logits with unit stride in a row: torch's own layout unless the user transposed.
inline Tensor rows_together(const Tensor& logits) {
  return logits.stride(1) == 1 ? logits : torch::stable::contiguous(logits);
}

// Contiguous labels.
inline Tensor labels_of(const Tensor& target, const Tensor& logits, const char* name) {
  STD_TORCH_CHECK(target.scalar_type() == ScalarType::Long && target.dim() == 1 && target.size(0) == logits.size(0) &&
                      same_device(target, logits),
                  name, " must be an int64 tensor of shape (N,) on the logits' device");
  return made_contiguous(target);
}

// The labels of both images; those of the first one twice where no images are mixed.
struct LabelPair {
  Tensor a, b;
  bool mixed;

  LabelPair(const Tensor& target, const OptionalTensor& target_b, const Tensor& logits)
      : a(labels_of(target, logits, "target")),
        b(target_b.has_value() ? labels_of(*target_b, logits, "target_b") : a),
        mixed(target_b.has_value()) {}
};

template <class T>
const T* vector_of(const Tensor& tensor, int64_t size, const Tensor& logits, const char* name) {
  STD_TORCH_CHECK(tensor.scalar_type() == kScalarType<T> && tensor.is_contiguous() && same_device(tensor, logits), name,
                  " must be contiguous, on the logits' device, and float64 for float64 logits or float32 for others");
  STD_TORCH_CHECK(tensor.numel() == size, name, " must have ", size, " elements, got ", tensor.numel());
  return tensor.const_data_ptr<T>();
}

// One number per row, or one for all rows: `step` is then 0. Null for none.
template <class T>
struct PerRowTensor {
  OptionalTensor memory;
  const T* values = nullptr;
  int64_t step = 0;

  PerRowTensor(const OptionalTensor& tensor, const Tensor& logits, const char* name) {
    if (!tensor.has_value()) return;
    const int64_t rows = logits.size(0);
    const bool one = tensor->dim() == 0;
    STD_TORCH_CHECK(one || (tensor->dim() == 1 && tensor->size(0) == rows), name, " must have shape () or (N,)");
    memory = made_contiguous(*tensor);
    values = vector_of<T>(*memory, one ? 1 : rows, logits, name);
    step = one ? 0 : 1;
  }
};

// The lists `vectors` and `numbers`.
template <class T>
struct Constants {
  T lam, numbers[kNumbers];
  const T *class_counts, *margin, *bias, *weight;  // null for one that there is not

  Constants(const std::vector<Tensor>& vectors, const std::vector<double>& given, const Choices& choices,
            const Tensor& logits) {
    size_t size = vectors.size();
    read_numbers(given.empty() && size > 0 ? traced_numbers(vectors[--size]) : given.data(), given.size());
    size_t tensor = 0;
    int64_t row = 0;  // of a tensor with several vectors
    const auto take = [&](bool there, const char* name) -> const T* {
      if (!there) return nullptr;
      STD_TORCH_CHECK(tensor < size, name, " must be among the vectors, got ", size, " tensors");
      const Tensor& found = vectors[tensor];
      const bool stacked = found.dim() == 2;
      STD_TORCH_CHECK(found.dim() == 1 || (stacked && row < found.size(0)), name, " must have shape (C,), got ",
                      found.dim(), " dimensions");
      if (!found.is_contiguous()) memory.push_back(torch::stable::contiguous(found));
      const Tensor& dense = found.is_contiguous() ? found : memory.back();
      const int64_t classes = logits.size(1), rows = stacked ? found.size(0) : 1;
      const T* values = vector_of<T>(dense, rows * classes, logits, name) + row * classes;
      row = row + 1 < rows ? row + 1 : 0;
      tensor += row == 0;
      return values;
    };
    class_counts = take(choices.class_counts, "class_counts");
    margin = take(choices.margin, "margin");
    bias = take(choices.bias, "bias");
    weight = take(choices.weight, "weight");
    STD_TORCH_CHECK(tensor == size, "vectors must be those that choices names, got more");
  }

 private:
  std::vector<Tensor> memory;  // copies of vectors with a stride

  static const double* traced_numbers(const Tensor& tensor) {
    STD_TORCH_CHECK(tensor.is_cpu() && tensor.scalar_type() == ScalarType::Double && tensor.is_contiguous() &&
                        tensor.numel() == 1 + kNumbers,
                    "numbers must be ", 1 + kNumbers, ", in a list or in a float64 tensor on the CPU");
    return tensor.const_data_ptr<double>();
  }

  void read_numbers(const double* given, size_t size) {
    STD_TORCH_CHECK(size == 0 || size == 1 + kNumbers, "numbers must be ", 1 + kNumbers, ", got ", size);
    STD_TORCH_CHECK(given != nullptr, "numbers must be given");
    lam = static_cast<T>(given[0]);
    for (int at = 0; at < kNumbers; ++at) numbers[at] = static_cast<T>(given[1 + at]);
    // Rounding must not raise kappa: 1.1 would miss 11 samples against 10.
    if (numbers[kKappa] > given[1 + kKappa]) numbers[kKappa] = std::nextafter(numbers[kKappa], T{0});
  }
};

// What a call lacks, whatever its values.
template <class T>
void check_needs(const Choices& choices, const Constants<T>& constants, bool has_lam, bool mixed) {
  STD_TORCH_CHECK(mixed || !has_lam, "target_b and lam must be given together");
  STD_TORCH_CHECK(!(choices.with_gradient && choices.reduction == Reduction::kNone),
                  "a gradient needs a reduced loss; for reduction 'none' ask for the rows");
  STD_TORCH_CHECK(!(choices.with_gradient && choices.with_rows), "kept is either the gradient or the rows, not both");
  STD_TORCH_CHECK(!mixed || choices.label_rule == LabelRule::kMixup || constants.class_counts != nullptr,
                  "class_counts must be given for a label rule other than 'mixup'");
  STD_TORCH_CHECK(choices.reduction != Reduction::kMean || choices.normalization != Normalization::kExpected ||
                      constants.weight == nullptr || constants.class_counts != nullptr,
                  "class_counts must be given for normalization 'expected' with a weight");
}

// The outputs `kept` and `prediction`. What is not wanted is empty, or undefined for the raw op.
inline std::pair<Tensor, Tensor> kept_and_prediction(const Tensor& logits, const Choices& choices, ScalarType type,
                                                     bool raw) {
  const int64_t n = logits.size(0);
  std::pair<Tensor, Tensor> outputs;
  if (choices.with_gradient)
    outputs.first = empty_like(logits, {n, logits.size(1)}, logits.scalar_type());
  else if (choices.with_rows)
    outputs.first = empty_like(logits, {n, kRowNumbers}, type);
  else if (!raw)
    outputs.first = empty_like(logits, {0}, type);
  if (choices.with_prediction || !raw)
    outputs.second = empty_like(logits, {choices.with_prediction ? n : 0}, ScalarType::Long);
  return outputs;
}

// Calls work(float{}) or work(double{}), the type of a ready gradient.
template <class Work>
void with_ready_type(const Tensor& grad, const Work& work) {
  STD_TORCH_CHECK(grad.is_contiguous(), "grad must be contiguous");
  switch (grad.scalar_type()) {
    case ScalarType::Float:
      return work(float{});
    case ScalarType::Double:
      return work(double{});
    default:
      STD_TORCH_CHECK(false, "grad must be float32 or float64");
  }
}

}  // namespace lt_fast
