"""Recipes: the settings that can change the result of a run, and names made from those in which runs differ."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from clipdefend.config import COMMANDS, load_config, to_dict
from clipdefend.console import one_line
from clipdefend.errors import ClipDefendError
from clipdefend.objectives import METHODS
from clipdefend.runs import DefendDetails, Run, TrainingDetails, TriggerDetails

Recipe = dict[str, Any]

# Settings that change no result, or only name other runs, which are compared by settings of their own.
SILENT = frozenset(
    {
        *("preset", "seed", "workers", "max_bad", "device"),
        *(
            "from_manifest",
            "for_model",
            "trigger_from",
            "augment_from",
            "val_data",
            "val_pairs",
        ),
        *("train.device", "train.resume", "train.log_every", "train.save_every", "train.keep_state"),
        *("train.report_to", "train.eval_every", "train.compile"),
    }
)
GROUPS = ("eval.", "columns.")
# Settings that only matter to objectives with sub-captions.
SUBCAPTIONS = ("n_aug", "fc_schedule", "subcaptions.")
NAMED = 3
"""Number of settings that a label names; more where these do not make it unique."""
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
"""Settings that are often varied, in the order in which labels name them."""


def recipe(run: Run) -> Recipe:
    """Return the settings of a run that can change its result, with defaults filled in and without seeds.

    Returns:
        Dotted key -> value.
    """
    config = dict(run.config)
    with contextlib.suppress(ClipDefendError, KeyError):  # of another version: taken as it was recorded
        config = to_dict(load_config(COMMANDS[run.command], recorded=config))
    terms = TrainingDetails.of(run).terms if run.kind.model else None
    if terms is not None:  # what was trained with, in place of the changes that the configuration asks for
        config["terms"] = terms
    for key in ("exclude_manifest", "triggers"):  # by another name in each seed's folder
        if config.get(key) is not None:
            config[key] = "yes"
    flat = {
        key: value
        for key, value in flatten(config).items()
        if key not in SILENT and not key.startswith(GROUPS)
    }
    if terms is not None and "fc" not in terms:
        flat = {key: value for key, value in flat.items() if not key.startswith(SUBCAPTIONS)}
    return flat


def flatten(values: Mapping[Any, Any], prefix: str = "") -> Recipe:
    """Flatten nested mappings to dotted keys; lists become texts."""
    flat: Recipe = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value if isinstance(value, str | int | float | None) else str(value)
    return flat


def attack_name(poison: Run | None) -> str:
    """Return the name of a poison run's attack, or the kind of trigger that a scan found."""
    if poison is None:
        return "no known attack"
    if poison.command == "scan":
        return f"found {one_line(str(TriggerDetails.of(poison).trigger.get('name')))}"
    attack = poison.config.get("attack")
    name = attack.get("name") if isinstance(attack, Mapping) else attack
    return one_line(str(name or "attack"))


def defence_name(defend: Run | None) -> str:
    """Return the method of a defend run with the terms that were added to it; "none" without a defence."""
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
    """Return the keys whose values are not equal in all recipes, sorted."""
    keys = sorted({key for each in recipes for key in each})
    return [key for key in keys if len({_hashable(each.get(key)) for each in recipes}) > 1]


def choose_label_keys(recipes: Sequence[Recipe], keys: Sequence[str]) -> list[str]:
    """Choose the settings that labels name: of those that vary together one, and ``NAMED`` unless more are needed.

    Args:
        recipes: all recipes with the same name.
        keys: settings in which they differ.

    Returns:
        Keys that suffice to distinguish the recipes, in the order of ``LOOKED_FOR``.
    """
    variations: dict[tuple[int, ...], str] = {}
    for key in sorted(keys, key=_rank):
        variations.setdefault(_partition([_values(own, [key]) for own in recipes]), key)
    ahead = list(variations.values())
    parts = _count_distinct(recipes, keys)
    chosen: list[str] = []
    while ahead:
        if len(chosen) >= NAMED and _count_distinct(recipes, chosen) == parts:
            break
        # The setting that distinguishes the most recipes; of equals the first.
        best = max(ahead, key=lambda key: (_count_distinct(recipes, [*chosen, key]), -ahead.index(key)))
        ahead.remove(best)
        chosen.append(best)
    return sorted(chosen, key=_rank)


def label(name: str, own: Recipe, keys: Sequence[str]) -> str:
    """Return a name with the values of some settings, such as "cleanerclip (n_aug=3000, fc.weight=2)"."""
    return f"{name} ({', '.join(format_settings(own, keys))})" if keys else name


def format_settings(own: Recipe, keys: Sequence[str]) -> list[str]:
    """Format settings with their values; those whose short names are equal get the prefixes that distinguish them."""
    names = [short_key(key) for key in keys]
    return [
        f"{one_line(key.partition('.')[0]) + '.' if names.count(name) > 1 else ''}{name}={format_value(own.get(key))}"
        for key, name in zip(keys, names, strict=True)
    ]


def _rank(key: str) -> tuple[int, str]:
    """Sort key of settings: those of ``LOOKED_FOR`` first, then the others by name."""
    last = short_key(key)
    place = LOOKED_FOR.index(last) if last in LOOKED_FOR else len(LOOKED_FOR)
    return place, key


def _count_distinct(recipes: Sequence[Recipe], keys: Sequence[str]) -> int:
    """Return how many recipes some settings distinguish."""
    return len(set(_partition([_values(own, keys) for own in recipes])))


def _partition(values: Sequence[Any]) -> tuple[int, ...]:
    """Return, for each value, the position of the first one that equals it."""
    return tuple(values.index(value) for value in values)


def _values(own: Recipe, keys: Sequence[str]) -> list[Any]:
    return [_hashable(own.get(key)) for key in keys]


def short_key(key: str) -> str:
    """Return the last part of a dotted key, for a setting of a term after the term's name."""
    parts = key.split(".")
    return one_line(".".join(parts[-2:]) if "terms" in parts[:-1] else parts[-1])


def format_value(value: Any) -> str:
    """Format the value of a setting for readers."""
    if isinstance(value, float):
        return f"{value:g}"
    return "default" if value is None else one_line(str(value))


def _hashable(value: Any) -> Any:
    """Return a key by which True and 1 differ, while 1 and 1.0 are equal."""
    return (type(value).__name__ in ("int", "float"), value)
