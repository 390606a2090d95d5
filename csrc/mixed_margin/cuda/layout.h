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
// may reach beyond the row.
struct SlottedRow {
  int columns;
  int width;  // columns of a whole slot
  int lead;   // elements of slot 0 that lie before the row

  LT_FAST_BOTH_SIDES int slots() const { return (lead + columns + width - 1) / width; }
  LT_FAST_BOTH_SIDES int first_column(int slot) const { return slot * width - lead; }
  LT_FAST_BOTH_SIDES int slot_of(int column) const { return (lead + column) / width; }
  LT_FAST_BOTH_SIDES bool contains(int column) const { return column >= 0 && column < columns; }
  // Whole slots lie in [first_whole, end_whole).
  LT_FAST_BOTH_SIDES int first_whole() const { return lead > 0; }
  LT_FAST_BOTH_SIDES int end_whole() const { return (lead + columns) / width; }
  LT_FAST_BOTH_SIDES bool is_whole(int slot) const { return slot >= first_whole() && slot < end_whole(); }
  // Bytes from the beginning of slot 0 to the end of the row.
  LT_FAST_BOTH_SIDES int64_t bytes() const { return int64_t{lead + columns} * (kVectorBytes / width); }
};

LT_FAST_BOTH_SIDES inline SlottedRow slotted_row(uintptr_t address, int columns, int element_size) {
  const int lead = static_cast<int>(address % kVectorBytes) / element_size;
  return {columns, kVectorBytes / element_size, lead};
}

// A block stages its rows in shared memory, each by `lanes` of its threads; the lanes of a row see only the slots that
// they have copied themselves. `slots` are those of one row, `buffers` is 2 where the next rows are copied while these
// are computed.
struct Staging {
  int choice;  // of kLaneChoices, or kStreamed
  int slots;
  int buffers;
};

// Threads of a block whose rows are staged.
constexpr int kThreads = 256;
constexpr int kLaneChoices[] = {8, 32, 64, 128, 256};
constexpr int kNumChoices = sizeof(kLaneChoices) / sizeof(kLaneChoices[0]);
constexpr int kSlotsPerLane = 8;
// Shared memory that a block asks for at most: two blocks fit into a multiprocessor of an H100 or a B200.
constexpr int64_t kMostStaged = 96 * 1024;
// What a block has in shared memory besides its staged rows, at most.
constexpr int kReservedShared = 8 * 1024;
// Longer rows are read from memory three times, mostly from the L2 cache.
constexpr int kStreamed = kNumChoices;
constexpr int kStreamLanes = 512;
// Column numbers are 32-bit inside a row (offsets of rows are 64-bit).
constexpr int64_t kMaxColumns = int64_t{1} << 30;

LT_FAST_BOTH_SIDES constexpr int threads_per_block(int lanes) { return lanes < kThreads ? kThreads : lanes; }
LT_FAST_BOTH_SIDES constexpr int rows_per_block(int lanes) { return threads_per_block(lanes) / lanes; }

// The most slots that a row of so many columns covers. `aligned`: every row begins at a slot's boundary.
inline int most_slots(int columns, int element_size, bool aligned) {
  const int width = kVectorBytes / element_size;
  return SlottedRow{columns, width, aligned ? 0 : width - 1}.slots();
}

inline int64_t staged_bytes(const Staging& staging) {
  if (staging.choice == kStreamed) return 0;
  const int64_t rows = rows_per_block(kLaneChoices[staging.choice]);
  return rows * staging.slots * staging.buffers * kVectorBytes;
}

// The fewest lanes with at most kSlotsPerLane slots each, and as many buffers as fit into `shared_bytes`.
inline Staging choose_staging(int columns, int element_size, bool aligned, int64_t shared_bytes) {
  Staging staging{0, most_slots(columns, element_size, aligned), 1};
  while (staging.choice < kNumChoices - 1 && staging.slots > kSlotsPerLane * kLaneChoices[staging.choice])
    ++staging.choice;
  const int64_t most = shared_bytes < kMostStaged ? shared_bytes : kMostStaged;
  const int64_t buffers = most / staged_bytes(staging);
  if (buffers == 0) return {kStreamed, 0, 0};
  staging.buffers = buffers > 1 ? 2 : 1;
  return staging;
}

// Lanes of a row for the backward direction, which holds nothing: about a slot or more for each.
inline int backward_lanes(int columns, int element_size) {
  const int slots = most_slots(columns, element_size, false);
  return slots <= 64 ? 8 : (slots <= 256 ? 32 : 256);
}

// Blocks for so many rows, `most` of them: the kernels go round with that stride where rows are more.
inline unsigned blocks_for(int64_t rows, int lanes, int64_t most = (int64_t{1} << 31) - 1) {
  const int64_t wanted = (rows + rows_per_block(lanes) - 1) / rows_per_block(lanes);
  return static_cast<unsigned>(wanted < most ? wanted : most);
}

}  // namespace lt_fast::cuda
