"""Streaming writer of labelled images in CLIP_benchmark's webdataset layout."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from clipdefend.errors import DataError
from clipdefend.runs.files import atomic_write

SHARD_SAMPLES = 10_000
SHARD_BYTES = 1_000_000_000
SPLIT = "test"


class ShardWriter:
    """Context manager that writes ``FOLDER/test/0.tar`` and so on, and finally ``FOLDER/test/nshards.txt``.

    The same samples in the same order give the same bytes.

    Args:
        folder: folder of the set, created if it does not exist; it must not contain shards.
        classes: class names, by label.
        templates: prompts with ``{}``.

    Raises:
        DataError: the layout does not support a class name or a template.

    Reference: CLIP_benchmark, ``webdataset_builder.convert_dataset``: 10,000 samples or 1 GB per shard.
    """

    def __init__(self, folder: Path, classes: Sequence[str], templates: Sequence[str]) -> None:
        self.samples = 0
        self._folder = folder / SPLIT
        self._folder.mkdir(parents=True, exist_ok=True)
        self._shards = 0
        self._in_shard = (0, 0)
        self._tar: tarfile.TarFile | None = None
        names = "".join(f"{' '.join(name.split())}\n" for name in classes)
        prompts = "".join(f"{_template(template)}\n" for template in templates)
        atomic_write(folder / "classnames.txt", names)
        atomic_write(folder / "zeroshot_classification_templates.txt", prompts)
        atomic_write(folder / "dataset_type.txt", "classification\n")

    def add(self, picture: bytes, label: int) -> None:
        """Append an encoded PNG picture and its class."""
        if self._tar is None or self._in_shard[0] == SHARD_SAMPLES or self._in_shard[1] >= SHARD_BYTES:
            self._next_shard()
        key = f"s{self.samples:07d}"
        self._member(f"{key}.png", picture)
        self._member(f"{key}.cls", str(label).encode())
        self.samples += 1
        self._in_shard = (self._in_shard[0] + 1, self._in_shard[1] + len(picture))

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tar is not None:
            self._tar.close()
        if error is None:
            atomic_write(self._folder / "nshards.txt", f"{self._shards}\n")

    def _next_shard(self) -> None:
        if self._tar is not None:
            self._tar.close()
        path = self._folder / f"{self._shards}.tar"
        self._tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115  # closed by __exit__
        self._shards += 1
        self._in_shard = (0, 0)

    def _member(self, name: str, content: bytes) -> None:
        entry = tarfile.TarInfo(name)  # of nobody and of no time, so that the bytes repeat
        entry.size = len(content)
        if self._tar is not None:
            self._tar.addfile(entry, io.BytesIO(content))


def _template(template: str) -> str:
    """Convert a template to CLIP_benchmark's form, for ``str.format`` with ``{c}``."""
    around = [part.replace("{", "").replace("}", "") for part in template.split("{}")]
    if "".join(around) != template.replace("{}", ""):
        raise DataError(
            f"Template {template[:80]!r} has braces beside {{}}, which CLIP_benchmark's layout cannot hold:"
            " give --templates without them."
        )
    return " ".join("{c}".join(around).split())
