"""The gates of ``evaluate``: what they compare with, the verdicts, and who is told of them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipdefend.commands.shared.inputs import AttackRecord
from clipdefend.config import EvaluateConfig, GatesConfig, to_dict
from clipdefend.distributed import launch
from clipdefend.errors import ConfigError, GateFailed, RunError
from clipdefend.gates.annotations import github_errors, is_github
from clipdefend.gates.junit import junit_xml
from clipdefend.gates.verdict import Gate, judge
from clipdefend.runs import Context, Run, atomic_write, find_run

# What may differ between two evaluations whose BA is compared.
FREE = {"topk", "asr_protocol", "batch_size", "download", "quick"}


@dataclass
class Gates:
    """The gates of one evaluation, checked before anything is computed."""

    config: GatesConfig
    against: Run | None
    verdicts: list[Gate] = field(default_factory=list)

    @classmethod
    def of(cls, config: EvaluateConfig, context: Context, *, has_trigger: bool) -> Gates:
        """Resolve the gates of a configuration.

        Raises:
            ConfigError: a gate of ASR without a trigger, or a run that BA cannot be compared with.
            RunError: no such run.
        """
        gates = config.gates
        if gates.max_asr is not None and not has_trigger:
            raise ConfigError("--max-asr needs a trigger: give the poison run with --attack-from.")
        if gates.junit is not None:
            check_file(gates.junit, "--junit")
        if gates.against is None:
            return cls(gates, None)
        against = find_run(context.runs, ("finetune-attack", "defend", "evaluate"), gates.against)
        _check_comparable(against, config)
        return cls(gates, against)

    def check_canvas(self, mode: str) -> None:
        """Raise ConfigError where the images of the run that BA is compared with were resized in another way."""
        theirs = _canvas_mode(self.against) if self.against else None
        if self.against and theirs not in (None, mode):
            raise ConfigError(
                f"Run {self.against.name} was measured with the canvas {theirs!r} and this one is with {mode!r}:"
                f" give --canvas {theirs}, as --max-ba-drop compares equal images only."
            )

    def judge(self, metrics: Mapping[str, float]) -> list[dict[str, Any]]:
        """Reach the verdicts; returns what a manifest records of them."""
        against = (self.against.name, self.against.metrics) if self.against else None
        self.verdicts = judge(self.config.bounds, metrics, against)
        return [
            {"gate": gate.name, "value": gate.value, "passed": gate.passed, "against": self.config.against}
            if gate.flag == "--max-ba-drop"
            else {"gate": gate.name, "value": gate.value, "passed": gate.passed}
            for gate in self.verdicts
        ]

    def tell(self, context: Context, finished: Run) -> None:
        """Say, write and annotate the verdicts.

        Raises:
            GateFailed: a bound was missed; everything has been written.
        """
        for gate in self.verdicts:
            if gate.passed:
                context.console.info(f"gate passed: {gate.sentence}")
        if self.config.junit is not None and launch.current().main:
            _write_junit(Path(self.config.junit), self.verdicts, finished)
        chosen = self.config.annotations
        if chosen == "github" or (chosen == "auto" and is_github()):
            for line in github_errors(self.verdicts):
                context.console.command(line)
        failed = [gate.sentence for gate in self.verdicts if not gate.passed]
        if failed:
            raise GateFailed(finished.file, failed)


def check_file(given: str, flag: str) -> None:
    """Raise ConfigError where a file cannot be written, before the work that fills it."""
    path = Path(given)
    if path.is_dir():
        raise ConfigError(f"{flag} {given!r} is a folder: give the name of a file.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{flag} {given!r} cannot be written: {error.strerror}. Choose another.") from None


def _check_comparable(against: Run, config: EvaluateConfig) -> None:
    """BA is compared on the same images with the same prompts."""
    lacking = [k for k in config.gates.bounds["--max-ba-drop"] if f"ba@{k}" not in against.metrics]
    if lacking:
        raise ConfigError(
            f"Run {against.name} has no BA@{lacking[0]} for --max-ba-drop: evaluate it with"
            f" --topk {','.join(map(str, sorted({1, *config.eval.topk})))}, and give that run."
        )
    own, theirs = to_dict(config.eval), against.config.get("eval")
    theirs = theirs if isinstance(theirs, dict) else {}
    # A training measures all images in the end, whatever it does between epochs.
    if config.eval.quick != (theirs.get("quick") if against.command == "evaluate" else None):
        raise ConfigError(
            f"Run {against.name} was measured on other images than this one, which has --quick {config.eval.quick}:"
            " --max-ba-drop compares equal images only."
        )
    for key in sorted({*own, *theirs} - FREE):
        if own.get(key) != theirs.get(key):
            raise ConfigError(
                f"Run {against.name} was measured with eval.{key} {theirs.get(key)!r} and this one is with"
                f" {own.get(key)!r}: --max-ba-drop compares equal images and prompts only."
            )


def _canvas_mode(run: Run) -> str | None:
    """How the images of a run were resized: as an evaluation says, else as the attack's; None where neither does."""
    if run.command == "evaluate":
        canvas = run.details.get("canvas")
        return canvas.get("mode") if isinstance(canvas, dict) else None
    with contextlib.suppress(RunError):  # an ancestor that is gone
        poison = run.find_ancestor("poison")
        return AttackRecord.of(poison).canvas if poison else None
    return None


def _write_junit(path: Path, gates: Sequence[Gate], finished: Run) -> None:
    manifest = finished.manifest
    properties = {"manifest": finished.file, **finished.metrics}
    written = junit_xml(
        gates,
        run=finished.name,
        start=str(manifest["start"]),
        seconds=float(manifest["seconds"]),
        properties=properties,
    )
    atomic_write(path, written)
