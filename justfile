# The usual commands: https://just.systems

# Lint, format, types and the arrows between packages
check:
    uv run --group dev ruff check
    uv run --group dev ruff format --check
    uv run --group dev mypy
    uv run --group dev lint-imports

# All tests, or those that are named
test *arguments:
    uv run --group dev pytest {{arguments}}

# The tests that start no service, export nothing and train nothing: a minute
test-fast:
    uv run --group dev pytest -m "not slow"

# What the tests run through, also in the processes that they start
coverage *arguments: coverage-begin (coverage-part arguments) coverage-report

# The same in parts: first this, then a part for each folder of tests, then the report
coverage-begin:
    rm -rf .coverage && mkdir .coverage

coverage-part *arguments:
    uv run --group dev coverage run -m pytest {{arguments}}

coverage-report:
    uv run --group dev coverage combine --quiet
    uv run --group dev coverage report --show-missing

# Processes of a service killed, stopped and starved under load, each so many times; the tests do it once
chaos rounds="10":
    ABINET_CHAOS_ROUNDS={{rounds}} uv run --group dev pytest -m chaos

# Hostile images for every decoder
fuzz seconds="180":
    uv run --group dev python -m tests.support.hostile_images --seconds {{seconds}}

# Requests made from the description of the interface
fuzz-http seconds="180":
    uv run --group dev python -m tests.support.hostile_interface --seconds {{seconds}}

# What others wait beside hostile requests of 8 MiB
hostile *arguments:
    uv run --group dev python -m tests.support.hostile_requests {{arguments}}

# The service beside rivals, and its scenarios
bench *arguments:
    uv run --group benchmark python -m benchmarks.serving {{arguments}}

# The tables of the service in docs/performance.md: measured again in seven minutes; `sets` has the set iiit5k_train
figures sets:
    #!/usr/bin/env bash
    set -euo pipefail
    measure() {
        uv run --group benchmark python -m benchmarks.serving "${@:2}" --json > "$1.part"
        mv "$1.part" "docs/figures/$1.json"
    }
    lite=(--engine lite --worker-python .venv-lite/bin/python)
    measure serving_no_op no-op --seconds 3 --rounds 2
    measure serving_no_op_two_fronts no-op --seconds 3 --rounds 2 --fronts 2 --clients 64 --rivals mosec
    measure serving_throughput throughput --seconds 4 --rounds 3
    measure throughput_lite throughput --seconds 4 --rounds 3 "${lite[@]}"
    measure serving_idle idle
    measure serving_early_stop early-stop --labels "{{sets}}/iiit5k_train"
    measure serving_start start
    measure serving_start_lite start "${lite[@]}"
    measure serving_goodput goodput --seconds 5
    measure serving_fairness fairness --seconds 5
    measure serving_memory memory
    measure serving_soak soak --seconds 60
    measure cost cost
    just docs

# The documentation's tables from docs/figures, and a look at its links and paths
docs:
    uv run --group dev python benchmarks/doc_tables.py
    uv run --group dev pytest tests/project/test_docs.py

# The wheels, built, installed and run on each Python
release:
    .ci/wheels 3.10 3.11 3.12

# The messages of gRPC from service/grpc/protocol/*.proto; a release of the compiler whose code any protobuf from 6.31 on runs
grpc-protocol:
    uvx --python 3.11 --from grpcio-tools==1.76.0 python -m grpc_tools.protoc -I . --python_out . --pyi_out . service/grpc/protocol/grpc_service.proto service/grpc/protocol/model_config.proto
