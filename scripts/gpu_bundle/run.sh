#!/bin/sh
# Runs the steps of the bundle on this machine; README.md lists them and their settings. A step that fails does not keep
# the next one from running: the last line says which ones failed.
set -u
cd "$(dirname "$0")" || exit 1
export OUT="${OUT:-results}" DEVICE="${DEVICE:-cuda}" PYTHONUNBUFFERED=1
PYTHON="${PYTHON:-python3}"
trainings=
for seed in 0 1 2; do
    trainings="$trainings mammc:200:$seed:transform=autoaugment mc:200:$seed:transform=autoaugment"
    trainings="$trainings balanced_softmax:200:$seed:transform=autoaugment"
    trainings="$trainings mammc:200:$seed mc:200:$seed ldam_drw:200:$seed"
done

[ $# -gt 0 ] || set -- doctor tests bench loops train summary
for step; do
    case $step in
    doctor | tests | bench | loops | train | summary) ;;
    *) echo "step must be one of doctor, tests, bench, loops, train, summary, got $step" >&2; exit 2 ;;
    esac
done

mkdir -p "$OUT" && OUT=$(cd "$OUT" && pwd)
"$PYTHON" install.py wheels site || exit 1
PYTHONPATH="$PWD/site:$PWD/tests:$PWD"
export PYTHONPATH

doctor() {
    nvidia-smi -L 2>/dev/null
    "$PYTHON" -m lt_fast.cli doctor
} >"$OUT/doctor.txt" 2>&1

# No settings of a project, and no cache: the folder may be read-only.
tests() {
    timeout "${TEST_SECONDS:-200}" "$PYTHON" -m pytest tests/ops/test_cuda.py tests/training/test_step_cuda.py -c /dev/null --rootdir=. -q -rs \
        -p no:cacheprovider --import-mode=importlib
} >"$OUT/tests.txt" 2>&1

bench() {
    seconds="${BENCH_SECONDS:-300}"
    # shellcheck disable=SC2086
    timeout $((seconds + 60)) "$PYTHON" -m benches.cuda --device "$DEVICE" --seconds "$seconds" \
        --csv "$OUT/cuda.csv" ${BENCH:-} || return 1
    ncu_of_bench
} >"$OUT/bench.txt" 2>&1

# What the memory did while the kernel ran, by NVIDIA's profiler where the machine has it and lets it read the counters.
ncu_of_bench() {
    command -v ncu >/dev/null || { echo "no ncu on this machine"; return 0; }
    timeout 120 ncu --kernel-name regex:forward_ --launch-count 3 \
        --metrics dram__bytes.sum.per_second,dram__throughput.avg.pct_of_peak_sustained_elapsed \
        "$PYTHON" -m benches.cuda --device "$DEVICE" --shapes 16384x8142 --dtypes float32 --no-compile \
        --csv "$OUT/ncu.csv" || echo "ncu failed"
} >"$OUT/ncu.txt" 2>&1

# In float32 and under bfloat16 autocast.
loops() {
    for amp in "" --amp; do
        # shellcheck disable=SC2086
        timeout "${LOOPS_SECONDS:-120}" "$PYTHON" -m benches.training --device "$DEVICE" $amp \
            --csv "$OUT/training$amp.csv" ${LOOPS:-} || return 1
    done
} >"$OUT/loops.txt" 2>&1

train() {
    [ -f "${DATA:-data}/cifar100-lt.npz" ] || { echo "no ${DATA:-data}/cifar100-lt.npz: nothing to train on"; return 0; }
    # shellcheck disable=SC2086
    "$PYTHON" trainings.py --data "${DATA:-data}" --device "$DEVICE" --seconds "${TRAIN_SECONDS:-600}" \
        --width "${WIDTH:-4}" --out "$OUT" ${TRAININGS:-$trainings}
} >"$OUT/train.txt" 2>&1

summary() { "$PYTHON" summary.py "$OUT" >"$OUT/summary.md"; }

failed=
for step; do
    begin=$(date +%s)
    "$step" || failed="$failed $step"
    echo "$step: $(($(date +%s) - begin)) s"
done
[ ! -f "$OUT/summary.md" ] || cat "$OUT/summary.md"
[ -z "$failed" ] || { echo "failed:$failed; their words are in $OUT" >&2; exit 1; }
