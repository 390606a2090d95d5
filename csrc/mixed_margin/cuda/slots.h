// Rows of logits as the lanes of a GPU read them: in 16-byte slots, from memory or from a copy in shared memory.
#pragma once

#include "mixed_margin/cuda/async.h"
#include "mixed_margin/cuda/rows.h"

namespace lt_fast::cuda {

template <class In>
constexpr int kWidth = kVectorBytes / static_cast<int>(sizeof(In));

// A slot as it is in memory. The compiler moves this type, and no struct of our own, with one instruction.
using Slot = uint4;

// One store of 16 bytes: left to itself the compiler writes a slot in four parts.
__device__ inline void store_slot(void* memory, const Slot& slot) {
#if defined(__CUDA_ARCH__)
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(memory), "r"(slot.x), "r"(slot.y), "r"(slot.z),
               "r"(slot.w)
               : "memory");
#else
  memcpy(memory, &slot, kVectorBytes);
#endif
}

// The columns of a slot in the type that they are computed in.
template <class In>
struct Values {
  using T = Arithmetic<In>;
  T at[kWidth<In>];

  template <class Visit>
  __device__ void each(Visit visit) {
#pragma unroll
    for (int i = 0; i < kWidth<In>; ++i) visit(i, at[i]);
  }
};

template <class In>
__device__ Values<In> widened(const Slot& slot) {
  In columns[kWidth<In>];
  memcpy(columns, &slot, kVectorBytes);
  Values<In> values;
  values.each([&](int i, Arithmetic<In>& value) { value = static_cast<Arithmetic<In>>(columns[i]); });
  return values;
}

template <class In>
__device__ Slot narrowed(const Values<In>& values) {
  In columns[kWidth<In>];
#pragma unroll
  for (int i = 0; i < kWidth<In>; ++i) columns[i] = static_cast<In>(values.at[i]);
  Slot slot;
  memcpy(&slot, columns, kVectorBytes);
  return slot;
}

#if defined(__CUDA_ARCH__)
// Half types two at a time: rounding a pair takes one instruction.
template <class Pair, class Round>
__device__ Slot paired(const float (&values)[8], Round round) {
  Pair pairs[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) pairs[i] = round(values[2 * i], values[2 * i + 1]);
  Slot slot;
  memcpy(&slot, pairs, kVectorBytes);
  return slot;
}

template <>
__device__ inline Slot narrowed(const Values<c10::BFloat16>& values) {
  return paired<__nv_bfloat162>(values.at, [](float low, float high) { return __floats2bfloat162_rn(low, high); });
}

template <>
__device__ inline Slot narrowed(const Values<c10::Half>& values) {
  return paired<__half2>(values.at, [](float low, float high) { return __floats2half2_rn(low, high); });
}

// A bfloat16 is the upper half of a float.
template <>
__device__ inline Values<c10::BFloat16> widened(const Slot& slot) {
  const unsigned words[] = {slot.x, slot.y, slot.z, slot.w};
  Values<c10::BFloat16> values;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    values.at[2 * i] = __uint_as_float(words[i] << 16);
    values.at[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
  }
  return values;
}
#endif

template <class In>
__device__ SlottedRow slots_of(const In* row, int columns) {
  return slotted_row(reinterpret_cast<uintptr_t>(row), columns, sizeof(In));
}

// ------------------------------------------------------------------------------------------------- two kinds of rows

// How many slots a pass loads together, where it is worth the code.
constexpr int kBatch = 4;

// Calls use(slot, load(slot)) for the slots of [first, end) that belong to `lane`.
template <int kLanes, int kTogether, class Load, class Use>
__device__ void each_slot(int lane, int first, int end, Load load, Use use) {
  int slot = first + ((lane - first) & (kLanes - 1));
  if constexpr (kTogether > 1) {
#pragma unroll 1
    for (; slot < end - (kTogether - 1) * kLanes; slot += kTogether * kLanes) {
      Slot loaded[kTogether];
#pragma unroll
      for (int k = 0; k < kTogether; ++k) loaded[k] = load(slot + k * kLanes);
#pragma unroll
      for (int k = 0; k < kTogether; ++k) use(slot + k * kLanes, loaded[k]);
    }
  }
#pragma unroll 1
  for (; slot < end; slot += kLanes) use(slot, load(slot));
}

// A row in shared memory: every slot is there as a whole, with hidden columns as -inf. Single columns are copied bytes, as
// slots are of another type than the columns in them.
template <class In, int kLanes>
struct StagedRow {
  using T = Arithmetic<In>;
  SlottedRow shape;
  int lane;
  Slot* slots;

  __device__ Slot load(int slot) const { return slots[slot]; }
  // Columns before the row are in its first slot, too.
  __device__ char* address(int column) const {
    return reinterpret_cast<char*>(slots) + (shape.lead + column) * static_cast<int>(sizeof(In));
  }
  __device__ In column(int column) const {
    In value;
    memcpy(&value, address(column), sizeof value);
    return value;
  }

  template <int kTogether, class Use>
  __device__ void each(Use use) const {
    each_slot<kLanes, kTogether>(
        lane, 0, shape.slots(), [=](int slot) { return load(slot); },
        [&](int slot, const Slot& loaded) {
          const Values<In> values = widened<In>(loaded);
          use(slot, values);
        });
  }

  // Hides a column from all that follows, if it is this lane's.
  __device__ void hide(int column) const {
    const In hidden = static_cast<In>(-__builtin_inff());
    if (shape.slot_of(column) % kLanes == lane) memcpy(address(column), &hidden, sizeof hidden);
  }

  // The same for what the first and the last slot hold beyond the row.
  __device__ void hide_ends() const {
    if (lane == 0) {
      for (int column = -shape.lead; column < 0; ++column) hide(column);
    }
    const int last = shape.slots() - 1;
    if (last % kLanes != lane) return;
    for (int column = shape.columns; column < shape.first_column(last + 1); ++column) hide(column);
  }

  // Starts to copy `row`, a row of this shape, into the slots. What lies before the row in its first slot belongs to the
  // same memory, which begins at a slot's boundary; what lies behind it may not, and is not read.
  __device__ void copy_from(const In* row) const {
    const Slot* begin = reinterpret_cast<const Slot*>(row - shape.lead);
    const int last = shape.slots() - 1;
#pragma unroll 4
    for (int slot = lane; slot < last; slot += kLanes) copy_async(slots + slot, begin + slot, kVectorBytes);
    const int rest = static_cast<int>(shape.bytes() - int64_t{last} * kVectorBytes);
    if (last % kLanes == lane) copy_async(slots + last, begin + last, rest);
  }
};

// A row in memory. `hidden_a` and `hidden_b`, and what is no column, read as -inf.
template <class In, int kLanes>
struct StreamedRow {
  using T = Arithmetic<In>;
  SlottedRow shape;
  int lane;
  const In* row;
  int hidden_a, hidden_b;

  __device__ Slot load(int slot) const { return *reinterpret_cast<const Slot*>(row + shape.first_column(slot)); }
  __device__ In column(int column) const { return row[column]; }

  // Element by element: for the ends of a row, which are no whole slots.
  __device__ Slot load_end(int slot) const {
    In columns[kWidth<In>];
#pragma unroll
    for (int i = 0; i < kWidth<In>; ++i) {
      const int column = shape.first_column(slot) + i;
      columns[i] = shape.contains(column) ? row[column] : static_cast<In>(-__builtin_inff());
    }
    Slot end;
    memcpy(&end, columns, kVectorBytes);
    return end;
  }

  // The slots of the labels part the row: the loops between them look for nothing.
  template <int kTogether, class Use>
  __device__ void each(Use use) const {
    const auto use_whole = [&](int slot, const Slot& loaded) { use(slot, widened<In>(loaded)); };
    const auto use_hiding = [&](int slot, const Slot& loaded) {
      Values<In> values = widened<In>(loaded);
      hide(slot, hidden_a, values);
      hide(slot, hidden_b, values);
      use(slot, values);
    };
    const int end = shape.end_whole(), last = shape.slots() - 1;
    const int slot_a = shape.slot_of(hidden_a), slot_b = shape.slot_of(hidden_b);
    int from = shape.first_whole();
#pragma unroll 1
    for (int part = 0; part < 3; ++part) {
      const int label = (slot_a < slot_b) == (part == 0) ? slot_a : slot_b, until = part == 2 ? end : label;
      if (until < from || until > end) continue;
      each_slot<kLanes, kTogether>(lane, from, until, [=](int slot) { return load(slot); }, use_whole);
      if (until < end && until % kLanes == lane) use_hiding(until, load(until));
      from = until + 1;
    }
    if (!shape.is_whole(0) && lane == 0) use_hiding(0, load_end(0));
    if (last > 0 && !shape.is_whole(last) && last % kLanes == lane) use_hiding(last, load_end(last));
  }

  __device__ void hide(int slot, int column, Values<In>& values) const {
    if (slot != shape.slot_of(column)) return;
    values.each([&](int i, T& value) {
      if (shape.first_column(slot) + i == column) value = ScalarMaths<T>::lowest();
    });
  }
};

}  // namespace lt_fast::cuda
