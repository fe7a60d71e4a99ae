"""What the documentation names is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PAGES = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("clients/*.md")])
_PATH = re.compile(r"`((?:service|models|export|clients|tests|benchmarks|docker)/[\w./-]+)`")
_LINK = re.compile(r"\]\(([\w./-]+\.(?:md|webp|png))(?:#([\w-]+))?\)")


def _of_pages(pattern: re.Pattern[str]) -> list[tuple[Path, str]]:
    pages = [page for page in PAGES if page.name != "CHANGELOG.md"]
    return [(page, name) for page in pages for name in pattern.findall(page.read_text(encoding="utf-8"))]


def test_every_path_in_the_docs_exists() -> None:
    missing = {f"{page.name}: {path}" for page, path in _of_pages(_PATH) if not (PROJECT / path).exists()}
    assert not missing


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_link_in_a_page_leads_somewhere(page: Path) -> None:
    for target, anchor in _LINK.findall(page.read_text(encoding="utf-8")):
        file = page.parent / target
        assert file.exists(), target
        assert not anchor or anchor in _anchors(file), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_prose_has_lines_of_120_columns_at_most(page: Path) -> None:
    is_code, long = False, []
    for line in page.read_text(encoding="utf-8").splitlines():
        is_code ^= line.lstrip().startswith("```")
        if len(line) > 120 and not is_code and not line.startswith(("|", "    ")):
            long.append(line)
    assert not long


def test_tables_are_those_of_the_figures_that_were_measured() -> None:
    command = [sys.executable, str(PROJECT / "benchmarks" / "doc_tables.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
