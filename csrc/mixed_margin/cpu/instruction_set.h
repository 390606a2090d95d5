// Which instruction set this process uses, and its kernels.
#pragma once

#include "mixed_margin/cpu/rows.h"

namespace lt_fast::cpu {

enum class Level : int64_t { kPortable = 0, kAvx2 = 1, kAvx512 = 2 };

// The best level of this processor, or a lower one that LT_FAST_INSTRUCTION_SET names. Chosen once per process.
Level level();

// The kernels of that level.
const InstructionSet& kernels();

}  // namespace lt_fast::cpu
