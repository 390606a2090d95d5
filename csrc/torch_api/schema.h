// The schemas of the ops, one for every device, and what their list and integer arguments mean.
//
// `vectors` holds the class vectors that `choices` names: class_counts, margin, bias and weight, in this order, in the
// arithmetic type (float64 for float64 logits, float32 for every other), C numbers each. A function gives a list of (C,)
// tensors, a loss module one (k, C) tensor that it has stacked once, which is a single tensor to hand over.
//
// `numbers` is [lam, omega, ...]: lam, and the options of Number in mixed_margin/math.h. A GPU gets them as arguments of its
// kernels: nothing is copied, nothing waits, and a CUDA graph that captures the call keeps them. A graph of torch.compile
// whose options change from call to call leaves `numbers` empty, and gives a float64 tensor on the CPU after the vectors.
//
// `choices` holds everything that is one of a few: rules, which vectors there are, and which outputs are wanted. The host
// reads it to choose kernels and shapes without waiting for a device, and torch.compile sees it as a constant.
#pragma once

#include <initializer_list>

#include "mixed_margin/math.h"

namespace lt_fast {

// target and target_b are int64 of shape (N,). lam and sample_weight have the arithmetic type and shape () or (N,).
// Without lam, the first of `numbers` stands for it in every row; neither is read without target_b.
//
// loss        arithmetic type, () or, for Reduction::kNone, (N,)
// kept        the gradient of the reduced loss, logits' shape and type (kWithGradient);
//             or (N, kRowNumbers) of the arithmetic type, what the backward needs besides the logits (kWithRows);
//             or (0,)
// prediction  (N,) int64, lowest index of the largest logit (a NaN counts as largest) (kWithPrediction); or (0,)
//
// `raw` is the same without a registered gradient: for an autograd.Function, and where none is needed. Outputs that are not
// wanted are None there, which saves small batches their allocation.
#define LT_FAST_FORWARD                                                                                     \
  "(Tensor logits, Tensor target, Tensor? target_b, Tensor? lam, Tensor? sample_weight, Tensor[] vectors, " \
  "float[] numbers, int choices) -> (Tensor loss, Tensor kept, Tensor prediction)"
constexpr const char* kForwardSchema = "mixed_margin_loss" LT_FAST_FORWARD;
constexpr const char* kRawForwardSchema = "mixed_margin_loss.raw" LT_FAST_FORWARD;

// grad_output is () or (N,), of the arithmetic type. Returns the gradient with respect to the logits, contiguous:
// grad_output * (pull * exp(t_j) - uniform), and grad_output * own_a, own_b at the labels (rows holds all of them).
constexpr const char* kBackwardSchema =
    "mixed_margin_loss_backward(Tensor grad_output, Tensor logits, Tensor target, Tensor? target_b, "
    "Tensor[] vectors, float[] numbers, Tensor rows, int choices) -> Tensor";

// Multiplies a ready gradient, float32 or float64 and contiguous, by grad_output, one number of the same type. Where that
// is 1, as it is for a loss that ends its graph, not a byte of the gradient is touched; a GPU finds out by itself, so that
// nothing waits for it.
constexpr const char* kRescaleSchema = "mixed_margin_loss_rescale_(Tensor(a!) grad, Tensor grad_output) -> ()";

constexpr const char* kInstructionSetSchema = "cpu_instruction_set() -> int";
// The lowest compute capability that the CUDA library has code for, times ten: 80.
constexpr const char* kOldestGpuSchema = "cuda_oldest_gpu() -> int";

// `choices`: bits from the lowest on.
struct Choices {
  LabelRule label_rule;                            // 3 bits
  MarginRule margin_rule;                          // 2
  Normalization normalization;                     // 2
  Reduction reduction;                             // 2
  bool class_counts, margin, bias, weight;         // 1 each: whether vectors holds it
  bool with_gradient, with_rows, with_prediction;  // 1 each

  static Choices of(int64_t packed) {
    const auto take = [&](int bits) {
      const int64_t value = packed & ((int64_t{1} << bits) - 1);
      packed >>= bits;
      return value;
    };
    Choices choices{};
    choices.label_rule = static_cast<LabelRule>(take(3));
    choices.margin_rule = static_cast<MarginRule>(take(2));
    choices.normalization = static_cast<Normalization>(take(2));
    choices.reduction = static_cast<Reduction>(take(2));
    for (bool* flag : {&choices.class_counts, &choices.margin, &choices.bias, &choices.weight, &choices.with_gradient,
                       &choices.with_rows, &choices.with_prediction})
      *flag = take(1) != 0;
    return choices;
  }
};

}  // namespace lt_fast
