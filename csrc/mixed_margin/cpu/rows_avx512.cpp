// The CPU kernels for processors with AVX-512 F, DQ, VL and BW: compiled with -mavx512f -mavx512dq -mavx512vl -mavx512bw.
#include "mixed_margin/cpu/rows_kernel.h"

namespace lt_fast::cpu {

InstructionSet avx512_kernels() { return {kernels<Floats, float>(), kernels<Doubles, double>()}; }

}  // namespace lt_fast::cpu
