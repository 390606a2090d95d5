// The CPU kernels, written once over `Lanes` and compiled once per instruction set (rows_*.cpp).
//
// A row is read once from memory and its gradient written once: the largest logit, the exponentials and the final
// scaling are three passes over a row that lies in the first-level cache. A block of rows, one lane of a pack for each,
// goes through every pass before the next, so that what is done once a row is done for a whole pack of rows: the
// reductions of its sums, and in double what needs divisions and logarithms.
#pragma once

#include "mixed_margin/cpu/rows.h"
#include "simd/lanes.h"

namespace lt_fast::cpu {
namespace {

using simd::Doubles;
using simd::Floats;

// ------------------------------------------------------------------------------------------------ columns of a row

// A row cut into packs. The first pack may begin before the row so that all stores to the gradient are aligned: a
// store across two cache lines costs twice, and most class counts put most rows off the line.
template <class L>
struct Columns {
  int64_t classes, a, b;
  int64_t first;  // column of lane 0 of pack 0, <= 0
  int64_t packs;

  // Rows of up to so many columns are taken with masks throughout, see walk().
  static constexpr int64_t kShort = 8 * L::kLanes;

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
  // Mask of the lanes that are no label.
  LT_FAST_INLINE typename L::Whole others(int64_t pack) const {
    using Int = typename L::Int;
    const typename L::Whole column = L::indices(static_cast<Int>(column_of(pack)));
    return (column != static_cast<Int>(a)) & (column != static_cast<Int>(b));
  }

  // Calls whole(plain) for packs that hold neither an edge of the row nor a label, and partial(pack, inside, others) for
  // the rest of them. No processor predicts where the labels are, so no branch and no number of steps depends on that:
  // packs come in units, of which two are masked always, and each label lies in one of them or in a pack masked anyway.
  // In a row of few packs all are masked.
  template <class Whole, class Partial>
  LT_FAST_INLINE void walk(Whole whole, Partial partial) const {
    const int64_t last = packs - 1, begin = classes > kShort;
    const auto edge = [&](int64_t pack) LT_FAST_INLINED {
      const uint32_t bits = inside(pack);
      partial(pack, bits, others(pack) & L::mask_of(bits));
    };
    const auto masked = [&](int64_t from, int64_t to) LT_FAST_INLINED {
      for (int64_t pack = from; pack < to; ++pack) partial(pack, L::kAll, others(pack));
    };
    if (begin > 0) edge(0);
    if (packs <= 4 * kUnit) {
      masked(begin, last);
    } else {
      const int64_t units = (last - 1) / kUnit, of_a = unit_of(a, units), of_b = unit_of(b, units);
      const int64_t second = of_a != of_b ? of_b : of_a > 0 ? of_a - 1 : 1;
      const int64_t low = of_a < second ? of_a : second, high = of_a < second ? second : of_a;
      whole(Plain{column_of(1), units - 2, low, high - 1});
      masked(1 + low * kUnit, 1 + (low + 1) * kUnit);
      masked(1 + high * kUnit, 1 + (high + 1) * kUnit);
      masked(1 + units * kUnit, last);
    }
    edge(last);
  }

  // The units but the masked ones: one of these lies before the unit that is numbered `low` here, and one before `high`.
  static constexpr int64_t kUnit = 4;  // packs
  struct Plain {
    int64_t begin, units, low, high;
    LT_FAST_INLINE int64_t column_of(int64_t unit) const {
      return begin + (unit + (unit >= low) + (unit >= high)) * (kUnit * L::kLanes);
    }
  };
  // Of a column in no unit, any.
  int64_t unit_of(int64_t column, int64_t units) const {
    const int64_t unit = (pack_of(column) - 1) / kUnit;
    return unit < units ? unit : units - 1;
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

// The largest logit of the columns that are no label, lane by lane.
template <class L, class T>
LT_FAST_INLINE typename L::Value largest_other(const Columns<L>& columns, const T* z) {
  using V = typename L::Value;
  using Plain = typename Columns<L>::Plain;
  using Whole = typename L::Whole;
  V even = L::lowest(), odd = L::lowest();
  columns.walk(
      [&](const Plain& plain) LT_FAST_INLINED {
        for (int64_t unit = 0; unit < plain.units; ++unit) {
          const T* at = z + plain.column_of(unit);
          for (int64_t pack = 0; pack < Columns<L>::kUnit; pack += 2) {
            even = L::max(L::load(at + pack * L::kLanes), even);
            odd = L::max(L::load(at + (pack + 1) * L::kLanes), odd);
          }
        }
      },
      [&](int64_t pack, uint32_t inside, Whole others) LT_FAST_INLINED {
        const V z_pack = load_inside<L>(z + columns.column_of(pack), inside);
        even = L::max(L::select(others, z_pack, L::lowest()), even);
      });
  return L::max(even, odd);
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

// exp(t) of the same; `factor` is L::exp_factor(scale).
template <class L, bool kBias, class T>
LT_FAST_INLINE typename L::Value exponential(typename L::Value z, const T* bias, uint32_t bits, T reference, T level,
                                             T scale, T factor) {
  if constexpr (!kBias) return L::exp_scaled(z - reference, factor);
  return L::exp_bounded(term<L, kBias>(z, bias, bits, reference, level, scale));
}

// About the largest term of the same columns, before the level.
template <class L, class T>
inline typename L::Value largest_term(const Columns<L>& columns, const T* z, const T* bias, T reference, T scale) {
  using V = typename L::Value;
  using Plain = typename Columns<L>::Plain;
  using Whole = typename L::Whole;
  V top = L::lowest();
  columns.walk(
      [&](const Plain& plain) LT_FAST_INLINED {
        for (int64_t unit = 0; unit < plain.units; ++unit) {
          const int64_t begin = plain.column_of(unit);
          for (int64_t at = begin; at < begin + Columns<L>::kUnit * L::kLanes; at += L::kLanes)
            top = L::max((L::load(z + at) - reference) * scale + L::load(bias + at), top);
        }
      },
      [&](int64_t pack, uint32_t inside, Whole others) LT_FAST_INLINED {
        const int64_t at = columns.column_of(pack);
        const V z_pack = load_inside<L>(z + at, inside), bias_pack = load_inside<L>(bias + at, inside);
        top = L::max(L::select(others, (z_pack - reference) * scale + bias_pack, L::lowest()), top);
      });
  return top;
}

// Logit and bias of one class, both -inf for none.
template <class T>
struct Leader {
  T z, bias;
};

// The class with the largest term of the same columns, exactly: for rows whose largest_term may be off by more than an
// exponential bears.
template <class L, class T>
LT_FAST_APART Leader<T> leading_other(const Columns<L>& columns, const T* z, const T* bias, T scale) {
  using V = typename L::Value;
  using Plain = typename Columns<L>::Plain;
  using Whole = typename L::Whole;
  const V scales = L::constant(scale);
  V top_z = L::lowest(), top_bias = L::lowest();
  const auto take = [&](V z_pack, V bias_pack) LT_FAST_INLINED {
    const Whole lead = leads<L>(z_pack, bias_pack, top_z, top_bias, scales);
    top_z = L::select(lead, z_pack, top_z);
    top_bias = L::select(lead, bias_pack, top_bias);
  };
  columns.walk(
      [&](const Plain& plain) LT_FAST_INLINED {
        for (int64_t unit = 0; unit < plain.units; ++unit) {
          const int64_t begin = plain.column_of(unit);
          for (int64_t at = begin; at < begin + Columns<L>::kUnit * L::kLanes; at += L::kLanes)
            take(L::load(z + at), L::load(bias + at));
        }
      },
      [&](int64_t pack, uint32_t inside, Whole others) LT_FAST_INLINED {
        const int64_t at = columns.column_of(pack);
        take(L::select(others, load_inside<L>(z + at, inside), L::lowest()), load_inside<L>(bias + at, inside));
      });
  const V zs = top_z, biases = top_bias;  // of each lane; now all lanes take them one by one
  for (int lane = 0; lane < L::kLanes; ++lane) take(L::constant(zs[lane]), L::constant(biases[lane]));
  return {top_z[0], top_bias[0]};
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

// Memory of a row to come, fetched while the arithmetic of this one leaves the memory idle: into the second-level cache,
// as both rows with their gradients are too much for the first where there are many classes.
template <class T>
struct Ahead {
  const T *logits, *grad;

  LT_FAST_INLINE void fetch(int64_t at) const {
    __builtin_prefetch(logits + at, 0, 2);
    __builtin_prefetch(grad + at, 0, 2);
  }
};

// Sums of exp(t) and, for label smoothing, of t over the columns that are no label, lane by lane. Writes exp(t) to `e`
// where there is one (the labels' columns too: they are overwritten later).
template <class L, bool kBias, bool kSmooth, bool kStore, class T>
LT_FAST_INLINE void exponentials(const Columns<L>& columns, const T* z, T* e, const T* bias, T reference, T level,
                                 T scale, const Ahead<T>& ahead, typename L::Value& rest, typename L::Value& sum_t) {
  using V = typename L::Value;
  using Plain = typename Columns<L>::Plain;
  using Whole = typename L::Whole;
  constexpr int64_t kRun = 32 / Columns<L>::kUnit;  // units whose sum loses little
  LongSum<L> all, all_terms;
  V even{}, odd{}, terms{};
  const T factor = L::exp_factor(scale);
  const auto bias_at = [&](int64_t at) LT_FAST_INLINED { return kBias ? bias + at : nullptr; };
  const auto whole_pack = [&](int64_t at, V& sum) LT_FAST_INLINED {
    ahead.fetch(at);
    const V z_pack = L::load(z + at);
    const V x = exponential<L, kBias>(z_pack, bias_at(at), L::kAll, reference, level, scale, factor);
    if constexpr (kStore) L::store(e + at, x);
    if constexpr (kSmooth) terms += term<L, kBias>(z_pack, bias_at(at), L::kAll, reference, level, scale);
    sum += x;
  };
  const auto end_run = [&]() LT_FAST_INLINED {
    all.add(even + odd);
    if constexpr (kSmooth) all_terms.add(terms);
    even = odd = terms = V{};
  };
  columns.walk(
      [&](const Plain& plain) LT_FAST_INLINED {
        for (int64_t unit = 0; unit < plain.units;) {
          const int64_t stop = plain.units - unit > kRun ? unit + kRun : plain.units;
          for (; unit < stop; ++unit) {
            const int64_t at = plain.column_of(unit);
            for (int64_t pack = 0; pack < Columns<L>::kUnit; pack += 2) {
              whole_pack(at + pack * L::kLanes, even);
              whole_pack(at + (pack + 1) * L::kLanes, odd);
            }
          }
          end_run();
        }
      },
      [&](int64_t pack, uint32_t inside, Whole others) LT_FAST_INLINED {
        const int64_t at = columns.column_of(pack);
        const V z_pack = load_inside<L>(z + at, inside);
        ahead.fetch(at < 0 ? 0 : at);
        const V x = exponential<L, kBias>(z_pack, bias_at(at), inside, reference, level, scale, factor);
        even += L::select(others, x, V{});
        if constexpr (kStore) store_inside<L>(e + at, inside, x);
        if constexpr (kSmooth) {
          const V t = term<L, kBias>(z_pack, bias_at(at), inside, reference, level, scale);
          terms += L::select(others, t, V{});
        }
      });
  end_run();
  rest = all.total;
  if constexpr (kSmooth) sum_t = all_terms.total;
}

// grad = pull * e - uniform, where grad may be e. From the end on: what was written last is in the first-level cache.
template <class L, class T>
inline void scale_row(const Columns<L>& columns, const T* e, T* grad, T pull, T uniform) {
  const auto edge = [&](int64_t pack) LT_FAST_INLINED {
    const int64_t at = columns.column_of(pack);
    const uint32_t bits = columns.inside(pack);
    store_inside<L>(grad + at, bits, load_inside<L>(e + at, bits) * pull - uniform);
  };
  edge(columns.packs - 1);
  if (columns.packs == 1) return;
  for (int64_t at = columns.column_of(columns.packs - 2); at >= columns.column_of(1); at -= L::kLanes)
    L::store(grad + at, L::load(e + at) * pull - uniform);
  edge(0);
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

// From and to the rows of half types. Kept apart from the loops over rows, which would lose their registers to them.
LT_FAST_APART void read_half(const Rows<float>& rows, int64_t row, float* values) {
  const uint16_t* half = static_cast<const uint16_t*>(rows.logits) + row * rows.row_stride;
  if (rows.storage == Storage::kBFloat16)
    widen_row<BFloat16>(half, values, rows.classes);
  else
    widen_row<Float16>(half, values, rows.classes);
}
LT_FAST_APART void write_half(const Rows<float>& rows, const float* values, void* grad, int64_t row) {
  uint16_t* half = static_cast<uint16_t*>(grad) + row * rows.classes;
  if (rows.storage == Storage::kBFloat16)
    narrow_row<BFloat16>(values, half, rows.classes);
  else
    narrow_row<Float16>(values, half, rows.classes);
}
inline void write_half(const Rows<double>&, const double*, void*, int64_t) {}

// The arithmetic type's view of the rows: the memory itself, or a widened copy in `scratch` for half types.
inline const double* row_of(const Rows<double>& rows, int64_t row, double*) {
  return static_cast<const double*>(rows.logits) + row * rows.row_stride;
}
inline const float* row_of(const Rows<float>& rows, int64_t row, float* scratch) {
  if (rows.storage == Storage::kFloat32) return static_cast<const float*>(rows.logits) + row * rows.row_stride;
  read_half(rows, row, scratch);
  return scratch;
}

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
#else
  FlushSubnormals() {}  // elsewhere they cost nothing
#endif
};

constexpr int64_t kBlockBytes = 16384;  // of gradient between the exponentials and their scaling: stays in the L1 cache

template <class L, class T>
int64_t block_rows(int64_t classes) {
  const int64_t fit = kBlockBytes / (classes * static_cast<int64_t>(sizeof(T)));
  if (fit < Doubles::kLanes) return fit < 1 ? 1 : fit;
  return fit > L::kLanes ? L::kLanes : fit / Doubles::kLanes * Doubles::kLanes;  // no pack in double half empty
}

// The gap that the maximum rules read. The batch-first rule repeats the published Maximum-Margin code: the score of
// the batch's first label for every row, and a 0 in the place of the own class among the others.
template <class T>
double gap_of(MarginRule rule, const T* z, int64_t label, int64_t first_label, T largest_other, bool same, T z_other) {
  const double rival = same || largest_other > z_other ? largest_other : z_other;
  if (rule == MarginRule::kBatchFirstLabel) return z[first_label] - (rival > 0 ? rival : 0);
  return z[label] - rival;
}

// The gradient's memory begins on a cache line, so its row r is this many elements off a pack's boundary. In a row of
// few packs one more would cost more than the split stores.
template <class L>
int64_t misalignment(int64_t row, int64_t classes, bool scratch) {
  return scratch || classes <= Columns<L>::kShort ? 0 : (row * classes) % L::kLanes;
}

// A pack of doubles from and to numbers of the arithmetic type.
typedef float Narrow __attribute__((vector_size(Doubles::kLanes * sizeof(float))));
inline Doubles::Value widened(const double* from) { return Doubles::load(from); }
inline Doubles::Value widened(const float* from) {
  Narrow narrow;
  std::memcpy(&narrow, from, sizeof narrow);
  return __builtin_convertvector(narrow, Doubles::Value);
}
inline void store_rounded(double* to, Doubles::Value v) { Doubles::store(to, v); }
inline void store_rounded(float* to, Doubles::Value v) {
  const Narrow rounded = __builtin_convertvector(v, Narrow);
  std::memcpy(to, &rounded, sizeof rounded);
}

// Up to L::kLanes rows on their way through the forward pass, one lane a row. Each step is done for all of them before
// the next begins: so their sums are reduced together, and no row waits for another.
template <class L, class T>
class alignas(64) Block {
  using V = typename L::Value;
  using Wide = Doubles::Value;  // what is done once a row is done in double

 public:
  Block(const Rows<T>& rows, const Forward<T>& call, T* scratch)
      : wide_bias_(rows.bias != nullptr && exceeds(rows.bias, rows.classes, kSure)),
        rows_(rows),
        call_(call),
        scratch_(scratch) {}

  void run(int64_t row, int64_t count) {
    row_ = row;
    count_ = static_cast<int>(count);
    read_labels();
    find_references();
    if (rows_.bias != nullptr) find_levels();
    sum_exponentials();
    if (call_.settings.margin_rule != MarginRule::kFixed) find_gaps();
    if (call_.prediction != nullptr) predict();
    finish();
    if (call_.row_numbers != nullptr) write_numbers();
    if (call_.grad != nullptr) write_gradient();
  }

 private:
  void read_labels() {
    same_ = 0;
    for (int lane = 0; lane < count_; ++lane) {
      const int64_t row = row_ + lane, a = rows_.target[row], b = rows_.target_b[row];
      z_[lane] = row_of(rows_, row, is_half(rows_) ? scratch_ + lane * rows_.classes : nullptr);
      e_[lane] = exponentials_of(lane);
      a_[lane] = a;
      b_[lane] = b;
      z_a_[lane] = z_[lane][a];
      z_b_[lane] = z_[lane][b];
      if (call_.margin != nullptr) {
        margin_a_[lane] = call_.margin[a];
        margin_b_[lane] = call_.margin[b];
      }
      same_ |= static_cast<uint32_t>(a == b) << lane;
      packs_[lane] = largest_other<L>(columns(lane), z_[lane]);
    }
  }

  // Where a row's exponentials wait to be scaled: the gradient itself, but for half types and for short rows that
  // are not aligned there: those are written there once only.
  T* exponentials_of(int lane) {
    const int64_t classes = rows_.classes;
    if (call_.grad == nullptr) return nullptr;
    if (is_half(rows_)) return scratch_ + (block_rows<L, T>(classes) + lane) * classes;
    const bool unaligned = classes <= Columns<L>::kShort && classes % L::kLanes != 0;
    return unaligned ? short_rows_[lane] : gradient_of(lane);
  }
  T* gradient_of(int lane) const { return static_cast<T*>(call_.grad) + (row_ + lane) * rows_.classes; }

  // The same lane of the next block, or where there is none or in half types, what is at hand.
  Ahead<T> ahead(int lane) const {
    const int64_t next = row_ + lane + count_;
    if (is_half(rows_) || next >= rows_.rows) return {z_[lane], z_[lane]};
    const T* logits = static_cast<const T*>(rows_.logits) + next * rows_.row_stride;
    return {logits, call_.grad != nullptr ? gradient_of(lane + count_) : logits};
  }

  Columns<L> columns(int lane) const {
    return Columns<L>(rows_.classes, a_[lane], b_[lane], misalignment<L>(row_ + lane, rows_.classes, is_half(rows_)));
  }

  void find_references() {
    const V largest = L::largest(packs_), z_a = L::load(z_a_), z_b = L::load(z_b_);
    L::store(largest_, largest);
    L::store(reference_, reference_of<L>(largest, z_a, z_b));
  }

  void find_levels() {
    for (int lane = 0; lane < count_; ++lane) {
      packs_[lane] = largest_term<L>(columns(lane), z_[lane], rows_.bias, reference_[lane], call_.settings.scale);
      bias_a_[lane] = rows_.bias[a_[lane]];
      bias_b_[lane] = rows_.bias[b_[lane]];
    }
    L::store(level_, L::largest(packs_));
    for (int lane = 0; lane < count_; ++lane) {
      const bool sure = !wide_bias_ && level_[lane] >= -kSure && level_[lane] <= kSure;
      if (!sure) find_leader(lane);
    }
  }

  // A level of up to this size is off by less than 1. Terms near it have a logit close to the reference or a large bias.
  static constexpr T kSure = 0x1p20;

  static bool exceeds(const T* bias, int64_t classes, T limit) {
    bool found = false;
    for (int64_t column = 0; column < classes; ++column) found |= bias[column] > limit;
    return found;
  }

  void find_leader(int lane) {
    const T lowest = L::lowest()[0];
    Leader<T> leader{lowest, lowest};
    if (largest_[lane] > lowest) leader = leading_other(columns(lane), z_[lane], rows_.bias, call_.settings.scale);
    const bool any = leader.z > lowest;
    reference_[lane] = any ? leader.z : z_a_[lane] > z_b_[lane] ? z_a_[lane] : z_b_[lane];
    level_[lane] = any ? leader.bias : T{0};
  }

  void sum_exponentials() {
    const bool bias = rows_.bias != nullptr, store = call_.grad != nullptr;
    if (call_.settings.label_smoothing > 0)
      bias ? (store ? sum_as<true, true, true>() : sum_as<true, true, false>())
           : (store ? sum_as<false, true, true>() : sum_as<false, true, false>());
    else
      bias ? (store ? sum_as<true, false, true>() : sum_as<true, false, false>())
           : (store ? sum_as<false, false, true>() : sum_as<false, false, false>());
  }

  template <bool kBias, bool kSmooth, bool kStore>
  LT_FAST_APART void sum_as() {
    V terms[L::kLanes]{};
    for (int lane = 0; lane < count_; ++lane)
      exponentials<L, kBias, kSmooth, kStore>(columns(lane), z_[lane], e_[lane], rows_.bias, reference_[lane],
                                              level_[lane], call_.settings.scale, ahead(lane), packs_[lane],
                                              terms[lane]);
    L::store(rest_, L::sums(packs_));
    if constexpr (kSmooth) L::store(sum_t_, L::sums(terms));
  }

  void find_gaps() {
    const MarginRule rule = call_.settings.margin_rule;
    for (int lane = 0; lane < count_; ++lane) {
      const bool same = same_ >> lane & 1u;
      const T *z = z_[lane], largest = largest_[lane];
      gap_a_[lane] = gap_of(rule, z, a_[lane], rows_.target[0], largest, same, z_b_[lane]);
      gap_b_[lane] = gap_of(rule, z, b_[lane], rows_.target_b[0], largest, same, z_a_[lane]);
    }
  }

  void predict() {
    for (int lane = 0; lane < count_; ++lane) {
      const T z_a = z_a_[lane], z_b = z_b_[lane], other = largest_[lane], rest = rest_[lane];
      const T rival = a_[lane] == b_[lane] || other > z_b ? other : z_b;
      const bool clean = rest == rest && z_a == z_a && z_b == z_b;  // a NaN or infinity makes the sum NaN
      call_.prediction[row_ + lane] = largest_index(z_[lane], rows_.classes, a_[lane], rival, clean);
    }
  }

  void finish() {
    for (int lane = 0; lane < count_; lane += Doubles::kLanes) {
      const auto same = Doubles::mask_of(same_ >> lane);
      const RowResult<Wide> result = finish_row<Doubles>(inputs_of(lane), same, call_.per_loss, call_.settings);
      store_rounded(loss_ + lane, result.loss);
      store_rounded(pull_ + lane, result.pull);
      store_rounded(uniform_ + lane, result.uniform);
      store_rounded(own_a_ + lane, result.own_a);
      store_rounded(own_b_ + lane, result.own_b);
    }
    for (int lane = 0; lane < count_; ++lane) call_.loss[row_ + lane] = loss_[lane];
  }

  RowInputs<Wide> inputs_of(int lane) const {
    const Wide reference = widened(reference_ + lane), level = widened(level_ + lane);
    const Wide scale = Doubles::constant(call_.settings.scale);
    const int left = count_ - lane;
    const uint32_t bits = left < Doubles::kLanes ? (1u << left) - 1u : Doubles::kAll;
    RowInputs<Wide> inputs;
    inputs.rest = widened(rest_ + lane);
    inputs.sum_t = widened(sum_t_ + lane);
    inputs.t_a = (widened(z_a_ + lane) - reference) * scale + (widened(bias_a_ + lane) - level);
    inputs.t_b = (widened(z_b_ + lane) - reference) * scale + (widened(bias_b_ + lane) - level);
    inputs.gap_a = Doubles::load(gap_a_ + lane);
    inputs.gap_b = Doubles::load(gap_b_ + lane);
    inputs.margin_a = widened(margin_a_ + lane);
    inputs.margin_b = widened(margin_b_ + lane);
    inputs.factor_a = Doubles::load_some(call_.factor_a + row_ + lane, bits, Wide{});
    inputs.factor_b = Doubles::load_some(call_.factor_b + row_ + lane, bits, Wide{});
    return inputs;
  }

  void write_numbers() {
    for (int lane = 0; lane < count_; ++lane) {
      T* numbers = call_.row_numbers + (row_ + lane) * kRowNumbers;
      numbers[kReference] = reference_[lane];
      numbers[kLevel] = level_[lane];
      numbers[kPull] = pull_[lane];
      numbers[kUniform] = uniform_[lane];
      numbers[kOwnA] = own_a_[lane];
      numbers[kOwnB] = own_b_[lane];
    }
  }

  void write_gradient() {
    const bool half = is_half(rows_);
    for (int lane = 0; lane < count_; ++lane) {
      T* grad = half ? e_[lane] : gradient_of(lane);
      scale_row(columns(lane), e_[lane], grad, pull_[lane], uniform_[lane]);
      grad[b_[lane]] = own_b_[lane];
      grad[a_[lane]] = own_a_[lane];
      if (half) write_half(rows_, grad, call_.grad, row_ + lane);
    }
  }

  V packs_[L::kLanes]{};  // of each row what is still to be reduced over its lanes
  alignas(64) T short_rows_[L::kLanes][Columns<L>::kShort];
  T z_a_[L::kLanes]{}, z_b_[L::kLanes]{}, bias_a_[L::kLanes]{}, bias_b_[L::kLanes]{};
  T margin_a_[L::kLanes]{}, margin_b_[L::kLanes]{};
  T largest_[L::kLanes]{}, reference_[L::kLanes]{}, level_[L::kLanes]{}, rest_[L::kLanes]{}, sum_t_[L::kLanes]{};
  T loss_[L::kLanes], pull_[L::kLanes], uniform_[L::kLanes], own_a_[L::kLanes], own_b_[L::kLanes];
  double gap_a_[L::kLanes]{}, gap_b_[L::kLanes]{};
  int64_t a_[L::kLanes], b_[L::kLanes];
  const T* z_[L::kLanes];
  T* e_[L::kLanes];
  uint32_t same_ = 0;  // bit of the rows whose labels are equal
  int count_ = 0;
  int64_t row_ = 0;
  const bool wide_bias_;  // whether a bias alone can make a level uncertain
  const Rows<T>& rows_;
  const Forward<T>& call_;
  T* scratch_;  // for half types: the widened rows, then their exponentials
};

template <class L, class T>
void forward(const Rows<T>& rows, const Forward<T>& call, int64_t first, int64_t last, T* scratch) {
  const FlushSubnormals flush;
  const int64_t step = block_rows<L, T>(rows.classes);
  Block<L, T> block(rows, call, scratch);
  for (int64_t row = first; row < last; row += step) block.run(row, last - row < step ? last - row : step);
}

template <class L, class T>
void backward(const Rows<T>& rows, const Backward<T>& call, int64_t first, int64_t last, T* scratch) {
  using V = typename L::Value;
  const FlushSubnormals flush;
  const bool half = is_half(rows);
  const int64_t classes = rows.classes;
  const T factor = L::exp_factor(call.scale);
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
      const V x = rows.bias != nullptr
                      ? exponential<L, true>(z_pack, rows.bias + at, bits, reference, level, call.scale, factor)
                      : exponential<L, false>(z_pack, rows.bias, bits, reference, level, call.scale, factor);
      L::store_some(grad + at, bits, x * pull - uniform);
    }
    grad[columns.b] = numbers[kOwnB] * outer;
    grad[columns.a] = numbers[kOwnA] * outer;
    if (half) write_half(rows, grad, call.grad, row);
  }
}

template <class L, class T>
int64_t scratch_size(const Rows<T>& rows) {
  return is_half(rows) ? 2 * block_rows<L, T>(rows.classes) * rows.classes : 0;
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
}  // namespace lt_fast::cpu
