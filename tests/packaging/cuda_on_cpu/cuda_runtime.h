// Stands in for CUDA's header where there is no GPU: a block's threads run as fibers of one CPU thread,
// blocks one after the other. A thread runs until it waits for others, so every barrier and every shuffle is
// really met by all.
#pragma once

#include <cassert>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include <ucontext.h>

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __shared__ static  // one block at a time

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

struct Index {
  unsigned x;
};
inline Index threadIdx, blockIdx, gridDim;

class Block {
 public:
  // Runs the body once for every thread of a block.
  static void run(unsigned threads, const std::function<void()>& body) {
    Block block(threads, body);
    current() = &block;
    for (unsigned left = threads; left > 0;) {
      for (unsigned thread = 0; thread < threads; ++thread) {
        if (block.done_[thread]) continue;
        threadIdx.x = thread;
        swapcontext(&block.scheduler_, &block.fibers_[thread]);
        left -= block.done_[thread];
      }
    }
  }

  static Block*& current() {
    static Block* block = nullptr;
    return block;
  }

  // Waits until all threads of the group came: the whole block, or a warp.
  void meet(unsigned group, unsigned size) {
    Meeting& meeting = meetings_[group];
    const unsigned round = meeting.round;
    if (++meeting.here == size) {
      meeting = {0, round + 1};
      return;
    }
    while (meetings_[group].round == round) swapcontext(&fibers_[threadIdx.x], &scheduler_);
  }

  void meet_all() { meet(0, threads_); }
  void meet_warp() { meet(1 + threadIdx.x / 32, 32); }

  void* mailbox(unsigned thread) { return mail_[thread].bytes; }

  // A thread's copies are made when it waits for them, and not before.
  void copy(void* to, const void* from, int bytes) { copies_[threadIdx.x].back().push_back({to, from, bytes}); }
  void end_copies() { copies_[threadIdx.x].emplace_back(); }
  void wait_for_copies(size_t but) {
    std::deque<std::vector<Copy>>& groups = copies_[threadIdx.x];
    for (; groups.size() > 1 + but; groups.pop_front()) {
      for (const Copy& copy : groups.front()) {
        std::memset(copy.to, 0, 16);
        std::memcpy(copy.to, copy.from, copy.bytes);
      }
    }
  }

 private:
  struct Meeting {
    unsigned here, round;
  };
  struct Copy {
    void* to;
    const void* from;
    int bytes;
  };
  struct Mail {
    alignas(16) char bytes[16];
  };
  static constexpr size_t kStack = 1 << 18;

  Block(unsigned threads, const std::function<void()>& body)
      : threads_(threads),
        body_(body),
        fibers_(threads),
        done_(threads),
        mail_(threads),
        copies_(threads, std::deque<std::vector<Copy>>(1)),
        meetings_(1 + (threads + 31) / 32),
        stacks_(new char[threads * kStack]) {
    for (unsigned thread = 0; thread < threads; ++thread) {
      getcontext(&fibers_[thread]);
      fibers_[thread].uc_stack = {stacks_.get() + thread * kStack, 0, kStack};
      fibers_[thread].uc_link = &scheduler_;
      makecontext(&fibers_[thread], &Block::enter, 0);
    }
  }

  static void enter() {
    Block& block = *current();
    block.body_();
    block.done_[threadIdx.x] = 1;
  }

  unsigned threads_;
  const std::function<void()>& body_;
  ucontext_t scheduler_;
  std::vector<ucontext_t> fibers_;
  std::vector<char> done_;
  std::vector<Mail> mail_;
  std::vector<std::deque<std::vector<Copy>>> copies_;
  std::vector<Meeting> meetings_;
  std::unique_ptr<char[]> stacks_;
};

inline void __syncthreads() { Block::current()->meet_all(); }

template <class T>
T __shfl_xor_sync(unsigned lanes, T value, int distance) {
  static_assert(sizeof(T) <= 16);
  if (lanes != 0xffffffffu) std::abort();  // only whole warps meet here
  Block& block = *Block::current();
  std::memcpy(block.mailbox(threadIdx.x), &value, sizeof value);
  block.meet_warp();
  std::memcpy(&value, block.mailbox(threadIdx.x ^ static_cast<unsigned>(distance)), sizeof value);
  block.meet_warp();
  return value;
}

// Blocks run one after the other, so nothing has to be waited for.
inline void __threadfence() {}

template <class T>
T __ldcg(const T* memory) {
  return *memory;
}

inline unsigned atomicInc(unsigned* counter, unsigned most) {
  const unsigned before = *counter;
  *counter = before >= most ? 0 : before + 1;
  return before;
}

// The shared memory of a launch: of just the size that it asked for, and without numbers at first.
inline std::unique_ptr<char[]>& shared_memory() {
  static std::unique_ptr<char[]> memory;
  return memory;
}

namespace lt_fast::cuda {

inline void* staged_memory() { return shared_memory().get(); }

inline void copy_async(void* shared, const void* memory, int bytes) {
  if (bytes <= 0 || bytes > 16) std::abort();
  if (reinterpret_cast<uintptr_t>(shared) % 16 != 0 || reinterpret_cast<uintptr_t>(memory) % 16 != 0) std::abort();
  Block::current()->copy(shared, memory, bytes);
}

inline void end_copies() { Block::current()->end_copies(); }
inline void wait_for_copies(bool but_the_last) { Block::current()->wait_for_copies(but_the_last); }

}  // namespace lt_fast::cuda

// What `kernel<<<blocks, threads, shared_bytes>>>(arguments...)` does.
template <class Kernel, class... Arguments>
void launch(Kernel kernel, unsigned blocks, int threads, size_t shared_bytes, const Arguments&... arguments) {
  setvbuf(stdout, nullptr, _IONBF, 0);  // what a kernel prints is there even if it stops the process
  gridDim.x = blocks;
  for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) {
    shared_memory().reset(new char[shared_bytes]);
    std::memset(shared_memory().get(), 0xff, shared_bytes);  // NaN in every type
    Block::run(static_cast<unsigned>(threads), [&] { kernel(arguments...); });
  }
}
