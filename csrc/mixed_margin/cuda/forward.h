// The CUDA kernels of the forward direction: loss, gradient, row numbers and prediction from one read of the
// logits.
//
// A block goes from rows to rows. While it computes some, the next ones are copied to its shared memory; rows that do
// not fit there are read from memory in each pass.
#pragma once

#include "mixed_margin/cuda/ends.h"

namespace lt_fast::cuda {

// ----------------------------------------------------------------------------------------------- passes over a row

template <int kLanes, class In, class Row>
__device__ int predict(const Row& row) {
  using T = Arithmetic<In>;
  Best<T> best = Best<T>::none();
  row.template each<1>([&](int slot, const Values<In>& values) {
    for (int i = 0; i < kWidth<In>; ++i) {
      const Best<T> candidate{values.at[i], row.shape.first_column(slot) + i};
      if (row.shape.contains(candidate.column) && candidate.before(best)) best = candidate;
    }
  });
  return prediction_of_row<kLanes>(best);
}

template <int kLanes, class In, class Row>
__device__ Arithmetic<In> largest_of(const Row& row) {
  using T = Arithmetic<In>;
  T largest = ScalarMaths<T>::lowest();
  row.template each<kBatch>([&](int, const Values<In>& values) {
#pragma unroll
    for (int i = 0; i < kWidth<In>; ++i) largest = ScalarMaths<T>::max(largest, values.at[i]);
  });
  return largest_of_row<kLanes>(largest);
}

// The sum of exp(t), in `Sum`: a slot in T, and those of a lane one after the other.
template <bool kBias, int kLanes, class Sum, class In, class Row>
__device__ Arithmetic<In> sum_of(const Row& row, const Exponentials<Arithmetic<In>>& exponentials) {
  using T = Arithmetic<In>;
  Sum rest = 0;
  row.template each<kBatch>([&](int slot, const Values<In>& values) {
    const int first = row.shape.first_column(slot);
    const auto e = [&](int i) { return exponentials.template of<kBias>(values.at[i], first + i); };
    T sum = e(0);
#pragma unroll
    for (int i = 1; i < kWidth<In>; ++i) sum += e(i);
    rest += static_cast<Sum>(sum);
  });
  return static_cast<T>(sum_of_row<kLanes>(rest));
}

// The sum of t over all columns but the labels, for label smoothing.
template <int kLanes, class In, class Row>
__device__ Arithmetic<In> sum_of_terms(const Row& row, int a, int b, const Exponentials<Arithmetic<In>>& exponentials) {
  double sum = 0;
  row.template each<1>([&](int slot, const Values<In>& values) {
    for (int i = 0; i < kWidth<In>; ++i) {
      const int column = row.shape.first_column(slot) + i;
      if (!row.shape.contains(column) || column == a || column == b) continue;
      sum += double{exponentials.term(values.at[i], column)};
    }
  });
  return static_cast<Arithmetic<In>>(sum_of_row<kLanes>(sum));
}

// A class by its logit and bias: the reference and the level of terms relative to it.
template <class T>
struct Leader {
  T z, bias;

  __device__ static Leader none() { return {ScalarMaths<T>::lowest(), ScalarMaths<T>::lowest()}; }
  __device__ bool is_none() const { return z == ScalarMaths<T>::lowest(); }
  // Both orders must give the same, so the comparison always starts from the larger logit.
  __device__ bool before(const Leader& other, T scale) const {
    if (z < other.z || (z == other.z && bias < other.bias)) {
      return leads<ScalarMaths<T>>(z, bias, other.z, other.bias, scale);
    }
    return !leads<ScalarMaths<T>>(other.z, other.bias, z, bias, scale);
  }
};

template <class T>
__device__ Leader<T> from_lane(Leader<T> leader, int distance) {
  return {from_lane(leader.z, distance), from_lane(leader.bias, distance)};
}

template <int kLanes, class In, class Row>
__device__ Leader<Arithmetic<In>> leader_of(const Row& row, const Arithmetic<In>* bias, Arithmetic<In> scale) {
  using T = Arithmetic<In>;
  Leader<T> leader = Leader<T>::none();
  row.template each<1>([&](int slot, const Values<In>& values) {
    for (int i = 0; i < kWidth<In>; ++i) {
      const T z = values.at[i];
      if (z == ScalarMaths<T>::lowest()) continue;  // also a hidden column, whose bias need not exist
      const T own = bias[row.shape.first_column(slot) + i];
      if (leads<ScalarMaths<T>>(z, own, leader.z, leader.bias, scale)) leader = {z, own};
    }
  });
  return reduce_row<kLanes>(leader, [=](Leader<T> x, Leader<T> y) { return x.before(y, scale) ? x : y; });
}

// All of a row but its labels, which the row hides.
template <int kLanes, class Sum, class In, class Row>
__device__ Others<Arithmetic<In>> others_of(const Row& row, int a, int b, const Forward<In>& call,
                                            const Settings<Arithmetic<In>>& s) {
  using T = Arithmetic<In>;
  const T* bias = call.rows.bias;
  const T lowest = ScalarMaths<T>::lowest(), largest = largest_of<kLanes, In>(row);
  Others<T> others{largest, largest, T{0}, T{0}, T{0}, largest > lowest};
  if (bias != nullptr) {
    const Leader<T> leader = leader_of<kLanes, In>(row, bias, s.scale);
    others.has_reference = !leader.is_none();
    others.reference = leader.z;
    others.level = leader.is_none() ? T{0} : leader.bias;
  }
  // Without a finite other logit every exponential is 0, or NaN, whatever they refer to.
  if (!others.has_reference) others.reference = 0;
  const Exponentials<T> exponentials(others.reference, others.level, s.scale, bias, call.rows.columns);
  others.rest = bias == nullptr ? sum_of<false, kLanes, Sum, In>(row, exponentials)
                                : sum_of<true, kLanes, Sum, In>(row, exponentials);
  if (s.label_smoothing > 0) others.sum_t = sum_of_terms<kLanes, In>(row, a, b, exponentials);
  return others;
}

// --------------------------------------------------------------------------------------------------- the kernels

// The rows that a block has at a time, and which of them a thread belongs to.
template <class In, int kLanes>
struct Group {
  static constexpr int kRows = rows_per_block(kLanes);
  // Two lanes per row for its end, in whole warps.
  static constexpr int kEndThreads = 2 * kRows < 32 ? 32 : 2 * kRows;

  const Rows<In>* rows;
  int64_t first;

  __device__ static Group of_block(const Rows<In>& rows) { return {&rows, int64_t{blockIdx.x} * kRows}; }
  __device__ Group next() const { return {rows, first + int64_t{gridDim.x} * kRows}; }
  __device__ bool is_there() const { return first < rows->rows; }

  __device__ static int lane() { return static_cast<int>(threadIdx.x % kLanes); }
  __device__ static int own() { return static_cast<int>(threadIdx.x / kLanes); }
  __device__ static bool is_end() { return threadIdx.x < kEndThreads; }
  __device__ static int ended() {
    const int row = static_cast<int>(threadIdx.x / 2);
    return row < kRows ? row : kRows - 1;
  }

  // Whether this thread's end is of a row, and not repeated.
  __device__ bool ends() const { return static_cast<int>(threadIdx.x / 2) < kRows && has(ended()); }

  // Lanes without a row of their own repeat the last one: reductions need every thread.
  __device__ bool has(int number) const { return first + number < rows->rows; }
  __device__ int64_t row(int number) const { return has(number) ? first + number : rows->rows - 1; }
};

// The labels of a row, loaded a while before they are looked at.
struct LoadedLabels {
  int64_t a, b;
};

template <class In, int kLanes>
__device__ LoadedLabels labels_of(const Group<In, kLanes>& group) {
  const Rows<In>& rows = *group.rows;
  const int64_t row = group.row(group.ended());
  return {rows.target[row], (rows.target_b == nullptr ? rows.target : rows.target_b)[row]};
}

template <class In, int kLanes>
__device__ StagedRow<In, kLanes> staged_row(const Group<In, kLanes>& group, const Staging& staging, int buffer) {
  Slot* memory = static_cast<Slot*>(staged_memory());
  const In* row = group.rows->at(group.row(group.own()));
  return {slots_of(row, group.rows->columns), group.lane(),
          memory + (buffer * Group<In, kLanes>::kRows + group.own()) * staging.slots};
}

template <class In, int kLanes>
__device__ void copy_rows(const Group<In, kLanes>& group, const Staging& staging, int buffer) {
  if (group.is_there()) staged_row(group, staging, buffer).copy_from(group.rows->at(group.row(group.own())));
  end_copies();
}

// Blocks of a multiprocessor for which the compiler leaves registers.
template <class In>
constexpr int kBlocks = sizeof(In) == 8 ? 2 : 4;
template <class In>
constexpr int kStreamBlocks = sizeof(In) == 8 ? 1 : 2;

// All of a group's rows but the copying: `row` is this thread's own, with its labels hidden.
template <int kLanes, class Sum, class In, class Row>
__device__ void compute_rows(const Group<In, kLanes>& group, const Row& row, const Forward<In>& call,
                             const Settings<Arithmetic<In>>& s, const RowEnd<In>& end, const double& per_loss,
                             SharedRow<Arithmetic<In>>* shared_rows) {
  using T = Arithmetic<In>;
  SharedRow<T>& shared = shared_rows[group.own()];
  const int a = shared.a, b = shared.b;
  const Others<T> others = others_of<kLanes, Sum>(row, a, b, call, s);
  if (row.lane == 0) shared.others = others;
  __syncthreads();
  if (group.is_end()) end.finish(call, s, group.row(group.ended()), group.ends(), per_loss, shared_rows[group.ended()]);
  __syncthreads();
  if (call.grad == nullptr || !group.has(group.own())) return;
  const Exponentials<T> exponentials(shared.reference, others.level, s.scale, call.rows.bias, call.rows.columns);
  In* grad = call.grad + group.row(group.own()) * call.rows.columns;
  write_gradient<kLanes>(row, a, b, exponentials, shared.gradient, grad);
}

// Checks the labels of the row that this thread ends, tells them to the row's lanes and loads what depends on them.
template <class In, int kLanes>
__device__ RowEnd<In> begin_end(const Group<In, kLanes>& group, const LoadedLabels& loaded, const Forward<In>& call,
                                const Settings<Arithmetic<In>>& s, SharedRow<Arithmetic<In>>* shared_rows) {
  const int64_t row = group.row(group.ended());
  const int columns = call.rows.columns;
  const int a = checked_label(loaded.a, row, columns), b = checked_label(loaded.b, row, columns);
  SharedRow<Arithmetic<In>>& shared = shared_rows[group.ended()];
  shared.a = a;
  shared.b = b;
  return RowEnd<In>::of(call, s.margin_rule, row, a, b, threadIdx.x % 2 == 1);
}

// What a block has before its first rows: no losses, and what they will be divided by.
template <int kThreadCount, int kRows, class In>
__device__ void begin_sums(const Forward<In>& call, SharedRow<Arithmetic<In>> (&shared_rows)[kRows],
                           double& denominator, double& per_loss) {
  if (threadIdx.x < kRows) shared_rows[threadIdx.x].sum = 0;
  const double value = value_of<kThreadCount>(call.denominator, call.rows.rows, call.rows.columns);
  if (threadIdx.x != 0) return;
  denominator = value;
  per_loss = 1 / value;
}

template <int kThreadCount, int kRows, class In>
__device__ void end_sums(const Forward<In>& call, const SharedRow<Arithmetic<In>> (&shared_rows)[kRows],
                         const double& denominator) {
  static_assert(kRows <= 32);
  __syncthreads();
  const unsigned place = threadIdx.x % 32;
  const double sum = sum_of_row<32>(place < kRows ? shared_rows[place].sum : 0.0);
  add_to_total<kThreadCount>(call.total, sum, call.rows.rows, denominator);
}

template <int kLanes, class In, class Row>
__device__ void store_prediction(const Row& row, SharedRow<Arithmetic<In>>& shared) {
  const int prediction = predict<kLanes, In>(row);
  if (row.lane == 0) shared.prediction = prediction;
}

template <class In, int kLanes>
__global__ void __launch_bounds__(kThreads, kBlocks<In>) forward_staged(const Forward<In> call, const Staging staging) {
  using T = Arithmetic<In>;
  using Rows = Group<In, kLanes>;
  __shared__ SharedRow<T> shared_rows[Rows::kRows];
  __shared__ double denominator, per_loss;
  const Settings<T> s = call.settings;
  const bool ahead = staging.buffers == 2;
  Rows group = Rows::of_block(call.rows);
  int buffer = 0;
  copy_rows(group, staging, buffer);
  LoadedLabels loaded{};
  if (Rows::is_end() && group.is_there()) loaded = labels_of(group);
  begin_sums<kThreads>(call, shared_rows, denominator, per_loss);
  for (; group.is_there(); group = group.next()) {
    const StagedRow<In, kLanes> row = staged_row(group, staging, buffer);
    if (ahead) copy_rows(group.next(), staging, buffer ^= 1);
    RowEnd<In> end{};
    if (Rows::is_end()) {
      end = begin_end(group, loaded, call, s, shared_rows);
      loaded = labels_of(group.next());
    }
    wait_for_copies(ahead);
    __syncthreads();
    row.hide_ends();
    if (call.prediction != nullptr) store_prediction<kLanes, In>(row, shared_rows[Rows::own()]);
    row.hide(shared_rows[Rows::own()].a);
    row.hide(shared_rows[Rows::own()].b);
    compute_rows<kLanes, T>(group, row, call, s, end, per_loss, shared_rows);
    if (!ahead) copy_rows(group.next(), staging, buffer);
  }
  end_sums<kThreads>(call, shared_rows, denominator);
}

template <class In>
__global__ void __launch_bounds__(kStreamLanes, kStreamBlocks<In>) forward_streamed(const Forward<In> call) {
  using T = Arithmetic<In>;
  using Rows = Group<In, kStreamLanes>;
  __shared__ SharedRow<T> shared_rows[1];
  __shared__ double denominator, per_loss;
  const Settings<T> s = call.settings;
  begin_sums<kStreamLanes>(call, shared_rows, denominator, per_loss);
  for (Rows group = Rows::of_block(call.rows); group.is_there(); group = group.next()) {
    RowEnd<In> end{};
    if (Rows::is_end()) end = begin_end(group, labels_of(group), call, s, shared_rows);
    __syncthreads();
    const In* logits = call.rows.at(group.first);
    StreamedRow<In, kStreamLanes> row{slots_of(logits, call.rows.columns), Rows::lane(), logits, -1, -1};
    if (call.prediction != nullptr) store_prediction<kStreamLanes, In>(row, shared_rows[0]);
    row.hidden_a = shared_rows[0].a;
    row.hidden_b = shared_rows[0].b;
    compute_rows<kStreamLanes, double>(group, row, call, s, end, per_loss, shared_rows);
  }
  end_sums<kStreamLanes>(call, shared_rows, denominator);
}

}  // namespace lt_fast::cuda
