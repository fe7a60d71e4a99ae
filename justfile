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

# Hostile images for every decoder
fuzz seconds="180":
    uv run python -m tests.support.hostile_images --seconds {{seconds}}
