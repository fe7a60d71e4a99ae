"""What to install if a package is missing: serving needs no extra, everything else has one."""

_EXTRA_OF = {
    "ray": "ray",
    "pyarrow": "ray",
    "torch": "torch",
    "opentelemetry": "tracing",
    "pillow_heif": "formats",
    "grpc": "grpc",
}


def remedy(missing: str) -> str:
    """The line for a user whose environment lacks a module: it names the extra that brings it."""
    package = missing.partition(".")[0]
    extra = _EXTRA_OF.get(package, "train")
    return (
        f"{package} is not installed: run it as `uv run --extra {extra} abinet ...`, "
        f"or pip install 'abinet-ascend[{extra}]'"
    )
