"""What the runs of a study cost: seconds of like runs, otherwise the doctor's estimate, otherwise of the command."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clipdefend.commands.doctor import run_doctor
from clipdefend.config import DefendConfig, FinetuneAttackConfig, to_dict
from clipdefend.console import Console
from clipdefend.errors import ClipDefendError
from clipdefend.runs import MANIFEST, Context, atomic_write
from clipdefend.study.carry_out import GOOD, LOG
from clipdefend.study.grid import Node

CACHE = "costs.json"
_FREE = (
    *("seed", "train.lr", "train.wd", "train.warmup", "train.beta1", "train.beta2", "train.eps"),
    "keep_poison",  # in the places of clean pairs
)
_BUILTIN = "builtin"


class Costs:
    """Seconds of runs.

    Args:
        folder: of the study; estimates are kept in its ``costs.json``.
        nodes: its runs.
        console: told what is measured.
        measure: whether steps may be measured.
    """

    def __init__(self, folder: Path, nodes: Sequence[Node], console: Console, measure: bool) -> None:
        self.folder, self.console, self.measure = folder, console, measure
        made = _made(folder)
        self.by_shape: dict[str, list[float]] = {}
        self.by_command: dict[str, list[float]] = {}
        for node in nodes:
            if node.name in made:
                self.by_shape.setdefault(shape(node), []).append(made[node.name])
                self.by_command.setdefault(node.command, []).append(made[node.name])
        self.estimates: dict[str, float | None] = _read(folder / CACHE)

    def seconds(self, node: Node) -> float | None:
        """Of one run, None where nothing is known."""
        key = shape(node)
        if key in self.by_shape:
            return statistics.median(self.by_shape[key])
        config = node.config
        if (
            isinstance(config, (DefendConfig, FinetuneAttackConfig))
            and self.measure
            and key not in self.estimates
            and self._can_be_estimated(node, config)
        ):
            self.estimates[key] = self._estimate(node, config)
            self.folder.mkdir(parents=True, exist_ok=True)
            atomic_write(self.folder / CACHE, json.dumps(self.estimates, indent=1) + "\n")
        if self.estimates.get(key) is not None:
            return self.estimates[key]
        made = self.by_command.get(node.command)
        return statistics.median(made) if made else None

    def _can_be_estimated(self, node: Node, config: DefendConfig | FinetuneAttackConfig) -> bool:
        """Whether the doctor would see the run's own pairs and a model of its kind.

        A checkpoint comes with its pairs. For an input that is not there yet it takes the built-in world and its model.
        """
        if node.source is None:
            return getattr(config, "checkpoint", None) is not None
        if self._is_there(node.source):
            return True
        pairs = getattr(node.source.poison.config, "data", None)
        model = config if isinstance(config, FinetuneAttackConfig) else node.source.config
        own_model = getattr(getattr(model, "model", None), "name", None)
        return str(pairs).split(":")[0] == _BUILTIN and own_model == "tiny"

    def _estimate(self, node: Node, config: DefendConfig | FinetuneAttackConfig) -> float | None:
        self.console.info(f"Measuring a step of {node.name} ...")
        if isinstance(config, DefendConfig):  # the pairs to keep need a poison run, which may not be there
            config = replace(config, keep_poison=0)
        source = node.source
        context = Context(
            runs=self.folder,
            source=str(self.folder / source.name) if source and self._is_there(source) else None,
            console=Console(silent=True),
        )
        try:
            found = run_doctor.run(config, context).estimate
        except ClipDefendError as error:
            self.console.warn(f"{node.name} cannot be estimated: {error}")
            return None
        return found.seconds if found else None

    def _is_there(self, node: Node) -> bool:
        return (self.folder / node.name / MANIFEST).is_file()


def shape(node: Node) -> str:
    """A digest of what decides a run's cost: equal ones differ in seeds, rates and triggers alone."""

    def facts(each: Node) -> Any:
        config = _without(to_dict(each.config), _FREE)
        if each.source is None and "attack" in config:
            config["attack"] = to_dict(each.config)["attack"]["name"] if each is node else None
        return [each.command, config, facts(each.source) if each.source else None]

    return hashlib.sha256(json.dumps(facts(node), sort_keys=True, default=str).encode()).hexdigest()[:12]


def _without(config: dict[str, Any], keys: Sequence[str], at: str = "") -> dict[str, Any]:
    return {
        key: _without(value, keys, f"{at}{key}.") if isinstance(value, dict) else value
        for key, value in config.items()
        if f"{at}{key}" not in keys
    }


def _made(folder: Path) -> dict[str, float]:
    """Name -> seconds of the runs that this study has made; a resumed one counts all its parts."""
    found: dict[str, float] = {}
    if (folder / LOG).is_file():
        parts: dict[str, float] = {}
        for line in (folder / LOG).read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
                name = str(record["name"])
                parts[name] = parts.get(name, 0.0) + float(record["seconds"])
                if record["state"] in GOOD:
                    found[name] = parts[name]
            except (ValueError, KeyError, TypeError):  # a line that a kill has cut
                continue
    return found


def _read(path: Path) -> dict[str, float | None]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(key): value for key, value in loaded.items()} if isinstance(loaded, dict) else {}
