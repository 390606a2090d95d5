#!/bin/sh
# Proves one wheel on several releases of torch: each in an environment of its own under build/, deleted afterwards,
# outside the clone's package, with that release's own numpy and nothing of the developer's tools but pytest and
# hypothesis. Each takes about two minutes and 5 to 7 GB of disk.
#
# A torch before 2.10 has to compute with the reference implementation, and to say so; 2.6.0 is the oldest that pyproject.toml allows.
#
#   scripts/torch-matrix.sh [VERSION ...]     torch releases, or "newest"; 2.6.0 2.10.0 2.13.0 newest by default
#   WHEEL=FILE                                the wheel to prove; the one in dist/ by default, built if there is none
#   PYTHON=PROGRAM                            the Python of the environments; python3 by default
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
work=$root/build/torch-matrix
[ $# -gt 0 ] || set -- 2.6.0 2.10.0 2.13.0 newest

wheel=${WHEEL:-}
if [ -z "$wheel" ]; then
    ls "$root"/dist/lt_fast-*_$(uname -m).whl >/dev/null 2>&1 || make -C "$root" wheel
    wheel=$(ls -t "$root"/dist/lt_fast-*_$(uname -m).whl | head -n 1)
fi
wheel=$(realpath "$wheel")

has_stable_abi() {
    venv/bin/python -c 'import torch; raise SystemExit(tuple(map(int, torch.__version__.split(".")[:2])) < (2, 10))'
}

# What an older torch has to do: compute, and warn once.
OLD='
import torch, warnings, lt_fast as lt
assert lt.ops.backend() == "reference"
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for _ in range(2):
        lt.ops.mixed_margin_loss(torch.randn(4, 3), torch.tensor([0, 1, 2, 0]))
(one,) = [str(each.message) for each in said if "fused op" in str(each.message)]
assert "need torch 2.10 or newer" in one, one
'

# prove VERSION: 0 if the wheel works under this torch
prove() {
    here=$work/$1
    rm -rf "$here" && mkdir -p "$here/tests"
    torch=torch==$1
    [ "$1" != newest ] || torch=torch
    "${PYTHON:-python3}" -m venv "$here/venv"
    "$here/venv/bin/pip" install --quiet --no-cache-dir --disable-pip-version-check \
        "$wheel" "$torch" pytest hypothesis >"$here/pip.log" 2>&1 || { tail -n 5 "$here/pip.log"; return 1; }
    cp -r "$root/tests/ops" "$root/tests/test_every_loss.py" "$root/tests/reference.py" "$here/tests/"
    # No settings of the clone's: they would put its own package in front of the installed one.
    pytest="venv/bin/python -m pytest -c /dev/null --rootdir=. -q -p no:cacheprovider --import-mode=importlib
        -W ignore::pytest.PytestUnknownMarkWarning"
    cd "$here" || return 1
    export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" PYTHONPATH="$here/tests"
    venv/bin/python -c 'import torch, numpy, lt_fast
print("torch", torch.__version__, "numpy", numpy.__version__, "lt_fast", lt_fast.__file__)' || return 1
    if has_stable_abi; then
        export LT_FAST_BACKEND=cpu # a library that does not load is an error here, not a fallback
        $pytest tests/ops -k opcheck && $pytest tests/ops -k "not opcheck" || return 1
    else
        export LT_FAST_BACKEND=reference
        $pytest tests/ops || return 1
        unset LT_FAST_BACKEND
        venv/bin/python -W error::RuntimeWarning -c "$OLD" || return 1
    fi
    $pytest tests/test_every_loss.py -k compiles || return 1 # an older compiler cannot trace all that a newer one can
    unset LT_FAST_BACKEND
    venv/bin/lt-fast doctor
}

mkdir -p "$work"
failed=
for version; do
    echo "== torch $version, $(basename "$wheel")"
    (prove "$version") || failed="$failed $version"
    rm -rf "$work/$version"
done
[ -z "$failed" ] || { echo "torch-matrix: failed for$failed" >&2; exit 1; }
echo "torch-matrix: the wheel works with $*"
