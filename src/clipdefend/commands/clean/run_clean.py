"""``clipdefend clean``: from a suspect checkpoint and clean pairs to a clean model, without knowing the trigger."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from clipdefend.commands.clean.clean_inputs import MODEL, CleanInputs, keep_model, open_inputs
from clipdefend.commands.clean.clean_plan import CleanPlan, plan_runs
from clipdefend.commands.clean.clean_result import CleanResult, tell_result, write_page
from clipdefend.commands.clean.clean_steps import CLASSES, CleanSteps
from clipdefend.commands.clean.cleaning_rounds import Cleaning
from clipdefend.commands.clean.final_round import apply_choice
from clipdefend.commands.clean.pair_shares import write_shares
from clipdefend.config import CleanConfig
from clipdefend.runs import MANIFEST, STEPS, UNFINISHED, Context, Run, RunDir, atomic_write
from clipdefend.study.carry_out import seconds_spent

BEGUN = "begun.json"
"""In the resume state from the beginning, so that an interrupted folder is kept."""


def run(config: CleanConfig, context: Context) -> Run | CleanPlan:
    """Clean a suspect, or list the runs that it takes."""
    config = _resume_same(config, context)
    found = open_inputs(config, context)
    if "plan" in context.given:
        with tempfile.TemporaryDirectory(prefix="clipdefend-") as place:
            return plan_runs(_steps(config, context, found, Path(place).resolve()), found, config, context)
    label = re.sub(r"^\d+-", "", found.source.name) if found.source else "checkpoint"
    with context.begin(config, label, source=found.source) as folder:
        folder.state.mkdir(exist_ok=True)
        atomic_write(folder.state / BEGUN, "{}")
        result = _clean(config, context, found, folder)
        _copy_model(result.cleaned.path / MODEL, folder.path / MODEL)
        write_page(result, folder.path, context.console.warnings)
        finished = folder.finish(
            parents=[*([found.source] if found.source else []), result.cleaned],
            metrics=result.metrics,
            warnings=context.console.warnings,
            details=result.details,
            device=str(result.cleaned.manifest["device"]),
        )
    tell_result(result, finished, context.console)
    return finished


def _resume_same(config: CleanConfig, context: Context) -> CleanConfig:
    """The same command into the same folder goes on with it."""
    out = context.out
    if out is None or config.train.resume is not None or "plan" in context.given:
        return config
    if (out / UNFINISHED).is_file() and not (out / MANIFEST).is_file():
        context.console.info(f"Going on with {out}")
        return replace(config, train=replace(config.train, resume=str(out)))
    return config


def _steps(config: CleanConfig, context: Context, found: CleanInputs, folder: Path) -> CleanSteps:
    """The nodes' factory, with what all of them read."""
    folder.mkdir(parents=True, exist_ok=True)
    suspect = keep_model(found.suspect, folder / "suspect")
    shares = write_shares(found.shares, config, context, folder, found.pairs, found.spec)
    return CleanSteps(config, folder, suspect, found.spec, shares, len(found.shares.plant), found.canvas)


def _clean(config: CleanConfig, context: Context, found: CleanInputs, folder: RunDir) -> CleanResult:
    """Carry out all rounds."""
    place = folder.path / STEPS
    # What was made before an interruption counts in the budget, too.
    began = time.monotonic() - seconds_spent(place) / config.jobs
    cleaning = Cleaning(config, context, found, folder, _steps(config, context, found, place), began)
    reference = keep_model(found.reference[1], place / "reference") if found.reference else None
    classes = place / CLASSES
    atomic_write(classes, json.dumps({"classes": found.classes}))
    if config.scan:
        cleaning.scan_suspect(reference, classes)
    planted = cleaning.plant()
    cleaning.try_candidates(planted)
    cleaning.merge_back(planted, classes)
    return CleanResult.of(cleaning, apply_choice(cleaning, planted, reference, classes))


def _copy_model(source: Path, target: Path) -> None:
    """Copy the chosen weights, complete or not at all."""
    part = target.with_name(f".{target.name}.part")
    for old in (part, target):
        shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(source, part)
    part.rename(target)
