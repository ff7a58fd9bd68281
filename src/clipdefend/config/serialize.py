"""A resolved configuration as plain data, as YAML, and as what its preset changed."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

from clipdefend.config.fields import Config, leaves
from clipdefend.config.presets import component_values, preset_values
from clipdefend.config.run_options import RunConfig
from clipdefend.config.yamlfile import dump_yaml


def to_dict(config: Config) -> dict[str, Any]:
    """Nested plain data: dicts, lists, texts, numbers; ``load_config(recorded=...)`` takes it back."""

    def plain(value: Any) -> Any:
        if isinstance(value, Config):
            return to_dict(value)
        return list(value) if isinstance(value, tuple) else copy.deepcopy(value)

    fields = dataclasses.fields(config)  # type: ignore[arg-type]  # Config itself is not a dataclass
    return {field.name: plain(getattr(config, field.name)) for field in fields if field.init}


def to_yaml(config: Config) -> str:
    """The resolved configuration as a file that ``--config`` takes."""
    return dump_yaml(to_dict(config))


def preset_difference(config: RunConfig) -> dict[str, Any]:
    """Dotted key -> value of what the configuration's preset changed and nothing above it changed back."""
    known = leaves(type(config))
    chosen = {path: _lookup(config, path) for path in known}
    chosen |= {path: value["name"] for path, value in chosen.items() if _is_component(value)}
    values = {
        path: value
        for path, value in preset_values(config.preset, config.command, chosen).items()
        if value != known[path].default and _lookup(config, path) == value
    }
    for path, leaf in known.items():
        given = _lookup(config, path)
        if leaf.is_mapping and _is_component(given):
            parameters = component_values(config.preset, config.command, path, given["name"])
            values |= {f"{path}.{key}": value for key, value in parameters.items() if given.get(key) == value}
    return values


def _is_component(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("name"), str)


def _lookup(config: RunConfig, path: str) -> Any:
    value: Any = config
    for part in path.split("."):
        value = getattr(value, part)
    return value
