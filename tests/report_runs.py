"""Finished runs of every kind without any training, for the tests of the report."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from clipdefend.config import (
    COMMANDS,
    load_config,
)
from clipdefend.metrics import wilson_interval
from clipdefend.objectives import METHODS
from clipdefend.runs import CanvasRecord, DefendDetails, PoisonDetails, Run, RunDir, WatchedPairs

N = 200
TRIGGERED = 190


def shares(**values: float) -> dict[str, float]:
    """Flat metrics of shares such as ba1=0.9, with intervals, as an evaluation gives them."""
    flat: dict[str, float] = {"n_clean": N, "n_triggered": TRIGGERED}
    for name, value in values.items():
        key = f"{name.rstrip('0123456789')}@{name.lstrip('abcdefghijklmnopqrstuvwxyz_')}"
        n = N if name.startswith("ba") else TRIGGERED
        low, high = wilson_interval(round(value * n), n)
        flat |= {key: value, f"{key}_low": low, f"{key}_high": high}
    return flat


class Lab:
    """Makes runs in a folder; every argument is what the figures are about."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder, self.seed = folder, seed

    def poison(
        self,
        attack: str = "badnet",
        target: str = "banana",
        *,
        canvas: str = "crop",
        trigger: Mapping[str, Any] | None = None,
        tensors: bytes | None = None,
        preview: bytes | None = None,
        **attack_settings: Any,
    ) -> Run:
        """A poison run; ``canvas`` and ``trigger`` are what its manifest records, the rest its files."""
        config = self._config("poison", attack={"name": attack, **attack_settings})
        with RunDir.begin(self.folder, config, attack) as run:
            picture = io.BytesIO()
            Image.new("RGB", (40, 30), "red").save(picture, format="PNG")
            (run.path / "preview.png").write_bytes(picture.getvalue() if preview is None else preview)
            if tensors is not None:
                (run.path / "trigger.safetensors").write_bytes(tensors)
            details = PoisonDetails(
                fingerprint="0" * 16,
                rows=100,
                poisoned=20,
                target=target,
                trigger=dict(trigger or {"name": attack}),
                canvas=CanvasRecord(size=32, mode=canvas),
            )
            return run.finish(metrics={"psnr": 30.0, "ssim": 0.9}, details=details)

    def victim(
        self, poison: Run, values: Mapping[str, float], floor: Mapping[str, float] | None = None
    ) -> Run:
        floors = {f"floor_{key}": value for key, value in (floor or {}).items() if key[:2] != "n_"}
        with RunDir.begin(self.folder, self._config("finetune-attack"), "v") as run:
            return run.finish(parents=[poison], metrics={**values, **floors})

    def defend(
        self,
        victim: Run,
        method: str,
        values: Mapping[str, float],
        *,
        epochs: Sequence[Mapping[str, float]] = (),
        terms: Mapping[str, Mapping[str, Any]] | None = None,
        held_out: bool = True,
        **settings: Any,
    ) -> Run:
        """A defence; ``epochs`` are its records from epoch 0 on."""
        resolved = {name: {"weight": 1.0} for name in METHODS[method].terms} if method in METHODS else {}
        for name, change in (terms or {}).items():
            resolved[name] = {**resolved.get(name, {}), **change}
        config = self._config("defend", method=method, **settings)
        with RunDir.begin(self.folder, config, method) as run:
            for number, record in enumerate(epochs):
                run.log({"event": "epoch", "epoch": number, **record})
                run.log({"event": "step", "epoch": number + 1, "step": 1, "loss": 1.0})
            details = DefendDetails(terms=resolved, visible=WatchedPairs(held_out=held_out))
            return run.finish(parents=[victim], metrics=values, details=details)

    def evaluate(
        self, source: Run | None, values: Mapping[str, float], trigger: Run | None = None, /, **settings: Any
    ) -> Run:
        """An evaluation of a run, or of a bare checkpoint, with its own trigger or that of another poison run."""
        with RunDir.begin(self.folder, self._config("evaluate", **settings), "e") as run:
            return run.finish(parents=[each for each in (source, trigger) if each], metrics=values)

    def _config(self, command: str, **settings: Any) -> Any:
        sets = [f"{key.replace('__', '.')}={value}" for key, value in settings.items() if key != "attack"]
        data = [] if command == "poison" else ["eval.data=builtin"]
        recorded = {"attack": settings["attack"]} if "attack" in settings else None
        return load_config(COMMANDS[command], recorded=recorded, sets=[*data, *sets, f"seed={self.seed}"])


def watched(ba: float, asr: float, loss: float, drift: float) -> dict[str, float]:
    """A record of an epoch with what a defender sees."""
    return {
        **shares(ba1=ba, asr1=asr),
        "n_val": 64,
        "val_loss": loss,
        "val_r@1": 0.5,
        "val_agreement": 1 - drift,
        "drift_image": drift,
        "drift_text": drift / 2,
        "drift_weights": drift / 10,
    }


def spoil(run: Run, **changes: Any) -> None:
    """Change a manifest behind its children's back."""
    run.file.write_text(json.dumps({**run.manifest, **changes}, default=str))
