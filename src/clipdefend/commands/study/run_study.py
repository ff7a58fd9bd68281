"""``clipdefend study``: a grid of commands planned, made and reported."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipdefend.commands.report import run_report
from clipdefend.commands.shared.made_runs import (
    LOGS,
    make_runs,
    missing_runs,
    show_cost,
    show_seconds,
    state_of,
    unique,
)
from clipdefend.commands.study.plan_costs import Costs
from clipdefend.config import ReportConfig, StudyConfig
from clipdefend.console import one_line
from clipdefend.errors import ConfigError, Interrupted, RunError
from clipdefend.registry import nearest
from clipdefend.report.write import Report
from clipdefend.runs import Context, Run, atomic_write
from clipdefend.runs.lock import acquire, release
from clipdefend.study.choice import Candidate, choose
from clipdefend.study.grid import (
    Node,
    check_changes,
    choice_groups,
    group_of,
    held_out_nodes,
    labels,
    reported_nodes,
)
from clipdefend.study.study_file import COMMON, StudyFile, read_study

ACTIONS = ("plan", "run", "report")
CHOICE = "choice.json"
STATUS = "status.json"
LOCK = "study.lock"


@dataclass(frozen=True)
class Planned:
    """A table for people, and the same as data.

    Attributes:
        file: the study's file.
        manifest: what ``--json`` prints.
        text: what is printed otherwise.
    """

    file: Path
    manifest: Mapping[str, Any]
    text: str


def run(config: StudyConfig, context: Context) -> Planned | Report:
    """Plan, make or report a study.

    Raises:
        ConfigError: an action or a file that does not fit.
        RunError: some runs failed, or another process makes the same study.
    """
    if len(context.inputs) != 2:
        raise ConfigError("study takes an action and a file, such as: clipdefend study plan FILE.")
    action, file = context.inputs
    if action not in ACTIONS:
        raise ConfigError(
            f"{action!r} is not an action of study.{nearest(action, [*ACTIONS])} There are: {', '.join(ACTIONS)}."
        )
    study = read_study(Path(file), _forced(action, config, context))
    check_changes(study)
    if action == "plan":
        return _plan(study, config, context)
    return _make(study, config, context) if action == "run" else _report(study, context)


def _forced(action: str, config: StudyConfig, context: Context) -> dict[str, Any]:
    """What the command line sets for all runs. Raises ConfigError for what it cannot set."""
    default = StudyConfig()
    given = context.given | {
        key for key in (*COMMON, "seed") if getattr(config, key) != getattr(default, key)
    }
    for key, advice in (("seed", "seeds: [1, 2, 3]"), ("runs", "folder: DIR")):
        if key in given:
            raise ConfigError(f"--{key} does not apply to a study. Set it in the file, as in {advice}.")
    if "out" in given and action != "report":
        raise ConfigError(f"--out applies to study report, not to study {action}. Leave it out.")
    return {key: getattr(config, key) for key in COMMON if key in given}


def _plan(study: StudyFile, config: StudyConfig, context: Context) -> Planned:
    chosen = _chosen(study) if study.choose else None
    held_out = held_out_nodes(study)
    nodes = unique([*held_out, *reported_nodes(study, chosen or {} if study.choose else None)])
    costs = Costs(study.folder, nodes, context.console, measure=not config.no_measure)
    rows: list[dict[str, Any]] = [
        {
            "name": node.name,
            "state": state_of(study.folder / node.name),
            "seconds": costs.seconds(node),
            "settings": label,
        }
        for node, label in zip(nodes, labels(nodes), strict=True)
    ]
    missing = [row["seconds"] for row in rows if row["state"] not in ("finished", "rejected")]
    rejected = sum(row["state"] == "rejected" for row in rows)
    finished = len(rows) - len(missing) - rejected
    known = math.fsum(cost for cost in missing if cost is not None)
    lines = [
        f"{row['name']:30} {row['state']:10} {show_cost(row['seconds']):>9}  {one_line(str(row['settings']))}"
        for row in rows
    ]
    unknown = f", and {missing.count(None)} runs of unknown cost" if None in missing else ""
    at_once = f", {show_seconds(known / config.jobs)} with --jobs {config.jobs}" if config.jobs > 1 else ""
    lines.append(
        f"{len(rows)} runs, {finished} finished, {len(missing)} to make"
        f"{f', {rejected} rejected by accept' if rejected else ''}:"
        f" about {show_seconds(known)}{at_once}{unknown}."
    )
    if study.choose and not chosen:
        lines.append(_following(study, held_out, nodes, costs, config.jobs))
    manifest = {"runs": rows, "chosen": chosen, "seconds": known, "unknown": missing.count(None)}
    return Planned(study.path, manifest, "\n".join(lines))


def _following(
    study: StudyFile, held_out: Sequence[Node], planned: Sequence[Node], costs: Costs, jobs: int
) -> str:
    """What is made once the hyper-parameters are chosen; their values hardly change the cost."""
    first: dict[str, dict[str, Any]] = {}
    for node in held_out:
        if node.command == "defend":
            values = {key: node.settings[key] for key in study.choose if key in node.settings}
            first.setdefault(group_of(node.settings, study.choose), values)
    known = {node.name for node in planned}
    later = [node for node in unique(reported_nodes(study, first)) if node.name not in known]
    seconds = [costs.seconds(node) for node in later]
    total = math.fsum(each for each in seconds if each is not None) / jobs
    return (
        f"{len(later)} runs of seeds {', '.join(map(str, study.seeds))} follow once the held-out runs have chosen"
        f" {', '.join(study.choose)}: about {show_seconds(total)}"
        f"{f' with --jobs {jobs}' if jobs > 1 else ''}"
        f"{f', and {seconds.count(None)} of unknown cost' if None in seconds else ''}."
    )


def _make(study: StudyFile, config: StudyConfig, context: Context) -> Planned:
    try:
        study.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"The study's folder {study.folder} cannot be made: {error.strerror}.") from None
    lock = study.folder / LOCK
    lock.touch()
    acquire(lock)
    try:
        outcomes = _carry_out(study, held_out_nodes(study), config, context)
        chosen, lacking = None, []
        if study.choose:
            missing = missing_runs(outcomes)
            chosen = _choose(study)
            if not chosen:
                raise RunError(
                    f"Nothing can be chosen: of {len(outcomes)} held-out runs {missing}. See {study.folder / LOGS}."
                )
            if missing:
                context.console.warn(f"The choice lacks runs: of {len(outcomes)} held-out runs {missing}.")
            lacking = _tell_lacking(study, chosen, context)
            for group, values in chosen.items():
                context.console.info(f"Chosen by {study.rule}: {values} for {group}")
        outcomes |= _carry_out(study, reported_nodes(study, chosen), config, context)
    finally:
        release(lock)
    atomic_write(study.folder / STATUS, json.dumps(outcomes, indent=1) + "\n")
    missing = missing_runs(outcomes)
    if missing:
        raise RunError(
            f"Of {len(outcomes)} runs {missing}. See {study.folder / LOGS}; run the study again to go on."
        )
    if lacking:
        raise RunError(f"Not all defences could be made: nothing was chosen for {'; '.join(lacking)}.")
    return Planned(study.folder / STATUS, {"outcomes": outcomes}, str(study.folder / STATUS))


def _carry_out(
    study: StudyFile, nodes: Sequence[Node], config: StudyConfig, context: Context
) -> dict[str, str]:
    try:
        return make_runs(study.folder, nodes, config.jobs, context.console, scheduler=config.scheduler)
    except KeyboardInterrupt:
        raise Interrupted(study.folder.resolve(), partial=True) from None


def _choose(study: StudyFile) -> dict[str, dict[str, Any]]:
    """Choose from the finished held-out runs, and record from what."""
    groups: dict[str, dict[str, tuple[dict[str, Any], list[Mapping[str, float]]]]] = {}
    for node in unique(held_out_nodes(study)):
        if node.command != "defend" or state_of(study.folder / node.name) != "finished":
            continue
        metrics = Run.open(study.folder / node.name).metrics
        if {"ba@1", "asr@1"} <= metrics.keys():
            values = {key: node.settings[key] for key in study.choose if key in node.settings}
            group = groups.setdefault(group_of(node.settings, study.choose), {})
            group.setdefault(json.dumps(values, default=str), (values, []))[1].append(metrics)
    record, chosen = [], {}
    for group_name, found in groups.items():
        candidates = [Candidate(values, tuple(measured)) for values, measured in found.values()]
        best = choose(candidates, study.rule)
        if best is not None:
            chosen[group_name] = dict(best.values)
        tried = [{**each.values, "runs": len(each.measured), **each.figures} for each in candidates]
        record.append({"for": json.loads(group_name), "chosen": chosen.get(group_name), "tried": tried})
    content = {"rule": study.rule, "held_out": study.held_out, "choices": record}
    atomic_write(study.folder / CHOICE, json.dumps(content, indent=1, default=str) + "\n")
    return chosen


def _tell_lacking(study: StudyFile, chosen: Mapping[str, Any], context: Context) -> list[str]:
    """Warn of defences for which nothing was chosen, whose held-out runs failed or measured no ASR, and return them."""
    lacking = [group for group in choice_groups(study, held_out_nodes(study)) if group not in chosen]
    for group in lacking:
        context.console.warn(f"Nothing could be chosen for {group}: these defences are left out.")
    return lacking


def _chosen(study: StudyFile) -> dict[str, dict[str, Any]] | None:
    """The choice where all held-out runs are finished."""
    if all(state_of(study.folder / node.name) == "finished" for node in held_out_nodes(study)):
        return _choose(study)
    return None


def _report(study: StudyFile, context: Context) -> Report:
    chosen = _choose(study) if study.choose and study.folder.is_dir() else None
    if chosen:
        _tell_lacking(study, chosen, context)
    nodes = unique(reported_nodes(study, chosen if study.choose else None))
    there = [node.name for node in nodes if state_of(study.folder / node.name) == "finished"]
    if not there:
        raise RunError(
            f"No run of {study.path} is finished. Make them with: clipdefend study run {study.path}."
        )
    if len(there) < len(nodes):
        context.console.warn(f"{len(nodes) - len(there)} of {len(nodes)} runs are missing from this report.")
    inner = Context(
        runs=study.folder,
        inputs=tuple(str(study.folder / name) for name in there),
        out=context.out or study.folder / "report",
        console=context.console,
    )
    return run_report.run(ReportConfig(embedding="none"), inner)
