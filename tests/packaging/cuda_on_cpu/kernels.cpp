// The CUDA kernels, compiled for the CPU: test_cuda_on_cpu.py calls this library through ctypes.
#include "cuda_runtime.h"

#include "mixed_margin/cuda/backward.h"
#include "mixed_margin/cuda/forward.h"
#include "mixed_margin/cuda/layout.h"
#include "mixed_margin/cuda/sums.h"

using namespace lt_fast;
using namespace lt_fast::cuda;

// Mirrored by the test. Pointers to vectors are to the arithmetic type.
struct Call {
  const void* logits;
  int64_t stride, rows, columns;
  const int64_t *target, *target_b;
  const void *lam, *sample_weight, *class_counts, *margin, *bias, *weight;
  int64_t lam_step, sample_weight_step;
  int64_t label_rule, margin_rule;
  double omega, kappa, tau, max_margin, gamma, scale, label_smoothing, focal_gamma;
  double denominator;
  void *loss, *grad, *row_numbers;
  int64_t* prediction;
  int64_t layout, most_blocks, shared_bytes;
  const void* grad_output;
  int64_t grad_output_step;
  const void* mean_counts;  // with them, `denominator` is not read
  void* total;              // instead of `loss`
};

namespace {

template <class T>
const T* as(const void* pointer) {
  return static_cast<const T*>(pointer);
}

template <class In>
Rows<In> rows_of(const Call& c) {
  return {as<In>(c.logits),          c.stride, c.rows, static_cast<int>(c.columns), c.target, c.target_b,
          as<Arithmetic<In>>(c.bias)};
}

template <class T>
Weights<T> weights_of(const Call& c) {
  return {{as<T>(c.lam), c.lam_step, T{1}},
          {as<T>(c.sample_weight), c.sample_weight_step, T{1}},
          as<T>(c.class_counts),
          as<T>(c.weight),
          as<T>(c.margin)};
}

template <class T>
Settings<T> settings_of(const Call& c) {
  const T numbers[] = {T(c.omega), T(c.kappa),           T(c.tau),        T(c.max_margin), T(c.gamma),
                       T(c.scale), T(c.label_smoothing), T(c.focal_gamma)};
  return settings_of(numbers, static_cast<LabelRule>(c.label_rule), static_cast<MarginRule>(c.margin_rule), c.columns);
}

// Fewer blocks than rows ask for let the kernels go round. One writes the total of no rows.
unsigned blocks(const Call& c, int lanes) {
  const unsigned wanted = blocks_for(c.rows > 0 ? c.rows : 1, lanes), most = static_cast<unsigned>(c.most_blocks);
  return wanted < most ? wanted : most;
}

template <class In, int kIndex = 0>
void run_staged(const Forward<In>& call, const Call& c, const Staging& staging) {
  if constexpr (kIndex < kNumChoices) {
    constexpr int kLanes = kLaneChoices[kIndex];
    if (staging.choice != kIndex) return run_staged<In, kIndex + 1>(call, c, staging);
    launch(forward_staged<In, kLanes>, blocks(c, kLanes), threads_per_block(kLanes), staged_bytes(staging), call,
           staging);
  }
}

// What `layout` asks for, or what a device with so much shared memory gets: its lanes, times 10, and its buffers.
Staging staging_of(const Call& c, int element_size) {
  const int columns = static_cast<int>(c.columns);
  if (c.layout < 0) return choose_staging(columns, element_size, false, c.shared_bytes);
  if (c.layout == 10 * kStreamed) return {kStreamed, 0, 0};
  return {static_cast<int>(c.layout / 10), most_slots(columns, element_size, false), static_cast<int>(c.layout % 10)};
}

template <class In>
int run_forward(const Call& c) {
  using T = Arithmetic<In>;
  Forward<In> call{};
  call.rows = rows_of<In>(c);
  call.weights = weights_of<T>(c);
  call.settings = settings_of<T>(c);
  call.denominator = {c.denominator, nullptr, as<T>(c.mean_counts), as<T>(c.weight)};
  std::vector<double> of_block(static_cast<size_t>(c.rows + 1));
  if (c.total != nullptr) call.total = {of_block.data(), 3, static_cast<T*>(c.total)};
  call.loss = static_cast<T*>(c.loss);
  call.grad = static_cast<In*>(c.grad);
  call.row_numbers = static_cast<T*>(c.row_numbers);
  call.prediction = c.prediction;
  const Staging staging = staging_of(c, sizeof(In));
  if (staging.choice == kStreamed) {
    launch(forward_streamed<In>, blocks(c, kStreamLanes), kStreamLanes, 0, call);
  } else {
    run_staged<In>(call, c, staging);
  }
  if (arrivals[3] != 0) std::abort();  // of use for the next launch
  return 10 * staging.choice + staging.buffers;
}

template <class In>
int run_backward(const Call& c) {
  using T = Arithmetic<In>;
  Backward<In> call{};
  call.rows = rows_of<In>(c);
  call.grad_output = {as<T>(c.grad_output), c.grad_output_step, T{1}};
  call.row_numbers = as<T>(c.row_numbers);
  call.settings = settings_of<T>(c);
  call.grad = static_cast<In*>(c.grad);
  const int lanes = backward_lanes(static_cast<int>(c.columns), sizeof(In));
  if (lanes == 8) launch(backward_rows<In, 8>, blocks(c, 8), threads_per_block(8), 0, call);
  if (lanes == 32) launch(backward_rows<In, 32>, blocks(c, 32), threads_per_block(32), 0, call);
  if (lanes == 256) launch(backward_rows<In, 256>, blocks(c, 256), threads_per_block(256), 0, call);
  return lanes;
}

template <class Work>
int with_element_type(char type, const Work& work) {
  if (type == 'f') return work(float{});
  if (type == 'd') return work(double{});
  if (type == 'h') return work(c10::Half{});
  return work(c10::BFloat16{});
}

}  // namespace

extern "C" {

// Returns the layout that was used.
int forward(char type, const Call* call) {
  return with_element_type(type, [&](auto element) { return run_forward<decltype(element)>(*call); });
}

int backward(char type, const Call* call) {
  return with_element_type(type, [&](auto element) { return run_backward<decltype(element)>(*call); });
}

void rescale_gradient(char type, void* grad, int64_t count, const void* factor, unsigned most_blocks) {
  const unsigned wanted = rescale_blocks(count), blocks = wanted < most_blocks ? wanted : most_blocks;
  const auto run = [&](auto element) {
    using T = decltype(element);
    launch(rescale<T>, blocks, kRescaleThreads, 0, static_cast<T*>(grad), count, as<T>(factor));
    return 0;
  };
  type == 'd' ? run(double{}) : run(float{});
}

// float32: the batch's weight sum.
void sum_factors(const Call* call, double* factors) {
  const Weights<float> weights = weights_of<float>(*call);
  const int classes = static_cast<int>(call->columns);
  launch(sum_of_factors<float>, 1, kSumThreads, 0, weights, settings_of<float>(*call), call->target, call->target_b,
         classes, call->rows, factors);
}

// How often the lanes of a row copy each of its columns: -1 if a copy begins or ends outside the row, but for the part of
// its first slot that lies before it.
int64_t cover(uint64_t address, int64_t columns, int64_t element_size, int64_t lanes, int64_t* copies) {
  const SlottedRow row = slotted_row(address, static_cast<int>(columns), static_cast<int>(element_size));
  int64_t whole = 0;
  for (int64_t lane = 0; lane < lanes; ++lane) {
    for (int64_t slot = lane; slot < row.slots(); slot += lanes) {
      const bool is_whole = row.is_whole(static_cast<int>(slot));
      whole += is_whole;
      const int64_t first = row.first_column(static_cast<int>(slot)), left = row.bytes() - slot * kVectorBytes;
      if ((address + first * element_size) % kVectorBytes != 0 || left <= 0 || (is_whole && left < kVectorBytes))
        return -1;
      const int64_t end = first + (left < kVectorBytes ? left : kVectorBytes) / element_size;
      if (end > columns || (is_whole && first < 0) || (first < 0 && slot > 0)) return -1;
      for (int64_t column = first < 0 ? 0 : first; column < end; ++column) ++copies[column];
    }
  }
  return whole;
}

// Lanes, slots and buffers of a row, and the shared memory of its block; 0 lanes if its rows are streamed.
void chosen_staging(int64_t columns, int64_t element_size, bool aligned, int64_t shared_bytes, int64_t* found) {
  const Staging staging =
      choose_staging(static_cast<int>(columns), static_cast<int>(element_size), aligned, shared_bytes);
  found[0] = staging.choice == kStreamed ? 0 : kLaneChoices[staging.choice];
  found[1] = staging.slots;
  found[2] = staging.buffers;
  found[3] = staged_bytes(staging);
}

int64_t blocks_of(int64_t rows, int64_t lanes, int64_t most) {
  return most > 0 ? blocks_for(rows, static_cast<int>(lanes), most) : blocks_for(rows, static_cast<int>(lanes));
}
}
