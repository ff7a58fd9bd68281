"""``clipdefend study``: a grid of commands planned, made and reported."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipdefend.commands.report import run_report
from clipdefend.commands.study.plan_costs import Costs
from clipdefend.config import ReportConfig, StudyConfig, to_yaml
from clipdefend.console import one_line
from clipdefend.errors import ConfigError, Interrupted, RunError
from clipdefend.registry import nearest
from clipdefend.report.write import Report
from clipdefend.runs import MANIFEST, UNFINISHED, Context, Run, atomic_write
from clipdefend.runs.lock import acquire, release
from clipdefend.study.carry_out import FAILED, SKIPPED, STOPPED, Job, is_rejected
from clipdefend.study.choice import Candidate, choose
from clipdefend.study.engine import run_graph
from clipdefend.study.grid import Node, check_changes, group_of, held_out_nodes, labels, reported_nodes
from clipdefend.study.study_file import COMMON, StudyFile, read_study

ACTIONS = ("plan", "run", "report")
CHOICE = "choice.json"
STATUS = "status.json"
LOCK = "study.lock"
LOGS = "logs"


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


@dataclass
class _Progress:
    """Tells what has ended, and how long the rest will take at the pace so far."""

    context: Context
    total: int
    start: float = field(default_factory=time.monotonic)
    ended: int = 0
    made: int = 0

    def tell(self, name: str, outcome: str) -> None:
        self.ended += 1
        self.made += outcome == "made"
        pace = (time.monotonic() - self.start) / self.made if self.made else 0.0
        left = f", about {_duration(pace * (self.total - self.ended))} left" if pace else ""
        self.context.console.info(f"{self.ended} of {self.total}: {name} {outcome}{left}")


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
    nodes = _unique([*held_out, *reported_nodes(study, chosen or {} if study.choose else None)])
    costs = Costs(study.folder, nodes, context.console, measure=not config.no_measure)
    rows = [
        {
            "name": node.name,
            "state": _state(study.folder / node.name),
            "seconds": costs.seconds(node),
            "settings": label,
        }
        for node, label in zip(nodes, labels(nodes), strict=True)
    ]
    missing = [row["seconds"] for row in rows if row["state"] not in ("finished", "rejected")]
    rejected = sum(row["state"] == "rejected" for row in rows)
    finished = len(rows) - len(missing) - rejected
    known = math.fsum(float(str(cost)) for cost in missing if cost is not None)
    lines = [
        f"{row['name']:30} {row['state']:10} {_cost(row['seconds']):>9}  {one_line(str(row['settings']))}"
        for row in rows
    ]
    unknown = f", and {missing.count(None)} runs of unknown cost" if None in missing else ""
    at_once = f", {_duration(known / config.jobs)} with --jobs {config.jobs}" if config.jobs > 1 else ""
    lines.append(
        f"{len(rows)} runs, {finished} finished, {len(missing)} to make"
        f"{f', {rejected} rejected by accept' if rejected else ''}:"
        f" about {_duration(known)}{at_once}{unknown}."
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
    later = [node for node in _unique(reported_nodes(study, first)) if node.name not in known]
    seconds = [costs.seconds(node) for node in later]
    total = math.fsum(each for each in seconds if each is not None) / jobs
    return (
        f"{len(later)} runs of seeds {', '.join(map(str, study.seeds))} follow once the held-out runs have chosen"
        f" {', '.join(study.choose)}: about {_duration(total)}"
        f"{f' with --jobs {jobs}' if jobs > 1 else ''}"
        f"{f', and {seconds.count(None)} of unknown cost' if None in seconds else ''}."
    )


def _make(study: StudyFile, config: StudyConfig, context: Context) -> Planned:
    study.folder.mkdir(parents=True, exist_ok=True)
    lock = study.folder / LOCK
    lock.touch()
    acquire(lock)
    try:
        outcomes = _carry_out(study, held_out_nodes(study), config, context)
        chosen = None
        if study.choose:
            chosen = _choose(study)
            for group, values in chosen.items():
                context.console.info(f"Chosen by {study.rule}: {values} for {group}")
        outcomes |= _carry_out(study, reported_nodes(study, chosen), config, context)
    finally:
        release(lock)
    atomic_write(study.folder / STATUS, json.dumps(outcomes, indent=1) + "\n")
    bad = {
        state: [name for name, each in outcomes.items() if each == state]
        for state in (FAILED, SKIPPED, STOPPED)
    }
    if any(bad.values()):
        text = "; ".join(
            f"{len(names)} {state}: {', '.join(names[:5])}" for state, names in bad.items() if names
        )
        raise RunError(
            f"Of {len(outcomes)} runs {text}. See {study.folder / LOGS}; run the study again to go on."
        )
    return Planned(study.folder / STATUS, {"outcomes": outcomes}, str(study.folder / STATUS))


def _carry_out(
    study: StudyFile, nodes: Sequence[Node], config: StudyConfig, context: Context
) -> dict[str, str]:
    nodes = _unique(nodes)
    count = min(config.jobs, max(1, len(nodes)))
    folder = study.folder.resolve()
    (folder / "settings").mkdir(parents=True, exist_ok=True)
    jobs = {}
    for node in nodes:
        atomic_write(folder / "settings" / f"{node.name}.yaml", to_yaml(node.config))
        source = node.source.name if node.source else None
        jobs[node.name] = Job(node.name, node.command, str(folder), source, count)
    parents = {node.name: [parent.name for parent in node.parents] for node in nodes}
    progress = _Progress(context, len(nodes))
    try:
        return run_graph(jobs, parents, count, progress.tell, config.scheduler)
    except KeyboardInterrupt:
        raise Interrupted(folder, partial=True) from None


def _choose(study: StudyFile) -> dict[str, dict[str, Any]]:
    """Choose from the finished held-out runs, and record from what."""
    groups: dict[str, dict[str, tuple[dict[str, Any], list[tuple[float, float]]]]] = {}
    for node in _unique(held_out_nodes(study)):
        if node.command != "defend" or _state(study.folder / node.name) != "finished":
            continue
        metrics = Run.open(study.folder / node.name).metrics
        if {"ba@1", "asr@1"} <= metrics.keys():
            values = {key: node.settings[key] for key in study.choose if key in node.settings}
            group = groups.setdefault(group_of(node.settings, study.choose), {})
            group.setdefault(json.dumps(values, default=str), (values, []))[1].append(
                (metrics["ba@1"], metrics["asr@1"])
            )
    record, chosen = [], {}
    for group_name, found in groups.items():
        candidates = [Candidate(values, tuple(measured)) for values, measured in found.values()]
        best = choose(candidates, study.rule)
        if best is not None:
            chosen[group_name] = dict(best.values)
        tried = [{**c.values, "runs": len(c.measured), "ba@1": c.ba, "asr@1": c.asr} for c in candidates]
        record.append({"for": json.loads(group_name), "chosen": chosen.get(group_name), "tried": tried})
    content = {"rule": study.rule, "held_out": study.held_out, "choices": record}
    atomic_write(study.folder / CHOICE, json.dumps(content, indent=1, default=str) + "\n")
    return chosen


def _chosen(study: StudyFile) -> dict[str, dict[str, Any]] | None:
    """The choice where all held-out runs are finished."""
    if all(_state(study.folder / node.name) == "finished" for node in held_out_nodes(study)):
        return _choose(study)
    return None


def _report(study: StudyFile, context: Context) -> Report:
    chosen = _choose(study) if study.choose and study.folder.is_dir() else None
    nodes = _unique(reported_nodes(study, chosen if study.choose else None))
    there = [node.name for node in nodes if _state(study.folder / node.name) == "finished"]
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


def _unique(nodes: Sequence[Node]) -> list[Node]:
    return list({node.name: node for node in nodes}.values())


def _state(run: Path) -> str:
    if (run / MANIFEST).is_file():
        return "rejected" if is_rejected(run) else "finished"
    return "unfinished" if (run / UNFINISHED).is_file() else "missing"


def _cost(seconds: Any) -> str:
    return "unknown" if seconds is None else _duration(seconds)


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 100
        else f"{seconds / 60:.0f} min"
        if seconds < 6000
        else f"{seconds / 3600:.1f} h"
    )
