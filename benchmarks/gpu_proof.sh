#!/usr/bin/env bash
# Prove the GPU path on a machine that may have PyTorch alone and no network, in at most 8 minutes.
#
#   benchmarks/gpu_proof.sh --collect 3.12     collect the wheels for that Python into wheels/, online
#   benchmarks/gpu_proof.sh [FOLDER]           run every step; the results are FOLDER/results.jsonl
#   benchmarks/gpu_proof.sh --quick [FOLDER]   the same steps, tiny, on this machine's CPU
#
# A step that fails or takes too long is recorded, and the next one runs. PYTHON is the Python to use.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-$(command -v python3)}

if [ "${1:-}" = --collect ]; then
    exec "$python" -m pip download --no-deps --only-binary=:all: --python-version "${2:-3.12}" \
        -c constraints.txt -d wheels monai pytorch-ignite nibabel fire termcolor importlib_resources \
        pytest pytest-timeout pluggy iniconfig hypothesis sortedcontainers
fi
quick=; times=1
[ "${1:-}" = --quick ] && { quick=--quick; times=10; shift; }
out=${1:-runs/gpu-proof}
mkdir -p "$out"
out=$(cd "$out" && pwd)
results=$out/results.jsonl
: > "$results"
if [ -d wheels ] && [ -z "$quick" ]; then
    "$python" -m pip install --quiet --no-index --no-deps --target "$out/site" wheels/*.whl
fi
export PYTHONPATH="$PWD:$out/site" PYTHONUNBUFFERED=1

step() {  # NAME SECONDS COMMAND...
    local name=$1 limit=$(($2 * times)) begun=$SECONDS status=0
    shift 2
    timeout -k 5 "$limit" "$@" > "$out/$name.log" 2>&1 || status=$?
    grep '^{"result"' "$out/$name.log" >> "$results"
    echo "{\"step\": \"$name\", \"status\": $status, \"seconds\": $((SECONDS - begun))}" >> "$results"
    tail -n 1 "$results"
}
prove() { step "$1" "$2" "$python" benchmarks/gpu_proof.py "$1" "$out" $quick; }

prove machine 25
step tests 80 "$python" -m pytest -q -p no:cacheprovider -m gpu tests/bundles/test_gpu.py
prove photographs 70
prove volumes 50
prove compiled 80
prove killed 45
prove predict 50
prove dice 80
cat "$results"
