// CUDA side of the mixed-margin loss: checks, outputs, launches. Nothing here waits for the device or
// allocates outside torch's own allocator, so a call can be captured in a CUDA graph; sums run in a fixed
// order, so equal input gives equal bits.
#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/macros.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <optional>
#include <tuple>
#include <utility>

#include "mixed_margin_cuda.h"
#include "mixed_margin_cuda_backward.h"
#include "mixed_margin_cuda_forward.h"
#include "mixed_margin_cuda_sums.h"
#include "mixed_margin_layout.h"
#include "mixed_margin_loss.h"

namespace lt_fast {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using OptionalTensor = std::optional<Tensor>;

// ---------------------------------------------------------------------------------------------------- the
// device

// Makes the tensor's device current for both CUDA runtimes in the process, torch's and the one linked in
// here.
struct Device {
  explicit Device(const Tensor& tensor) : guard(tensor.get_device_index()) {
    STD_CUDA_CHECK(cudaSetDevice(tensor.get_device_index()));
    void* current = nullptr;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &current));
    stream = static_cast<cudaStream_t>(current);
  }

  torch::stable::accelerator::DeviceGuard guard;
  cudaStream_t stream;
};

template <class... Parameters, class... Values>
void launch(void (*kernel)(Parameters...), unsigned blocks, int threads, cudaStream_t stream, const Values&... values) {
  kernel<<<blocks, threads, 0, stream>>>(values...);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

template <class In, size_t... kIndex>
void launch_in_registers(const Forward<In>& call, int layout, cudaStream_t stream, std::index_sequence<kIndex...>) {
  const auto launch_if = [&](auto index) {
    constexpr RowLayout kLayout = kLayouts[decltype(index)::value];
    if (layout != static_cast<int>(decltype(index)::value)) return;
    launch(forward_in_registers<In, kLayout.lanes, kLayout.elements>, blocks_for(call.rows.rows, kLayout.lanes),
           threads_per_block(kLayout.lanes), stream, call);
  };
  (launch_if(std::integral_constant<size_t, kIndex>{}), ...);
}

template <class In>
void launch_forward(const Forward<In>& call, cudaStream_t stream) {
  const Rows<In>& rows = call.rows;
  const bool aligned = reinterpret_cast<uintptr_t>(rows.logits) % kVectorBytes == 0 &&
                       rows.stride * static_cast<int64_t>(sizeof(In)) % kVectorBytes == 0;
  const int layout = choose_layout(rows.columns, sizeof(In), aligned);
  if (layout == kStreamed) {
    launch(forward_streamed<In>, blocks_for(rows.rows, kStreamLanes), kStreamLanes, stream, call);
  } else {
    launch_in_registers(call, layout, stream, std::make_index_sequence<kNumLayouts>{});
  }
}

template <class In, int kLanes>
void launch_backward(const Backward<In>& call, cudaStream_t stream) {
  launch(backward_rows<In, kLanes>, blocks_for(call.rows.rows, kLanes), threads_per_block(kLanes), stream, call);
}

template <class In>
void launch_backward(const Backward<In>& call, cudaStream_t stream) {
  switch (backward_lanes(call.rows.columns, sizeof(In))) {
    case 4:
      return launch_backward<In, 4>(call, stream);
    case 32:
      return launch_backward<In, 32>(call, stream);
    default:
      return launch_backward<In, 256>(call, stream);
  }
}

// ---------------------------------------------------------------------------------------------------------
// checks

template <class T>
constexpr ScalarType kScalarType = std::is_same_v<T, double> ? ScalarType::Double : ScalarType::Float;

void check_logits(const Tensor& logits) {
  STD_TORCH_CHECK(logits.dim() == 2, "logits must have shape (N, C), got ", logits.dim(), " dimensions");
  STD_TORCH_CHECK(logits.size(1) >= 2, "logits must have at least 2 classes, got ", logits.size(1));
  STD_TORCH_CHECK(logits.size(1) <= kMaxColumns, "logits must have at most ", kMaxColumns, " classes on CUDA, got ",
                  logits.size(1));
}

bool beside(const Tensor& tensor, const Tensor& logits) {
  return tensor.is_cuda() && tensor.get_device_index() == logits.get_device_index() && tensor.is_contiguous();
}

// Values are checked by the kernels.
const int64_t* labels_of(const Tensor& target, const Tensor& logits, const char* name) {
  STD_TORCH_CHECK(beside(target, logits) && target.scalar_type() == ScalarType::Long && target.dim() == 1 &&
                      target.size(0) == logits.size(0),
                  name, " must be a contiguous int64 tensor of shape (N,) on the logits' device");
  return target.const_data_ptr<int64_t>();
}

template <class T>
const T* vector_of(const Tensor& tensor, int64_t size, const Tensor& logits, const char* name) {
  STD_TORCH_CHECK(beside(tensor, logits) && tensor.scalar_type() == kScalarType<T>, name,
                  " must be contiguous, on the logits' device, and float64 for float64 logits or float32 for others");
  STD_TORCH_CHECK(tensor.numel() == size, name, " must have ", size, " elements, got ", tensor.numel());
  return tensor.const_data_ptr<T>();
}

template <class T>
const T* vector_of(const OptionalTensor& tensor, int64_t size, const Tensor& logits, const char* name) {
  return tensor.has_value() ? vector_of<T>(*tensor, size, logits, name) : nullptr;
}

template <class T>
PerRow<T> per_row(const OptionalTensor& tensor, const Tensor& logits, const char* name) {
  if (!tensor.has_value()) return {nullptr, 0};
  const bool one = tensor->numel() == 1;
  return {vector_of<T>(*tensor, one ? 1 : logits.size(0), logits, name), one ? 0 : 1};
}

// ----------------------------------------------------------------------------------------------------- the
// ops

// Logits with unit stride in a row: torch's own layout unless the user transposed.
Tensor rows_together(const Tensor& logits) {
  return logits.stride(1) == 1 ? logits : torch::stable::contiguous(logits);
}

template <class In>
Rows<In> rows_of(const Tensor& logits, const Tensor& target, const OptionalTensor& target_b,
                 const OptionalTensor& bias) {
  return {static_cast<const In*>(logits.const_data_ptr()),
          logits.stride(0),
          logits.size(0),
          static_cast<int>(logits.size(1)),
          labels_of(target, logits, "target"),
          target_b.has_value() ? labels_of(*target_b, logits, "target_b") : nullptr,
          vector_of<Arithmetic<In>>(bias, logits.size(1), logits, "bias")};
}

// Calls work(In{}) with the element type of the logits.
template <class Work>
auto with_element_type(const Tensor& logits, const Work& work) {
  switch (logits.scalar_type()) {
    case ScalarType::Float:
      return work(float{});
    case ScalarType::Double:
      return work(double{});
    case ScalarType::Half:
      return work(c10::Half{});
    case ScalarType::BFloat16:
      return work(c10::BFloat16{});
    default:
      STD_TORCH_CHECK(false, "logits must be float32, float64, float16 or bfloat16");
  }
}

struct Arguments {
  OptionalTensor lam, class_counts, margin, bias, weight, sample_weight;
  Normalization normalization;
  Reduction reduction;
  bool with_grad, with_rows, with_prediction;
};

template <class T>
Weights<T> weights_of(const Arguments& arguments, const Settings<T>& settings, const Tensor& logits) {
  const int64_t classes = logits.size(1);
  const T* counts = vector_of<T>(arguments.class_counts, classes, logits, "class_counts");
  const bool counts_matter = settings.label_rule != LabelRule::kMixup && arguments.lam.has_value();
  STD_TORCH_CHECK(!counts_matter || counts != nullptr,
                  "class_counts must be given for a label rule other than 'mixup'");
  return {per_row<T>(arguments.lam, logits, "lam"), per_row<T>(arguments.sample_weight, logits, "sample_weight"),
          counts_matter ? counts : nullptr, vector_of<T>(arguments.weight, classes, logits, "weight"),
          vector_of<T>(arguments.margin, classes, logits, "margin")};
}

// What the mean divides by, and the memory that it stands in. No rows: 1, but for the batch's own weight sum,
// of which 0 / 0 is torch's NaN.
template <class In>
std::pair<Denominator, Tensor> denominator_of(const Arguments& arguments, const Forward<In>& call, const Tensor& logits,
                                              cudaStream_t stream) {
  using T = Arithmetic<In>;
  const Rows<In>& rows = call.rows;
  Tensor memory;  // only where it is computed
  const auto on_device = [&] {
    memory = torch::stable::new_empty(logits, {1}, ScalarType::Double);
    return memory.mutable_data_ptr<double>();
  };
  if (arguments.reduction != Reduction::kMean) return {{1, nullptr}, memory};
  if (arguments.normalization == Normalization::kWeights) {
    double* result = on_device();
    launch(sum_of_factors<T>, 1, kSumThreads, stream, call.weights, call.settings, rows.target, rows.target_b,
           rows.columns, rows.rows, result);
    return {{0, result}, memory};
  }
  if (rows.rows == 0) return {{1, nullptr}, memory};
  const T* weight = call.weights.weight;
  if (arguments.normalization == Normalization::kBatch || weight == nullptr) {
    return {{static_cast<double>(rows.rows), nullptr}, memory};
  }
  STD_TORCH_CHECK(arguments.class_counts.has_value(),
                  "class_counts must be given for normalization 'expected' with a weight");
  const T* counts = vector_of<T>(arguments.class_counts, rows.columns, logits, "class_counts");
  double* result = on_device();
  launch(expected_weight<T>, 1, kSumThreads, stream, counts, weight, rows.columns, rows.rows, result);
  return {{0, result}, memory};
}

using Outputs = std::tuple<Tensor, Tensor, Tensor, Tensor>;

template <class In>
Outputs run(const Tensor& input, const Tensor& target, const OptionalTensor& target_b,
            const Settings<Arithmetic<In>>& settings, const Arguments& arguments) {
  using T = Arithmetic<In>;
  const Device device(input);
  const Tensor logits = rows_together(input);
  const int64_t n = logits.size(0), c = logits.size(1);
  const auto vector = [&](bool wanted, ScalarType type) {
    return torch::stable::new_empty(logits, {wanted ? n : 0}, type);
  };
  const bool reduced = arguments.reduction != Reduction::kNone;
  Tensor row_loss = vector(true, kScalarType<T>);
  Tensor loss = reduced ? torch::stable::new_empty(logits, {}, kScalarType<T>) : row_loss;
  Tensor grad = arguments.with_grad ? torch::stable::new_empty(logits, {n, c}) : torch::stable::new_empty(logits, {0});
  Tensor numbers = arguments.with_rows ? torch::stable::new_empty(logits, {n, kRowNumbers}, kScalarType<T>)
                                       : vector(false, kScalarType<T>);
  Tensor prediction = vector(arguments.with_prediction, ScalarType::Long);

  Forward<In> call{};
  call.rows = rows_of<In>(logits, target, target_b, arguments.bias);
  call.weights = weights_of<T>(arguments, settings, logits);
  call.settings = settings;
  STD_TORCH_CHECK(arguments.lam.has_value() == target_b.has_value(), "target_b and lam must be given together");
  const auto [denominator, memory] = denominator_of(arguments, call, logits, device.stream);
  call.denominator = denominator;
  call.loss = row_loss.mutable_data_ptr<T>();
  if (arguments.with_grad) call.grad = static_cast<In*>(grad.mutable_data_ptr());
  if (arguments.with_rows) call.row_numbers = numbers.mutable_data_ptr<T>();
  if (arguments.with_prediction) call.prediction = prediction.mutable_data_ptr<int64_t>();
  if (n > 0) launch_forward(call, device.stream);
  if (reduced) {
    launch(reduce_loss<T>, 1, kSumThreads, device.stream, call.loss, n, denominator, loss.mutable_data_ptr<T>());
  }
  return {loss, grad, numbers, prediction};
}

Outputs forward(const Tensor& logits, const Tensor& target, const OptionalTensor& target_b, const OptionalTensor& lam,
                const OptionalTensor& class_counts, const OptionalTensor& margin, const OptionalTensor& bias,
                const OptionalTensor& weight, const OptionalTensor& sample_weight, int64_t label_rule, double omega,
                double kappa, double tau, int64_t margin_rule, double max_margin, double gamma, double scale,
                double label_smoothing, double focal_gamma, int64_t normalization, int64_t reduction, bool with_grad,
                bool with_rows, bool with_prediction) {
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
  return with_element_type(logits, [&](auto element) {
    using In = decltype(element);
    using T = Arithmetic<In>;
    const Settings<T> settings{static_cast<LabelRule>(label_rule),
                               T(omega),
                               T(kappa),
                               T(tau),
                               static_cast<MarginRule>(margin_rule),
                               T(max_margin),
                               T(gamma),
                               T(scale),
                               T(label_smoothing),
                               T(focal_gamma),
                               T(logits.size(1))};
    return run<In>(logits, target, target_b, settings, arguments);
  });
}

template <class In>
Tensor run_backward(const Tensor& grad_output, const Tensor& input, const Tensor& target,
                    const OptionalTensor& target_b, const OptionalTensor& bias, const Tensor& row_numbers,
                    double scale) {
  using T = Arithmetic<In>;
  const Device device(input);
  const Tensor logits = rows_together(input);
  const int64_t n = logits.size(0);
  Tensor grad = torch::stable::new_empty(logits, {n, logits.size(1)});
  Backward<In> call{};
  call.rows = rows_of<In>(logits, target, target_b, bias);
  call.grad_output = per_row<T>(grad_output, logits, "grad_output");
  call.row_numbers = vector_of<T>(row_numbers, n * kRowNumbers, logits, "rows");
  call.scale = static_cast<T>(scale);
  call.grad = static_cast<In*>(grad.mutable_data_ptr());
  if (n > 0) launch_backward(call, device.stream);
  return grad;
}

Tensor backward(const Tensor& grad_output, const Tensor& logits, const Tensor& target, const OptionalTensor& target_b,
                const OptionalTensor& bias, const Tensor& rows, double scale) {
  check_logits(logits);
  return with_element_type(logits, [&](auto element) {
    return run_backward<decltype(element)>(grad_output, logits, target, target_b, bias, rows, scale);
  });
}

template <class T>
void run_rescale(Tensor& grad, const Tensor& grad_output) {
  const Device device(grad);
  const T* factor = vector_of<T>(grad_output, 1, grad, "grad_output");
  const int64_t count = grad.numel();
  if (count == 0) return;
  launch(rescale<T>, rescale_blocks(count), kRescaleThreads, device.stream, grad.mutable_data_ptr<T>(), count, factor);
}

void rescale_gradient(Tensor grad, const Tensor& grad_output) {
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

STABLE_TORCH_LIBRARY_IMPL(lt_fast, CUDA, m) {
  m.impl("mixed_margin_loss", TORCH_BOX(&lt_fast::forward));
  m.impl("mixed_margin_loss_backward", TORCH_BOX(&lt_fast::backward));
  m.impl("mixed_margin_loss_rescale_", TORCH_BOX(&lt_fast::rescale_gradient));
}
