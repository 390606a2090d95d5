#!/bin/sh
# Names the first missing or too old tool in one line, with the command that gets it. Usage: check-tools.sh PYTHON
set -u

fail() {
    echo "make: $1" >&2
    exit 1
}

# at_least 1.95.0 1.89: true when the first version is not older than the second
at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

command -v "$1" >/dev/null || fail "$1 is missing; get it with: apt-get install python3 python3-venv (or pass PYTHON=...)"
python=$("$1" -c 'import platform; print(platform.python_version())')
at_least "$python" 3.11 || fail "$1 is $python, lt-fast needs >= 3.11; install one and run: make PYTHON=python3.11"
"$1" -c 'import venv, ensurepip' 2>/dev/null || fail "$1 has no venv module; get it with: apt-get install python3-venv"

install_rust="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
command -v cargo >/dev/null || fail "cargo (Rust) is missing; get it with: $install_rust"
rust=$(rustc --version | cut -d ' ' -f 2)
at_least "$rust" 1.89 || fail "rustc is $rust, lt-fast needs >= 1.89; get it with: rustup update stable"

command -v "${CXX:-g++}" >/dev/null || fail "${CXX:-g++} is missing; get it with: apt-get install g++"
gcc=$("${CXX:-g++}" -dumpversion)
at_least "$gcc" 11 || fail "${CXX:-g++} is $gcc, lt-fast needs >= 11; get it with: apt-get install g++-12, then CXX=g++-12 make"
