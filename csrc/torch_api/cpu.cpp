// The ops on the CPU: values of the arguments, outputs, threads. The arithmetic is in mixed_margin/cpu.
#include <cstring>
#include <limits>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <tuple>
#include <vector>

#include "mixed_margin/cpu/instruction_set.h"
#include "torch_api/arguments.h"

namespace lt_fast::cpu {
namespace {

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

// Calls work(0.0) or work(0.0f), the arithmetic type.
template <class Work>
auto with_arithmetic_type(const Tensor& logits, const Work& work) {
  return storage_of(logits) == Storage::kFloat64 ? work(0.0) : work(0.0f);
}

// --------------------------------------------------------------------------------------------------------- values

// A ValueError in Python.
template <class... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw std::invalid_argument(message.str());
}

// Position of the first value outside [low, high], which a NaN always is, or `count`. No branch per value: that runs at the
// speed of a few values per cycle.
template <class T>
int64_t first_outside(const T* values, int64_t count, T low, T high) {
  bool fits = true;
  for (int64_t at = 0; at < count; ++at) fits &= (values[at] >= low) & (values[at] <= high);
  if (fits) return count;
  int64_t at = 0;
  while (values[at] >= low && values[at] <= high) ++at;
  return at;
}

void check_labels(const int64_t* labels, const Tensor& logits, const char* name) {
  const int64_t rows = logits.size(0), classes = logits.size(1);
  const int64_t at = first_outside<int64_t>(labels, rows, 0, classes - 1);
  if (at < rows) refuse(name, " must lie in [0, ", classes, "), got ", labels[at], " at position ", at);
}

template <class T>
void check_rows(const T* values, int64_t count, T high, const char* name, const char* rule) {
  const int64_t at = first_outside(values, count, T{0}, high);
  if (at < count) refuse(name, " must ", rule, ", got ", values[at], " at position ", at);
}

template <class T>
void check_classes(const T* values, int64_t classes, T low, const char* name, const char* rule) {
  if (values == nullptr) return;
  const int64_t at = first_outside(values, classes, low, std::numeric_limits<T>::max());
  if (at < classes) refuse(name, " must be ", rule, ", got ", values[at], " for class ", at);
}

struct NumberRule {
  const char *name, *words;
  double low, high;
};
constexpr double kLargest = std::numeric_limits<float>::max(), kTiny = std::numeric_limits<float>::min();
constexpr NumberRule kNumberRules[kNumbers] = {
    {"omega", "finite", -kLargest, kLargest},
    {"kappa", "finite and >= 1", 1, kLargest},
    {"tau", "within [0, 1]", 0, 1},
    {"max_margin", "finite and >= 0", 0, kLargest},
    {"gamma", "finite and >= 0", 0, kLargest},
    {"scale", "finite and > 0", kTiny, kLargest},
    {"label_smoothing", "within [0, 1]", 0, 1},
    {"focal_gamma", "finite and >= 0", 0, kLargest},
};

template <class T>
void check_constants(const Constants<T>& constants, const Choices& choices, bool mixed, int64_t classes) {
  for (int at = 0; at < kNumbers; ++at) {
    const NumberRule& rule = kNumberRules[at];
    const double number = constants.numbers[at];
    if (!(number >= rule.low && number <= rule.high)) refuse(rule.name, " must be ", rule.words, ", got ", number);
  }
  const bool rule_reads_counts = mixed && choices.label_rule != LabelRule::kMixup;
  check_classes(constants.class_counts, classes, rule_reads_counts ? T{1} : T{0}, "class_counts",
                rule_reads_counts ? ">= 1 in every class for this label_rule" : "finite and >= 0 in every class");
  check_classes(constants.margin, classes, T{0}, "margin", "finite and >= 0 in every class");
  check_classes(constants.bias, classes, -std::numeric_limits<T>::infinity(), "bias", "finite or -inf in every class");
  check_classes(constants.weight, classes, T{0}, "weight", "finite and >= 0 in every class");
}

// -------------------------------------------------------------------------------------------------------- threads

constexpr int64_t kSerial = 16384;  // elements: below it a second thread costs more than it saves

// Calls work(first, last, scratch) for row ranges that start at block boundaries. What a row computes does not depend
// on the ranges, so results do not depend on the number of threads.
template <class T, class Work>
void over_rows(const Rows<T>& rows, const Work& work) {
  const int64_t block = row_kernels<T>().block_rows(rows.classes);
  const int64_t blocks = (rows.rows + block - 1) / block;
  const int64_t grain = kSerial / (block * rows.classes) + 1;
  const auto range = [&](int64_t first, int64_t last) {
    std::vector<T> scratch(static_cast<size_t>(row_kernels<T>().scratch_size(rows)));
    work(first * block, last * block < rows.rows ? last * block : rows.rows, scratch.data());
  };
  if (blocks <= grain)
    range(0, blocks);
  else
    torch::stable::parallel_for(0, blocks, grain, range);
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
double denominator(const Choices& choices, const Rows<T>& rows, const Factors<T>& factors,
                   const Constants<T>& constants) {
  if (choices.reduction != Reduction::kMean) return 1;
  const double batch = static_cast<double>(rows.rows);
  if (choices.normalization == Normalization::kWeights)
    return total(factors.factor_a, rows.rows) + total(factors.factor_b, rows.rows);
  if (choices.normalization == Normalization::kBatch || constants.weight == nullptr) return batch;
  double weighted = 0;
  for (int64_t c = 0; c < rows.classes; ++c)
    weighted += static_cast<double>(constants.class_counts[c]) * static_cast<double>(constants.weight[c]);
  if (!(weighted > 0)) refuse("weight must be > 0 in a class with samples for normalization='expected'");
  return batch * weighted / total(constants.class_counts, rows.classes);
}

// ----------------------------------------------------------------------------------------------------- the forward

template <class T>
Rows<T> rows_of(const Tensor& logits, const LabelPair& labels, const T* bias) {
  return {logits.const_data_ptr(),
          storage_of(logits),
          logits.stride(0),
          logits.size(0),
          logits.size(1),
          labels.a.const_data_ptr<int64_t>(),
          labels.b.const_data_ptr<int64_t>(),
          bias};
}

template <class T>
void write_loss(const Choices& choices, const T* row_loss, int64_t rows, Tensor& loss) {
  T* result = loss.mutable_data_ptr<T>();
  if (choices.reduction == Reduction::kNone) {
    if (rows > 0) std::memcpy(result, row_loss, static_cast<size_t>(rows) * sizeof(T));
    return;
  }
  // No rows: 0, but for the batch's own weight sum, of which 0 / 0 is torch's NaN.
  const bool undefined =
      rows == 0 && choices.reduction == Reduction::kMean && choices.normalization == Normalization::kWeights;
  *result = undefined ? std::numeric_limits<T>::quiet_NaN() : static_cast<T>(total(row_loss, rows));
}

using Outputs = std::tuple<Tensor, Tensor, Tensor>;

template <class T>
Outputs run(const Tensor& input, const Tensor& target, const OptionalTensor& target_b, const OptionalTensor& lam_tensor,
            const OptionalTensor& weights, const Constants<T>& constants, const Choices& choices, bool raw) {
  const Tensor logits = rows_together(input);
  const int64_t n = logits.size(0), c = logits.size(1);
  const LabelPair labels(target, target_b, logits);
  const PerRowTensor<T> lam(lam_tensor, logits, "lam"), sample_weight(weights, logits, "sample_weight");
  check_needs(choices, constants, lam.values != nullptr, labels.mixed);

  const Rows<T> rows = rows_of(logits, labels, constants.bias);
  check_labels(rows.target, logits, "target");
  if (labels.mixed) check_labels(rows.target_b, logits, "target_b");
  check_constants(constants, choices, labels.mixed, c);
  Factors<T> factors{};
  if (labels.mixed) {
    factors.lam = lam.values != nullptr ? lam.values : &constants.lam;
    factors.lam_stride = lam.step;
    check_rows(factors.lam, lam.step == 0 ? 1 : n, T{1}, "lam", "lie in [0, 1]");
  }
  if (sample_weight.values != nullptr)
    check_rows(sample_weight.values, sample_weight.step == 0 ? 1 : n, std::numeric_limits<T>::max(), "sample_weight",
               "be finite and >= 0");

  const Settings<T> settings = settings_of(constants.numbers, choices.label_rule, choices.margin_rule, c);
  // Not filled with zeros first: the kernels write every entry.
  const std::unique_ptr<double[]> both_factors(new double[static_cast<size_t>(2 * n)]);
  const std::unique_ptr<T[]> row_loss(new T[static_cast<size_t>(n)]);
  factors.counts = choices.label_rule == LabelRule::kMixup ? nullptr : constants.class_counts;
  factors.weight = constants.weight;
  factors.sample_weight = sample_weight.values;
  factors.sample_weight_stride = sample_weight.step;
  factors.factor_a = both_factors.get();
  factors.factor_b = both_factors.get() + n;
  row_kernels<T>().factors(rows, factors, settings);

  Tensor loss = choices.reduction == Reduction::kNone ? empty_like(logits, {n}, kScalarType<T>)
                                                      : empty_like(logits, {}, kScalarType<T>);
  std::pair<Tensor, Tensor> wanted = kept_and_prediction(logits, choices, kScalarType<T>, raw);
  Tensor &kept = wanted.first, &prediction = wanted.second;
  Forward<T> call{};
  call.margin = constants.margin;
  call.factor_a = factors.factor_a;
  call.factor_b = factors.factor_b;
  call.settings = settings;
  call.per_loss = 1 / denominator(choices, rows, factors, constants);
  call.loss = row_loss.get();
  if (choices.with_gradient) call.grad = kept.mutable_data_ptr();
  if (choices.with_rows) call.row_numbers = kept.mutable_data_ptr<T>();
  if (choices.with_prediction) call.prediction = prediction.mutable_data_ptr<int64_t>();
  over_rows(rows,
            [&](int64_t from, int64_t to, T* scratch) { row_kernels<T>().forward(rows, call, from, to, scratch); });
  write_loss(choices, row_loss.get(), n, loss);
  return {loss, kept, prediction};
}

template <bool kRaw>
Outputs forward(const Tensor& logits, const Tensor& target, const OptionalTensor& target_b, const OptionalTensor& lam,
                const OptionalTensor& sample_weight, const std::vector<Tensor>& vectors,
                const std::vector<double>& numbers, int64_t packed_choices) {
  check_logits(logits);
  const Choices choices = Choices::of(packed_choices);
  return with_arithmetic_type(logits, [&](auto zero) {
    const Constants<decltype(zero)> held(vectors, numbers, choices, logits);
    return run(logits, target, target_b, lam, sample_weight, held, choices, kRaw);
  });
}

// ---------------------------------------------------------------------------------------------------- the backward

template <class T>
Tensor run_backward(const Tensor& grad_output, const Tensor& input, const Tensor& target,
                    const OptionalTensor& target_b, const Constants<T>& constants, const Tensor& row_numbers) {
  const Tensor logits = rows_together(input);
  const int64_t n = logits.size(0);
  const LabelPair labels(target, target_b, logits);
  const PerRowTensor<T> outer(grad_output, logits, "grad_output");
  const Rows<T> rows = rows_of(logits, labels, constants.bias);
  check_labels(rows.target, logits, "target");
  if (labels.mixed) check_labels(rows.target_b, logits, "target_b");
  Tensor grad = empty_like(logits, {n, logits.size(1)}, logits.scalar_type());
  Backward<T> call{};
  call.grad_output = outer.values;
  call.grad_output_stride = outer.step;
  call.row_numbers = vector_of<T>(row_numbers, n * kRowNumbers, logits, "rows");
  call.scale = constants.numbers[kScale];
  call.grad = grad.mutable_data_ptr();
  over_rows(rows,
            [&](int64_t from, int64_t to, T* scratch) { row_kernels<T>().backward(rows, call, from, to, scratch); });
  return grad;
}

Tensor backward(const Tensor& grad_output, const Tensor& logits, const Tensor& target, const OptionalTensor& target_b,
                const std::vector<Tensor>& vectors, const std::vector<double>& numbers, const Tensor& rows,
                int64_t choices) {
  check_logits(logits);
  return with_arithmetic_type(logits, [&](auto zero) {
    const Constants<decltype(zero)> held(vectors, numbers, Choices::of(choices), logits);
    return run_backward(grad_output, logits, target, target_b, held, rows);
  });
}

void rescale(Tensor grad, const Tensor& grad_output) {
  with_ready_type(grad, [&](auto zero) {
    using T = decltype(zero);
    const T factor = *vector_of<T>(grad_output, 1, grad, "grad_output");
    if (factor == 1) return;
    T* values = grad.mutable_data_ptr<T>();
    for (int64_t at = 0; at < grad.numel(); ++at) values[at] *= factor;
  });
}

int64_t instruction_set() { return static_cast<int64_t>(level()); }

}  // namespace
}  // namespace lt_fast::cpu

STABLE_TORCH_LIBRARY_IMPL(lt_fast, CPU, m) {
  m.impl("mixed_margin_loss", TORCH_BOX(&lt_fast::cpu::forward<false>));
  m.impl("mixed_margin_loss.raw", TORCH_BOX(&lt_fast::cpu::forward<true>));
  m.impl("mixed_margin_loss_backward", TORCH_BOX(&lt_fast::cpu::backward));
  m.impl("mixed_margin_loss_rescale_", TORCH_BOX(&lt_fast::cpu::rescale));
}

STABLE_TORCH_LIBRARY_IMPL(lt_fast, CompositeExplicitAutograd, m) {
  m.impl("cpu_instruction_set", TORCH_BOX(&lt_fast::cpu::instruction_set));
}
