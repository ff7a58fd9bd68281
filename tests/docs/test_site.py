"""Pages that are made from the code say all that the code has."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from clipdefend import __version__
from clipdefend.attacks import ATTACKS
from clipdefend.config import COMMANDS, leaves
from clipdefend.inversion import FAMILIES
from clipdefend.objectives import METHODS, TERMS

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "hooks"))

import architecture  # noqa: E402
import site_pages  # noqa: E402

MADE = site_pages.made_pages()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_and_key_of_a_command_is_on_its_page(command: str) -> None:
    page = MADE[f"reference/{command}.md"].replace("&#95;", "_")
    for path, leaf in leaves(COMMANDS[command]).items():
        assert f"<code>{path}</code>" in page
        for flag in leaf.spec.flags:
            assert re.search(rf"<code>{re.escape(flag)}[ <]", page), flag


def test_defaults_ranges_and_presets_are_those_of_the_dataclasses() -> None:
    (row,) = [line for line in MADE["reference/defend.md"].splitlines() if "<code>--lr X</code>" in line]
    assert [cell.strip() for cell in row.strip("|").split(" | ")][1:3] == [
        "number, above 0",
        "<code>4.5e-06</code><br>quick: <code>0.0005</code>",
    ]


def test_every_component_has_a_section() -> None:
    for page, names in (
        ("attacks", ATTACKS.names()),
        ("terms", TERMS.names()),
        ("families", FAMILIES.names()),
    ):
        assert re.findall("^## (.*)$", MADE[f"reference/{page}.md"], re.MULTILINE) == names
    for method in METHODS:
        assert f"<code>{method}</code>" in MADE["reference/methods.md"]


def test_the_picture_has_the_imports_and_leaves_out_what_follows(tmp_path: Path) -> None:
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "__init__.py").write_text('"""Commands."""\n')
    (tmp_path / "cli" / "main.py").write_text(
        "from clipdefend.runs.find import newest\nimport clipdefend.errors\n"
    )
    (tmp_path / "runs.py").write_text("def f():\n    from clipdefend import errors\n")
    (tmp_path / "errors.py").write_text("")
    (tmp_path / "__init__.py").write_text("")
    graph = architecture.imports(tmp_path)
    assert graph == {"cli": {"runs", "errors"}, "runs": {"errors"}, "errors": set()}
    assert architecture.reduce(graph) == {"cli": {"runs"}, "runs": {"errors"}, "errors": set()}
    picture = architecture.picture(tmp_path)
    edges = re.findall(r'class="edge from-(\w+) to-(\w+)"', picture)
    assert sorted(edges) == [("cli", "runs"), ("runs", "errors")]
    assert "2 files, 3 lines" in picture


def test_the_citation_names_this_version() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
