// Schema and CPU side of the mixed-margin loss: checks, outputs, threads. The arithmetic is in mixed_margin_rows_*.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <cstdlib>
#include <cstring>
#include <limits>
#include <optional>
#include <tuple>
#include <vector>

#include "mixed_margin_loss.h"
#include "mixed_margin_rows.h"

namespace lt_fast {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using OptionalTensor = std::optional<Tensor>;

// ------------------------------------------------------------------------------------------------ instruction set

enum class Level : int64_t { kPortable = 0, kAvx2 = 1, kAvx512 = 2 };

Level best_level() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw"))
    return Level::kAvx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Level::kAvx2;
#endif
  return Level::kPortable;
}

// The best level of this processor, or a lower one that LT_FAST_INSTRUCTION_SET names.
Level chosen_level() {
  const Level best = best_level();
  const char* wish = std::getenv("LT_FAST_INSTRUCTION_SET");
  if (wish == nullptr) return best;
  const Level level = std::strcmp(wish, "portable") == 0 ? Level::kPortable
                      : std::strcmp(wish, "avx2") == 0   ? Level::kAvx2
                                                         : Level::kAvx512;
  return level < best ? level : best;
}

Level level() {
  static const Level chosen = chosen_level();
  return chosen;
}

const InstructionSet& kernels() {
  static const InstructionSet set = [] {
#if defined(__x86_64__)
    if (level() == Level::kAvx512) return avx512_kernels();
    if (level() == Level::kAvx2) return avx2_kernels();
#endif
    return portable_kernels();
  }();
  return set;
}

int64_t instruction_set() { return static_cast<int64_t>(level()); }

template <class T>
const RowKernels<T>& row_kernels();
template <>
const RowKernels<float>& row_kernels() {
  return kernels().single;
}
template <>
const RowKernels<double>& row_kernels() {
  return kernels().twofold;
}

// --------------------------------------------------------------------------------------------------------- checks

Storage storage_of(const Tensor& logits) {
  switch (logits.scalar_type()) {
    case ScalarType::Float:
      return Storage::kFloat32;
    case ScalarType::Double:
      return Storage::kFloat64;
    case ScalarType::Half:
      return Storage::kFloat16;
    case ScalarType::BFloat16:
      return Storage::kBFloat16;
    default:
      STD_TORCH_CHECK(false, "logits must be float32, float64, float16 or bfloat16");
  }
}

ScalarType arithmetic_type(const Tensor& logits) {
  return logits.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

void check_logits(const Tensor& logits) {
  STD_TORCH_CHECK(logits.dim() == 2, "logits must have shape (N, C), got ", logits.dim(), " dimensions");
  STD_TORCH_CHECK(logits.size(1) >= 2, "logits must have at least 2 classes, got ", logits.size(1));
}

// The labels, all within the classes.
const int64_t* labels_of(const Tensor& target, const Tensor& logits, const char* name) {
  STD_TORCH_CHECK(target.is_cpu() && target.scalar_type() == ScalarType::Long && target.dim() == 1 &&
                      target.is_contiguous() && target.size(0) == logits.size(0),
                  name, " must be a contiguous int64 tensor of shape (N,) on the CPU");
  const int64_t* labels = target.const_data_ptr<int64_t>();
  const int64_t classes = logits.size(1);
  for (int64_t row = 0; row < target.size(0); ++row)
    STD_TORCH_CHECK(labels[row] >= 0 && labels[row] < classes, name, " must lie in [0, ", classes, "), got ",
                    labels[row], " at position ", row);
  return labels;
}

// Pointer to a vector of the arithmetic type with `size` elements, null for none. With `or_one` a single element that
// stands for all of them will do: `stride` is then 0.
template <class T>
const T* vector_of(const OptionalTensor& tensor, int64_t size, ScalarType type, const char* name,
                   int64_t* stride = nullptr) {
  if (!tensor.has_value()) return nullptr;
  const bool one = stride != nullptr && tensor->numel() == 1;
  if (stride != nullptr) *stride = one ? 0 : 1;
  STD_TORCH_CHECK(tensor->is_cpu() && tensor->scalar_type() == type && tensor->is_contiguous(), name,
                  " must be contiguous, on the CPU, and float64 for float64 logits or float32 for others");
  STD_TORCH_CHECK(one || tensor->numel() == size, name, " must have ", size, " elements, got ", tensor->numel());
  return tensor->const_data_ptr<T>();
}

// Every value within [low, high]; a NaN is not.
template <class T>
void check_range(const T* values, int64_t count, T low, T high, const char* name) {
  for (int64_t at = 0; at < count; ++at)
    STD_TORCH_CHECK(values[at] >= low && values[at] <= high, name, " must lie in [", low, ", ", high, "], got ",
                    values[at], " at position ", at);
}

// Logits with unit stride in a row: torch's own layout unless the user transposed.
Tensor rows_together(const Tensor& logits) {
  return logits.stride(1) == 1 ? logits : torch::stable::contiguous(logits);
}

template <class T>
Rows<T> rows_of(const Tensor& logits, const int64_t* target, const int64_t* target_b, const T* bias) {
  return {logits.const_data_ptr(),
          storage_of(logits),
          logits.stride(0),
          logits.size(0),
          logits.size(1),
          target,
          target_b,
          bias};
}

// -------------------------------------------------------------------------------------------------------- threads

constexpr int64_t kSerial = 16384;  // elements: below it a second thread costs more than it does

// Calls work(first, last, scratch) for row ranges that start at block boundaries. What a row computes does not depend
// on the ranges, so results do not depend on the number of threads.
template <class T, class Work>
void over_rows(const Rows<T>& rows, const Work& work) {
  const int64_t block = row_kernels<T>().block_rows(rows.classes);
  const int64_t blocks = (rows.rows + block - 1) / block;
  const int64_t grain = kSerial / (block * rows.classes) + 1;
  torch::stable::parallel_for(0, blocks, grain, [&](int64_t first, int64_t last) {
    std::vector<T> scratch(static_cast<size_t>(row_kernels<T>().scratch_size(rows)));
    work(first * block, last * block < rows.rows ? last * block : rows.rows, scratch.data());
  });
}

// -------------------------------------------------------------------------------------------------- normalisation

template <class T>
double total(const T* values, int64_t count) {
  double sum = 0;
  for (int64_t at = 0; at < count; ++at) sum += values[at];
  return sum;
}

// What the sum of the losses is divided by; 0 for no rows.
template <class T>
double denominator(Reduction reduction, Normalization normalization, const Rows<T>& rows, const Factors<T>& factors,
                   const T* counts, const T* weight) {
  if (reduction != Reduction::kMean) return 1;
  const double batch = static_cast<double>(rows.rows);
  if (normalization == Normalization::kWeights)
    return total(factors.factor_a, rows.rows) + total(factors.factor_b, rows.rows);
  if (normalization == Normalization::kBatch || weight == nullptr) return batch;
  STD_TORCH_CHECK(counts != nullptr, "class_counts must be given for normalization 'expected' with a weight");
  double weighted = 0;
  for (int64_t c = 0; c < rows.classes; ++c)
    weighted += static_cast<double>(counts[c]) * static_cast<double>(weight[c]);
  return batch * weighted / total(counts, rows.classes);
}

// --------------------------------------------------------------------------------------------------------- the op

struct Arguments {
  OptionalTensor lam, class_counts, margin, bias, weight, sample_weight;
  Normalization normalization;
  Reduction reduction;
  bool with_grad, with_rows, with_prediction;
};

struct Outputs {
  Tensor loss, grad, rows, prediction;
};

Outputs outputs_of(const Tensor& logits, ScalarType type, const Arguments& arguments) {
  const int64_t n = logits.size(0), c = logits.size(1);
  const auto vector = [&](bool wanted, ScalarType dtype) {
    return torch::stable::new_empty(logits, {wanted ? n : 0}, dtype);
  };
  Outputs outputs;
  outputs.loss =
      arguments.reduction == Reduction::kNone ? vector(true, type) : torch::stable::new_empty(logits, {}, type);
  outputs.grad = arguments.with_grad ? torch::stable::new_empty(logits, {n, c}) : torch::stable::new_empty(logits, {0});
  outputs.rows = arguments.with_rows ? torch::stable::new_empty(logits, {n, kRowNumbers}, type) : vector(false, type);
  outputs.prediction = vector(arguments.with_prediction, ScalarType::Long);
  return outputs;
}

template <class T>
void write_loss(const Arguments& arguments, const std::vector<T>& row_loss, double divisor, Tensor& loss) {
  T* result = loss.mutable_data_ptr<T>();
  if (arguments.reduction == Reduction::kNone) {
    if (!row_loss.empty()) std::memcpy(result, row_loss.data(), row_loss.size() * sizeof(T));
    return;
  }
  const double sum = total(row_loss.data(), static_cast<int64_t>(row_loss.size()));
  // No rows: 0, but for the batch's own weight sum, of which 0 / 0 is torch's NaN.
  const bool nothing = row_loss.empty() && arguments.normalization != Normalization::kWeights;
  *result = static_cast<T>(nothing || arguments.reduction == Reduction::kSum ? sum : sum / divisor);
}

template <class T>
Outputs run(const Tensor& input, const Tensor& target, const OptionalTensor& target_b, const Settings<T>& settings,
            const Arguments& arguments) {
  const Tensor logits = rows_together(input);
  const ScalarType type = arithmetic_type(logits);
  const int64_t n = logits.size(0), c = logits.size(1);
  const int64_t* first = labels_of(target, logits, "target");
  const int64_t* second = target_b.has_value() ? labels_of(*target_b, logits, "target_b") : first;

  std::vector<T> factors_a(static_cast<size_t>(n)), factors_b(factors_a), row_loss(factors_a);
  const Rows<T> rows = rows_of(logits, first, second, vector_of<T>(arguments.bias, c, type, "bias"));
  Factors<T> factors{};
  const T* counts = vector_of<T>(arguments.class_counts, c, type, "class_counts");
  factors.lam = vector_of<T>(arguments.lam, n, type, "lam", &factors.lam_stride);
  factors.counts = settings.label_rule == LabelRule::kMixup ? nullptr : counts;
  factors.weight = vector_of<T>(arguments.weight, c, type, "weight");
  factors.sample_weight =
      vector_of<T>(arguments.sample_weight, n, type, "sample_weight", &factors.sample_weight_stride);
  factors.factor_a = factors_a.data();
  factors.factor_b = factors_b.data();
  STD_TORCH_CHECK(arguments.lam.has_value() == target_b.has_value(), "target_b and lam must be given together");
  STD_TORCH_CHECK(settings.label_rule == LabelRule::kMixup || counts != nullptr || !arguments.lam.has_value(),
                  "class_counts must be given for a label rule other than 'mixup'");
  const T finite = std::numeric_limits<T>::max();
  if (factors.lam != nullptr) check_range(factors.lam, factors.lam_stride == 0 ? 1 : n, T{0}, T{1}, "lam");
  if (factors.lam != nullptr && factors.counts != nullptr) check_range(counts, c, T{1}, finite, "class_counts");
  if (factors.sample_weight != nullptr)
    check_range(factors.sample_weight, factors.sample_weight_stride == 0 ? 1 : n, T{0}, finite, "sample_weight");
  row_kernels<T>().factors(rows, factors, settings);
  const double divisor =
      denominator(arguments.reduction, arguments.normalization, rows, factors, counts, factors.weight);

  Outputs outputs = outputs_of(logits, type, arguments);
  Forward<T> call{};
  call.margin = vector_of<T>(arguments.margin, c, type, "margin");
  call.factor_a = factors.factor_a;
  call.factor_b = factors.factor_b;
  call.settings = settings;
  call.per_loss = static_cast<T>(1 / divisor);
  call.loss = row_loss.data();
  if (arguments.with_grad) call.grad = outputs.grad.mutable_data_ptr();
  if (arguments.with_rows) call.row_numbers = outputs.rows.mutable_data_ptr<T>();
  if (arguments.with_prediction) call.prediction = outputs.prediction.mutable_data_ptr<int64_t>();
  over_rows(rows,
            [&](int64_t from, int64_t to, T* scratch) { row_kernels<T>().forward(rows, call, from, to, scratch); });
  write_loss(arguments, row_loss, divisor, outputs.loss);
  return outputs;
}

template <class T>
Settings<T> settings_of(int64_t label_rule, double omega, double kappa, double tau, int64_t margin_rule,
                        double max_margin, double gamma, double scale, double label_smoothing, double focal_gamma,
                        int64_t classes) {
  return {static_cast<LabelRule>(label_rule),
          T(omega),
          T(kappa),
          T(tau),
          static_cast<MarginRule>(margin_rule),
          T(max_margin),
          T(gamma),
          T(scale),
          T(label_smoothing),
          T(focal_gamma),
          T(classes)};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> forward(
    const Tensor& logits, const Tensor& target, const OptionalTensor& target_b, const OptionalTensor& lam,
    const OptionalTensor& class_counts, const OptionalTensor& margin, const OptionalTensor& bias,
    const OptionalTensor& weight, const OptionalTensor& sample_weight, int64_t label_rule, double omega, double kappa,
    double tau, int64_t margin_rule, double max_margin, double gamma, double scale, double label_smoothing,
    double focal_gamma, int64_t normalization, int64_t reduction, bool with_grad, bool with_rows,
    bool with_prediction) {
  check_logits(logits);
  STD_TORCH_CHECK(!(with_grad && reduction == static_cast<int64_t>(Reduction::kNone)),
                  "with_grad needs a reduced loss; for reduction 'none' ask for the rows");
  const Arguments arguments{lam,
                            class_counts,
                            margin,
                            bias,
                            weight,
                            sample_weight,
                            static_cast<Normalization>(normalization),
                            static_cast<Reduction>(reduction),
                            with_grad,
                            with_rows,
                            with_prediction};
  const auto run_as = [&](auto zero) {
    using T = decltype(zero);
    return run<T>(logits, target, target_b,
                  settings_of<T>(label_rule, omega, kappa, tau, margin_rule, max_margin, gamma, scale, label_smoothing,
                                 focal_gamma, logits.size(1)),
                  arguments);
  };
  const Outputs outputs = storage_of(logits) == Storage::kFloat64 ? run_as(0.0) : run_as(0.0f);
  return {outputs.loss, outputs.grad, outputs.rows, outputs.prediction};
}

template <class T>
Tensor run_backward(const Tensor& grad_output, const Tensor& input, const Tensor& target,
                    const OptionalTensor& target_b, const OptionalTensor& bias, const Tensor& row_numbers,
                    double scale) {
  const Tensor logits = rows_together(input);
  const ScalarType type = arithmetic_type(logits);
  const int64_t n = logits.size(0);
  const int64_t* first = labels_of(target, logits, "target");
  const int64_t* second = target_b.has_value() ? labels_of(*target_b, logits, "target_b") : first;
  const Rows<T> rows = rows_of(logits, first, second, vector_of<T>(bias, logits.size(1), type, "bias"));
  Tensor grad = torch::stable::new_empty(logits, {n, logits.size(1)});
  Backward<T> call{};
  call.grad_output = vector_of<T>(grad_output, n, type, "grad_output", &call.grad_output_stride);
  call.row_numbers = vector_of<T>(row_numbers, n * kRowNumbers, type, "rows");
  call.scale = static_cast<T>(scale);
  call.grad = grad.mutable_data_ptr();
  over_rows(rows,
            [&](int64_t from, int64_t to, T* scratch) { row_kernels<T>().backward(rows, call, from, to, scratch); });
  return grad;
}

Tensor backward(const Tensor& grad_output, const Tensor& logits, const Tensor& target, const OptionalTensor& target_b,
                const OptionalTensor& bias, const Tensor& rows, double scale) {
  check_logits(logits);
  return storage_of(logits) == Storage::kFloat64
             ? run_backward<double>(grad_output, logits, target, target_b, bias, rows, scale)
             : run_backward<float>(grad_output, logits, target, target_b, bias, rows, scale);
}

}  // namespace
}  // namespace lt_fast

STABLE_TORCH_LIBRARY(lt_fast, m) {
  m.def(lt_fast::kForwardSchema);
  m.def(lt_fast::kBackwardSchema);
  m.def("cpu_instruction_set() -> int");
}

STABLE_TORCH_LIBRARY_IMPL(lt_fast, CPU, m) {
  m.impl("mixed_margin_loss", TORCH_BOX(&lt_fast::forward));
  m.impl("mixed_margin_loss_backward", TORCH_BOX(&lt_fast::backward));
}

STABLE_TORCH_LIBRARY_IMPL(lt_fast, CompositeExplicitAutograd, m) {
  m.impl("cpu_instruction_set", TORCH_BOX(&lt_fast::instruction_set));
}
