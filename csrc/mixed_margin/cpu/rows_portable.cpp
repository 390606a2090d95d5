// The CPU kernels for every processor of the architecture.
#include "mixed_margin/cpu/rows_kernel.h"

namespace lt_fast::cpu {

InstructionSet portable_kernels() { return {kernels<Floats, float>(), kernels<Doubles, double>()}; }

}  // namespace lt_fast::cpu
