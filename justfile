# The usual commands: https://just.systems

# Lint, format and types
check:
    uv run ruff check
    uv run ruff format --check
    uv run mypy

# All tests, or those that are named
test *arguments:
    uv run pytest {{arguments}}

# Hostile images for every decoder
fuzz seconds="180":
    uv run python -m tests.support.hostile_images --seconds {{seconds}}
