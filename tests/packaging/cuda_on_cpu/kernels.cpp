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
  int64_t layout, most_blocks;
  const void* grad_output;
  int64_t grad_output_step;
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

// Fewer blocks than rows ask for let the kernels go round.
unsigned blocks(const Call& c, int lanes) {
  const unsigned wanted = blocks_for(c.rows, lanes), most = static_cast<unsigned>(c.most_blocks);
  return wanted < most ? wanted : most;
}

template <class In, int kIndex = 0>
void run_in_registers(const Forward<In>& call, const Call& c, int layout) {
  if constexpr (kIndex < kNumLayouts) {
    constexpr RowLayout kLayout = kLayouts[kIndex];
    if (layout != kIndex) return run_in_registers<In, kIndex + 1>(call, c, layout);
    launch(forward_in_registers<In, kLayout.lanes, kLayout.elements>, blocks(c, kLayout.lanes),
           threads_per_block(kLayout.lanes), call);
  }
}

template <class In>
int run_forward(const Call& c) {
  using T = Arithmetic<In>;
  Forward<In> call{};
  call.rows = rows_of<In>(c);
  call.weights = weights_of<T>(c);
  call.settings = settings_of<T>(c);
  call.denominator = {c.denominator, nullptr};
  call.loss = static_cast<T*>(c.loss);
  call.grad = static_cast<In*>(c.grad);
  call.row_numbers = static_cast<T*>(c.row_numbers);
  call.prediction = c.prediction;
  const int layout =
      c.layout >= 0 ? static_cast<int>(c.layout) : choose_layout(static_cast<int>(c.columns), sizeof(In), false);
  if (layout == kStreamed) {
    launch(forward_streamed<In>, blocks(c, kStreamLanes), kStreamLanes, call);
  } else {
    run_in_registers<In>(call, c, layout);
  }
  return layout;
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
  if (lanes == 4) launch(backward_rows<In, 4>, blocks(c, 4), threads_per_block(4), call);
  if (lanes == 32) launch(backward_rows<In, 32>, blocks(c, 32), threads_per_block(32), call);
  if (lanes == 256) launch(backward_rows<In, 256>, blocks(c, 256), threads_per_block(256), call);
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
    launch(rescale<T>, blocks, kRescaleThreads, static_cast<T*>(grad), count, as<T>(factor));
    return 0;
  };
  type == 'd' ? run(double{}) : run(float{});
}

// float32: the batch's weight sum, the expected weight and the reduced loss.
void sums(const Call* call, double* factors, double* expected, float* loss) {
  const Weights<float> weights = weights_of<float>(*call);
  const int classes = static_cast<int>(call->columns);
  launch(sum_of_factors<float>, 1, kSumThreads, weights, settings_of<float>(*call), call->target, call->target_b,
         classes, call->rows, factors);
  launch(expected_weight<float>, 1, kSumThreads, as<float>(call->class_counts), weights.weight, classes, call->rows,
         expected);
  launch(reduce_loss<float>, 1, kSumThreads, as<float>(call->loss), call->rows, Denominator{call->denominator, nullptr},
         loss);
}

// How often each column is read, and by how many lanes at most slot by slot: -1 if one lies outside the row.
int64_t cover(uint64_t address, int64_t columns, int64_t element_size, int64_t layout, int64_t* reads) {
  const SlottedRow row = slotted_row(address, static_cast<int>(columns), static_cast<int>(element_size));
  const bool streamed = layout == kStreamed;
  const int lanes = streamed ? kStreamLanes : kLayouts[layout].lanes;
  const int held = streamed ? row.slots() : kLayouts[layout].elements / row.width;
  int64_t whole = 0;
  for (int lane = 0; lane < lanes; ++lane) {
    for (int k = 0, slot = lane; k < held && slot < row.slots(); ++k, slot += lanes) {
      const bool is_whole = row.is_whole(slot);
      whole += is_whole;
      if (is_whole && (address + row.first_column(slot) * element_size) % kVectorBytes != 0) return -1;
      for (int i = 0; i < row.width; ++i) {
        if (row.contains(row.first_column(slot) + i)) {
          ++reads[row.first_column(slot) + i];
        } else if (is_whole) {
          return -1;
        }
      }
    }
  }
  return whole;
}

int chosen_layout(int64_t columns, int64_t element_size, bool aligned) {
  return choose_layout(static_cast<int>(columns), static_cast<int>(element_size), aligned);
}

int64_t blocks_of(int64_t rows, int64_t lanes) { return blocks_for(rows, static_cast<int>(lanes)); }
int streamed() { return kStreamed; }
}
