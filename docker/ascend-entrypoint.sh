#!/bin/bash
# Sets CANN up and becomes the service, so that signals reach it. ASCEND_SET_ENV names another set_env.sh.
set -e
set_env=${ASCEND_SET_ENV:-/usr/local/Ascend/ascend-toolkit/set_env.sh}
if [ ! -r "$set_env" ]; then
    echo "abinet: $set_env is not there: build on an image with CANN, or name its set_env.sh in ASCEND_SET_ENV" >&2
    exit 2
fi
# The driver's libraries are the host's, mounted when the container starts.
driver=/usr/local/Ascend/driver/lib64
export LD_LIBRARY_PATH=$driver:$driver/common:$driver/driver${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
# shellcheck source=/dev/null
source "$set_env"
exec abinet "$@"
