"""Accelerate's trackers, such as TensorBoard and Weights & Biases, in addition to ``metrics.jsonl``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from clipdefend.errors import ConfigError
from clipdefend.runs.manifest import UNFINISHED
from clipdefend.training.job import Job

PROJECT = "clipdefend"
# pip's names of packages whose tracker has another name.
PACKAGES = {"comet_ml": "comet-ml"}
# Fields of a record that are not measurements.
PLACE = ("event", "epoch", "phase", "step")


def tracker_names(report_to: str) -> list[str]:
    """Return the trackers that ``--report-to`` names, in its order.

    Args:
        report_to: "none", or names separated by commas.

    Raises:
        ConfigError: Accelerate does not know a name, or its package is not installed.
    """
    names = list(dict.fromkeys(name.strip() for name in report_to.split(",") if name.strip()))
    if names in ([], ["none"]):
        return []
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    installed = {str(name) for name in get_available_trackers()}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            known = ", ".join(sorted(LOGGER_TYPE_TO_CLASS))
            raise ConfigError(
                f"--report-to {report_to!r}: {name!r} is not a tracker. Available: {known}, or none."
            )
        if name not in installed:
            package = PACKAGES.get(name, name)
            raise ConfigError(
                f"--report-to {name} needs a package that is not installed: pip install {package}."
            )
    return names


@dataclass
class Trackers:
    """The trackers of one run, in the main process only.

    Attributes:
        names: names of the trackers, see ``tracker_names``.
        folder: the run folder, which receives the trackers' files.
    """

    names: list[str]
    folder: Path
    _open: list[Any] = field(default_factory=list, init=False)

    @contextmanager
    def session(self, step: int, settings: Mapping[str, Any]) -> Iterator[None]:
        """Context in which the trackers' logs are open; see ``start``."""
        try:
            self.start(step, settings)
            yield
        finally:
            self.finish()

    def start(self, step: int, settings: Mapping[str, Any]) -> None:
        """Open the trackers' logs, continuing those of earlier sessions of the run.

        Args:
            step: number of finished optimiser steps; what was logged after them is obsolete.
            settings: flat name -> value of the run's configuration, sent once.

        Raises:
            ConfigError: a tracker does not start, for example because the user is not logged in.
        """
        for name in self.names:
            from accelerate.tracking import LOGGER_TYPE_TO_CLASS

            cls = LOGGER_TYPE_TO_CLASS[name]
            where = [str(self.folder)] if cls.requires_logging_directory else []
            project = "tensorboard" if name == "tensorboard" else PROJECT
            try:
                tracker = cls(project, *where, **self._options(name, step))
                tracker.start()
                if step == 0:
                    tracker.store_init_configuration(dict(settings))
            except Exception as error:  # each service raises its own exceptions
                raise ConfigError(
                    f"--report-to {name} does not start: {error} Fix that, or remove {name}."
                ) from error
            self._open.append(tracker)

    def log(self, record: Mapping[str, Any], step: int) -> None:
        """Send the numbers of a record of ``metrics.jsonl`` as ``train/NAME`` or ``eval/NAME``."""
        kind = "train" if record["event"] in ("step", "terms", "terms-epoch") else "eval"
        values = {f"{kind}/{name}": value for name, value in record.items() if name not in PLACE}
        for tracker in self._open:
            tracker.log(values, step=step)

    def finish(self) -> None:
        """Close the logs; a resumed session reopens them."""
        while self._open:
            self._open.pop().finish()

    def _options(self, name: str, step: int) -> dict[str, Any]:
        """What makes a resumed run go on in the same log, for the trackers that can."""
        if name == "tensorboard":
            return {"purge_step": step + 1} if step else {}
        if name == "wandb":
            return {"id": self._key(), "name": self.folder.name, "resume": "allow", "dir": str(self.folder)}
        return {}

    def _key(self) -> str:
        """Names the run among all others, in every one of its sessions."""
        record = self.folder / UNFINISHED
        start = record.read_bytes() if record.is_file() else b""
        return hashlib.sha256(f"{self.folder.name}\n".encode() + start).hexdigest()[:16]


def settings_of(job: Job) -> dict[str, Any]:
    """What a tracker shows of a job's configuration, flat."""
    settings = asdict(job.config) | {"objective": job.objective, "seed": job.seed}
    return flat_settings({k: v for k, v in settings.items() if k not in ("resume", "report_to")})


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> dict[str, bool | str | float | int]:
    """Flatten nested settings to ``train.lr`` and so on; values that are not numbers become text."""
    flat: dict[str, bool | str | float | int] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flat_settings(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, bool | int | float | str) else str(value)
    return flat
