#!/bin/sh
# The tests of the CPU op under AddressSanitizer and UndefinedBehaviorSanitizer, once for each instruction set that this
# processor has. Any finding ends the run.
#
# The library is the usual one with the sanitizers compiled in, in a copy of the package (links to its modules, its own
# _ops), so that the installation stays as it is. Python itself knows nothing of the sanitizers: their runtime is loaded
# before it, libstdc++ with it, whose exceptions AddressSanitizer takes over. Leaks are not looked for, as Python frees
# little at its end.
set -eu
cd "$(dirname "$0")/.."
PYTHON=$PWD/${PYTHON:-.venv/bin/python}
CXX=${CXX:-g++}
BUILD=$PWD/build/sanitize
# Not here: steps of torch.compile, which run the same kernels and take long; tests of other processes with libraries of their own, which the preloaded runtime would meet as well.
TESTS=${TESTS:-"tests/ops --ignore tests/ops/test_backend.py --ignore tests/ops/test_surroundings.py --ignore tests/ops/test_cuda.py"}
CHOICE="not compile and not numpys_numbers"

rm -rf "$BUILD"
mkdir -p "$BUILD/objects" "$BUILD/python/lt_fast/_ops"
for path in python/lt_fast/*; do
  test "$(basename "$path")" = _ops || ln -s "$PWD/$path" "$BUILD/python/lt_fast/"
done

torch=$("$PYTHON" -c "import importlib.util, os; print(os.path.dirname(importlib.util.find_spec('torch').origin))")
flags="-std=c++17 -g -fPIC -fvisibility=hidden -fopenmp-simd -DTORCH_TARGET_VERSION=0x020a000000000000ULL"
checks="-O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all"
machine=$(uname -m)
sets=portable
if [ "$machine" = x86_64 ]; then
  if grep -qw avx2 /proc/cpuinfo; then sets="$sets avx2"; fi
  if grep -qw avx512bw /proc/cpuinfo; then sets="$sets avx512"; fi
else
  flags="$flags -DLT_FAST_PORTABLE_ONLY"
fi

# compile SOURCE SET FLAGS...: with the sanitizers if the set runs here; the linker wants the others, too
compile() {
  source=$1 set=$2
  shift 2
  case " $sets all " in
    *" $set "*) set -- "$@" $checks ;;
    *) set -- "$@" -O0 ;;
  esac
  $CXX $flags "$@" -Icsrc -isystem "$torch/include" -c "csrc/$source.cpp" \
    -o "$BUILD/objects/$(basename "$source").o"
}

echo "building the op with the sanitizers"
compile torch_api/schema all
compile torch_api/cpu all
compile mixed_margin/cpu/instruction_set all
compile mixed_margin/cpu/rows_portable portable
if [ "$machine" = x86_64 ]; then
  compile mixed_margin/cpu/rows_avx2 avx2 -mavx2 -mfma
  compile mixed_margin/cpu/rows_avx512 avx512 -mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma
fi
$CXX -shared -fsanitize=address,undefined "$BUILD"/objects/*.o -L"$torch/lib" -Wl,--no-as-needed -ltorch_cpu \
  -Wl,--version-script=csrc/torch_api/local.map -o "$BUILD/python/lt_fast/_ops/liblt_fast_cpu.so"

runtime="$($CXX -print-file-name=libasan.so) $($CXX -print-file-name=libubsan.so) $($CXX -print-file-name=libstdc++.so)"
for set in $sets; do
  echo "sanitizers, $set kernels"
  LD_PRELOAD="$runtime" ASAN_OPTIONS=detect_leaks=0:detect_odr_violation=0 UBSAN_OPTIONS=print_stacktrace=1 \
    PYTHONPATH="$BUILD/python" LT_FAST_BACKEND=cpu LT_FAST_INSTRUCTION_SET=$set OMP_NUM_THREADS=${OMP_NUM_THREADS:-2} \
    "$PYTHON" -m pytest -q -x -p no:cacheprovider -k "$CHOICE" $TESTS
done
