"""What ``poison --list`` prints: triggers with their parameters, published variants, methods."""

from __future__ import annotations

import dataclasses
import json
from typing import Any


def listing(*, as_json: bool) -> str:
    """All triggers, the published variants as command lines, and the methods, as text or JSON."""
    from clipdefend.attacks.published import PRESETS
    from clipdefend.objectives import METHODS

    attacks = _attacks()
    if as_json:
        document = {
            "attacks": attacks,
            "variants": {name: dataclasses.asdict(entry) for name, entry in PRESETS.items()},
            "methods": {name: dataclasses.asdict(entry) for name, entry in METHODS.items()},
        }
        return json.dumps(document, ensure_ascii=False, default=dict)
    rows = [[name, entry["summary"]] for name, entry in attacks.items()]
    lines = _left(
        "Triggers (--attack NAME; parameters with their defaults, by --set attack.PARAMETER=VALUE)", rows
    )
    for name, entry in attacks.items():
        values = ", ".join(f"{key}={value}" for key, value in entry["parameters"].items())
        lines.append(f"  {name}: {values or 'no parameters'}")
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
    return "\n".join([*lines, *_left("Methods (defend --method NAME)", methods)]) + "\n"


def _attacks() -> dict[str, dict[str, Any]]:
    from clipdefend.attacks import ATTACKS

    found = {}
    for name in ATTACKS.names():
        component = ATTACKS.get(name)
        fields = dataclasses.fields(component)  # type: ignore[arg-type]  # every attack is a dataclass
        found[name] = {
            "summary": (component.__doc__ or "").strip().splitlines()[0],
            "parameters": {field.name: field.default for field in fields if field.init},
        }
    return found


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
