"""Assemble a report and write it to a folder."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipdefend import __version__
from clipdefend.errors import RunError
from clipdefend.report import illustrations as pictures
from clipdefend.report import page
from clipdefend.report.collect import RunCollection
from clipdefend.report.filters import filter_pictures
from clipdefend.report.formats import to_csv, to_latex, to_markdown
from clipdefend.report.frontier import frontier_csv, frontier_markdown, group_frontiers
from clipdefend.report.illustrations import Histories, Plot, Preview
from clipdefend.report.lineage import origins
from clipdefend.report.maps import Method, ModelEmbeddings
from clipdefend.report.measurements import find_measurements
from clipdefend.report.page import Content, Section
from clipdefend.report.plots import Region
from clipdefend.report.rows import Row, Table, build_tables
from clipdefend.report.scans import ScanIllustrations, illustrate_scans
from clipdefend.report.stopping_summary import summarize_stopping
from clipdefend.runs import atomic_write, plain

SCHEMA = "clipdefend/report/1"
RECORD = "report.json"
PAGE = "index.html"
PLOTS = "plots"
FILTERS = "What filter runs make of training pairs. The nearer a curve is to the top left corner, the better."
MAX_RECORD_BYTES = 64 << 20

_OWN = re.compile(rf"{PLOTS}/[a-z0-9-]+\.(svg|png)")


@dataclass(frozen=True)
class Report:
    """A report that has been written.

    Attributes:
        file: path of the page.
        manifest: the content of ``report.json``.
    """

    file: Path
    manifest: Mapping[str, Any]


@dataclass(frozen=True)
class ReportData:
    """The runs of a report and their tables, before anything is drawn.

    Attributes:
        collection: the runs.
        tables: one for each setting of the evaluation.
        notes: for readers, on repetitions that were left out.
    """

    collection: RunCollection
    tables: Sequence[Table]
    notes: Sequence[str]


def arrange_runs(collection: RunCollection) -> ReportData:
    """Arrange runs in the rows of tables."""
    found, notes = find_measurements(collection)
    return ReportData(collection, build_tables(found), notes)


def check_place(out: Path) -> None:
    """Check that a report can be written to a folder. Raises RunError unless it is new, empty or holds a report."""
    if out.exists() and not out.is_dir():
        raise RunError(f"--out {str(out)!r} is a file. Choose a folder for the report.")
    if out.is_dir() and any(out.iterdir()) and _earlier(out) is None:
        raise RunError(
            f"--out {str(out)!r} is not empty and holds no report. Choose a new or an empty folder."
        )


def write_report(
    data: ReportData,
    out: Path,
    *,
    embedded: Sequence[ModelEmbeddings] = (),
    method: Method = "pca",
    seed: int = 0,
    budget: float = 0.02,
    asr_limit: float = 0.05,
) -> Report:
    """Draw and write a report; an earlier one in the same folder is replaced.

    Args:
        data: runs and tables.
        out: folder of the report; files in it that are not the report's own are left alone.
        embedded: models to draw maps of.
        method: "pca" or "tsne", of the maps.
        seed: of t-SNE.
        budget: largest loss of BA@1 that stopping rules and the region of success allow, as a fraction.
        asr_limit: largest ASR@1 in the region of success, as a fraction.

    Raises:
        RunError: ``out`` holds other files and no report.
    """
    check_place(out)
    collection = data.collection
    found = pictures.read_histories(data.tables)
    previews, preview_faults = pictures.previews(collection, data.tables)
    filters, filter_faults = filter_pictures(collection)
    sections = _sections(data, found, embedded, method, seed, previews, Region(budget, asr_limit))
    sections.append(Section("filters", "Suspicious pairs", FILTERS, filters))
    scans = illustrate_scans(collection)
    sections += _scan_sections(scans)
    stopping = summarize_stopping(found, budget)
    frontiers = group_frontiers(found.tracks, budget, asr_limit)
    content = Content(
        tables=data.tables,
        sections=sections,
        stopping=stopping,
        frontiers=frontiers,
        origins=origins(collection),
        places={run.sha256: collection.place(run) for run in collection.runs},
        faults=[*collection.faults, *found.faults, *preview_faults, *filter_faults, *scans.faults],
        notes=[*data.notes, *scans.notes],
    )
    files: dict[str, bytes | str] = {
        "table.md": to_markdown(data.tables),
        "table.csv": to_csv(data.tables),
        "table.tex": to_latex(data.tables),
        "frontier.md": frontier_markdown(frontiers),
        "frontier.csv": frontier_csv(frontiers),
        **_images(sections),
        PAGE: page.render(content),
    }
    record = _record(content, stopping, list(files))
    _write(out, files, record)
    return Report(out / PAGE, record)


def _sections(
    data: ReportData,
    found: Histories,
    embedded: Sequence[ModelEmbeddings],
    method: Method,
    seed: int,
    previews: Sequence[Preview],
    region: Region,
) -> list[Section]:
    return [
        Section(
            "against",
            "Accuracy against attack success",
            "A defence moves the victim, top right, to the left at the least loss of height.",
            list(pictures.scatters(found, region)),
        ),
        Section(
            "epochs",
            "Epoch by epoch",
            "How fast the backdoor goes, and the accuracy with it.",
            list(pictures.curves(found)),
        ),
        Section(
            "ablations",
            "Ablations",
            "One setting varied, all others equal.",
            list(pictures.ablations(data.tables)),
        ),
        Section(
            "visible",
            "What a defender sees",
            "None of this needs the trigger.",
            list(pictures.defender_views(found)),
        ),
        Section(
            "maps",
            "Embedding maps",
            "In a victim the trigger gathers all images in one place of a high cosine with the target's text; after a"
            " good defence they lie where they lie without it. Axes have no unit.",
            list(pictures.maps(embedded, method, seed)),
        ),
        Section("triggers", "Triggers", "What was put onto the images.", previews),
    ]


def _scan_sections(scans: ScanIllustrations) -> list[Section]:
    return [
        Section(
            "scans",
            "Scans",
            "The smallest triggers that collapse the embeddings of all images, found without knowing the attack. Clean"
            " models have such triggers too; those of a backdoored one are smaller and lead to one class.",
            scans.plots,
        ),
        Section("found", "Found triggers", "Each is an attack that other commands take.", scans.triggers),
    ]


def _images(sections: Sequence[Section]) -> dict[str, bytes]:
    """Return the files of the pictures, by name; a number is added to names that are equal once they are cut."""
    files: dict[str, bytes] = {}
    for shown in [shown for section in sections for shown in section.shown]:
        place = f"{PLOTS}/{shown.name}"
        number = 2
        while f"{place}.png" in files:
            place, number = f"{PLOTS}/{shown.name}-{number}", number + 1
        if isinstance(shown, Plot):
            files[f"{place}.svg"], files[f"{place}.png"] = shown.picture.svg, shown.picture.png
        else:
            files[f"{place}.png"] = shown.png
    return files


def _record(content: Content, stopping: Mapping[str, Any] | None, files: Sequence[str]) -> dict[str, Any]:
    record = {
        "schema": SCHEMA,
        "version": __version__,
        "tables": [
            {"evaluation": table.setting.title, "rows": [_row(row, content.places) for row in table.rows]}
            for table in content.tables
        ],
        "stopping": stopping,
        "runs": [origin.to_dict() for origin in content.origins],
        "faults": [{"name": fault.name, "reason": fault.reason} for fault in content.faults],
        "notes": list(content.notes),
        "files": sorted([*files, RECORD]),
    }
    plained: dict[str, Any] = plain(record)
    return plained


def _row(row: Row, places: Mapping[str, str]) -> dict[str, Any]:
    return {
        "attack": row.attack,
        "defence": row.defence,
        "seeds": row.seeds,
        "figures": {
            key: {"value": f.value, "low": f.low, "high": f.high, "sd": f.sd, "n": f.n}
            for key, f in row.figures.items()
        },
        "best": sorted(row.best),
        "runs": [places[one.run.sha256] for one in row.members],
    }


def _write(out: Path, files: Mapping[str, bytes | str], record: Mapping[str, Any]) -> None:
    """Write all files, the record last, and remove plots of an earlier report that this one does not have.

    The earlier record may be forged: nothing but files named as our own plots is ever removed.
    """
    earlier = _earlier(out) if out.exists() else None
    (out / PLOTS).mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        atomic_write(out / name, content)
    atomic_write(out / RECORD, json.dumps(record, ensure_ascii=False, indent=1, allow_nan=False) + "\n")
    for name in earlier or ():
        if name not in files and _OWN.fullmatch(name):
            (out / name).unlink(missing_ok=True)


def _earlier(out: Path) -> list[str] | None:
    """Return the files of the report in a folder; None where it holds no report."""
    path = out / RECORD
    try:
        if path.stat().st_size > MAX_RECORD_BYTES:
            return None
        record = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        return None
    return [str(name) for name in record.get("files") or []]
