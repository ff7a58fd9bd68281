"""``--exclude-manifest``: leaving out the rows that another run has flagged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipdefend.commands.shared.inputs import open_data
from clipdefend.config import KINDS, ROWS
from clipdefend.data.pairs import Pairs
from clipdefend.errors import RunError
from clipdefend.poisoning import CHUNK_ROWS, read_changed_rows
from clipdefend.runs import Context, PairsDetails, Run, find_run
from clipdefend.runs.flagged_rows import read_flagged


@dataclass(frozen=True)
class Exclusion:
    """Rows to leave out, ascending, and the run that flagged them, which becomes a parent."""

    run: Run
    rows: NDArray[np.int64]


def find_rows_run(context: Context, given: str) -> Run:
    """Return the run that a flag names where it has judged rows, else the nearest of its ancestors that has.

    Raises:
        RunError: there is none.
    """
    run = find_run(context.runs, tuple(KINDS), given)
    found = run.nearest(Run.offers_rows)
    if found is None:
        raise RunError(
            f"Run {run.name} has flagged no rows, and neither has any run that it was made from: it has no {ROWS}."
            " Give a poison run, or another that writes such a table."
        )
    return found


def exclude_rows(context: Context, given: str, pairs: Pairs) -> Exclusion:
    """Find the rows of some pairs that a run has flagged.

    They have the same numbers where the pairs are those of the run; in other pairs they are found by their images.

    Args:
        context: its console shows the number of excluded rows, or a warning if there are none.
        given: the value of the flag.
        pairs: that are about to be used.

    Raises:
        RunError: no such run, or its table is damaged.
    """
    run = find_rows_run(context, given)
    details = PairsDetails.of(run)
    if _numbering(pairs.fingerprint) == _numbering(details.fingerprint):
        rows = _flagged(run)
        if len(rows) and rows[-1] >= len(pairs):
            raise RunError(
                f"Run {run.name} flags row {rows[-1]:,}, and its pairs have {len(pairs):,}: it is damaged."
            )
        count = len(rows)
    else:
        images = _images(run, details, context)
        places = find_places(pairs, images)
        rows = np.array(sorted(row for each in places.values() for row in each), dtype=np.int64)
        count = len(images)
    context.console.info(f"Excluding the {len(rows):,} rows that run {run.name} flagged")
    if not len(rows):
        context.console.warn(
            f"None of the {count:,} images that run {run.name} flagged is among the pairs by its name:"
            " check that they are of the same source."
        )
    return Exclusion(run, rows)


def find_places(pairs: Pairs, images: set[str]) -> dict[str, list[int]]:
    """Return image -> the rows that have it, for some images."""
    found: dict[str, list[int]] = {}
    for start in range(0, len(pairs), CHUNK_ROWS):
        refs = pairs.image_refs(start, min(start + CHUNK_ROWS, len(pairs)))
        for row, image in enumerate(refs, start):
            if image in images:
                found.setdefault(image, []).append(row)
    return found


def _numbering(fingerprint: str) -> str:
    """The part of a fingerprint that decides which row has which number.

    ``PoisonedPairs`` changes rows and keeps their numbers ("base+run"); ``RemainingPairs`` counts anew ("base-digest").
    """
    base, _, poisoned = fingerprint.partition("+")
    return fingerprint if "-" in poisoned else base


def _flagged(run: Run) -> NDArray[np.int64]:
    path = run.output(run.kind.rows)
    return read_flagged(path) if run.kind.rows == ROWS else np.array(sorted(_poisoned(run)), dtype=np.int64)


def _poisoned(run: Run) -> Mapping[int, str]:
    """Row -> clean image of the rows that a poison run changed.

    Its own table is read in place of a copy in the common format: the roles are recorded in it anyway, two tables
    could contradict each other, and older runs have just the one.
    """
    ids, images = read_changed_rows(run.output(run.kind.rows), ["id", "source_image"])
    return dict(zip(ids, images, strict=True))


def _images(run: Run, details: PairsDetails, context: Context) -> set[str]:
    """The images of the rows that a run flagged, as its pairs name them. Raises RunError when those have changed."""
    if run.kind.rows != ROWS:
        return set(_poisoned(run).values())
    source = details.source
    if source is None:
        raise RunError(
            f"Run {run.name} was made from other pairs and does not say which: its rows cannot be found here."
        )
    own = open_data(source.spec, source.to_dict(), context)
    if _numbering(own.fingerprint) != _numbering(details.fingerprint):
        raise RunError(
            f"Run {run.name} was made from other pairs, {source.spec!r}, which have changed since: its rows cannot be"
            " found here. Restore them, or make the run again."
        )
    return {own.image_ref(int(row)) for row in _flagged(run)}
