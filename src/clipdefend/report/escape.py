"""Text of runs inside other formats: names are anybody's, and must not become markup."""

from __future__ import annotations

import re
import unicodedata

from clipdefend.console import one_line

LONGEST = 120

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def tidy(text: str, longest: int = LONGEST) -> str:
    """One line without control characters and marks that turn the direction of text, cut to a length."""
    line = "".join(
        sign for sign in one_line(text) if unicodedata.category(sign) not in ("Cc", "Cf", "Cs", "Co", "Cn")
    )
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def escape_markdown(text: str, longest: int = LONGEST) -> str:
    """Text for a cell of a Markdown table, or for a line."""
    escaped = re.sub(r"([\\`*_\[\]|~#])", r"\\\1", tidy(text, longest))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def escape_latex(text: str) -> str:
    """Text for LaTeX."""
    return "".join(_LATEX.get(sign, sign) for sign in tidy(text))


def csv_cell(text: str) -> str:
    """Text for a CSV cell that no spreadsheet takes for a formula."""
    line = tidy(text)
    return f"'{line}" if line.startswith(("=", "+", "-", "@")) else line


def slug(text: str) -> str:
    """Text as a part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "unnamed"


def percent(share: float, digits: int = 1) -> str:
    """A share in percent, without the sign."""
    return f"{100 * share:.{digits}f}"
