# The usual commands: https://just.systems

# Lint, format, types and the arrows between packages
check:
    uv run ruff check
    uv run ruff format --check
    uv run mypy
    uv run lint-imports

# All tests, or those that are named
test *arguments:
    uv run pytest {{arguments}}

# The tests that start no service, export nothing and train nothing: a minute
test-fast:
    uv run pytest -m "not slow"

# What the tests run through, also in the processes that they start
coverage *arguments:
    rm -rf .coverage && mkdir .coverage
    uv run coverage run -m pytest {{arguments}}
    uv run coverage combine --quiet
    uv run coverage report

# Hostile images for every decoder
fuzz seconds="180":
    uv run python -m tests.support.hostile_images --seconds {{seconds}}

# The service beside rivals, and its scenarios
bench *arguments:
    uv run --group benchmark python benchmarks/serving.py {{arguments}}

# The documentation's tables from docs/figures, and a look at its links and paths
docs:
    uv run python benchmarks/doc_tables.py
    uv run pytest tests/project/test_docs.py

# The wheels, built, installed and run on each Python
release:
    .ci/wheels 3.10 3.11 3.12
