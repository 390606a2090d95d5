#include "mixed_margin/cpu/instruction_set.h"

#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#ifdef _WIN32
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif

namespace lt_fast::cpu {
namespace {

#if defined(__x86_64__)

// The processor is asked here, not by __builtin_cpu_supports: that reads a table of the compiler's library, which Clang does
// not link on Windows and which stays empty where zig has linked (the wheel for glibc 2.28).
struct Processor {
  bool avx2, fma, avx512;

  Processor() : avx2(false), fma(false), avx512(false) {
    int highest[4], base[4], extended[4];  // eax, ebx, ecx, edx
    ask(0, highest);
    if (highest[0] < 7) return;
    ask(1, base);
    ask(7, extended);
    if (!bit(base[2], 27)) return;  // the system saves no wider registers
    const unsigned long long saved = registers_saved();
    const bool ymm = (saved & 0x6) == 0x6, zmm = (saved & 0xe6) == 0xe6;
    avx2 = ymm && bit(extended[1], 5);
    fma = ymm && bit(base[2], 12);
    avx512 = zmm && bit(extended[1], 16) && bit(extended[1], 17) && bit(extended[1], 30) && bit(extended[1], 31);
  }

 private:
  static void ask(int leaf, int (&words)[4]) {
#ifdef _WIN32
    __cpuidex(words, leaf, 0);
#else
    __cpuid_count(leaf, 0, words[0], words[1], words[2], words[3]);
#endif
  }
  static bool bit(int word, int position) { return static_cast<unsigned>(word) >> position & 1u; }
  __attribute__((target("xsave"))) static unsigned long long registers_saved() { return _xgetbv(0); }
};

Level best_level() {
  const Processor processor;
  if (processor.avx512) return Level::kAvx512;
  return processor.avx2 && processor.fma ? Level::kAvx2 : Level::kPortable;
}

#else

Level best_level() { return Level::kPortable; }

#endif

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
