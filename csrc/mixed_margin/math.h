// The mixed-margin loss: the maths of one row, shared by the CPU and the CUDA kernels.
//
// One row, with logits z, two labels a and b and the label factor f of a, costs
//
//     loss = f * w[a] * branch(a) + (1 - f) * w[b] * branch(b)
//     branch(y) = cross entropy of  scale * (z - onehot(y) * margin(y)) + bias  against y
//
// and both branches share every exponential but the two of the labels: with the labels kept out of the sum,
//
//     rest = sum over j not in {a, b} of exp(t_j),     t_j = scale * (z_j - reference) + bias_j - level
//
// is computed once, and the gradient of all other columns is `pull * exp(t_j) - uniform` with one pull a row.
// `reference` is the largest *other* logit and `level` the largest of the remaining terms, so 1 <= rest <= C:
// no exponential overflows, rest never underflows, and the gradient of a label is -(others / total), never p - 1,
// which would cancel for well-classified rows.
//
// What is done once a row is done in double, whatever the logits' type: near the optimum of a mixed row the pulls of its
// two labels cancel, a margin can all but cancel a label's lead, and a factor 1 - f is small where f is close to 1.
// Errors of `rest`, in contrast, are never enlarged: the other columns have their share of them.
//
// Float32 logits so give every row's loss to 2e-6 of itself and its gradient to 2e-6 of its own largest entry, with two
// exceptions: below 2^-126 a result may be 0, and with label smoothing, where a row is at its optimum and each entry of
// its gradient is the difference of two nearly equal numbers, the error is 2e-6 of scale * weight * label_smoothing.
//
// The functions are written once over `Maths`, a set of static functions over its value type `Maths::Value`:
// a scalar on CUDA, a SIMD pack that holds one row a lane on the CPU. Masks are whatever a comparison of two values
// gives; conditions become `Maths::select`, so that packs need no branch.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define LT_FAST_HD static __host__ __device__ inline
#else
#define LT_FAST_HD static inline
#endif

namespace lt_fast {

enum class LabelRule : int64_t { kMixup = 0, kMam = 1, kRemix = 2, kUnimix = 3, kCpMix = 4 };
enum class MarginRule : int64_t { kFixed = 0, kMaximum = 1, kBatchFirstLabel = 2 };
enum class Normalization : int64_t { kExpected = 0, kWeights = 1, kBatch = 2 };
enum class Reduction : int64_t { kNone = 0, kMean = 1, kSum = 2 };

// The columns of `rows`. own_a, own_b, pull and uniform include scale, weights and the normalisation.
enum RowNumber : int64_t { kReference = 0, kLevel = 1, kPull = 2, kUniform = 3, kOwnA = 4, kOwnB = 5, kRowNumbers = 6 };

template <class T>
struct Settings {
  LabelRule label_rule;
  T omega, kappa, tau;
  MarginRule margin_rule;
  T max_margin, gamma, scale, label_smoothing, focal_gamma;
  T num_classes;
};

// The options of a call that are numbers, in the order of its list of numbers.
enum Number { kOmega, kKappa, kTau, kMaxMargin, kGamma, kScale, kLabelSmoothing, kFocalGamma, kNumbers };

template <class T>
LT_FAST_HD Settings<T> settings_of(const T* numbers, LabelRule label_rule, MarginRule margin_rule, int64_t classes) {
  return {label_rule,
          numbers[kOmega],
          numbers[kKappa],
          numbers[kTau],
          margin_rule,
          numbers[kMaxMargin],
          numbers[kGamma],
          numbers[kScale],
          numbers[kLabelSmoothing],
          numbers[kFocalGamma],
          static_cast<T>(classes)};
}

// Whether every number is within its range, which a NaN never is.
template <class T>
LT_FAST_HD bool numbers_fit(const T* n) {
  const double largest = 3.4028234663852886e38, smallest = 1.1754943508222875e-38;  // of float
  const auto within = [](double number, double low, double high) { return number >= low && number <= high; };
  return within(n[kOmega], -largest, largest) && within(n[kKappa], 1, largest) && within(n[kTau], 0, 1) &&
         within(n[kMaxMargin], 0, largest) && within(n[kGamma], 0, largest) && within(n[kScale], smallest, largest) &&
         within(n[kLabelSmoothing], 0, 1) && within(n[kFocalGamma], 0, largest);
}

// ---------------------------------------------------------------------------------------------- label factor

// The factors of the two labels' losses, f and 1 - f.
template <class V>
struct LabelFactors {
  V a, b;
};

// From the input factor `lam` and the class counts of both labels, f is
//   mixup    lam
//   mam      with b = 1 / (1 + (n_b / n_a)^omega), a = 1 - b:  lam / (2 b) below b, 1 - (1 - lam) / (2 a) from b on
//   remix    0 if n_a >= kappa n_b and lam < tau;  1 if n_b >= kappa n_a and 1 - lam < tau;  else lam
//            (with kappa = 1 and equal counts both conditions can hold: the first one counts)
//   unimix   lam + n_b / (n_a + n_b), less 1 where that exceeds 1 by more than the rounding of lam
//   cp_mix   (1 - tau) lam + tau n_b / (n_a + n_b)
template <class Maths, class T, class V = typename Maths::Value>
LT_FAST_HD LabelFactors<V> label_factors(V lam, V count_a, V count_b, const Settings<T>& s) {
  const V one = Maths::constant(1), zero = Maths::constant(0), two = Maths::constant(2);
  const V other_share = count_b / (count_a + count_b);
  V f = lam;
  switch (s.label_rule) {
    case LabelRule::kMixup:
      break;
    case LabelRule::kMam: {
      // 80 keeps (n_b / n_a)^omega finite in any type; b is 0 or 1 to 1e-34 long before.
      const V power = Maths::constant(s.omega) * Maths::log(count_b / count_a);
      const V ratio = Maths::exp(Maths::max(Maths::min(power, Maths::constant(80)), Maths::constant(-80)));
      const V below = lam * (one + ratio) / two, above = (one - lam) * (one + ratio) / (two * ratio);
      const auto left = lam * (one + ratio) < one;
      return {Maths::select(left, below, one - above), Maths::select(left, one - below, above)};
    }
    case LabelRule::kRemix: {
      const V kappa = Maths::constant(s.kappa), tau = Maths::constant(s.tau);
      f = Maths::select(count_b >= kappa * count_a, Maths::select(one - lam < tau, one, lam), lam);
      f = Maths::select(count_a >= kappa * count_b, Maths::select(lam < tau, zero, f), f);
      break;
    }
    case LabelRule::kUnimix: {
      // lam = 0.6 is 0.60000002 in float32: with a share of 0.4 the sum is 1, and f must not fall from 1 to 2e-8.
      const V shifted = lam + other_share, rounding = Maths::constant(sizeof(T) == 4 ? 0x1p-25 : 0.0);
      f = Maths::select(shifted > one + rounding, shifted - one, Maths::select(shifted > one, one, shifted));
      break;
    }
    case LabelRule::kCpMix: {
      const V tau = Maths::constant(s.tau);
      f = (one - tau) * lam + tau * other_share;
      break;
    }
  }
  return {f, one - f};
}

// ---------------------------------------------------------------------------------------------------- margin

// The margin of one label, before scaling. `fixed` is margin[y] (0 without a margin vector).
// The maximum rules take it from the row's own gap = z_y - max of the others, as a constant for the gradient:
//     exp(-gap - gamma * offset) right of the boundary, exp(gap - offset) left of it, 0 on it,
// with offset = max_margin - margin[y], which is max_margin alone for the plain Maximum-Margin loss.
template <class Maths, class T, class V = typename Maths::Value>
LT_FAST_HD V margin_of(V fixed, V gap, const Settings<T>& s) {
  if (s.margin_rule == MarginRule::kFixed) return fixed;
  const V zero = Maths::constant(0);
  const V offset = Maths::constant(s.max_margin) - fixed;
  const V power = Maths::select(gap > zero, -gap - Maths::constant(s.gamma) * offset, gap - offset);
  // The exponential is bounded; where a negative offset asks for more than a double holds, the margin is infinite.
  const V margin = Maths::select(power > Maths::constant(709.7827), -Maths::lowest(), Maths::exp(power));
  // A gap of 0 has no margin, and neither has a NaN gap (NaN logits): the loss is NaN all the same through the sum.
  return Maths::select(gap > zero, margin, Maths::select(gap < zero, margin, zero));
}

// ---------------------------------------------------------------------------------------------------- branch

template <class V>
struct Branch {
  V loss;     // of the label, before weight and label factor
  V pull;     // d loss / d t_j = pull * exp(t_j) - uniform  for every column but the two labels
  V uniform;  // label smoothing's constant
  V own;      // d loss / d t of the label itself
  V other;    // d loss / d t of the other label
};

// Cross entropy of one label: `own` and `other` are t of the label and of the other one (-inf when it is the same),
// `shrink` is scale * margin, `sum_t` the sum of t over all columns (read only with label smoothing).
template <class Maths, class T, class V = typename Maths::Value>
LT_FAST_HD Branch<V> branch_of(V rest, V own, V other, V shrink, V sum_t, const Settings<T>& s) {
  const V zero = Maths::constant(0), one = Maths::constant(1);
  const V reduced = own - shrink;
  // The other columns' exponentials, summed relative to the larger of the other label's t and 0, the rest's largest.
  const V floor = Maths::select(rest > zero, zero, Maths::lowest());
  const auto other_leads = other > floor;
  const V upper = Maths::select(other_leads, other, floor), lower = Maths::select(other_leads, floor, other);
  const V e_lower = Maths::exp(lower - Maths::select(upper > Maths::lowest(), upper, zero));
  const V e_rest = Maths::select(other_leads, e_lower, one), e_other = Maths::select(other_leads, one, e_lower);
  const V others = rest * e_rest + e_other;
  // Against the label's own: the larger of the two is 1, so the logarithm is of 1 + something, tiny for a row that is
  // classified well.
  const V lead = reduced - upper;
  const auto leads = lead > zero;
  const V e_lead = Maths::exp(Maths::select(leads, -lead, lead));
  const V e_own = Maths::select(leads, one, e_lead), e_others = Maths::select(leads, e_lead, one);
  const V log_total = Maths::log1p(Maths::select(leads, others * e_lead, (others - one) + e_lead));
  const V inverse = one / (others * e_others + e_own), unit = e_others * inverse;
  const V miss = others * unit;   // 1 - p
  const V hit = e_own * inverse;  // p
  const V top = Maths::select(leads, reduced, upper);

  V loss = (top - reduced) + log_total;
  const V smoothing = Maths::constant(s.label_smoothing), share = smoothing / Maths::constant(s.num_classes);
  if (s.label_smoothing > 0) {
    const V mean = (sum_t - shrink) / Maths::constant(s.num_classes);
    loss = (one - smoothing) * loss + smoothing * ((top - mean) + log_total);
  }

  V modulation = one, strength = one;  // focal: loss times (1 - p)^gamma; strength multiplies the softmax's gradient
  if (s.focal_gamma > 0) {
    const V exponent = Maths::constant(s.focal_gamma);
    // 0 for a row without doubt, NaN for a NaN.
    modulation = Maths::select(miss > zero, Maths::exp(exponent * Maths::log(miss)), miss);
    const V slope = exponent * (modulation / miss) * hit * loss;
    strength = modulation + Maths::select(modulation > zero, Maths::select(hit > zero, slope, zero), zero);
    // A modulation of 0 outweighs the infinite loss that label smoothing gives a row with a class of -inf.
    loss = Maths::select(modulation == zero, zero, modulation * loss);
  }

  Branch<V> result;
  result.loss = loss;
  result.pull = strength * e_rest * unit;
  result.uniform = modulation * share;
  result.own = modulation * (smoothing - share) - strength * miss;
  result.other = strength * e_other * unit - modulation * share;
  return result;
}

// ------------------------------------------------------------------------------------------------------- row

template <class V>
struct RowInputs {
  V rest;                // sum of exp(t_j) over the columns that are no label
  V sum_t;               // sum of t_j over the same columns; read only with label smoothing
  V t_a, t_b;            // t of the two labels, without margin
  V gap_a, gap_b;        // z_y - max of the others; read only by the maximum rules
  V margin_a, margin_b;  // margin[a], margin[b]
  V factor_a, factor_b;  // f * w[a] * sample weight, (1 - f) * w[b] * sample weight
};

template <class V>
struct RowResult {
  V loss;                         // times `per_loss`
  V pull, uniform, own_a, own_b;  // RowNumber's meaning: times scale and `per_loss`
};

// Both branches of a row. `same` is the mask a == b; `per_loss` is 1 / denominator of the reduction, here and in double
// so that a row's share of the mean fits its type where weights are as large or small as the type goes.
template <class Maths, class T, class Mask, class V = typename Maths::Value>
LT_FAST_HD RowResult<V> finish_row(const RowInputs<V>& row, Mask same, double per_loss, const Settings<T>& s) {
  const V zero = Maths::constant(0), lowest = Maths::lowest(), scale = Maths::constant(s.scale);
  const V sum_t = row.sum_t + row.t_a + Maths::select(same, zero, row.t_b);
  const V shrink_a = scale * margin_of<Maths>(row.margin_a, row.gap_a, s);
  const V shrink_b = scale * margin_of<Maths>(row.margin_b, row.gap_b, s);
  const Branch<V> a = branch_of<Maths>(row.rest, row.t_a, Maths::select(same, lowest, row.t_b), shrink_a, sum_t, s);
  const Branch<V> b = branch_of<Maths>(row.rest, row.t_b, Maths::select(same, lowest, row.t_a), shrink_b, sum_t, s);

  // A label whose factor is 0 costs nothing, also where its loss is infinite; NaN stays NaN.
  const V infinity = -lowest;
  const V cost_a =
      Maths::select(a.loss == infinity, Maths::select(row.factor_a == zero, zero, a.loss), row.factor_a * a.loss);
  const V cost_b =
      Maths::select(b.loss == infinity, Maths::select(row.factor_b == zero, zero, b.loss), row.factor_b * b.loss);
  const V share = Maths::constant(per_loss);
  const V g_a = row.factor_a * (scale * share), g_b = row.factor_b * (scale * share);
  RowResult<V> result;
  result.loss = (cost_a + cost_b) * share;
  result.pull = g_a * a.pull + g_b * b.pull;
  result.uniform = g_a * a.uniform + g_b * b.uniform;
  result.own_a = g_a * a.own + g_b * Maths::select(same, b.own, b.other);
  result.own_b = Maths::select(same, result.own_a, g_b * b.own + g_a * a.other);
  return result;
}

// ------------------------------------------------------------------------------------------------ terms of columns

// t of a column with a bias, to one rounding of t itself: scale * (z - reference) and the bias may be large and cancel,
// so what the difference, the product and the sum lose is kept and added at the end.
template <class Maths, class V = typename Maths::Value>
LT_FAST_HD V biased_term(V z, V bias, V reference, V level, V scale) {
  const V lead = z - reference, lead_back = lead - z;
  const V lead_lost = (z - (lead - lead_back)) - (reference + lead_back);
  const V product = Maths::product(lead, scale), product_lost = Maths::product_lost(lead, scale, product);
  const V sum = product + bias, sum_back = sum - product;
  const V sum_lost = (product - (sum - sum_back)) + (bias - sum_back);
  const V lost = lead_lost * scale + (product_lost + sum_lost);
  // Infinities lose nothing, but their differences are NaN.
  const V t = (sum - level) + Maths::select(lost == lost, lost, Maths::constant(0));
  // A bias of -inf takes a class out whatever its logit, also where (z - reference) * scale overflows.
  return Maths::select(bias > Maths::lowest(), t, z + bias);
}

// ------------------------------------------------------------------------------------------- reference, level

// With a bias the largest logit may be far from the largest term: its class may be taken out. Then `reference` and `level`
// are logit and bias of the class that has the largest term, its leader: relative to any other class the terms of a row
// of logits around 1e10 are 1e10, too, rounded by hundreds, and exp() of such an error is no number.
//
// Whether one class has a larger t than another one, right wherever t itself is: of the difference only its last
// digit is rounded. A NaN and a class that is taken out never lead; every other class leads one with logit and bias -inf.
template <class Maths, class V = typename Maths::Value>
LT_FAST_HD auto leads(V z, V bias, V z_other, V bias_other, V scale) {
  return biased_term<Maths>(z, bias, z_other, bias_other, scale) > Maths::constant(0);
}

// The reference logit of a row from the largest other logit and the two labels': an other one where one is finite.
template <class Maths, class V = typename Maths::Value>
LT_FAST_HD V reference_of(V largest_other, V z_a, V z_b) {
  return Maths::select(largest_other > Maths::lowest(), largest_other, Maths::select(z_a > z_b, z_a, z_b));
}

}  // namespace lt_fast
