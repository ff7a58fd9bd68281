"""The runs of a study: a graph of commands, in which equal settings of equal parents are one run."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clipdefend.components import check_components
from clipdefend.config import COMMANDS, KINDS, RunConfig, leaves, load_config, to_dict
from clipdefend.errors import ConfigError
from clipdefend.runs.unfinished import FREE_ON_RESUME
from clipdefend.study.study_file import StudyFile
from clipdefend.study.where import Change

RECORDED = "the recorded configuration: "
Chosen = Mapping[str, Mapping[str, Any]]
"""Group of defences -> chosen values."""


@dataclass(frozen=True)
class Node:
    """One run.

    Attributes:
        command, config: what is run, resolved.
        settings: what the study's file sets, with the seed.
        source: the input run.
        after: runs that must be there too, such as the sub-captions of a defence.
    """

    command: str
    config: RunConfig
    settings: Mapping[str, Any]
    source: Node | None = None
    after: tuple[Node, ...] = ()

    @property
    def parents(self) -> tuple[Node, ...]:
        return (*((self.source,) if self.source else ()), *self.after)

    @property
    def name(self) -> str:
        """Name of its folder: the command and a digest of all that decides its result."""
        facts = [self.command, _deciding(to_dict(self.config)), [parent.name for parent in self.parents]]
        return f"{self.command}-{hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]}"

    @property
    def has_model(self) -> bool:
        """Whether the run writes weights."""
        return KINDS[self.command].model

    @property
    def poison(self) -> Node:
        """The poison run it descends from."""
        return self.source.poison if self.source else self


def labels(nodes: Sequence[Node]) -> list[str]:
    """For each run, for people: the settings that tell it from others of its command, those of its inputs first."""
    every = list({each.name: each for node in nodes for each in (*_inputs(node), node)}.values())
    counts = Counter(node.command for node in every)
    given = Counter((node.command, key) for node in every for key in node.settings)
    values = {(node.command, key, repr(value)) for node in every for key, value in node.settings.items()}
    varied = Counter((command, key) for command, key, _ in values)

    def told(node: Node) -> list[str]:
        return [
            key
            for key in node.settings
            if varied[node.command, key] > 1 or given[node.command, key] < counts[node.command]
        ]

    def label(node: Node) -> str:
        line = (*_inputs(node), node)
        words = []
        for position, each in enumerate(line):
            for key in told(each):
                again = key != "seed" and any(key in told(later) for later in line[position + 1 :])
                words.append(f"{f'{each.command}.' if again else ''}{key} {each.settings[key]}")
        return ", ".join(dict.fromkeys(words))  # equal words of input and run, such as the seed, stand once

    return [label(node) for node in nodes]


def _inputs(node: Node) -> list[Node]:
    """Its input run and that one's, the first of them first."""
    return [*_inputs(node.source), node.source] if node.source else []


def group_of(settings: Mapping[str, Any], choose: tuple[str, ...]) -> str:
    """What a choice is made for: a defence's settings without the seed and what is chosen."""
    return json.dumps(
        {k: v for k, v in settings.items() if k not in (*choose, "seed")}, sort_keys=True, default=str
    )


def held_out_nodes(study: StudyFile) -> list[Node]:
    """The runs that choose hyper-parameters, parents first."""
    steps = [command for command in study.steps if command not in ("clean", "evaluate", "export")]
    nodes = [node for seed in study.held_out for node in _expand(study, steps, seed, None)]
    return [node for node in nodes if _takes_part(study, node)]


def _takes_part(study: StudyFile, node: Node) -> bool:
    """Whether a run's attack, if it has one, is among those on which hyper-parameters are chosen."""
    condition, attack = study.held_out_where, node.poison
    if condition is None or attack.command != "poison":
        return True
    try:
        return condition.holds([attack.config])
    except ConfigError as error:
        raise ConfigError(f"{study.path}: held_out_{error}") from None


def reported_nodes(study: StudyFile, chosen: Chosen | None) -> list[Node]:
    """The runs that are reported, parents first; without ``chosen`` every value of what is to be chosen."""
    return [node for seed in study.seeds for node in _expand(study, [*study.steps], seed, chosen)]


def _expand(study: StudyFile, steps: list[str], seed: int, chosen: Chosen | None) -> list[Node]:
    made: dict[str, dict[str, Node]] = {}
    for command in steps:
        inputs = KINDS[command].inputs
        sources: list[Node | None] = [node for kind in inputs for node in made.get(kind, {}).values()]
        here = made[command] = {}
        for source in sources if inputs else [None]:
            for settings in _combined(study, command, seed, source):
                if command == "defend" and chosen is not None:
                    values = chosen.get(group_of(settings, study.choose))
                    if values is None or any(settings.get(key) != value for key, value in values.items()):
                        continue
                if command == "filter" and source and not source.has_model and not settings.get("checkpoint"):
                    continue  # the pairs of a poison run, with nothing to judge them by
                if command == "merge" and source and source.command != "defend" and not settings.get("other"):
                    continue  # a victim, with nothing to mix it with
                after = _sub_captions(made, source) if command == "defend" else ()
                # Pairs that are named are those of no attack: one run for all.
                given = None if command == "augment" and settings.get("data") else source
                config = _configure(study, command, {**settings, "seed": seed}, given)
                node = Node(command, config, {**settings, "seed": seed}, given, after)
                here.setdefault(node.name, node)
    return [node for nodes in made.values() for node in nodes.values()]


def _combined(study: StudyFile, command: str, seed: int, source: Node | None) -> Iterator[dict[str, Any]]:
    """The settings of a command's runs on one input."""
    for block in study.steps[command]:
        found = list(_product(block))
        for change in study.changes[command]:
            changed = [
                {**settings, **more}
                for settings in found
                for more in (
                    _product(change.values)
                    if _holds(study, change, command, {**settings, "seed": seed}, source)
                    else ({},)
                )
            ]
            # A change of a key with several values gives each of its own once for each of those.
            found = [*{repr(settings): settings for settings in changed}.values()]
        yield from found


def _product(block: Mapping[str, tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*block.values()):
        yield dict(zip(block, values, strict=True))


def _holds(
    study: StudyFile, change: Change, command: str, settings: Mapping[str, Any], source: Node | None
) -> bool:
    config = _configure(study, command, settings, source)
    try:
        return change.holds([config, *(_line(source) if source else ())])
    except ConfigError as error:
        raise ConfigError(f"{study.path}: steps.{command}: {error}") from None


def _line(node: Node) -> list[RunConfig]:
    """Its configuration, then its input's, and so on."""
    return [node.config, *(_line(node.source) if node.source else ())]


def choice_groups(study: StudyFile, nodes: Sequence[Node]) -> list[str]:
    """The groups of the defences among the nodes, each once; see ``group_of``."""
    return list(
        dict.fromkeys(group_of(node.settings, study.choose) for node in nodes if node.command == "defend")
    )


def check_changes(study: StudyFile) -> None:
    """Raise ConfigError for a ``where`` that holds for no run, or a defence for which nothing could be chosen."""
    held_out, reported = held_out_nodes(study), reported_nodes(study, None)
    if study.held_out_where and not any(node.command == "poison" for node in held_out):
        raise ConfigError(f"{study.path}: held_out_where {{{study.held_out_where}}} holds for no attack.")
    if study.choose:
        groups = choice_groups(study, held_out)
        for group in choice_groups(study, reported):
            if group not in groups:
                raise ConfigError(
                    f"{study.path}: {', '.join(study.choose)} cannot be chosen for defences with {group}: no held-out"
                    " run has these settings. Change held_out_where, or the where of steps.defend."
                )
    nodes = [*held_out, *reported]
    for command, changes in study.changes.items():
        for change in changes:
            if not any(change.holds(_line(node)) for node in nodes if node.command == command):
                raise ConfigError(f"{study.path}: steps.{command}: where {{{change}}} holds for no run.")


def _sub_captions(made: Mapping[str, Mapping[str, Node]], source: Node | None) -> tuple[Node, ...]:
    nodes = made.get("augment", {}).values()
    return tuple(
        node for node in nodes if node.source is None or (source and node.poison.name == source.poison.name)
    )


def _configure(study: StudyFile, command: str, settings: Mapping[str, Any], source: Node | None) -> RunConfig:
    data = getattr(source.poison.config, "data", None) if source else None
    recorded = {**_shared(study.common, command), **settings, **_shared(study.forced, command)}
    try:
        config = load_config(
            COMMANDS[command], recorded=recorded, inherited_data=data, source_given=source is not None
        )
        check_components(config)
    except ConfigError as error:
        raise ConfigError(f"{study.path}: steps.{command}: {str(error).replace(RECORDED, '')}") from None
    return config


def _shared(values: Mapping[str, Any], command: str) -> dict[str, Any]:
    """Those of a study's common values that a command has, by its own keys."""
    known = leaves(COMMANDS[command])
    places = (
        (path, value) for key, value in values.items() for path in (key, f"train.{key}") if path in known
    )
    return dict(places)


def _deciding(config: dict[str, Any], at: str = "") -> dict[str, Any]:
    """A configuration without what changes no result."""
    return {
        key: _deciding(value, f"{at}{key}.") if isinstance(value, dict) else value
        for key, value in config.items()
        if f"{at}{key}" not in (*FREE_ON_RESUME, "device")
    }
