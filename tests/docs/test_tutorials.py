"""What a tutorial tells to write works as it stands: its files, its registry line and its test, in a scratch copy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
TUTORIALS = ROOT / "docs" / "tutorials"
BLOCK = re.compile(r'^```python title="(?P<path>[^"]+)"\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL)


class Case(NamedTuple):
    """A tutorial, the name that it registers, and the tests of that name that must pass."""

    page: str
    name: str
    tests: tuple[str, ...]


TESTS = ("tests/test_architecture.py",)
CASES = [
    Case("add-an-attack", "frame", ("tests/attacks",)),
    Case("add-a-term", "uniformity", ("tests/objectives",)),
    Case("add-a-defence", "pruning", ("tests/defences",)),
    Case("add-a-data-format", "arrow", ("tests/data/test_arrow_pairs.py",)),
]


def scratch_copy(folder: Path) -> None:
    """The source and the tests in a folder of their own; the assets are linked."""
    source = folder / "src" / "clipdefend"
    shutil.copytree(
        ROOT / "src" / "clipdefend", source, ignore=shutil.ignore_patterns("__pycache__", "assets")
    )
    (source / "assets").symlink_to(ROOT / "src" / "clipdefend" / "assets")
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__", "docs"))
    shutil.copy(ROOT / "pyproject.toml", folder)


def write(folder: Path, page: str) -> list[str]:
    """Carry out what a tutorial says: write its new files, put its lines into existing ones; returns their paths."""
    paths = []
    for block in BLOCK.finditer((TUTORIALS / f"{page}.md").read_text(encoding="utf-8")):
        path, text = folder / block["path"], block["text"]
        paths.append(block["path"])
        if path.exists():
            existing = path.read_text(encoding="utf-8")
            for line in filter(None, text.splitlines()):
                existing = insert(existing, line)
            text = existing
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return paths


def insert(text: str, line: str) -> str:
    """Put one line where a reader would.

    An import goes before those of the same package, an assignment takes the place of the one before, an entry of a
    registry goes to the end of its dict.
    """
    package = re.match(r"from ([\w.]+)\.\w+ import", line)
    if package:
        start = re.search(rf"^from {re.escape(package[1])}\.", text, re.MULTILINE)
        assert start is not None
        return f"{text[: start.start()]}{line}\n{text[start.start() :]}"
    name = re.match(r"(\w+) = ", line)
    if name:
        changed, count = re.subn(rf"^{name[1]} = .*$", line, text, flags=re.MULTILINE)
        assert count == 1
        return changed
    end = text.index("\n    },\n")
    return f"{text[:end]}\n{line}{text[end:]}"


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.page)
def test_a_tutorial_needs_nothing_but_what_it_tells(case: Case, tmp_path: Path) -> None:
    scratch_copy(tmp_path)
    written = write(tmp_path, case.page)
    # The copy of the source is no part of the coverage.
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            *TESTS,
            *case.tests,
            "-k",
            case.name,
        ],
        cwd=tmp_path,
        env={**unmeasured, "PYTHONPATH": str(tmp_path / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for check in (["check"], ["format", "--check"]):
        linted = subprocess.run(
            [sys.executable, "-m", "ruff", *check, "--no-cache", *written],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert linted.returncode == 0, linted.stdout + linted.stderr
