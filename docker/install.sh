#!/bin/sh
# The images' installation, step by step; .ci/run takes the same steps into an empty folder.
#   docker/install.sh dependencies PREFIX LOCK    a virtual environment with the packages of a lock file
#   docker/install.sh cpu-only PREFIX             MindSpore without its libraries for GPUs and NPUs
#   docker/install.sh wheel PREFIX FILE           a wheel that no package index has
#   docker/install.sh service PREFIX              the project itself and its client, built here
#   docker/install.sh model PREFIX                the bundled model as a bundle in PREFIX/cache
# Needs Python 3.10 to 3.12 with pip as python3, and runs where the project lies.
set -eu
step=$1 prefix=$2
export PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1

into_prefix() {
    python3 -m pip --python "$prefix/bin/python" install --quiet --no-cache-dir --no-deps "$@"
}

case $step in
dependencies)
    python3 -m venv --without-pip "$prefix"
    into_prefix --require-hashes --requirement "$3"
    ;;
cpu-only)
    cd "$prefix"/lib/python3.*/site-packages/mindspore
    rm -r include lib/plugin/ascend lib/plugin/gpu* lib/plugin/libmindspore_*ascend* lib/plugin/libmindspore_gpu*
    ;;
wheel)
    into_prefix --no-index "$3"
    ;;
service)
    build=$(mktemp -d)
    python3 -m pip install --quiet --no-cache-dir --require-hashes --target "$build" --requirement docker/build.lock
    PYTHONPATH=$build into_prefix --no-index --no-build-isolation ./clients .
    rm -r "$build"
    ;;
model)
    # Away from the sources: the installed service must find its model by itself.
    cd "$(mktemp -d)"
    ABINET_CACHE=$prefix/cache "$prefix/bin/python" -c \
        "import sys; from service.bundled import bundled_model; print(bundled_model(sys.executable))"
    ;;
*)
    echo "docker/install.sh: no step $step" >&2
    exit 2
    ;;
esac
