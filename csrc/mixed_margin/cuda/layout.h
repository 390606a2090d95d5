// How the GPU reads a row of logits: which lanes hold which columns, and how many lanes a row gets.
//
// Arithmetic alone, compiled for both sides, so that it is tested where there is no GPU.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define LT_FAST_BOTH_SIDES __host__ __device__
#else
#define LT_FAST_BOTH_SIDES
#endif

namespace lt_fast::cuda {

constexpr int kVectorBytes = 16;

// A row cut into 16-byte slots at the boundaries that memory has, wherever the row itself begins: with 10,
// 365 or 8142 columns rows begin anywhere, and loads as wide as the common alignment allows would shrink to 4
// or 8 bytes. Slot s holds the columns [first_column(s), first_column(s) + width). The first and the last one
// may reach beyond the row; they are read column by column, all others by one load.
struct SlottedRow {
  int columns;
  int width;  // columns of a whole slot
  int lead;   // elements of slot 0 that lie before the row

  LT_FAST_BOTH_SIDES int slots() const { return (lead + columns + width - 1) / width; }
  LT_FAST_BOTH_SIDES int first_column(int slot) const { return slot * width - lead; }
  LT_FAST_BOTH_SIDES bool contains(int column) const { return column >= 0 && column < columns; }
  LT_FAST_BOTH_SIDES bool is_whole(int slot) const {
    return first_column(slot) >= 0 && first_column(slot) + width <= columns;
  }
};

LT_FAST_BOTH_SIDES inline SlottedRow slotted_row(uintptr_t address, int columns, int element_size) {
  const int lead = static_cast<int>(address % kVectorBytes) / element_size;
  return {columns, kVectorBytes / element_size, lead};
}

// A row gets `lanes` threads, each of which holds up to `elements` of its columns in registers: the row is
// then read once. Lanes up to a warp share it among several rows, more make a block of their own.
struct RowLayout {
  int lanes;
  int elements;
};

constexpr RowLayout kLayouts[] = {{4, 8}, {16, 8}, {32, 16}, {32, 32}, {128, 32}, {256, 32}, {512, 40}};
constexpr int kNumLayouts = sizeof(kLayouts) / sizeof(kLayouts[0]);
// Rows longer than every layout are read twice, the second time mostly from the L2 cache.
constexpr int kStreamed = kNumLayouts;
constexpr int kStreamLanes = 512;
// Threads of a block that several rows share.
constexpr int kSharedBlock = 128;
// Column numbers are 32-bit inside a row (offsets of rows are 64-bit).
constexpr int64_t kMaxColumns = int64_t{1} << 30;

// The most slots that a row of so many columns covers. `aligned`: every row begins at a slot's boundary.
inline int most_slots(int columns, int element_size, bool aligned) {
  const int width = kVectorBytes / element_size;
  return SlottedRow{columns, width, aligned ? 0 : width - 1}.slots();
}

// The first of kLayouts whose registers hold the row, or kStreamed.
inline int choose_layout(int columns, int element_size, bool aligned) {
  const int needed = most_slots(columns, element_size, aligned);
  for (int i = 0; i < kNumLayouts; ++i) {
    const int slots_per_lane = kLayouts[i].elements * element_size / kVectorBytes;
    if (needed <= kLayouts[i].lanes * slots_per_lane) return i;
  }
  return kStreamed;
}

// Lanes of a row for the backward direction, which holds nothing: about a slot or more for each.
inline int backward_lanes(int columns, int element_size) {
  const int slots = most_slots(columns, element_size, false);
  return slots <= 8 ? 4 : (slots <= 256 ? 32 : 256);
}

LT_FAST_BOTH_SIDES constexpr int threads_per_block(int lanes) { return lanes <= 32 ? kSharedBlock : lanes; }
LT_FAST_BOTH_SIDES constexpr int rows_per_block(int lanes) { return threads_per_block(lanes) / lanes; }

// Blocks for so many rows. A grid has at most 2^31 - 1; the kernels go round with that stride where rows are
// more.
inline unsigned blocks_for(int64_t rows, int lanes) {
  const int64_t wanted = (rows + rows_per_block(lanes) - 1) / rows_per_block(lanes);
  const int64_t most = (int64_t{1} << 31) - 1;
  return static_cast<unsigned>(wanted < most ? wanted : most);
}

}  // namespace lt_fast::cuda
