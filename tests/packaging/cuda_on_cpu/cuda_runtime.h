// Stands in for CUDA's header where there is no GPU: a block's threads run as fibers of one CPU thread,
// blocks one after the other. A thread runs until it waits for others, so every barrier and every shuffle is
// really met by all.
#pragma once

#include <cassert>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include <ucontext.h>

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __shared__ static  // one block at a time

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

 private:
  struct Meeting {
    unsigned here, round;
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

// What `kernel<<<blocks, threads>>>(call)` does.
template <class Kernel, class... Arguments>
void launch(Kernel kernel, unsigned blocks, int threads, const Arguments&... arguments) {
  setvbuf(stdout, nullptr, _IONBF, 0);  // what a kernel prints is there even if it stops the process
  gridDim.x = blocks;
  for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) {
    Block::run(static_cast<unsigned>(threads), [&] { kernel(arguments...); });
  }
}
