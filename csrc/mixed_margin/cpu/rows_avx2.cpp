// The CPU kernels for processors with AVX2 and FMA: compiled with -mavx2 -mfma.
#include "mixed_margin/cpu/rows_kernel.h"

namespace lt_fast::cpu {

InstructionSet avx2_kernels() { return {kernels<Floats, float>(), kernels<Doubles, double>()}; }

}  // namespace lt_fast::cpu
