// Copies from memory to shared memory that go on while their thread computes. A thread waits for its own copies alone.
#pragma once

#include <cuda_runtime.h>

namespace lt_fast::cuda {

#if defined(__CUDACC__)

// The shared memory that the launch asks for.
__device__ inline void* staged_memory() {
  extern __shared__ uint4 memory[];
  return memory;
}

// The first `bytes` of 16 are copied, the others become 0. Both addresses are multiples of 16.
__device__ inline void copy_async(void* shared, const void* memory, int bytes) {
#if __CUDA_ARCH__ >= 800
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(memory), "r"(bytes) : "memory");
#else
  char* to = static_cast<char*>(shared);
  for (int i = 0; i < 16; ++i) to[i] = i < bytes ? static_cast<const char*>(memory)[i] : 0;
#endif
}

// Ends a group of copies, also an empty one.
__device__ inline void end_copies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits for all groups, or for all but the last one.
__device__ inline void wait_for_copies(bool but_the_last) {
#if __CUDA_ARCH__ >= 800
  if (but_the_last) {
    asm volatile("cp.async.wait_group 1;" ::: "memory");
  } else {
    asm volatile("cp.async.wait_group 0;" ::: "memory");
  }
#endif
}

#endif  // the tests on a CPU bring their own

}  // namespace lt_fast::cuda
