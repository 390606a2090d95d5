// The ops on CUDA: outputs and launches. Nothing here waits for the device or allocates outside torch's own allocator, so a
// call can be captured in a CUDA graph; sums run in a fixed order, so equal input gives equal bits.
#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/macros.h>

#include <atomic>
#include <tuple>
#include <utility>

#include "mixed_margin/cuda/backward.h"
#include "mixed_margin/cuda/forward.h"
#include "mixed_margin/cuda/layout.h"
#include "mixed_margin/cuda/rows.h"
#include "mixed_margin/cuda/sums.h"
#include "torch_api/arguments.h"

namespace lt_fast::cuda {
namespace {

// ------------------------------------------------------------------------------------------------------ the device

// Makes the tensor's device current for both CUDA runtimes in the process, torch's and the one linked in here.
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

int attribute(cudaDeviceAttr name, int device) {
  int value = 0;
  STD_CUDA_CHECK(cudaDeviceGetAttribute(&value, name, device));
  return value;
}

// As many blocks as the device holds at a time, or fewer rows ask for: each goes from rows to rows. One if there is none.
template <class Kernel>
unsigned resident_blocks(Kernel kernel, int64_t rows, int lanes, size_t shared_bytes, int device) {
  const int64_t multiprocessors = attribute(cudaDevAttrMultiProcessorCount, device);
  const unsigned wanted = blocks_for(rows > 0 ? rows : 1, lanes);
  if (wanted <= multiprocessors) return wanted;
  int per_multiprocessor = 1;
  STD_CUDA_CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_multiprocessor, kernel, threads_per_block(lanes),
                                                               shared_bytes));
  return blocks_for(rows, lanes, multiprocessors * per_multiprocessor);
}

// Two launches must not count their arrivals in one place at a time, so each takes the next; a captured launch keeps its
// own, as it may run again at any time.
unsigned next_place(cudaStream_t stream) {
  constexpr unsigned kHalf = kArrivals / 2;
  static std::atomic<unsigned> eager{0}, captured{0};
  cudaStreamCaptureStatus status;
  STD_CUDA_CHECK(cudaStreamIsCapturing(stream, &status));
  // So many launches later it has long come to its end.
  if (status == cudaStreamCaptureStatusNone) return eager.fetch_add(1) % kHalf;
  const unsigned place = captured.fetch_add(1);
  STD_TORCH_CHECK(
      place < kHalf, "at most ", kHalf,
      " calls of the op can be captured in CUDA graphs by a process; replay graphs, or start another process");
  return kHalf + place;
}

// Gives a launch of so many blocks what they add their losses up in; the tensor has to live until it is launched.
template <class T>
OptionalTensor with_room(Total<T>& total, unsigned blocks, const Tensor& like, cudaStream_t stream) {
  if (total.loss == nullptr) return {};
  Tensor sums = empty_like(like, {blocks}, ScalarType::Double);
  total.of_block = sums.mutable_data_ptr<double>();
  total.place = next_place(stream);
  return sums;
}

template <class In, int kLanes>
void launch_staged(Forward<In>& call, const Staging& staging, const Tensor& like, int device, cudaStream_t stream) {
  const auto kernel = forward_staged<In, kLanes>;
  const size_t bytes = staged_bytes(staging);
  // More than any device gives without being asked.
  if (bytes > 48 * 1024) {
    STD_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
  }
  const unsigned blocks = resident_blocks(kernel, call.rows.rows, kLanes, bytes, device);
  const OptionalTensor room = with_room(call.total, blocks, like, stream);
  kernel<<<blocks, kThreads, bytes, stream>>>(call, staging);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

template <class In, size_t... kIndex>
void launch_staged(Forward<In>& call, const Staging& staging, const Tensor& like, int device, cudaStream_t stream,
                   std::index_sequence<kIndex...>) {
  const auto launch_if = [&](auto index) {
    constexpr size_t kChoice = decltype(index)::value;
    if (staging.choice == static_cast<int>(kChoice))
      launch_staged<In, kLaneChoices[kChoice]>(call, staging, like, device, stream);
  };
  (launch_if(std::integral_constant<size_t, kIndex>{}), ...);
}

template <class In>
void launch_forward(Forward<In>& call, const Tensor& like, int device, cudaStream_t stream) {
  const Rows<In>& rows = call.rows;
  const bool aligned = reinterpret_cast<uintptr_t>(rows.logits) % kVectorBytes == 0 &&
                       rows.stride * static_cast<int64_t>(sizeof(In)) % kVectorBytes == 0;
  const int shared_bytes = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device) - kReservedShared;
  const Staging staging = choose_staging(rows.columns, sizeof(In), aligned, shared_bytes);
  if (staging.choice == kStreamed) {
    const auto kernel = forward_streamed<In>;
    const unsigned blocks = resident_blocks(kernel, rows.rows, kStreamLanes, 0, device);
    const OptionalTensor room = with_room(call.total, blocks, like, stream);
    launch(kernel, blocks, kStreamLanes, stream, call);
  } else {
    launch_staged(call, staging, like, device, stream, std::make_index_sequence<kNumChoices>{});
  }
}

template <class In, int kLanes>
void launch_backward(const Backward<In>& call, cudaStream_t stream) {
  launch(backward_rows<In, kLanes>, blocks_for(call.rows.rows, kLanes), threads_per_block(kLanes), stream, call);
}

template <class In>
void launch_backward(const Backward<In>& call, cudaStream_t stream) {
  switch (backward_lanes(call.rows.columns, sizeof(In))) {
    case 8:
      return launch_backward<In, 8>(call, stream);
    case 32:
      return launch_backward<In, 32>(call, stream);
    default:
      return launch_backward<In, 256>(call, stream);
  }
}

// --------------------------------------------------------------------------------------------------------- the ops

// Calls work(In{}) with the element type of the logits.
template <class Work>
auto with_element_type(const Tensor& logits, const Work& work) {
  check_logits(logits);
  STD_TORCH_CHECK(logits.size(1) <= kMaxColumns, "logits must have at most ", kMaxColumns, " classes on CUDA, got ",
                  logits.size(1));
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

template <class In>
Rows<In> rows_of(const Tensor& logits, const LabelPair& labels, const Arithmetic<In>* bias) {
  return {static_cast<const In*>(logits.const_data_ptr()),
          logits.stride(0),
          logits.size(0),
          static_cast<int>(logits.size(1)),
          labels.a.const_data_ptr<int64_t>(),
          labels.mixed ? labels.b.const_data_ptr<int64_t>() : nullptr,
          bias};
}

template <class T>
Settings<T> checked_settings(const Constants<T>& constants, const Choices& choices, int64_t classes) {
  STD_TORCH_CHECK(numbers_fit(constants.numbers), "an option is out of range");
  return settings_of(constants.numbers, choices.label_rule, choices.margin_rule, classes);
}

// What the mean divides by, and the memory where it is computed, if it is. No rows: 1, but for the batch's own weight sum,
// of which 0 / 0 is torch's NaN.
template <class In>
std::pair<Denominator<Arithmetic<In>>, OptionalTensor> denominator_of(const Choices& choices,
                                                                      const Constants<Arithmetic<In>>& constants,
                                                                      const Forward<In>& call, const Tensor& logits,
                                                                      cudaStream_t stream) {
  using T = Arithmetic<In>;
  const Rows<In>& rows = call.rows;
  Denominator<T> denominator{1, nullptr, nullptr, nullptr};
  if (choices.reduction != Reduction::kMean) return {denominator, {}};
  if (choices.normalization == Normalization::kWeights) {
    Tensor memory = empty_like(logits, {1}, ScalarType::Double);
    double* result = memory.mutable_data_ptr<double>();
    launch(sum_of_factors<T>, 1, kSumThreads, stream, call.weights, call.settings, rows.target, rows.target_b,
           rows.columns, rows.rows, result);
    denominator.computed = result;
    return {denominator, memory};
  }
  if (rows.rows == 0) return {denominator, {}};
  denominator.known = static_cast<double>(rows.rows);
  if (choices.normalization == Normalization::kExpected && constants.weight != nullptr) {
    denominator.class_counts = constants.class_counts;
    denominator.weight = constants.weight;
  }
  return {denominator, {}};
}

using Outputs = std::tuple<Tensor, Tensor, Tensor>;

template <class In>
Outputs run(const Tensor& input, const Tensor& target, const OptionalTensor& target_b, const OptionalTensor& lam_tensor,
            const OptionalTensor& weights, const Constants<Arithmetic<In>>& constants, const Choices& choices,
            bool raw) {
  using T = Arithmetic<In>;
  const Device device(input);
  const Tensor logits = rows_together(input);
  const int64_t n = logits.size(0), c = logits.size(1);
  const LabelPair labels(target, target_b, logits);
  const PerRowTensor<T> lam(lam_tensor, logits, "lam"), sample_weight(weights, logits, "sample_weight");
  check_needs(choices, constants, lam.values != nullptr, labels.mixed);
  STD_TORCH_CHECK(!labels.mixed || lam.values != nullptr || (constants.lam >= 0 && constants.lam <= 1),
                  "lam must lie in [0, 1], got ", constants.lam);

  Forward<In> call{};
  call.rows = rows_of<In>(logits, labels, constants.bias);
  call.weights.lam = {lam.values, lam.step, labels.mixed ? constants.lam : T{1}};
  call.weights.sample = {sample_weight.values, sample_weight.step, T{1}};
  call.weights.counts = labels.mixed && choices.label_rule != LabelRule::kMixup ? constants.class_counts : nullptr;
  call.weights.weight = constants.weight;
  call.weights.margin = constants.margin;
  call.settings = checked_settings(constants, choices, c);
  const auto [denominator, memory] = denominator_of(choices, constants, call, logits, device.stream);
  call.denominator = denominator;

  const bool reduced = choices.reduction != Reduction::kNone;
  Tensor loss = reduced ? empty_like(logits, {}, kScalarType<T>) : empty_like(logits, {n}, kScalarType<T>);
  std::pair<Tensor, Tensor> wanted = kept_and_prediction(logits, choices, kScalarType<T>, raw);
  Tensor &kept = wanted.first, &prediction = wanted.second;
  (reduced ? call.total.loss : call.loss) = loss.mutable_data_ptr<T>();
  if (choices.with_gradient) call.grad = static_cast<In*>(kept.mutable_data_ptr());
  if (choices.with_rows) call.row_numbers = kept.mutable_data_ptr<T>();
  if (choices.with_prediction) call.prediction = prediction.mutable_data_ptr<int64_t>();
  // Also without rows: their total is written like any other.
  if (n > 0 || reduced) launch_forward(call, logits, static_cast<int>(input.get_device_index()), device.stream);
  return {loss, kept, prediction};
}

template <bool kRaw>
Outputs forward(const Tensor& logits, const Tensor& target, const OptionalTensor& target_b, const OptionalTensor& lam,
                const OptionalTensor& sample_weight, const std::vector<Tensor>& vectors,
                const std::vector<double>& numbers, int64_t packed_choices) {
  const Choices choices = Choices::of(packed_choices);
  return with_element_type(logits, [&](auto element) {
    using In = decltype(element);
    const Constants<Arithmetic<In>> held(vectors, numbers, choices, logits);
    return run<In>(logits, target, target_b, lam, sample_weight, held, choices, kRaw);
  });
}

template <class In>
Tensor run_backward(const Tensor& grad_output, const Tensor& input, const Tensor& target,
                    const OptionalTensor& target_b, const Constants<Arithmetic<In>>& constants,
                    const Tensor& row_numbers, const Choices& choices) {
  using T = Arithmetic<In>;
  const Device device(input);
  const Tensor logits = rows_together(input);
  const int64_t n = logits.size(0), c = logits.size(1);
  const LabelPair labels(target, target_b, logits);
  const PerRowTensor<T> outer(grad_output, logits, "grad_output");
  Tensor grad = empty_like(logits, {n, c}, logits.scalar_type());
  Backward<In> call{};
  call.rows = rows_of<In>(logits, labels, constants.bias);
  call.grad_output = {outer.values, outer.step, T{1}};
  call.row_numbers = vector_of<T>(row_numbers, n * kRowNumbers, logits, "rows");
  call.settings = checked_settings(constants, choices, c);
  call.grad = static_cast<In*>(grad.mutable_data_ptr());
  if (n > 0) launch_backward(call, device.stream);
  return grad;
}

Tensor backward(const Tensor& grad_output, const Tensor& logits, const Tensor& target, const OptionalTensor& target_b,
                const std::vector<Tensor>& vectors, const std::vector<double>& numbers, const Tensor& rows,
                int64_t packed_choices) {
  const Choices choices = Choices::of(packed_choices);
  return with_element_type(logits, [&](auto element) {
    using In = decltype(element);
    const Constants<Arithmetic<In>> held(vectors, numbers, choices, logits);
    return run_backward<In>(grad_output, logits, target, target_b, held, rows, choices);
  });
}

void rescale_gradient(Tensor grad, const Tensor& grad_output) {
  with_ready_type(grad, [&](auto zero) {
    using T = decltype(zero);
    const Device device(grad);
    const T* factor = vector_of<T>(grad_output, 1, grad, "grad_output");
    const int64_t count = grad.numel();
    if (count == 0) return;
    launch(rescale<T>, rescale_blocks(count), kRescaleThreads, device.stream, grad.mutable_data_ptr<T>(), count,
           factor);
  });
}

int64_t oldest_gpu() {
  constexpr int kCompiledFor[] = {__CUDA_ARCH_LIST__};  // ascending, such as 800, 900, 1000
  return kCompiledFor[0] / 10;
}

}  // namespace
}  // namespace lt_fast::cuda

STABLE_TORCH_LIBRARY_IMPL(lt_fast, CUDA, m) {
  m.impl("mixed_margin_loss", TORCH_BOX(&lt_fast::cuda::forward<false>));
  m.impl("mixed_margin_loss.raw", TORCH_BOX(&lt_fast::cuda::forward<true>));
  m.impl("mixed_margin_loss_backward", TORCH_BOX(&lt_fast::cuda::backward));
  m.impl("mixed_margin_loss_rescale_", TORCH_BOX(&lt_fast::cuda::rescale_gradient));
}

STABLE_TORCH_LIBRARY_IMPL(lt_fast, CompositeExplicitAutograd, m) {
  m.impl("cuda_oldest_gpu", TORCH_BOX(&lt_fast::cuda::oldest_gpu));
}
