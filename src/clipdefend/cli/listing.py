"""What ``poison --list`` prints: triggers with their parameters, published variants, methods."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipdefend.registry import Registry


def listing(*, as_json: bool) -> str:
    """All triggers, the published variants as command lines, and the methods, as text or JSON."""
    from clipdefend.attacks import ATTACKS
    from clipdefend.attacks.published import PRESETS
    from clipdefend.defences import DEFENCES
    from clipdefend.objectives import METHODS

    attacks, defences = _components(ATTACKS), _components(DEFENCES)
    if as_json:
        document = {
            "attacks": attacks,
            "variants": {name: dataclasses.asdict(entry) for name, entry in PRESETS.items()},
            "methods": {name: dataclasses.asdict(entry) for name, entry in METHODS.items()},
            "defences": defences,
        }
        return json.dumps(document, ensure_ascii=False, default=dict)
    rows = [[name, entry["summary"]] for name, entry in attacks.items()]
    lines = _left(
        "Triggers (--attack NAME; parameters with their defaults, by --set attack.PARAMETER=VALUE)", rows
    )
    lines += _parameters(attacks)
    lines.append("")
    lines.append("Published variants")
    for name, preset in PRESETS.items():
        lines += [f"  {name}: {preset.paper}", f"    {preset.source}"]
        for attack, parameters in preset.attacks.items():
            lines.append(f"    {_command(attack, parameters, preset)}")
        if preset.differs:
            lines.append(f"    {preset.differs}")
    lines.append("")
    methods = [[name, f"{entry.description}; {entry.source}"] for name, entry in METHODS.items()]
    lines += _left("Methods (defend --method NAME)", methods)
    others = [[name, entry["summary"]] for name, entry in defences.items()]
    lines += ["", *_left("Defences with parameters (--method NAME; --set defence.PARAMETER=VALUE)", others)]
    return "\n".join([*lines, *_parameters(defences)]) + "\n"


def _components(registry: Registry[Any]) -> dict[str, dict[str, Any]]:
    """Name -> the first line of a component's docstring, and its parameters with their defaults."""
    found = {}
    for name in registry.names():
        found[name] = {
            "summary": (registry.get(name).__doc__ or "").strip().splitlines()[0],
            "parameters": registry.defaults(name),
        }
    return found


def _parameters(components: dict[str, dict[str, Any]]) -> list[str]:
    lines = []
    for name, entry in components.items():
        values = ", ".join(f"{key}={value}" for key, value in entry["parameters"].items())
        lines.append(f"  {name}: {values or 'no parameters'}")
    return lines


def _command(attack: str, parameters: Any, preset: Any) -> str:
    parts = [f"--attack {attack}", *(f"--set attack.{key}={value}" for key, value in parameters.items())]
    parts.append(f"--canvas {preset.canvas}")
    if preset.count is not None:
        parts.append(f"--count {preset.count}")
    if preset.rate is not None:
        parts.append(f"--rate {preset.rate:g}")
    return " ".join(parts)


def _left(title: str, rows: list[list[str]]) -> list[str]:
    """Two columns, both left-aligned."""
    width = max(len(row[0]) for row in rows)
    return [title, *(f"  {name:<{width}}  {text}" for name, text in rows)]
