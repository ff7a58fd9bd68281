"""The triggers that a scan found, as attacks."""

from __future__ import annotations

from dataclasses import dataclass

from clipdefend.attacks.trigger import Trigger
from clipdefend.commands.shared.inputs import AttackRecord
from clipdefend.errors import ConfigError, RunError
from clipdefend.inversion import FAMILIES
from clipdefend.runs import Context, Run, ScanDetails, find_run

TRIGGERS = "triggers"
"""Folder of a scan with a run folder for each trigger."""


@dataclass(frozen=True)
class FoundTriggers:
    """A scan and its triggers, in the order in which it looked for them."""

    run: Run
    triggers: tuple[Trigger, ...]


def read_triggers(context: Context, given: str, size: int) -> FoundTriggers:
    """Read the triggers of the scan that a flag names.

    Args:
        context: of the command.
        given: a scan, or the folder of one of its triggers.
        size: side of the canvas in pixels.

    Raises:
        RunError: it is not a scan, it found nothing, or it is damaged.
        ConfigError: its triggers were made for another canvas.
    """
    run = find_run(context.runs, ("scan",), given)
    names = [str(each.get("family")) for each in ScanDetails.of(run).found if isinstance(each, dict)]
    unknown = [name for name in names if name not in FAMILIES.names()]
    if unknown:
        raise RunError(f"Run {run.name} names {unknown[0]!r}, which is not a kind of trigger: scan again.")
    folders = [run.path / TRIGGERS / name for name in names]
    if len(names) == 1 and not folders[0].exists():  # the folder of a single trigger
        folders = []
    for folder in folders:
        run.output(f"{TRIGGERS}/{folder.name}/manifest.yaml")  # as the scan left it
    runs = [Run.open(folder) for folder in folders] or [run]
    triggers = tuple(AttackRecord.of(each).trigger for each in runs)
    wrong = next((trigger.size for trigger in triggers if trigger.size != size), None)
    if wrong is not None:
        raise ConfigError(
            f"The triggers of run {run.name} were found on {wrong} pixels and the model sees {size}: scan this model."
        )
    return FoundTriggers(run, triggers)
