// The end of a row: loss and gradient's numbers from the sums over its columns, in double.
//
// Two lanes compute it, one per label, and lanes of the same warps do so for all rows of a block: many GPUs have few
// units for doubles, and the logarithms and divisions of a row are a long chain.
#pragma once

#include "mixed_margin/cuda/gradient.h"
#include "mixed_margin/cuda/sums.h"

namespace lt_fast::cuda {

// What a row's columns other than the labels amount to.
template <class T>
struct Others {
  T largest;           // logit
  T reference, level;  // see math.h
  T rest, sum_t;
  bool has_reference;  // false: no other logit is finite, and `reference` is 0
};

// A row in shared memory, for what its lanes and those of its end tell each other.
template <class T>
struct SharedRow {
  int a, b, prediction;
  Others<T> others;
  T reference;
  RowGradient<T> gradient;
  double sum;  // of the losses of all rows that had this place
};

// The end of a row as one of its two lanes computes it, the one of label `own`.
template <class In>
struct RowEnd {
  using T = Arithmetic<In>;
  int own, other;
  bool second;  // `own` is label b
  T z_own, z_other, z_first, margin;
  LoadedFactors<T> factors;

  __device__ bool same() const { return own == other; }

  __device__ static RowEnd of(const Forward<In>& call, MarginRule rule, int64_t row, int a, int b, bool second) {
    const In* logits = call.rows.at(row);
    const int own = second ? b : a, other = second ? a : b;
    RowEnd end{own, other, second, static_cast<T>(logits[own]), static_cast<T>(logits[other]), T{0}, T{0}, {}};
    if (call.weights.margin != nullptr) end.margin = call.weights.margin[own];
    end.factors = LoadedFactors<T>::of(call.weights, row, a, b);
    if (rule == MarginRule::kBatchFirstLabel) {
      const int64_t* labels = second && call.rows.target_b != nullptr ? call.rows.target_b : call.rows.target;
      end.z_first = static_cast<T>(logits[checked_label(labels[0], 0, call.rows.columns)]);
    }
    return end;
  }

  // The factor of this label's loss.
  __device__ double factor(const Forward<In>& call, const Settings<T>& s, int64_t row) const {
    const int a = second ? other : own, b = second ? own : other;
    const LabelFactors<double> both = factors.checked(call.weights, s, row, a, b);
    check_class_value(margin, own, "margin");
    return second ? both.b : both.a;
  }

  // The gap that the maximum rules read. The batch-first rule repeats the published Maximum-Margin code: the
  // score of the batch's first label for every row, and a 0 in the place of the own class among the others.
  __device__ double gap(MarginRule rule, T largest_other) const {
    if (rule == MarginRule::kFixed) return 0;
    const double rival = same() ? largest_other : ScalarMaths<T>::max(largest_other, z_other);
    if (rule == MarginRule::kBatchFirstLabel) return double{z_first} - ScalarMaths<double>::max(rival, 0);
    return double{z_own} - rival;
  }

  // t of a label.
  __device__ static double term(const Forward<In>& call, T reference, T level, double scale, T z, int label) {
    const double t = (double{z} - double{reference}) * scale;
    return call.rows.bias == nullptr ? t : t + (double{call.rows.bias[label]} - double{level});
  }

  // `finish_row` of math.h with a lane per label. The lane of label a writes what both have a part in.
  __device__ void finish(const Forward<In>& call, const Settings<T>& s, int64_t row, bool writes, double per_loss,
                         SharedRow<T>& shared) const {
    using M = ScalarMaths<double>;
    const Others<T> others = shared.others;
    const T reference = others.has_reference ? others.reference
                                             : reference_of<ScalarMaths<T>>(ScalarMaths<T>::lowest(), z_own, z_other);
    const double share = factor(call, s, row), scale = s.scale;
    const double t_own = term(call, reference, others.level, scale, z_own, own);
    const double t_other = term(call, reference, others.level, scale, z_other, other);
    const double shrink = scale * margin_of<M>(double{margin}, gap(s.margin_rule, others.largest), s);
    const double sum_t = double{others.sum_t} + (same() ? t_own : t_own + t_other);
    const Branch<double> branch =
        branch_of<M>(double{others.rest}, t_own, same() ? M::lowest() : t_other, shrink, sum_t, s);

    // A label whose factor is 0 costs nothing, also where its loss is infinite; NaN stays NaN.
    const double cost = branch.loss == -M::lowest() ? (share == 0 ? 0 : branch.loss) : share * branch.loss;
    const double g = share * (scale * per_loss);
    const double loss = of_both(cost) * per_loss;
    const double pull = of_both(g * branch.pull), uniform = of_both(g * branch.uniform);
    const double mine = g * branch.own + from_lane(g * (same() ? branch.own : branch.other), 1);
    const double theirs = from_lane(mine, 1);
    if (!writes || second) return;
    shared.reference = reference;
    shared.gradient = {static_cast<T>(pull), static_cast<T>(uniform), static_cast<T>(mine),
                       static_cast<T>(same() ? mine : theirs)};
    shared.sum += loss;
    if (call.loss != nullptr) call.loss[row] = static_cast<T>(loss);
    if (call.prediction != nullptr) call.prediction[row] = shared.prediction;
    if (call.row_numbers != nullptr) store_numbers(call.row_numbers + row * kRowNumbers, shared);
  }

  __device__ static double of_both(double value) { return value + from_lane(value, 1); }

  __device__ static void store_numbers(T* numbers, const SharedRow<T>& shared) {
    numbers[kReference] = shared.reference;
    numbers[kLevel] = shared.others.level;
    numbers[kPull] = shared.gradient.pull;
    numbers[kUniform] = shared.gradient.uniform;
    numbers[kOwnA] = shared.gradient.own_a;
    numbers[kOwnB] = shared.gradient.own_b;
  }
};

}  // namespace lt_fast::cuda
