// Registers the schemas. The CPU library holds them: it is loaded first, and alone where there is no GPU.
#include "torch_api/schema.h"

#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(lt_fast, m) {
  m.def(lt_fast::kForwardSchema);
  m.def(lt_fast::kRawForwardSchema);
  m.def(lt_fast::kBackwardSchema);
  m.def(lt_fast::kRescaleSchema);
  m.def(lt_fast::kInstructionSetSchema);
  m.def(lt_fast::kOldestGpuSchema);
}
