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
    """Carry out what a tutorial says; returns the files.

    New files are written; a line for an existing one goes to the end of the dict in it.
    """
    paths = []
    for block in BLOCK.finditer((TUTORIALS / f"{page}.md").read_text(encoding="utf-8")):
        path, text = folder / block["path"], block["text"]
        paths.append(block["path"])
        if not path.exists():
            path.write_text(text, encoding="utf-8")
            continue
        before = path.read_text(encoding="utf-8")
        end = before.index("\n    },\n")  # of the registry's dict
        path.write_text(f"{before[:end]}\n{text.rstrip()}{before[end:]}", encoding="utf-8")
    return paths


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.page)
def test_a_tutorial_needs_nothing_but_what_it_tells(case: Case, tmp_path: Path) -> None:
    scratch_copy(tmp_path)
    written = write(tmp_path, case.page)
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
        env={**os.environ, "PYTHONPATH": str(tmp_path / "src")},
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
