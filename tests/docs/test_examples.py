"""The Python sessions of the documentation print what they show."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
SESSION = re.compile(r"^```pycon\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = sorted(path for path in DOCS.rglob("*.md") if SESSION.search(path.read_text(encoding="utf-8")))


def test_every_page_of_the_python_api_has_an_example() -> None:
    assert set(DOCS.glob("api/*.md")) == {page for page in PAGES if page.parent.name == "api"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_sessions_print_what_they_show(page: Path) -> None:
    """The sessions of a page follow each other: they share their names."""
    text = "\n".join(SESSION.findall(page.read_text(encoding="utf-8")))
    flags = doctest.ELLIPSIS
    parsed = doctest.DocTestParser().get_doctest(text, {}, page.stem, str(page), 0)
    report: list[str] = []
    doctest.DocTestRunner(verbose=False, optionflags=flags).run(parsed, out=report.append)
    assert not report, "".join(report)
