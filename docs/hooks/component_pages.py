"""The reference of what is registered: attacks, published variants, methods, terms, views and data formats."""

from __future__ import annotations

from docstrings import section
from markdown_text import code, fenced, literal, table

from clipdefend.attacks import ATTACKS
from clipdefend.attacks.published import PRESETS
from clipdefend.data.pair_formats import discover
from clipdefend.data.tables.text_columns import CAPTION_COLUMNS, IMAGE_COLUMNS
from clipdefend.defences import DEFENCES
from clipdefend.inversion import FAMILIES
from clipdefend.objectives import METHODS, TERMS
from clipdefend.objectives.views import IMAGE_VIEWS, TEXT_VIEWS


def pages() -> dict[str, str]:
    """Name -> page."""
    return {
        "attacks": attacks_page(),
        "published-attacks": published_page(),
        "methods": methods_page(),
        "terms": terms_page(),
        "views": views_page(),
        "families": families_page(),
    }


def attacks_page() -> str:
    """Every attack with its parameters."""
    lines = ["# Attacks", "", "`poison --attack NAME`; parameters by `--set attack.PARAMETER=VALUE`.", ""]
    return "\n".join([*lines, *(section(name, ATTACKS.get(name)) for name in ATTACKS.names())])


def families_page() -> str:
    """Every family of universal triggers that a scan searches for."""
    lines = ["# Families of triggers", "", "`scan --families NAME,NAME`: what is searched for.", ""]
    return "\n".join([*lines, *(section(name, FAMILIES.get(name)) for name in FAMILIES.names())])


def published_page() -> str:
    """The published variants, as command lines."""
    lines = ["# Published variants", "", "The triggers as the public repositories have them.", ""]
    for name, entry in PRESETS.items():
        lines += [f"## {name}", "", f"{literal(entry.paper)}. [Code]({entry.source})", ""]
        share = f" --count {entry.count}" if entry.count else f" --rate {entry.rate:g}" if entry.rate else ""
        commands = [
            f"clipdefend poison --attack {attack} --canvas {entry.canvas}{share}"
            + "".join(f" --set attack.{key}={value}" for key, value in parameters.items())
            for attack, parameters in entry.attacks.items()
        ]
        lines += [
            fenced("\n".join(commands), "sh"),
            f"ASR protocol: `{entry.asr_protocol}`. {literal(entry.differs)}",
            "",
        ]
    return "\n".join(lines)


def methods_page() -> str:
    """Every method with its terms."""
    rows = []
    for name, method in METHODS.items():
        terms = [
            term + (f" ({', '.join(f'{key}={value}' for key, value in changes.items())})" if changes else "")
            for term, changes in method.terms.items()
        ]
        rows.append(
            (code(name), literal(method.description), "<br>".join(map(code, terms)), literal(method.source))
        )
    lines = [
        "# Methods",
        "",
        "`defend --method NAME`; `--set terms.TERM.PARAMETER=VALUE` changes or adds a term.",
        "",
    ]
    lines += [table(("Method", "What it is", "Terms", "Source"), rows), "", "## Defences with parameters", ""]
    lines += ["`--set defence.PARAMETER=VALUE` changes a parameter.", ""]
    return "\n".join([*lines, *(section(name, DEFENCES.get(name)) for name in DEFENCES.names())])


def terms_page() -> str:
    """Every term with its parameters."""
    lines = [
        "# Terms",
        "",
        "Summands of a method's objective. `--set terms.NAME.weight=0` takes one out, any other weight adds it.",
        "",
    ]
    return "\n".join([*lines, *(section(name, TERMS.get(name)) for name in TERMS.names())])


def views_page() -> str:
    """The views that terms may ask for."""
    rows = [
        (code(name), kind, "sub-captions" if view.batch == "subset" else "main", literal(view.summary))
        for kind, views in (("image", IMAGE_VIEWS), ("caption", TEXT_VIEWS))
        for name, view in views.items()
    ]
    text = "A view is one version of a pair's image or caption. Terms name the views that they compare."
    return "\n".join(["# Views", "", text, "", table(("View", "Of the", "Batch", "What it is"), rows)])


def data_formats() -> str:
    """Formats of pairs by file name ending, and the column names that are recognised."""
    rows = [
        (entry.name, ", ".join(code(ending) for ending in sorted(entry.endings)))
        for entry in discover.FORMATS
    ]
    columns = [
        ("image", ", ".join(code(name) for name in IMAGE_COLUMNS)),
        ("caption", ", ".join(code(name) for name in CAPTION_COLUMNS)),
    ]
    return table(("Format", "Endings"), rows) + "\n" + table(("Column", "Recognised names"), columns)
