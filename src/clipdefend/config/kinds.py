"""The kinds of runs: what each is made from, and what it offers to the commands after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ROWS = "rows.parquet"
"""The table of rows that a run has judged: columns id, score and flagged."""

Offer = Literal["model", "trigger", "parallel", "measured"]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of run.

    Attributes:
        command: the command that makes such runs.
        inputs: kinds of its one input run; the newest of any of them is taken where none is named.
        model: whether the run holds weights, in ``model/``.
        trigger: whether the run records a trigger. What is made from it is attacked with that trigger.
        rows: name of the table of flagged rows. Any run may write the common one; a poison run's own table, which
            says of each row whether it was poisoned, is read in its place.
        parallel: whether several processes share the work; otherwise one works and the others wait.
        measured: whether the run's metrics are BA, ASR and RA of a model.
        heading: prefix of its settings where a report compares whole lineages; None: they are no part of one.
    """

    command: str
    inputs: tuple[str, ...] = ()
    model: bool = False
    trigger: bool = False
    rows: str = ROWS
    parallel: bool = False
    measured: bool = False
    heading: str | None = None


# In the order of the pipeline: a run is made from runs of kinds above it.
_TABLE = (
    Kind(command="poison", trigger=True, rows="pairs.parquet", heading="poison"),
    Kind(command="finetune-attack", inputs=("poison",), model=True, parallel=True, measured=True, heading="attack"),
    Kind(command="filter", inputs=("poison", "finetune-attack"), parallel=True),
    Kind(command="augment", inputs=("poison",), heading="augment"),
    Kind(command="defend", inputs=("finetune-attack",), model=True, parallel=True, measured=True, heading="defence"),
    Kind(command="merge", inputs=("defend", "finetune-attack"), model=True, measured=True, heading="merge"),
    Kind(command="clean", inputs=("merge", "defend", "finetune-attack"), model=True, measured=True),
    Kind(command="scan", inputs=("clean", "merge", "defend", "finetune-attack"), trigger=True),
    Kind(command="evaluate", inputs=("clean", "merge", "defend", "finetune-attack"), parallel=True, measured=True),
    Kind(command="export", inputs=("clean", "merge", "defend", "finetune-attack")),
)  # fmt: skip

KINDS: dict[str, Kind] = {kind.command: kind for kind in _TABLE}


def kind_of(command: str) -> Kind:
    """The kind of a command's runs; of an unknown command, as in a newer version's manifest, one without offers."""
    return KINDS.get(command) or Kind(command=command)


def offering(what: Offer) -> tuple[str, ...]:
    """Commands whose runs offer something, in the order of the pipeline."""
    return tuple(kind.command for kind in KINDS.values() if getattr(kind, what))


def leading_to(what: Offer) -> tuple[str, ...]:
    """Commands whose runs offer something or can descend from a run that does, in the order of the pipeline."""
    found: list[str] = []
    for kind in KINDS.values():
        if getattr(kind, what) or any(parent in found for parent in kind.inputs):
            found.append(kind.command)
    return tuple(found)
