"""The runs that ``clean`` consists of, as nodes of a study's graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from clipdefend.canvas import Canvas
from clipdefend.commands.clean.candidates import Candidate
from clipdefend.commands.clean.clean_inputs import MODEL, absolute
from clipdefend.commands.clean.pair_shares import CHECK, COPY, PLANT, TRAIN
from clipdefend.config import (
    CleanConfig,
    DefendConfig,
    EvaluateConfig,
    FinetuneAttackConfig,
    MergeConfig,
    PoisonConfig,
    RunConfig,
    ScanConfig,
    load_config,
    to_dict,
)
from clipdefend.draws import draw_seed
from clipdefend.runs import PairsSource
from clipdefend.study.grid import Node

C = TypeVar("C", bound=RunConfig)

OWN: Mapping[str, Mapping[str, Any]] = {"badnet": {"place": "top-left"}}
"""Parameters of canaries that keep them apart from the commonest form of an attack."""
MOST_SEED = 2**31
CLASSES = "classes.json"
"""File with the class names, beside the steps."""
SCAN = {"search.restarts": 1, "search.steps": 100}
"""Scans are shorter than ``scan`` by itself: they give evidence before and after, and choose nothing."""
FROM_TRIGGERS = ("unlearn",)
"""Methods that take the triggers that the scan found in the suspect."""
# What training of candidates sets that planting takes over: how a step is computed, not how long it trains.
SHARED = ("batch_size", "precision", "batch_norm", "accum_freq", "grad_checkpointing", "compile", "device")


@dataclass(frozen=True)
class Canary:
    """A backdoor of our own: its trigger, its target and the run that poisons pairs with it."""

    attack: str
    target: str
    poison: Node

    def __str__(self) -> str:
        return f"{self.attack} for {self.target!r}"


class CleanSteps:
    """Makes the nodes; equal arguments give equal nodes, so that a resumed command finds its runs.

    Args:
        config: of the command.
        folder: of the runs, absolute.
        suspect: folder with the suspect's ``model/``.
        spec: the clean pairs.
        shares: name of each share of the pairs -> the folder that flags all other rows.
        size: number of pairs among which canaries poison some.
        canvas: geometry of the suspect's images.
    """

    def __init__(
        self,
        config: CleanConfig,
        folder: Path,
        suspect: Path,
        spec: PairsSource,
        shares: Mapping[str, Path],
        size: int,
        canvas: Canvas,
    ) -> None:
        self.config, self.folder, self.suspect, self.spec = config, folder, suspect, spec
        self.shares, self.size, self.canvas = shares, size, canvas
        self.titles: dict[str, str] = {}

    def title(self, name: str) -> str:
        """What a run is called for people."""
        return self.titles.get(name, name)

    def canaries(self, targets: Sequence[str]) -> list[Canary]:
        """The canaries, one for each target."""
        chosen = self.config.canaries
        found = []
        for attack, target in zip(chosen.attacks, targets, strict=True):
            settings = {
                "attack": {"name": attack, **OWN.get(attack, {})},
                "target": target,
                "count": round(chosen.rate * self.size),
                "image_size": self.canvas.size,
                "interpolation": self.canvas.interpolation,
                "canvas": self.canvas.mode,
                "exclude_manifest": str(self.shares[PLANT]),
                "eval_data": None,
                # For triggers that are learned: by the suspect, among the classes of the evaluation.
                "surrogate.name": f"local-dir:{self.suspect / MODEL}",
                "class_names": str(self.folder / CLASSES),
                # Rows and patterns of its own, and not those of an attacker who left the seed at its default.
                "seed": draw_seed(self.config.seed, "canary", attack) % MOST_SEED,
                "device": self.config.train.device,
                **self._pairs(),
            }
            if self.config.eval.templates is not None:
                settings["templates"] = absolute(self.config.eval.templates)
            node = self._node(PoisonConfig, settings, f"poison pairs with canary {attack}")
            found.append(Canary(attack, target, node))
        return found

    def planted(self, canaries: Sequence[Canary]) -> Node:
        """The copy of the suspect that carries all canaries.

        One copy for all of them costs one training run for each candidate, not one for each candidate and canary.
        """
        first, *others = [canary.poison for canary in canaries]
        train = to_dict(self.config.train)
        settings: dict[str, Any] = {
            "model.name": f"local-dir:{self.suspect / MODEL}",
            "model.pretrained": None,
            "also_poison": [str(self.folder / node.name) for node in others] or None,
            "exclude_manifest": str(self.shares[COPY]),
            "eval.data": None,
            "train.eval_every": 0,
            **{f"train.{key}": train[key] for key in SHARED},
        }
        chosen = self.config.canaries
        settings |= {"train.epochs": chosen.epochs} if chosen.epochs is not None else {}
        settings |= {"train.lr": chosen.lr} if chosen.lr is not None else {}
        return self._node(
            FinetuneAttackConfig, settings, "plant the canaries in a copy of the suspect", first, others
        )

    def candidate(self, candidate: Candidate, planted: Node, triggers: Path | None) -> Node:
        """A candidate on the planted copy; ``triggers``: the scan of the suspect, for methods that begin with them."""
        return self._node(DefendConfig, self._defence(candidate, triggers), f"try {candidate}", planted)

    def cleaned(self, candidate: Candidate, triggers: Path | None) -> Node:
        """The same settings on the suspect itself."""
        settings = {**self._defence(candidate, triggers), "checkpoint": str(self.suspect)}
        return self._node(DefendConfig, settings, f"clean the suspect by {candidate}")

    def merged(
        self, node: Node, share: float, other: Path, classes: Path, other_node: Node | None = None
    ) -> Node:
        """A share of a cleaned model's weights with the rest from the model that it was cleaned from."""
        settings = {
            "other": str(other),
            "share": share,
            "proxy.steps": 0,  # the canaries choose
            "eval.data": None,
            "eval.class_names": str(classes),
            "device": self.config.train.device,
            **self._pairs(),
        }
        title = f"mix {share:g} of the cleaned weights with what they came from"
        return self._node(MergeConfig, settings, title, node, [other_node] if other_node else [])

    def measure(
        self,
        what: str,
        node: Node | None,
        *,
        canary: Canary | None = None,
        attack_from: Path | None = None,
        quick: bool = False,
    ) -> Node:
        """An evaluation.

        Args:
            what: is measured, for people.
            node: the run whose model it is; None for the suspect.
            canary: the trigger, measured on the canaries' number of images.
            attack_from: another run with a trigger.
            quick: measure on the canaries' number of images here too, not on all.
        """
        chosen = self.config
        settings: dict[str, Any] = {
            **{f"eval.{key}": value for key, value in to_dict(chosen.eval).items()},
            "eval.topk": sorted({1, *chosen.eval.topk}),
            "eval.quick": None,
            "device": chosen.train.device,
        }
        if chosen.eval.data is None:
            settings |= {"retrieval.data": self.spec.spec, "retrieval.exclude": str(self.shares[CHECK])}
            settings |= {f"columns.{key}": value for key, value in self._columns().items()}
        else:
            settings["eval.data"] = absolute(chosen.eval.data)
        after: list[Node] = []
        if canary is not None:
            attack_from, after = self.folder / canary.poison.name, [canary.poison]
        if canary is not None or quick:
            settings |= {"eval.quick": chosen.canaries.images, "eval.topk": [1]}
        settings |= {"checkpoint": str(self.suspect)} if node is None else {}
        settings |= {"attack_from": str(attack_from)} if attack_from else {}
        under = f" under canary {canary.attack}" if canary else ""
        return self._node(EvaluateConfig, settings, f"measure {what}{under}", node, after)

    def scan(self, what: str, node: Node | None, reference: Path | None, classes: Path) -> Node:
        """A scan of the suspect, or of the model of a run."""
        settings = {
            **SCAN,
            "checkpoint": str(self.folder / node.name if node else self.suspect),
            "reference": str(reference) if reference else "none",
            "class_names": str(classes),
            "device": self.config.train.device,
            **self._pairs(),
        }
        return self._node(ScanConfig, settings, f"scan {what}", None, [node] if node else [])

    def _defence(self, candidate: Candidate, triggers: Path | None) -> dict[str, Any]:
        train = {**to_dict(self.config.train), "resume": None, "lr": candidate.lr}
        return {
            "method": candidate.method,
            "triggers": str(triggers) if triggers and candidate.method in FROM_TRIGGERS else None,
            "exclude_manifest": str(self.shares[TRAIN]),
            "eval.data": None,
            **{f"train.{key}": value for key, value in train.items()},
            **self._pairs(),
        }

    def _pairs(self) -> dict[str, Any]:
        return {"data": self.spec.spec, **{f"columns.{key}": value for key, value in self._columns().items()}}

    def _columns(self) -> dict[str, Any]:
        keys = ("image_key", "caption_key", "delimiter", "image_root")
        return {key: getattr(self.spec, key) for key in keys}

    def _node(
        self,
        cls: type[C],
        settings: Mapping[str, Any],
        title: str,
        source: Node | None = None,
        after: Sequence[Node] = (),
    ) -> Node:
        chosen = self.config
        common = {
            "preset": chosen.preset,
            "seed": chosen.seed,
            "workers": chosen.workers,
            "max_bad": chosen.max_bad,
        }
        recorded = {**common, **settings}
        config = load_config(
            cls, recorded=recorded, inherited_data=self.spec.spec, source_given=source is not None
        )
        node = Node(cls.command, config, recorded, source, tuple(after))
        self.titles[node.name] = title
        return node
