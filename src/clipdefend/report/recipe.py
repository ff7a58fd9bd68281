"""What tells runs apart: the settings of a whole lineage without its seeds, and names for people."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from clipdefend.config import COMMANDS, load_config, to_dict
from clipdefend.console import one_line
from clipdefend.errors import ClipDefendError
from clipdefend.objectives import METHODS
from clipdefend.runs import DefendDetails, Run, TrainingDetails

Recipe = dict[str, Any]

# What changes no result, or only names other runs, which are compared by their own settings.
SILENT = frozenset(
    {
        *("preset", "seed", "workers", "max_bad", "device"),
        *(
            "from_manifest",
            "for_model",
            "trigger_from",
            "exclude_manifest",
            "augment_from",
            "val_data",
            "val_pairs",
        ),
        *("train.device", "train.resume", "train.log_every", "train.save_every", "train.keep_state"),
        *("train.report_to", "train.eval_every", "train.compile"),
    }
)
GROUPS = ("eval.", "columns.")
# These matter only to objectives with sub-captions.
SUBCAPTIONS = ("n_aug", "fc_schedule", "subcaptions.")
NAMED = 3
"""Number of differences that a label names; more where these do not tell it from the others."""
LOOKED_FOR = (
    "target",
    "lr",
    "epochs",
    "batch_size",
    "n_aug",
    "method",
    "name",
    "pretrained",
    "data",
    "wd",
    "warmup",
)
"""What people vary, in the order in which labels name it."""


def recipe(run: Run) -> Recipe:
    """Flat settings of a run that can change its result, seeds left out; defaults filled in."""
    config = dict(run.config)
    with contextlib.suppress(ClipDefendError, KeyError):  # of another version: as it is recorded
        config = to_dict(load_config(COMMANDS[run.command], recorded=config))
    terms = TrainingDetails.of(run).terms if run.kind.model else None
    if terms is not None:  # what was trained with, in place of the changes that the configuration asks for
        config["terms"] = terms
    flat = {
        key: value
        for key, value in flatten(config).items()
        if key not in SILENT and not key.startswith(GROUPS)
    }
    if terms is not None and "fc" not in terms:
        flat = {key: value for key, value in flat.items() if not key.startswith(SUBCAPTIONS)}
    return flat


def flatten(values: Mapping[Any, Any], prefix: str = "") -> Recipe:
    """Nested mappings as dotted keys; lists as texts."""
    flat: Recipe = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value if isinstance(value, str | int | float | None) else str(value)
    return flat


def attack_name(poison: Run | None) -> str:
    """The attack of a poison run."""
    if poison is None:
        return "no known attack"
    attack = poison.config.get("attack")
    name = attack.get("name") if isinstance(attack, Mapping) else attack
    return one_line(str(name or "attack"))


def defence_name(defend: Run | None) -> str:
    """The method of a defend run with the terms that were added to it; "none" without a defence."""
    if defend is None:
        return "none"
    method = one_line(str(defend.config.get("method", "defence")))
    own = METHODS[method].terms if method in METHODS else {}
    added = [
        one_line(str(name))
        for name, term in (DefendDetails.of(defend).terms or {}).items()
        if name not in own and (not isinstance(term, Mapping) or term.get("weight", 1))
    ]
    return "+".join([method, *added]) if method in METHODS else method


def differing_keys(recipes: Sequence[Recipe]) -> list[str]:
    """Keys whose values are not the same in all recipes, sorted."""
    keys = sorted({key for each in recipes for key in each})
    return [key for key in keys if len({_hashable(each.get(key)) for each in recipes}) > 1]


def telling(recipes: Sequence[Recipe], keys: Sequence[str]) -> list[str]:
    """The keys that a label names: one of those that vary together, and at most three unless more are needed.

    Args:
        recipes: of all that bear the same name.
        keys: those in which the recipes differ.

    Returns:
        The keys, as few as tell the recipes apart, then what else varies on its own; by what people look for first.
    """
    variations: dict[tuple[int, ...], str] = {}
    for key in sorted(keys, key=_rank):
        variations.setdefault(_partition([_values(own, [key]) for own in recipes]), key)
    ahead = list(variations.values())
    parts = _parts(recipes, keys)
    chosen: list[str] = []
    while ahead:
        if len(chosen) >= NAMED and _parts(recipes, chosen) == parts:
            break
        # The one that tells the most apart; of equals the first.
        best = max(ahead, key=lambda key: (_parts(recipes, [*chosen, key]), -ahead.index(key)))
        ahead.remove(best)
        chosen.append(best)
    return sorted(chosen, key=_rank)


def label(name: str, own: Recipe, keys: Sequence[str]) -> str:
    """A name with its values of some keys: "cleanerclip (n_aug=3000, fc.weight=2)"."""
    return f"{name} ({', '.join(settings(own, keys))})" if keys else name


def settings(own: Recipe, keys: Sequence[str]) -> list[str]:
    """Keys with their values, for people; keys of one short name with what they are of."""
    names = [short_key(key) for key in keys]
    return [
        f"{one_line(key.partition('.')[0]) + '.' if names.count(name) > 1 else ''}{name}={format_value(own.get(key))}"
        for key, name in zip(keys, names, strict=True)
    ]


def _rank(key: str) -> tuple[int, str]:
    """The order in which people look for what differs: what they sweep, then the rest by its name."""
    last = short_key(key)
    place = LOOKED_FOR.index(last) if last in LOOKED_FOR else len(LOOKED_FOR)
    return place, key


def _parts(recipes: Sequence[Recipe], keys: Sequence[str]) -> int:
    """How many recipes some keys tell apart."""
    return len(set(_partition([_values(own, keys) for own in recipes])))


def _partition(values: Sequence[Any]) -> tuple[int, ...]:
    """For each value the place of the first that equals it."""
    return tuple(values.index(value) for value in values)


def _values(own: Recipe, keys: Sequence[str]) -> list[Any]:
    return [_hashable(own.get(key)) for key in keys]


def short_key(key: str) -> str:
    """The last part of a dotted key, with the term that a weight is of."""
    parts = key.split(".")
    return one_line(".".join(parts[-2:]) if "terms" in parts[:-1] else parts[-1])


def format_value(value: Any) -> str:
    """A setting's value for people."""
    if isinstance(value, float):
        return f"{value:g}"
    return "default" if value is None else one_line(str(value))


def _hashable(value: Any) -> Any:
    return (type(value).__name__ in ("int", "float"), value)
