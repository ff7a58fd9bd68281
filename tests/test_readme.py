"""The README's commands are those that CI and the examples run, it stays short, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def fenced(text: str) -> list[str]:
    """Lines of the README's code blocks."""
    lines, inside = [], False
    for line in text.splitlines():
        if line.startswith("```"):
            inside = not inside
        elif inside:
            lines.append(line)
    return lines


def test_ci_runs_the_test_command_of_the_readme_word_for_word() -> None:
    commands = fenced((ROOT / "README.md").read_text(encoding="utf-8"))
    (test_command,) = [line for line in commands if "tests/run.sh" in line]
    assert test_command in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()


def test_quickstart_runs_the_five_commands_of_the_readme() -> None:
    commands = fenced((ROOT / "README.md").read_text(encoding="utf-8"))
    shown = [
        line.split("#")[0].strip() for line in commands if line.startswith("clipdefend ") and "# " in line
    ]
    script = (ROOT / "examples/quickstart.sh").read_text(encoding="utf-8").splitlines()
    assert [line for line in script if line.startswith("clipdefend ")] == shown[:5]


def test_the_readme_has_at_most_150_lines() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_of_the_root_lead_to_files_and_headings(name: str) -> None:
    """Pages below docs/ are checked by MkDocs."""
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", (ROOT / name).read_text(encoding="utf-8"))
    assert links or name == "CHANGELOG.md"
    for path, anchor in links:
        target = ROOT / path
        assert target.is_file(), path
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w]+", "-", heading.lower()).strip("-") for heading in headings]
