#!/bin/sh
# Makes the images' lock files: requirements.lock without what only training and tests need, but with gRPC, so that an
# image runs the very versions that were tested; and that of .ci/ray. Needs uv; run it after requirements.lock was made again.
set -eu
cd "$(dirname "$0")/.."

lock() {
    output=$1
    shift
    rm -f "$output"
    uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-emit-index-url \
        --no-emit-find-links --no-emit-package abinet-client --custom-compile-command docker/lock.sh --output-file "$output" "$@" >/dev/null
}

lock docker/cpu.lock --extra grpc --constraint requirements.lock pyproject.toml
# Without MindSpore and what it brings: there MindSpore Lite's wheel runs the graphs.
echo "mindspore; python_version < '3'" |
    lock docker/ascend.lock --extra grpc --constraint requirements.lock --override - pyproject.toml
# What builds the project's own wheel.
sed -n 's/^requires = \["\(.*\)"\]$/\1/p' pyproject.toml | lock docker/build.lock -
# Ray, and what its tests import, without MindSpore as well: they run the simulated engine.
override=$(mktemp)
trap 'rm "$override"' EXIT
echo "mindspore; python_version < '3'" >"$override"
printf '%s\n' fonttools pillow pytest |
    lock .ci/ray.lock --constraint requirements.lock --override "$override" --extra ray pyproject.toml -
