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
  const int64_t rows = logits.size(0), classes = logits.size(1);
  for (int64_t row = 0; row < rows; ++row)
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
  const auto share = [&](int64_t first, int64_t last) {
    std::vector<T> scratch(static_cast<size_t>(row_kernels<T>().scratch_size(rows)));
    work(first * block, last * block < rows.rows ? last * block : rows.rows, scratch.data());
  };
  if (blocks <= grain)
    share(0, blocks);
  else
    torch::stable::parallel_for(0, blocks, grain, share);
}

// -------------------------------------------------------------------------------------------------- normalisation

// In four chains of additions, which do not wait for each other, and always in the same order.
template <class T>
double total(const T* values, int64_t count) {
  double parts[4] = {};
  int64_t at = 0;
  for (; at + 4 <= count; at += 4)
    for (int part = 0; part < 4; ++part) parts[part] += values[at + part];
  for (; at < count; ++at) parts[0] += values[at];
  return (parts[0] + parts[1]) + (parts[2] + parts[3]);
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
  STD_TORCH_CHECK(weighted > 0, "weight must be > 0 in a class with samples for normalization 'expected'");
  return batch * weighted / total(counts, rows.classes);
}

// --------------------------------------------------------------------------------------------------------- the op

// What a call wants: how the losses are reduced, and which outputs.
struct Wanted {
  Normalization normalization;
  Reduction reduction;
  bool with_grad, with_rows, with_prediction;
};

// The vectors of a call; each may be null.
template <class T>
struct Vectors {
  const T *class_counts, *margin, *bias, *weight;  // one number a class
  const T *lam, *sample_weight;                    // one number a row, or one for all rows with stride 0
  int64_t lam_stride, sample_weight_stride;
};

struct Outputs {
  Tensor loss, grad, rows, prediction;
};

// torch::stable::new_empty goes through the dispatcher, which takes longer than the allocation of a small tensor.
Tensor empty(std::initializer_list<int64_t> sizes, ScalarType type) {
  static const int32_t kTypes[] = {aoti_torch_dtype_float32(), aoti_torch_dtype_float64(), aoti_torch_dtype_float16(),
                                   aoti_torch_dtype_bfloat16(), aoti_torch_dtype_int64()};
  const int32_t dtype = kTypes[type == ScalarType::Float      ? 0
                               : type == ScalarType::Double   ? 1
                               : type == ScalarType::Half     ? 2
                               : type == ScalarType::BFloat16 ? 3
                                                              : 4];
  const int64_t strides[2] = {sizes.size() == 2 ? sizes.begin()[1] : 1, 1};
  AtenTensorHandle handle;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(static_cast<int64_t>(sizes.size()), sizes.begin(), strides,
                                                         dtype, aoti_torch_device_type_cpu(), 0, &handle));
  return Tensor(handle);
}

// An output that is not wanted stays undefined; forward() replaces it by an empty one.
Outputs outputs_of(const Tensor& logits, ScalarType type, const Wanted& wanted) {
  const int64_t n = logits.size(0), c = logits.size(1);
  Outputs outputs;
  outputs.loss = wanted.reduction == Reduction::kNone ? empty({n}, type) : empty({}, type);
  if (wanted.with_grad) outputs.grad = empty({n, c}, logits.scalar_type());
  if (wanted.with_rows) outputs.rows = empty({n, kRowNumbers}, type);
  if (wanted.with_prediction) outputs.prediction = empty({n}, ScalarType::Long);
  return outputs;
}

template <class T>
void write_loss(const Wanted& wanted, const std::vector<T>& row_loss, Tensor& loss) {
  T* result = loss.mutable_data_ptr<T>();
  if (wanted.reduction == Reduction::kNone) {
    if (!row_loss.empty()) std::memcpy(result, row_loss.data(), row_loss.size() * sizeof(T));
    return;
  }
  // No rows: 0, but for the batch's own weight sum, of which 0 / 0 is torch's NaN.
  const bool undefined =
      row_loss.empty() && wanted.reduction == Reduction::kMean && wanted.normalization == Normalization::kWeights;
  *result = undefined ? std::numeric_limits<T>::quiet_NaN()
                      : static_cast<T>(total(row_loss.data(), static_cast<int64_t>(row_loss.size())));
}

template <class T>
void check_values(const Vectors<T>& vectors, LabelRule rule, int64_t rows, int64_t classes) {
  const T finite = std::numeric_limits<T>::max();
  if (vectors.lam != nullptr) {
    check_range(vectors.lam, vectors.lam_stride == 0 ? 1 : rows, T{0}, T{1}, "lam");
    STD_TORCH_CHECK(rule == LabelRule::kMixup || vectors.class_counts != nullptr,
                    "class_counts must be given for a label rule other than 'mixup'");
    if (rule != LabelRule::kMixup) check_range(vectors.class_counts, classes, T{1}, finite, "class_counts");
  }
  if (vectors.sample_weight != nullptr)
    check_range(vectors.sample_weight, vectors.sample_weight_stride == 0 ? 1 : rows, T{0}, finite, "sample_weight");
}

// `logits` have unit stride in a row; the labels lie within the classes.
template <class T>
Outputs run(const Tensor& logits, const int64_t* target, const int64_t* target_b, const Vectors<T>& vectors,
            const Settings<T>& settings, const Wanted& wanted) {
  const int64_t n = logits.size(0), c = logits.size(1);
  check_values(vectors, settings.label_rule, n, c);
  std::vector<double> factors_a(static_cast<size_t>(n)), factors_b(factors_a);
  std::vector<T> row_loss(static_cast<size_t>(n));
  const Rows<T> rows = rows_of(logits, target, target_b, vectors.bias);
  Factors<T> factors{};
  factors.lam = vectors.lam;
  factors.lam_stride = vectors.lam_stride;
  factors.counts = settings.label_rule == LabelRule::kMixup ? nullptr : vectors.class_counts;
  factors.weight = vectors.weight;
  factors.sample_weight = vectors.sample_weight;
  factors.sample_weight_stride = vectors.sample_weight_stride;
  factors.factor_a = factors_a.data();
  factors.factor_b = factors_b.data();
  row_kernels<T>().factors(rows, factors, settings);
  const double divisor =
      denominator(wanted.reduction, wanted.normalization, rows, factors, vectors.class_counts, vectors.weight);

  Outputs outputs = outputs_of(logits, arithmetic_type(logits), wanted);
  Forward<T> call{};
  call.margin = vectors.margin;
  call.factor_a = factors.factor_a;
  call.factor_b = factors.factor_b;
  call.settings = settings;
  call.per_loss = 1 / divisor;
  call.loss = row_loss.data();
  if (wanted.with_grad) call.grad = outputs.grad.mutable_data_ptr();
  if (wanted.with_rows) call.row_numbers = outputs.rows.template mutable_data_ptr<T>();
  if (wanted.with_prediction) call.prediction = outputs.prediction.template mutable_data_ptr<int64_t>();
  over_rows(rows,
            [&](int64_t from, int64_t to, T* scratch) { row_kernels<T>().forward(rows, call, from, to, scratch); });
  write_loss(wanted, row_loss, outputs.loss);
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
  STD_TORCH_CHECK(lam.has_value() == target_b.has_value(), "target_b and lam must be given together");
  const Wanted wanted{static_cast<Normalization>(normalization), static_cast<Reduction>(reduction), with_grad,
                      with_rows, with_prediction};
  const Tensor rows = rows_together(logits);
  const ScalarType type = arithmetic_type(rows);
  const int64_t n = rows.size(0), c = rows.size(1);
  const int64_t* first = labels_of(target, rows, "target");
  const int64_t* second = target_b.has_value() ? labels_of(*target_b, rows, "target_b") : first;
  const auto run_as = [&](auto zero) {
    using T = decltype(zero);
    Vectors<T> vectors{};
    vectors.class_counts = vector_of<T>(class_counts, c, type, "class_counts");
    vectors.margin = vector_of<T>(margin, c, type, "margin");
    vectors.bias = vector_of<T>(bias, c, type, "bias");
    vectors.weight = vector_of<T>(weight, c, type, "weight");
    vectors.lam = vector_of<T>(lam, n, type, "lam", &vectors.lam_stride);
    vectors.sample_weight = vector_of<T>(sample_weight, n, type, "sample_weight", &vectors.sample_weight_stride);
    return run<T>(rows, first, second, vectors,
                  settings_of<T>(label_rule, omega, kappa, tau, margin_rule, max_margin, gamma, scale, label_smoothing,
                                 focal_gamma, c),
                  wanted);
  };
  Outputs outputs = type == ScalarType::Double ? run_as(0.0) : run_as(0.0f);
  if (!with_grad) outputs.grad = empty({0}, rows.scalar_type());
  if (!with_rows) outputs.rows = empty({0}, type);
  if (!with_prediction) outputs.prediction = empty({0}, ScalarType::Long);
  return {outputs.loss, outputs.grad, outputs.rows, outputs.prediction};
}

// ------------------------------------------------------------------------------------------------ the prepared call

Tensor together(const Tensor& tensor) { return tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor); }

// The vectors and numbers that a loss passes again in every step, as kPreparedSchema lays them out.
template <class T>
class Prepared {
 public:
  Prepared(const Tensor& constants, ScalarType type, int64_t classes) {
    values_ = vector_of<T>(constants, constants.numel(), type, "constants");
    STD_TORCH_CHECK(constants.numel() >= kConstants, "constants must begin with ", kConstants, " numbers");
    const T* next = values_ + kConstants;
    for (int at = 0; at < 4; ++at) {
      vectors_[at] = values_[kFirstFlag + at] != 0 ? next : nullptr;
      if (vectors_[at] != nullptr) next += classes;
    }
    STD_TORCH_CHECK(next - values_ == constants.numel(), "constants must have ", next - values_, " numbers, got ",
                    constants.numel());
  }
  Settings<T> settings(int64_t classes) const {
    const T* v = values_;
    return {static_cast<LabelRule>(v[0]),
            v[1],
            v[2],
            v[3],
            static_cast<MarginRule>(v[4]),
            v[5],
            v[6],
            v[7],
            v[8],
            v[9],
            T(classes)};
  }
  Wanted wanted() const {
    return {static_cast<Normalization>(values_[10]), static_cast<Reduction>(values_[11]), true, false, false};
  }
  Vectors<T> vectors() const { return {vectors_[0], vectors_[1], vectors_[2], vectors_[3], nullptr, nullptr, 0, 0}; }

 private:
  const T* values_;
  const T* vectors_[4];
};

template <class T>
std::tuple<Tensor, Tensor> run_prepared(const Tensor& input, const Tensor& target, const OptionalTensor& target_b,
                                        const OptionalTensor& lam, double lam_number,
                                        const OptionalTensor& sample_weight, const Tensor& constants) {
  const Tensor logits = rows_together(input);
  const ScalarType type = arithmetic_type(logits);
  const int64_t n = logits.size(0), c = logits.size(1);
  const Tensor labels = together(target), other_labels = target_b.has_value() ? together(*target_b) : labels;
  const int64_t* first = labels_of(labels, logits, "target");
  const int64_t* second = target_b.has_value() ? labels_of(other_labels, logits, "target_b") : first;

  const Prepared<T> prepared(constants, type, c);
  Vectors<T> vectors = prepared.vectors();
  const auto one_each = [&](const OptionalTensor& tensor) {
    return !tensor.has_value() || tensor->dim() == 0 || (tensor->dim() == 1 && tensor->size(0) == n);
  };
  STD_TORCH_CHECK(one_each(lam) && one_each(sample_weight), "lam and sample_weight must have shape () or (N,)");
  const T number = static_cast<T>(lam_number);
  if (target_b.has_value()) {
    vectors.lam = lam.has_value() ? vector_of<T>(lam, n, type, "lam", &vectors.lam_stride) : &number;
  }
  vectors.sample_weight = vector_of<T>(sample_weight, n, type, "sample_weight", &vectors.sample_weight_stride);
  const Wanted wanted = prepared.wanted();
  STD_TORCH_CHECK(wanted.reduction != Reduction::kNone, "a prepared call needs a reduced loss");
  const Outputs outputs = run<T>(logits, first, second, vectors, prepared.settings(c), wanted);
  return {outputs.loss, outputs.grad};
}

std::tuple<Tensor, Tensor> prepared(const Tensor& logits, const Tensor& target, const OptionalTensor& target_b,
                                    const OptionalTensor& lam, double lam_number, const OptionalTensor& sample_weight,
                                    const Tensor& constants) {
  check_logits(logits);
  switch (storage_of(logits)) {
    case Storage::kFloat32:
      return run_prepared<float>(logits, target, target_b, lam, lam_number, sample_weight, constants);
    case Storage::kFloat64:
      return run_prepared<double>(logits, target, target_b, lam, lam_number, sample_weight, constants);
    default:
      STD_TORCH_CHECK(false, "a prepared call needs float32 or float64 logits");
  }
}

// --------------------------------------------------------------------------------------------------- the backward

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
  Tensor grad = empty({n, logits.size(1)}, logits.scalar_type());
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

template <class T>
void run_rescale(Tensor& grad, const Tensor& grad_output) {
  const T factor = *vector_of<T>(grad_output, 1, grad.scalar_type(), "grad_output");
  if (factor == 1) return;
  T* values = grad.mutable_data_ptr<T>();
  for (int64_t at = 0; at < grad.numel(); ++at) values[at] *= factor;
}

void rescale(Tensor grad, const Tensor& grad_output) {
  STD_TORCH_CHECK(grad.is_contiguous(), "grad must be contiguous");
  switch (grad.scalar_type()) {
    case ScalarType::Float:
      return run_rescale<float>(grad, grad_output);
    case ScalarType::Double:
      return run_rescale<double>(grad, grad_output);
    default:
      STD_TORCH_CHECK(false, "grad must be float32 or float64");
  }
}

}  // namespace
}  // namespace lt_fast

STABLE_TORCH_LIBRARY(lt_fast, m) {
  m.def(lt_fast::kForwardSchema);
  m.def(lt_fast::kBackwardSchema);
  m.def(lt_fast::kRescaleSchema);
  m.def(lt_fast::kPreparedSchema);
  m.def("cpu_instruction_set() -> int");
}

STABLE_TORCH_LIBRARY_IMPL(lt_fast, CPU, m) {
  m.impl("mixed_margin_loss", TORCH_BOX(&lt_fast::forward));
  m.impl("mixed_margin_loss_backward", TORCH_BOX(&lt_fast::backward));
  m.impl("mixed_margin_loss_rescale_", TORCH_BOX(&lt_fast::rescale));
  m.impl("mixed_margin_loss_prepared", TORCH_BOX(&lt_fast::prepared));
}

STABLE_TORCH_LIBRARY_IMPL(lt_fast, CompositeExplicitAutograd, m) {
  m.impl("cpu_instruction_set", TORCH_BOX(&lt_fast::instruction_set));
}
