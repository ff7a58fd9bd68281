"""Reading a study's file. Input is untrusted: sizes are limited, and an unknown key is answered with the nearest."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipdefend.config import KINDS
from clipdefend.config.yamlfile import YamlError, read_yaml
from clipdefend.errors import ConfigError
from clipdefend.registry import nearest
from clipdefend.study.where import Change

MAX_BYTES = 1_000_000
MAX_RUNS = 10_000
RULES = ("value", "ba-asr")
_LIMIT = re.compile(r"asr<=(0(\.\d+)?|1)")
COMMON = ("preset", "workers", "max_bad", "device")
"""Keys that may stand at the top, for all runs."""
_KEYS = ("name", "folder", "seeds", "held_out", "held_out_where", "choose", "rule", *COMMON, "steps")

Block = dict[str, tuple[Any, ...]]
"""Key of a command's configuration -> its values; the runs are their product."""


@dataclass(frozen=True, kw_only=True)
class StudyFile:
    """A checked study.

    Attributes:
        path: the file.
        folder: where its runs go.
        seeds: of the reported runs.
        held_out: seeds on which hyper-parameters are chosen.
        held_out_where: what attacks must fulfil to take part in the choice; None: all do.
        choose: keys of ``defend`` that are chosen.
        rule: "value", "ba-asr" or "asr<=X", see ``choice.choose``.
        steps: command -> its blocks.
        changes: command -> its blocks with ``where``, of which later ones win.
        common: key of all commands -> value, for steps that do not set it themselves.
        forced: the same from the command line, which wins over the file.
    """

    path: Path
    folder: Path
    seeds: tuple[int, ...]
    held_out: tuple[int, ...]
    held_out_where: Change | None
    choose: tuple[str, ...]
    rule: str
    steps: Mapping[str, tuple[Block, ...]]
    changes: Mapping[str, tuple[Change, ...]]
    common: Mapping[str, Any]
    forced: Mapping[str, Any]


def read_study(path: Path, forced: Mapping[str, Any] | None = None) -> StudyFile:
    """Read a study.

    Args:
        path: the file.
        forced: key of ``COMMON`` -> a value that wins over the file's.

    Raises:
        ConfigError: the file cannot be read, or something in it does not fit.
    """
    try:
        found = read_yaml(path, MAX_BYTES)
    except YamlError as fault:
        raise ConfigError(f"{path} {fault}.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    if not isinstance(found, dict) or not isinstance(found.get("steps"), dict):
        raise ConfigError(f"{path} is not a study: it needs 'steps', with a key for each command.")
    _known(found, _KEYS, str(path))
    _known(found["steps"], [*KINDS], f"{path}: steps")
    name = found.get("name", path.stem)
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise ConfigError(f"{path}: name {name!r} must consist of letters, digits, '.', '_' and '-'.")
    folder = found.get("folder", f"studies/{name}")
    if not isinstance(folder, str) or not folder or "\0" in folder:
        raise ConfigError(f"{path}: folder {folder!r} is not a path.")
    seeds, held_out = (_seeds(found, key, path) for key in ("seeds", "held_out"))
    blocks = {
        command: _blocks(found["steps"], command, path) for command in KINDS if command in found["steps"]
    }
    study = StudyFile(
        path=path,
        folder=Path(folder),
        seeds=seeds or (0,),
        held_out=held_out,
        held_out_where=_held_out_where(found, path),
        choose=_choose(found, path),
        rule=_rule(found, path),
        steps={command: runs for command, (runs, _) in blocks.items()},
        changes={command: changes for command, (_, changes) in blocks.items()},
        common={key: found[key] for key in COMMON if key in found},
        forced=forced or {},
    )
    _check(study)
    return study


def _known(mapping: Mapping[Any, Any], known: list[str] | tuple[str, ...], where: str) -> None:
    for key in mapping:
        if key not in known:
            raise ConfigError(f"{where}: {key!r} is not a key.{nearest(str(key), list(known))}")


def _seeds(found: Mapping[str, Any], key: str, path: Path) -> tuple[int, ...]:
    seeds = found.get(key, [])
    whole = isinstance(seeds, list) and all(type(seed) is int and 0 <= seed < 2**63 for seed in seeds)
    if not whole or len(set(seeds)) < len(seeds):
        raise ConfigError(f"{path}: {key} must be a list of different whole numbers, such as [1, 2, 3].")
    return tuple(seeds)


def _held_out_where(found: Mapping[str, Any], path: Path) -> Change | None:
    given = found.get("held_out_where")
    if given is None:
        return None
    if not isinstance(given, dict) or not given:
        raise ConfigError(
            f"{path}: held_out_where takes conditions on poison's keys, such as {{attack: [badnet, sig]}}."
        )
    return Change(
        {str(key): _values(value, f"{path}: held_out_where.{key}") for key, value in given.items()}, {}
    )


def _choose(found: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    keys = found.get("choose", [])
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ConfigError(f"{path}: choose must be a list of keys of defend, such as [train.lr].")
    return tuple(keys)


def _rule(found: Mapping[str, Any], path: Path) -> str:
    rule = found.get("rule", RULES[0])
    if not isinstance(rule, str) or (rule not in RULES and not _LIMIT.fullmatch(rule)):
        raise ConfigError(
            f"{path}: rule {rule!r} is not known. Use 'value', 'ba-asr' or a bound such as 'asr<=0.05'."
        )
    return rule


def _check(study: StudyFile) -> None:
    if "poison" not in study.steps:
        raise ConfigError(f"{study.path}: steps has no 'poison', with which every study begins.")
    for command in study.steps:
        inputs = KINDS[command].inputs
        if inputs and not set(inputs) & set(study.steps):
            raise ConfigError(f"{study.path}: steps.{command} needs a step {' or '.join(inputs)}.")
    if set(study.seeds) & set(study.held_out):
        raise ConfigError(f"{study.path}: a seed in held_out must not be in seeds.")
    if study.held_out_where and not study.held_out:
        raise ConfigError(f"{study.path}: held_out_where needs held_out.")
    if bool(study.choose) != bool(study.held_out):
        raise ConfigError(f"{study.path}: choose and held_out belong together; give both or neither.")
    keys = {key for block in study.steps.get("defend", ()) for key in block}
    for key in study.choose:
        if key not in keys:
            raise ConfigError(
                f"{study.path}: choose names {key!r}, which steps.defend does not set.{nearest(key, sorted(keys))}"
            )
    if sum(combinations(block) for block in study.steps.get("augment", ())) > 1:
        raise ConfigError(
            f"{study.path}: steps.augment must be one setting, since defend takes the one that fits."
        )
    size = grid_size(study)
    if size > MAX_RUNS:
        raise ConfigError(
            f"{study.path} asks for {size:,} runs; at most {MAX_RUNS:,} are allowed. Make the grid smaller."
        )


def combinations(block: Mapping[str, tuple[Any, ...]]) -> int:
    """Number of combinations of a block's values."""
    return math.prod(len(values) for values in block.values())


def grid_size(study: StudyFile) -> int:
    """Upper bound on the number of runs, before equal ones are joined."""
    counts: dict[str, int] = {}
    for command, blocks in study.steps.items():
        inputs = KINDS[command].inputs
        parents = sum(counts.get(kind, 0) for kind in inputs) if inputs else 1
        counts[command] = parents * sum(_most(block, study.changes[command]) for block in blocks)
    return sum(counts.values()) * (len(study.seeds) + len(study.held_out))


def _most(block: Block, changes: Sequence[Change]) -> int:
    """Upper bound on the settings of a block: each key has its own values, or those of a change that holds."""
    every = combinations(block) * math.prod(combinations(change.values) for change in changes)
    possible: dict[str, set[str]] = {key: {repr(value) for value in values} for key, values in block.items()}
    for change in changes:
        for key, values in change.values.items():
            possible.setdefault(key, {"as it is"}).update(map(repr, values))
    return min(every, math.prod(map(len, possible.values())))


def _blocks(
    steps: Mapping[str, Any], command: str, path: Path
) -> tuple[tuple[Block, ...], tuple[Change, ...]]:
    """The blocks that make runs, and those that change them where a condition holds."""
    given = steps[command]
    where = f"{path}: steps.{command}"
    runs: list[Block] = []
    changes: list[Change] = []
    for block in given if isinstance(given, list) else [given]:
        if block is not None and not isinstance(block, dict):
            raise ConfigError(f"{where} must be keys with values, or a list of such blocks.")
        keys = dict(block or {})
        condition = keys.pop("where", None)
        if "seed" in keys:
            raise ConfigError(f"{where}.seed: seeds are those of the whole study; give 'seeds' at the top.")
        found = {str(key): _values(value, f"{where}.{key}") for key, value in keys.items()}
        if "where" not in (block or {}):
            runs.append(found)
        elif not isinstance(condition, dict) or not condition or not found:
            raise ConfigError(
                f"{where}: a block with 'where' takes conditions and settings, as in"
                " {where: {attack: wanet}, train.epochs: 4}."
            )
        else:
            conditions = {
                str(key): _values(value, f"{where}.where.{key}") for key, value in condition.items()
            }
            changes.append(Change(conditions, found))
    return tuple(runs or [{}]), tuple(changes)


def _values(value: Any, where: str) -> tuple[Any, ...]:
    """The values of one key: a list, {range: [first, last, count]}, {log: ...}, or {value: one literal value}."""
    if isinstance(value, list):
        if not value:
            raise ConfigError(f"{where} is an empty list; give at least one value.")
        return tuple(value)
    if isinstance(value, dict) and len(value) == 1:
        (form, given), *_ = value.items()
        if form == "value":
            return (given,)
        if form in ("range", "log"):
            return _spaced(form, given, where)
    return (value,)


def _spaced(form: str, given: Any, where: str) -> tuple[float, ...]:
    numbers = (
        isinstance(given, list) and len(given) == 3 and all(type(each) in (int, float) for each in given)
    )
    if not numbers or type(given[2]) is not int or not 2 <= given[2] <= MAX_RUNS:
        raise ConfigError(
            f"{where}: {form} takes [first, last, count], such as [1, 5, 5], with a count of at least 2."
        )
    first, last, count = given
    if not all(map(math.isfinite, (first, last))) or (form == "log" and min(first, last) <= 0):
        raise ConfigError(f"{where}: {form} needs finite numbers{', above 0' if form == 'log' else ''}.")
    shares = [step / (count - 1) for step in range(count)]
    if form == "log":
        return tuple(float(f"{first * (last / first) ** share:.6g}") for share in shares)
    spaced = [first + (last - first) * share for share in shares]
    whole = type(first) is int and type(last) is int and (last - first) % (count - 1) == 0
    return tuple(round(each) if whole else float(f"{each:.12g}") for each in spaced)
