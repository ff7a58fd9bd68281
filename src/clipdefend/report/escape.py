"""Escaping for the formats of a report.

Names of runs, classes and attacks come from other people's files, and must never become markup.
"""

from __future__ import annotations

import re
import unicodedata

from clipdefend.console import one_line

LONGEST = 120
"""Longest text by default, in characters."""

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def tidy(text: str, longest: int = LONGEST) -> str:
    """Return text as one line, without control characters and direction marks, cut to ``longest`` characters."""
    line = "".join(
        sign for sign in one_line(text) if unicodedata.category(sign) not in ("Cc", "Cf", "Cs", "Co", "Cn")
    )
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def escape_markdown(text: str, longest: int = LONGEST) -> str:
    """Escape text for a Markdown table or paragraph; see ``tidy``."""
    escaped = re.sub(r"([\\`*_\[\]|~#])", r"\\\1", tidy(text, longest))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def escape_latex(text: str) -> str:
    """Escape text for LaTeX; see ``tidy``."""
    return "".join(_LATEX.get(sign, sign) for sign in tidy(text))


def csv_cell(text: str) -> str:
    """Return text for a CSV cell, such that no spreadsheet takes it for a formula."""
    line = tidy(text)
    return f"'{line}" if line.startswith(("=", "+", "-", "@")) else line


def slug(text: str) -> str:
    """Return text as part of a file name: a to z, 0 to 9 and hyphens, at most 60 characters."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "unnamed"


def percent(share: float, digits: int = 1) -> str:
    """Format a fraction in percent, without the percent sign."""
    return f"{100 * share:.{digits}f}"
