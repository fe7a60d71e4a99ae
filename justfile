# The usual commands: https://just.systems

# Lint, format and types
check:
    uv run --group dev ruff check
    uv run --group dev ruff format --check
    uv run --group dev mypy

# All tests, or those that are named
test *arguments:
    uv run --group dev pytest {{arguments}}

# Hostile images for every decoder
fuzz seconds="180":
    uv run --group dev python -m tests.support.hostile_images --seconds {{seconds}}
