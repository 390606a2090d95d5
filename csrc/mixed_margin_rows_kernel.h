// The CPU kernels, written once over `Lanes` and compiled once per instruction set (mixed_margin_rows_*.cpp).
//
// A row is read once from memory and its gradient written once: the largest logit, the exponentials and the final
// scaling are three passes over a row that lies in the first-level cache. The few numbers of a row that need divisions
// and logarithms are computed for a whole pack of rows at a time.
#pragma once

#include "lanes.h"
#include "mixed_margin_rows.h"

namespace lt_fast {
namespace {

// ------------------------------------------------------------------------------------------------ columns of a row

// A row cut into packs. The first pack may begin before the row so that all stores to the gradient are aligned: a
// store across two cache lines costs twice, and most class counts put most rows off the line.
template <class L>
struct Columns {
  int64_t classes, a, b;
  int64_t first;  // column of lane 0 of pack 0, <= 0
  int64_t packs;

  Columns(int64_t classes, int64_t a, int64_t b, int64_t misalignment)
      : classes(classes),
        a(a),
        b(b),
        first(-misalignment),
        packs((classes + misalignment + L::kLanes - 1) / L::kLanes) {}

  int64_t pack_of(int64_t column) const { return (column - first) / L::kLanes; }
  int64_t column_of(int64_t pack) const { return first + pack * L::kLanes; }

  // Bits of the lanes that are columns of the row.
  LT_FAST_INLINE uint32_t inside(int64_t pack) const {
    const int64_t begin = column_of(pack);
    uint32_t bits = L::kAll;
    if (begin < 0) bits &= L::kAll << -begin;
    if (begin + L::kLanes > classes) bits &= L::kAll >> (begin + L::kLanes - classes);
    return bits;
  }
  // The same without the two labels.
  LT_FAST_INLINE uint32_t others(int64_t pack) const { return inside(pack) & ~bit_of(a, pack) & ~bit_of(b, pack); }
  // Without a branch: no processor predicts where a label is.
  LT_FAST_INLINE uint32_t bit_of(int64_t column, int64_t pack) const {
    const uint64_t lane = static_cast<uint64_t>(column - column_of(pack));
    return static_cast<uint32_t>(lane < L::kLanes) << (lane & 31);
  }

  // Calls whole(from, to) for runs of packs full of columns that are no label, and partial(pack) for the others: the
  // first, the last and those of the labels. Ascending, so that every sum has one order.
  template <class Whole, class Partial>
  LT_FAST_INLINE void walk(Whole whole, Partial partial) const {
    const int64_t low = pack_of(a < b ? a : b), high = pack_of(a < b ? b : a);
    const int64_t special[4] = {0, low, high, packs - 1};
    int64_t next = 0;
    for (const int64_t stop : special) {
      if (stop < next) continue;
      whole(next, stop);
      partial(stop);
      next = stop + 1;
    }
  }
};

// ------------------------------------------------------------------------------------------------------ the passes

// Masked loads and stores only where a pack hangs over the row's ends: they are slower.
template <class L, class T>
inline typename L::Value load_inside(const T* p, uint32_t inside) {
  return inside == L::kAll ? L::load(p) : L::load_some(p, inside, typename L::Value{});
}
template <class L, class T>
inline void store_inside(T* p, uint32_t inside, typename L::Value v) {
  if (inside == L::kAll)
    L::store(p, v);
  else
    L::store_some(p, inside, v);
}

template <class L, class T>
inline T largest_other(const Columns<L>& columns, const T* z) {
  using V = typename L::Value;
  V even = L::lowest(), odd = L::lowest();
  columns.walk(
      [&](int64_t from, int64_t to) LT_FAST_INLINED {
        const T *at = z + columns.column_of(from), *end = z + columns.column_of(to);
        for (; at + L::kLanes < end; at += 2 * L::kLanes) {
          even = L::max(L::load(at), even);
          odd = L::max(L::load(at + L::kLanes), odd);
        }
        if (at < end) even = L::max(L::load(at), even);
      },
      [&](int64_t pack) LT_FAST_INLINED {
        const V z_pack = load_inside<L>(z + columns.column_of(pack), columns.inside(pack));
        even = L::max(L::pick(columns.others(pack), z_pack, L::lowest()), even);
      });
  return L::largest(L::max(even, odd));
}

// t of a pack's columns. Lanes whose bit is not set have no bias to read.
template <class L, bool kBias, class T>
LT_FAST_INLINE typename L::Value term(typename L::Value z, const T* bias, uint32_t bits, T reference, T level,
                                      T scale) {
  using V = typename L::Value;
  if constexpr (!kBias) return (z - reference) * scale;
  const V bias_pack = bits == L::kAll ? L::load(bias) : L::load_some(bias, bits, V{});
  return biased_term<L>(z, bias_pack, L::constant(reference), L::constant(level), L::constant(scale));
}

// The level of a row with biases: about the largest term of the other columns.
template <class L, class T>
inline T largest_term(const Columns<L>& columns, const T* z, const T* bias, T reference, T scale) {
  using V = typename L::Value;
  V top = L::lowest();
  columns.walk(
      [&](int64_t from, int64_t to) LT_FAST_INLINED {
        for (int64_t at = columns.column_of(from); at < columns.column_of(to); at += L::kLanes)
          top = L::max((L::load(z + at) - reference) * scale + L::load(bias + at), top);
      },
      [&](int64_t pack) LT_FAST_INLINED {
        const int64_t at = columns.column_of(pack);
        const uint32_t bits = columns.others(pack);
        const V z_pack = L::load_some(z + at, bits, V{}), bias_pack = L::load_some(bias + at, bits, V{});
        top = L::max(L::pick(bits, (z_pack - reference) * scale + bias_pack, L::lowest()), top);
      });
  const T level = L::largest(top);
  return level > -static_cast<T>(__builtin_inff()) ? level : T{0};
}

// A sum of many packs that keeps what each addition loses.
template <class L>
struct LongSum {
  typename L::Value total{}, lost{};

  LT_FAST_INLINE void add(typename L::Value part) {
    const typename L::Value whole = part - lost, sum = total + whole;
    lost = (sum - total) - whole;
    total = sum;
  }
};

// Sums exp(t) and, for label smoothing, t over the columns that are no label; writes exp(t) to `e` where there is one
// (the labels' columns too: they are overwritten later).
template <class L, bool kBias, bool kSmooth, bool kStore, class T>
inline void exponentials(const Columns<L>& columns, const T* z, T* e, const T* bias, T reference, T level, T scale,
                         T& rest, T& sum_t) {
  using V = typename L::Value;
  constexpr int64_t kRun = 32 * L::kLanes;  // columns whose sum loses little
  LongSum<L> all, all_terms;
  V even{}, odd{}, terms{};
  const auto whole_pack = [&](int64_t at, V& sum) LT_FAST_INLINED {
    const V t = term<L, kBias>(L::load(z + at), bias + at, L::kAll, reference, level, scale);
    const V x = L::exp_bounded(t);
    if constexpr (kStore) L::store(e + at, x);
    if constexpr (kSmooth) terms += t;
    sum += x;
  };
  const auto end_run = [&]() LT_FAST_INLINED {
    all.add(even + odd);
    if constexpr (kSmooth) all_terms.add(terms);
    even = odd = terms = V{};
  };
  columns.walk(
      [&](int64_t from, int64_t to) LT_FAST_INLINED {
        int64_t at = columns.column_of(from);
        const int64_t end = columns.column_of(to);
        while (at < end) {
          const int64_t stop = end - at > kRun ? at + kRun : end;
          for (; at + L::kLanes < stop; at += 2 * L::kLanes) {
            whole_pack(at, even);
            whole_pack(at + L::kLanes, odd);
          }
          if (at < stop) {
            whole_pack(at, even);
            at += L::kLanes;
          }
          end_run();
        }
      },
      [&](int64_t pack) LT_FAST_INLINED {
        const int64_t at = columns.column_of(pack);
        const uint32_t inside = columns.inside(pack), others = columns.others(pack);
        const V z_pack = load_inside<L>(z + at, inside);
        const V t = term<L, kBias>(z_pack, bias + at, inside, reference, level, scale);
        const V x = L::exp_bounded(t);
        if constexpr (kStore) store_inside<L>(e + at, inside, x);
        if constexpr (kSmooth) terms += L::pick(others, t, V{});
        even += L::pick(others, x, V{});
      });
  end_run();
  rest = L::sum(all.total);
  if constexpr (kSmooth) sum_t = L::sum(all_terms.total);
}

template <class L, bool kBias, bool kSmooth, class T>
inline void exponentials(const Columns<L>& columns, const T* z, T* e, const T* bias, T reference, T level, T scale,
                         T& rest, T& sum_t) {
  if (e != nullptr)
    exponentials<L, kBias, kSmooth, true>(columns, z, e, bias, reference, level, scale, rest, sum_t);
  else
    exponentials<L, kBias, kSmooth, false>(columns, z, e, bias, reference, level, scale, rest, sum_t);
}

// e = pull * e - uniform, in place; fetches the same columns of the next row on the way.
template <class L, class T>
inline void scale_row(const Columns<L>& columns, T* e, T pull, T uniform, const T* next_row) {
  const auto edge = [&](int64_t pack) LT_FAST_INLINED {
    const int64_t at = columns.column_of(pack);
    const uint32_t bits = columns.inside(pack);
    __builtin_prefetch(next_row + (at < 0 ? 0 : at));
    store_inside<L>(e + at, bits, load_inside<L>(e + at, bits) * pull - uniform);
  };
  edge(0);
  if (columns.packs == 1) return;
  for (int64_t at = columns.column_of(1); at < columns.column_of(columns.packs - 1); at += L::kLanes) {
    __builtin_prefetch(next_row + at);
    L::store(e + at, L::load(e + at) * pull - uniform);
  }
  edge(columns.packs - 1);
}

// Lowest index whose logit satisfies `found`, or `classes`. Whole runs are looked at without a branch in between.
template <class T, class Found>
inline int64_t first_index(const T* z, int64_t classes, Found found) {
  constexpr int64_t kRun = 64;
  int64_t column = 0;
  for (; column + kRun <= classes; column += kRun) {
    int hits = 0;
    for (int64_t j = column; j < column + kRun; ++j) hits |= found(z[j]);
    if (hits) break;
  }
  while (column < classes && !found(z[column])) ++column;
  return column;
}

// Lowest index of the largest logit; a NaN counts as largest, as for torch.argmax. The label itself is the answer for
// most rows, so that only the others pay for a search. `clean` says that no logit is NaN.
template <class T>
inline int64_t largest_index(const T* z, int64_t classes, int64_t label, T rival, bool clean) {
  if (clean && z[label] > rival) return label;
  const int64_t nan = clean ? classes : first_index(z, classes, [](T value) { return value != value; });
  if (nan < classes) return nan;
  const T largest = z[label] > rival ? z[label] : rival;
  return first_index(z, classes, [=](T value) { return value == largest; });
}

// -------------------------------------------------------------------------------------------------- half precision

inline float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

struct BFloat16 {
  static inline float widen(uint16_t half) { return float_of(static_cast<uint32_t>(half) << 16); }
  static inline uint16_t narrow(float value) {
    const uint32_t bits = bits_of(value);
    const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;  // to nearest, ties to even
    return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
  }
};

struct Float16 {
  // 2^112 moves the exponent from float16's bias to float32's, also for float16's subnormal numbers.
  static inline float widen(uint16_t half) {
    const uint32_t magnitude = half & 0x7fffu, sign = static_cast<uint32_t>(half & 0x8000u) << 16;
    const float number = float_of(magnitude << 13) * 0x1p112f;
    const uint32_t bits = magnitude >= 0x7c00u ? (magnitude << 13 | 0x7f800000u) : bits_of(number);
    return float_of(bits | sign);
  }
  // Normal numbers round on the bits; for subnormal ones adding 0.5 makes the processor round at float16's last place.
  static inline uint16_t narrow(float value) {
    const uint32_t all = bits_of(value), magnitude = all & 0x7fffffffu;
    const uint32_t normal = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
    const uint32_t subnormal = bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u;
    uint32_t half = magnitude < 0x38800000u ? subnormal : normal;
    half = magnitude >= 0x477ff000u ? 0x7c00u : half;  // rounds to infinity
    half = magnitude > 0x7f800000u ? 0x7e00u : half;
    return static_cast<uint16_t>(half | (all >> 16 & 0x8000u));
  }
};

template <class Half>
inline void widen_row(const uint16_t* from, float* to, int64_t n) {
  for (int64_t j = 0; j < n; ++j) to[j] = Half::widen(from[j]);
}
template <class Half>
inline void narrow_row(const float* from, uint16_t* to, int64_t n) {
  for (int64_t j = 0; j < n; ++j) to[j] = Half::narrow(from[j]);
}

// The arithmetic type's view of the rows: the memory itself, or a widened copy in `scratch` for half types.
inline const double* row_of(const Rows<double>& rows, int64_t row, double*) {
  return static_cast<const double*>(rows.logits) + row * rows.row_stride;
}
inline const float* row_of(const Rows<float>& rows, int64_t row, float* scratch) {
  if (rows.storage == Storage::kFloat32) return static_cast<const float*>(rows.logits) + row * rows.row_stride;
  const uint16_t* half = static_cast<const uint16_t*>(rows.logits) + row * rows.row_stride;
  if (rows.storage == Storage::kBFloat16)
    widen_row<BFloat16>(half, scratch, rows.classes);
  else
    widen_row<Float16>(half, scratch, rows.classes);
  return scratch;
}
inline void write_half(const Rows<float>& rows, const float* values, void* grad, int64_t row) {
  uint16_t* half = static_cast<uint16_t*>(grad) + row * rows.classes;
  if (rows.storage == Storage::kBFloat16)
    narrow_row<BFloat16>(values, half, rows.classes);
  else
    narrow_row<Float16>(values, half, rows.classes);
}
inline void write_half(const Rows<double>&, const double*, void*, int64_t) {}

template <class T>
inline bool is_half(const Rows<T>& rows) {
  return rows.storage == Storage::kFloat16 || rows.storage == Storage::kBFloat16;
}

// ------------------------------------------------------------------------------------------------------- a block

// Subnormal products cost the processor about a hundred cycles each and carry nothing here: exponentials below the
// smallest normal number are 0 already. Subnormal inputs are left alone: float16's are widened through them.
class FlushSubnormals {
 public:
#if defined(__SSE2__)
  FlushSubnormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8000u); }
  ~FlushSubnormals() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#endif
};

constexpr int64_t kBlockBytes = 12288;  // of gradient between the exponentials and their scaling: stays in the L1 cache

template <class L, class T>
int64_t block_rows(int64_t classes) {
  const int64_t fit = kBlockBytes / (classes * static_cast<int64_t>(sizeof(T)));
  return fit < 1 ? 1 : (fit > L::kLanes ? L::kLanes : fit);
}

// One lane a row: RowInputs as arrays, filled row by row and read as packs.
template <class L, class T>
struct alignas(64) Block {
  double rest[L::kLanes], sum_t[L::kLanes], t_a[L::kLanes], t_b[L::kLanes], gap_a[L::kLanes], gap_b[L::kLanes];
  double margin_a[L::kLanes], margin_b[L::kLanes], factor_a[L::kLanes], factor_b[L::kLanes];
  T reference[L::kLanes], level[L::kLanes];
  uint32_t same;  // bit of the rows whose labels are equal
};

// The rows from `lane` on, as many as a pack of doubles holds.
template <class L, class T>
RowInputs<Doubles::Value> inputs_of(const Block<L, T>& block, int64_t lane) {
  RowInputs<Doubles::Value> inputs;
  inputs.rest = Doubles::load(block.rest + lane);
  inputs.sum_t = Doubles::load(block.sum_t + lane);
  inputs.t_a = Doubles::load(block.t_a + lane);
  inputs.t_b = Doubles::load(block.t_b + lane);
  inputs.gap_a = Doubles::load(block.gap_a + lane);
  inputs.gap_b = Doubles::load(block.gap_b + lane);
  inputs.margin_a = Doubles::load(block.margin_a + lane);
  inputs.margin_b = Doubles::load(block.margin_b + lane);
  inputs.factor_a = Doubles::load(block.factor_a + lane);
  inputs.factor_b = Doubles::load(block.factor_b + lane);
  return inputs;
}

// The gap that the maximum rules read. The batch-first rule repeats the published Maximum-Margin code: the score of
// the batch's first label for every row, and a 0 in the place of the own class among the others.
template <class T>
double gap_of(MarginRule rule, const T* z, int64_t label, int64_t first_label, T largest_other, bool same, T z_other) {
  const double rival = same || largest_other > z_other ? largest_other : z_other;
  if (rule == MarginRule::kBatchFirstLabel) return z[first_label] - (rival > 0 ? rival : 0);
  return z[label] - rival;
}

template <class L, class T>
void fill_lane(Block<L, T>& block, int lane, const Columns<L>& columns, const Rows<T>& rows, const Forward<T>& call,
               int64_t row, const T* z, T* e) {
  const T z_a = z[columns.a], z_b = z[columns.b], scale = call.settings.scale;
  const bool same = columns.a == columns.b;
  const T other = largest_other<L>(columns, z);
  const T reference = reference_of(other, z_a, z_b);
  const T level = rows.bias != nullptr ? largest_term<L>(columns, z, rows.bias, reference, scale) : T{0};
  T rest = 0, sum_t = 0;
  const bool smooth = call.settings.label_smoothing > 0;
  if (rows.bias != nullptr && smooth)
    exponentials<L, true, true>(columns, z, e, rows.bias, reference, level, scale, rest, sum_t);
  else if (rows.bias != nullptr)
    exponentials<L, true, false>(columns, z, e, rows.bias, reference, level, scale, rest, sum_t);
  else if (smooth)
    exponentials<L, false, true>(columns, z, e, rows.bias, reference, level, scale, rest, sum_t);
  else
    exponentials<L, false, false>(columns, z, e, rows.bias, reference, level, scale, rest, sum_t);

  block.rest[lane] = rest;
  block.sum_t[lane] = sum_t;
  block.reference[lane] = reference;
  block.level[lane] = level;
  const auto t_of = [&](int64_t label) {
    const double t = (static_cast<double>(z[label]) - reference) * scale;
    return rows.bias != nullptr ? t + (static_cast<double>(rows.bias[label]) - level) : t;
  };
  block.t_a[lane] = t_of(columns.a);
  block.t_b[lane] = t_of(columns.b);
  block.margin_a[lane] = call.margin != nullptr ? call.margin[columns.a] : T{0};
  block.margin_b[lane] = call.margin != nullptr ? call.margin[columns.b] : T{0};
  block.factor_a[lane] = call.factor_a[row];
  block.factor_b[lane] = call.factor_b[row];
  block.same |= static_cast<uint32_t>(same) << lane;
  const MarginRule rule = call.settings.margin_rule;
  if (rule != MarginRule::kFixed) {
    block.gap_a[lane] = gap_of(rule, z, columns.a, rows.target[0], other, same, z_b);
    block.gap_b[lane] = gap_of(rule, z, columns.b, rows.target_b[0], other, same, z_a);
  }
  if (call.prediction != nullptr) {
    const T rival = same || other > z_b ? other : z_b;
    const bool clean = rest == rest && z_a == z_a && z_b == z_b;  // a NaN or infinity makes the sum NaN
    call.prediction[row] = largest_index(z, rows.classes, columns.a, rival, clean);
  }
}

// What finish_row gives, one lane a row.
template <class L, class T>
struct alignas(64) Results {
  T loss[L::kLanes], pull[L::kLanes], uniform[L::kLanes], own_a[L::kLanes], own_b[L::kLanes];
};

inline void store_rounded(double* to, Doubles::Value v) { Doubles::store(to, v); }
inline void store_rounded(float* to, Doubles::Value v) {
  for (int lane = 0; lane < Doubles::kLanes; ++lane) to[lane] = static_cast<float>(v[lane]);
}

template <class L, class T>
void finish_rows(const Block<L, T>& block, const Forward<T>& call, int64_t count, Results<L, T>& results) {
  for (int64_t lane = 0; lane < count; lane += Doubles::kLanes) {
    const auto same = Doubles::mask_of(block.same >> lane);
    const auto result = finish_row<Doubles>(inputs_of(block, lane), same, call.per_loss, call.settings);
    store_rounded(results.loss + lane, result.loss);
    store_rounded(results.pull + lane, result.pull);
    store_rounded(results.uniform + lane, result.uniform);
    store_rounded(results.own_a + lane, result.own_a);
    store_rounded(results.own_b + lane, result.own_b);
  }
}

template <class L, class T>
void write_results(const Results<L, T>& results, const Block<L, T>& block, const Forward<T>& call, int64_t row,
                   int64_t count) {
  for (int64_t lane = 0; lane < count; ++lane) {
    call.loss[row + lane] = results.loss[lane];
    if (call.row_numbers == nullptr) continue;
    T* numbers = call.row_numbers + (row + lane) * kRowNumbers;
    numbers[kReference] = block.reference[lane];
    numbers[kLevel] = block.level[lane];
    numbers[kPull] = results.pull[lane];
    numbers[kUniform] = results.uniform[lane];
    numbers[kOwnA] = results.own_a[lane];
    numbers[kOwnB] = results.own_b[lane];
  }
}

// The gradient's memory begins on a cache line, so its row r is this many elements off a pack's boundary. In a row of
// few packs one more would cost more than the split stores.
template <class L>
int64_t misalignment(int64_t row, int64_t classes, bool scratch) {
  return scratch || classes < 4 * L::kLanes ? 0 : (row * classes) % L::kLanes;
}

template <class L, class T>
void forward(const Rows<T>& rows, const Forward<T>& call, int64_t first, int64_t last, T* scratch) {
  const FlushSubnormals flush;
  const bool half = is_half(rows);
  const int64_t step = block_rows<L, T>(rows.classes), classes = rows.classes;
  T* half_e = half ? scratch + classes : nullptr;  // for half types: a widened row, then the block's exponentials
  Results<L, T> results;
  for (int64_t row = first; row < last; row += step) {
    const int64_t count = last - row < step ? last - row : step;
    Block<L, T> block{};
    const auto e_of = [&](int64_t lane) -> T* {
      if (call.grad == nullptr) return nullptr;
      return half ? half_e + lane * classes : static_cast<T*>(call.grad) + (row + lane) * classes;
    };
    const auto columns_of = [&](int64_t lane) {
      const int64_t r = row + lane;
      return Columns<L>(classes, rows.target[r], rows.target_b[r], misalignment<L>(r, classes, half));
    };
    for (int64_t lane = 0; lane < count; ++lane)
      fill_lane(block, static_cast<int>(lane), columns_of(lane), rows, call, row + lane,
                row_of(rows, row + lane, scratch), e_of(lane));
    finish_rows(block, call, count, results);
    write_results(results, block, call, row, count);
    if (call.grad == nullptr) continue;
    for (int64_t lane = 0; lane < count; ++lane) {
      const Columns<L> columns = columns_of(lane);
      T* e = e_of(lane);
      const int64_t next = row + lane + step < rows.rows ? row + lane + step : row + lane;
      const T* next_row = half ? e : static_cast<const T*>(rows.logits) + next * rows.row_stride;
      scale_row(columns, e, results.pull[lane], results.uniform[lane], next_row);
      e[columns.b] = results.own_b[lane];
      e[columns.a] = results.own_a[lane];
      if (half) write_half(rows, e, call.grad, row + lane);
    }
  }
}

template <class L, class T>
void backward(const Rows<T>& rows, const Backward<T>& call, int64_t first, int64_t last, T* scratch) {
  using V = typename L::Value;
  const FlushSubnormals flush;
  const bool half = is_half(rows);
  const int64_t classes = rows.classes;
  for (int64_t row = first; row < last; ++row) {
    const T* z = row_of(rows, row, scratch);
    T* grad = half ? scratch + classes : static_cast<T*>(call.grad) + row * classes;
    const T* numbers = call.row_numbers + row * kRowNumbers;
    const T outer = call.grad_output[row * call.grad_output_stride];
    const T reference = numbers[kReference], level = numbers[kLevel];
    const T pull = numbers[kPull] * outer, uniform = numbers[kUniform] * outer;
    const Columns<L> columns(classes, rows.target[row], rows.target_b[row], misalignment<L>(row, classes, half));
    for (int64_t pack = 0; pack < columns.packs; ++pack) {
      const int64_t at = columns.column_of(pack);
      const uint32_t bits = columns.inside(pack);
      const V z_pack = bits == L::kAll ? L::load(z + at) : L::load_some(z + at, bits, V{});
      const V t = rows.bias != nullptr ? term<L, true>(z_pack, rows.bias + at, bits, reference, level, call.scale)
                                       : term<L, false>(z_pack, rows.bias, bits, reference, level, call.scale);
      L::store_some(grad + at, bits, L::exp_bounded(t) * pull - uniform);
    }
    grad[columns.b] = numbers[kOwnB] * outer;
    grad[columns.a] = numbers[kOwnA] * outer;
    if (half) write_half(rows, grad, call.grad, row);
  }
}

template <class L, class T>
int64_t scratch_size(const Rows<T>& rows) {
  return is_half(rows) ? rows.classes * (1 + block_rows<L, T>(rows.classes)) : 0;
}

// --------------------------------------------------------------------------------------------------- label factors

template <class T>
void factors(const Rows<T>& rows, const Factors<T>& call, const Settings<T>& settings) {
  constexpr int kLanes = Doubles::kLanes;
  const bool plain = call.lam == nullptr || call.counts == nullptr;
  for (int64_t row = 0; row < rows.rows; row += kLanes) {
    const int64_t count = rows.rows - row < kLanes ? rows.rows - row : kLanes;
    double lam[kLanes], count_a[kLanes], count_b[kLanes], factor_a[kLanes], factor_b[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      const int64_t r = row + (lane < count ? lane : 0);
      lam[lane] = call.lam != nullptr ? call.lam[r * call.lam_stride] : T{1};
      count_a[lane] = plain ? T{1} : call.counts[rows.target[r]];
      count_b[lane] = plain ? T{1} : call.counts[rows.target_b[r]];
    }
    LabelFactors<Doubles::Value> both{Doubles::load(lam), 1 - Doubles::load(lam)};
    if (!plain) both = label_factors<Doubles>(both.a, Doubles::load(count_a), Doubles::load(count_b), settings);
    Doubles::store(factor_a, both.a);
    Doubles::store(factor_b, both.b);
    for (int64_t lane = 0; lane < count; ++lane) {
      const int64_t r = row + lane;
      const double own = call.sample_weight != nullptr ? call.sample_weight[r * call.sample_weight_stride] : T{1};
      call.factor_a[r] = factor_a[lane] * own * (call.weight != nullptr ? call.weight[rows.target[r]] : T{1});
      call.factor_b[r] = factor_b[lane] * own * (call.weight != nullptr ? call.weight[rows.target_b[r]] : T{1});
    }
  }
}

template <class L, class T>
RowKernels<T> kernels() {
  return {block_rows<L, T>, factors<T>, scratch_size<L, T>, forward<L, T>, backward<L, T>};
}

}  // namespace
}  // namespace lt_fast
