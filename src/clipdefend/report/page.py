"""The page: one HTML file that holds everything, with every name escaped and nothing loaded from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from clipdefend import __version__
from clipdefend.evaluation.flat_metrics import defence_value
from clipdefend.report.collect import Fault
from clipdefend.report.escape import percent, tidy
from clipdefend.report.formats import column_keys, describe_spread, describe_table
from clipdefend.report.frontier import Group, frontier_heads, frontier_lines
from clipdefend.report.illustrations import Plot, Preview, first_row, target_name
from clipdefend.report.lineage import Origin, anchor
from clipdefend.report.rows import CLEAN, NONE, Row, Table

ASSETS = Path(__file__).parents[1] / "assets" / "report"


@dataclass(frozen=True)
class Section:
    """A section of pictures.

    Attributes:
        anchor: id of the section.
        title, text: heading and introduction.
        shown: the pictures; a section without any is left out.
    """

    anchor: str
    title: str
    text: str
    shown: Sequence[Plot | Preview]


@dataclass(frozen=True)
class Content:
    """All that the page shows.

    Attributes:
        tables: one for each setting.
        sections: sections of pictures.
        stopping: what ``summarize_stopping`` returned.
        frontiers: the frontier of each attack and defence.
        origins: of all runs.
        places: SHA-256 of a manifest -> the run's place.
        faults, notes: what was left out.
    """

    tables: Sequence[Table]
    sections: Sequence[Section]
    stopping: dict[str, Any] | None
    frontiers: Sequence[Group]
    origins: Sequence[Origin]
    places: dict[str, str]
    faults: Sequence[Fault]
    notes: Sequence[str]


def page_environment() -> Any:
    """Return the Jinja environment of all pages.

    It escapes every value, since names of classes, runs and attacks come from other people's files.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(ASSETS), autoescape=True, undefined=StrictUndefined, trim_blocks=False
    )


def render(content: Content) -> str:
    """Return the page as HTML."""
    environment = page_environment()
    anchors = _anchors(content.tables)
    rows = [row for table in content.tables for row in table.rows]
    attacks = list(dict.fromkeys(row.members[0].attack for row in rows))
    sections = [_section(section) for section in content.sections]
    glance = [line for table in content.tables[:1] for line in _glance(table)]
    html: str = environment.get_template("page.html").render(
        title=tidy(", ".join(attacks) or "runs"),
        contents=_contents(content, sections, bool(glance)),
        glance=glance,
        glance_note=describe_spread(content.tables[0]) if content.tables else "",
        tables=[_table(table, anchors) for table in content.tables],
        sections=sections,
        stopping=content.stopping,
        frontier_heads=frontier_heads(),
        frontiers=[[*map(tidy, line[:2]), *line[2:]] for line in frontier_lines(content.frontiers)],
        rows=[_lineage(row, anchors, content.places) for row in rows],
        origins=content.origins,
        faults=content.faults,
        notes=content.notes,
        version=__version__,
    )
    return html


def _contents(content: Content, sections: Sequence[dict[str, Any]], glance: bool) -> list[tuple[str, str]]:
    """Return anchor and title of each section that is not empty."""
    found = [("glance", "At a glance")] if glance else []
    pictures = [(section["anchor"], section["title"]) for section in sections if section["figures"]]
    figures = [("table", "All figures")]
    found += [*figures, *pictures] if content.tables else [*pictures, *figures]
    found += [("frontier", "Frontier")] if content.frontiers else []
    found += [("stopping", "When to stop")] if content.stopping else []
    found.append(("lineage", "Where the numbers come from"))
    return found + ([("faults", "What was left out")] if content.faults or content.notes else [])


def _glance(table: Table) -> list[dict[str, Any]]:
    lines = []
    for attack in table.attacks:
        rows = table.of(attack)
        victim = first_row(rows, lambda row: row.base == NONE)
        rivals = [row for row in rows if row.is_defence and {"ba@1", "asr@1"} <= row.figures.keys()]
        if not rivals:
            continue
        best = max(rivals, key=partial(_value, keys=_common(rivals)))
        lines.append(
            {
                "attack": tidy(attack),
                "victim_ba": _pair(victim, "ba@1"),
                "victim_asr": _pair(victim, "asr@1"),
                "defence": tidy(best.defence),
                "ba": _pair(best, "ba@1"),
                "asr": _pair(best, "asr@1"),
                "recovery": _pair(best, "recovery@1"),
            }
        )
    return lines


def _common(rows: Sequence[Row]) -> set[str]:
    """Figures that all rows have: what some lack can choose none of them."""
    return set.intersection(*(set(row.figures) for row in rows))


def _value(row: Row, keys: Container[str]) -> float:
    return defence_value({key: figure.value for key, figure in row.figures.items() if key in keys})


def _pair(row: Row | None, key: str) -> tuple[str, str]:
    """Return the value of a figure and its interval or deviation, as texts."""
    if row is None or key not in row.figures:
        return "–", ""
    value, _, rest = row.figures[key].text().partition(" ")
    return value, rest


def _table(table: Table, anchors: dict[int, str]) -> dict[str, Any]:
    keys = column_keys(table)
    attacks = []
    for attack in table.attacks:
        rows = table.of(attack)
        attacks.append(
            {
                "name": tidy(attack),
                "caption": _caption(attack, rows),
                "rows": [_row(row, keys, anchors) for row in rows],
            }
        )
    return {"columns": keys, "note": _plain(describe_table(table)), "attacks": attacks}


def _caption(attack: str, rows: Sequence[Row]) -> str:
    """Describe an attack: its target, and the number of triggered images."""
    target = target_name(rows[0].members)
    counts = sorted(
        {figure.n for row in rows for key, figure in row.figures.items() if key.startswith("asr")}
    )
    words = f"{tidy(attack)} for “{target}”" if target else tidy(attack)
    return f"{words}: {' or '.join(f'{n:,}' for n in counts)} triggered images." if counts else f"{words}."


def _row(row: Row, keys: Sequence[str], anchors: dict[int, str]) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for key in keys:
        figure = row.figures.get(key)
        cells[key] = None
        if figure is not None:
            value, rest = _pair(row, key)
            width = percent(min(1.0, max(0.0, figure.value)))
            cells[key] = {"value": value, "spread": rest, "width": width, "best": key in row.best}
    return {
        "name": _defence(row),
        "anchor": anchors[id(row)],
        "seeds": row.seeds,
        "reference": not row.is_defence,
        "cells": cells,
    }


def _defence(row: Row) -> str:
    if row.base == NONE:
        return tidy(f"victim, no defence{row.defence.removeprefix(NONE)}")
    return "clean model (floor)" if row.base == CLEAN else tidy(row.defence)


def _lineage(row: Row, anchors: dict[int, str], places: dict[str, str]) -> dict[str, Any]:
    members = [
        [(anchor(run), tidy(places[run.sha256], 300)) for run in one.lineage if run.command != "augment"]
        for one in row.members
    ]
    return {
        "anchor": anchors[id(row)],
        "attack": tidy(row.attack),
        "name": _defence(row),
        "seeds": row.seeds,
        "members": members,
        "further": tidy(", ".join(row.further), 2000),
    }


def _anchors(tables: Sequence[Table]) -> dict[int, str]:
    rows = [row for table in tables for row in table.rows]
    return {id(row): f"row-{number}" for number, row in enumerate(rows, 1)}


def _section(section: Section) -> dict[str, Any]:
    return {
        "anchor": section.anchor,
        "title": section.title,
        "text": section.text,
        "figures": [_figure(shown) for shown in section.shown],
    }


def _figure(shown: Plot | Preview) -> dict[str, Any]:
    common = {"alt": shown.alt, "lead": shown.lead, "caption": shown.caption, "whole": shown.whole}
    if isinstance(shown, Preview):
        return {**common, "light": _data(shown.png, "png"), "dark": None, "size": None, "wide": True}
    return {
        **common,
        "light": _data(shown.picture.svg, "svg+xml"),
        "dark": _data(shown.picture.dark, "svg+xml"),
        "size": shown.picture.size,
        "wide": False,
    }


def _data(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _plain(text: str) -> str:
    """Adapt the description of a table to the page, which also underlines the best figures."""
    return text.replace("Bold:", "Bold and underlined:")
