"""Fixtures that more than one test file needs."""

import contextlib
import os
import shutil
import signal
from pathlib import Path

import pytest

from export import lite_environment
from models.data.rendering.fonts import find_fonts
from tests.support.drawn_fonts import TEST_FAMILY, TRAIN_FAMILY, make_font

with contextlib.suppress(ImportError):  # Ray's environment has no Hypothesis
    from hypothesis import settings

    # No test depends on how fast the machine is.
    settings.register_profile("any machine", deadline=None)
    settings.load_profile("any machine")

# A shell's background job ignores Ctrl-C, and so would every process that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, as the service does."""
    return "asyncio"


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's root."""
    return PROJECT


@pytest.fixture(scope="session")
def lite_python() -> Path:
    """The interpreter of the Python 3.7 environment with MindSpore and MindSpore Lite 2.0.0.

    Made on first use. If it cannot be had the test skips with the reason, or fails if
    ABINET_REQUIRE_LITE=1 says that it must be there.
    """
    try:
        return lite_environment.make(PROJECT / lite_environment.DIRECTORY)
    except lite_environment.LiteEnvironmentError as error:
        if os.environ.get("ABINET_REQUIRE_LITE") == "1":
            raise
        pytest.skip(f"no MindSpore Lite: {error}")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium or Chrome.

    Where there is none the test skips, or fails if ABINET_REQUIRE_BROWSER=1 says that it must be there.
    """
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    if os.environ.get("ABINET_REQUIRE_BROWSER") == "1":
        pytest.fail("no Chromium; apt-get install chromium")
    pytest.skip("no Chromium; apt-get install chromium")


@pytest.fixture(scope="session")
def fonts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two drawn fonts, one of them held out for the test split."""
    folder = tmp_path_factory.mktemp("fonts")
    make_font(folder / "train.ttf", TRAIN_FAMILY, seed=1)
    make_font(folder / "test.ttf", TEST_FAMILY, seed=2)
    return find_fonts([folder])
