"""Small pieces of Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# Angle brackets, pipes and asterisks of help texts are meant literally.
_SPECIAL = re.compile(r"([<>|*_\[\]`])")


def literal(text: str) -> str:
    """Escape a plain text for a table cell or a paragraph; ``code`` in double backticks stays code."""
    pieces = " ".join(text.split()).split("``")
    return "".join(
        code(piece) if odd % 2 else _SPECIAL.sub(r"\\\1", piece) for odd, piece in enumerate(pieces)
    )


def code(text: object) -> str:
    """Code in a table cell; nothing for an empty text."""
    shown = str(text)
    # HTML, since a pipe would end the cell even in backticks.
    return f"<code>{_html(shown)}</code>" if shown else ""


def _html(text: str) -> str:
    for character, entity in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        (">", "&gt;"),
        ("|", "&#124;"),
        ("_", "&#95;"),
        ("*", "&#42;"),
    ):
        text = text.replace(character, entity)
    return text


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells are Markdown already."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def fenced(text: str, language: str) -> str:
    """A block of code."""
    return f"```{language}\n{text.rstrip()}\n```\n"
