#include "mixed_margin/cpu/instruction_set.h"

#include <cstdlib>
#include <cstring>

namespace lt_fast::cpu {
namespace {

Level best_level() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw"))
    return Level::kAvx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Level::kAvx2;
#endif
  return Level::kPortable;
}

Level chosen_level() {
  const Level best = best_level();
  const char* wish = std::getenv("LT_FAST_INSTRUCTION_SET");
  if (wish == nullptr) return best;
  const Level level = std::strcmp(wish, "portable") == 0 ? Level::kPortable
                      : std::strcmp(wish, "avx2") == 0   ? Level::kAvx2
                                                         : Level::kAvx512;
  return level < best ? level : best;
}

InstructionSet chosen_kernels() {
#if defined(__x86_64__)
  if (level() == Level::kAvx512) return avx512_kernels();
  if (level() == Level::kAvx2) return avx2_kernels();
#endif
  return portable_kernels();
}

}  // namespace

Level level() {
  static const Level chosen = chosen_level();
  return chosen;
}

const InstructionSet& kernels() {
  static const InstructionSet chosen = chosen_kernels();
  return chosen;
}

}  // namespace lt_fast::cpu
