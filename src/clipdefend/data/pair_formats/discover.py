"""Resolves a ``--data`` description to files and their format."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clipdefend.data import compressed
from clipdefend.data.folders import list_names, walk
from clipdefend.data.pair_formats.folder_pairs import FOLDER, holds_pairs, holds_parts
from clipdefend.data.pair_formats.pair_format import Format
from clipdefend.data.pair_formats.parquet_pairs import PARQUET
from clipdefend.data.pair_formats.tar_pairs import TAR
from clipdefend.data.pair_formats.text_pairs import CSV, JSONL
from clipdefend.data.paths import MAX_FILES, ImageFolders, braces, expand
from clipdefend.data.store.remote import RemoteFile, check_address, is_remote
from clipdefend.data.store.shards import Location
from clipdefend.errors import DataError

FORMATS = (CSV, JSONL, PARQUET, TAR)
"""Formats that are recognised by file name endings."""
_TABLES = {
    "metadata.csv": CSV,
    "metadata.tsv": CSV,
    "metadata.jsonl": JSONL,
    "metadata.parquet": PARQUET,
}


@dataclass(frozen=True)
class Source:
    """Files of one format.

    Args:
        spec: the description with absolute paths.
        format: how to read them.
        files: files, or for the folder format the folder and those of its subfolders that hold pairs.
    """

    spec: str
    format: Format
    files: Sequence[Location]

    @property
    def bases(self) -> list[Path]:
        """The folder that each local file's image paths are relative to."""
        local = [path for path in self.files if isinstance(path, Path)]
        if self.format is FOLDER:
            return [local[0]] * len(local)
        return [path.parent for path in local]


def discover(spec: str, image_root: Path | None = None) -> Source:
    """Find the files of a source; links may also lead into ``image_root``.

    Raises:
        DataError: the source does not exist or contains no pairs.
    """
    far = _remote(spec)
    if far:
        return Source(spec, TAR, far)
    normal, files = expand(spec)
    odd = next((path for path in files if not (path.is_file() or path.is_dir())), None)
    if odd is not None:
        raise DataError(f"Data source {str(odd)!r} is a pipe or a device: give a file or a folder.")
    if not any(path.is_dir() for path in files):
        return Source(normal, _format(spec, files), files)
    if len(files) > 1:
        raise DataError(f"Data source {spec!r} mixes folders with other sources: give one folder, or files.")
    return _folder(normal, files[0], image_root)


def _remote(spec: str) -> list[RemoteFile]:
    """Return the shards at URLs; an empty list for local sources. Raises DataError for a mixture of both."""
    parts = spec.split("::")
    if not any(map(is_remote, parts)):
        return []
    if not all(map(is_remote, parts)):
        raise DataError(f"Data source {spec!r} mixes remote with local files: give the one or the other.")
    files = [check_address(url) for part in parts for url in itertools.islice(braces(part), MAX_FILES + 1)]
    if len(files) > MAX_FILES:
        raise DataError(f"Data source {spec!r} names more than {MAX_FILES:,} files: use fewer, larger files.")
    return files


def _format(spec: str, files: Sequence[Path]) -> Format:
    """Return the format by file name endings, which must agree."""
    endings = {path.suffix.lower() for path in files}
    for candidate in FORMATS:
        if endings <= candidate.endings:
            return candidate
    if packed := [path for path in files if path.suffix.lower() in compressed.ENDINGS]:
        raise _is_packed(packed)
    allowed = ", ".join(sorted(ending for candidate in FORMATS for ending in candidate.endings))
    raise DataError(
        f"Data source {spec!r} has files ending in {', '.join(map(repr, sorted(endings)))}: give files of one"
        f" format ({allowed}), a folder, or 'builtin'."
    )


def _refuse_packed(packed: Sequence[Path], wanted: Format) -> None:
    """Raise DataError if compressed files belong to the same source: their rows would be missing without a word."""
    short = (".tgz", ".tbz2", ".txz") if wanted is TAR else ()
    if mine := [path for path in packed if path.suffix in short or Path(path.stem).suffix in wanted.endings]:
        raise _is_packed(mine)


def _is_packed(files: Sequence[Path]) -> DataError:
    more = f" and {len(files) - 1:,} more" if len(files) > 1 else ""
    return DataError(
        f"Data source {str(files[0])!r}{more} is compressed, which is not read: unpack it, .tar.gz to .tar and .csv.gz"
        " to .csv."
    )


def _folder(spec: str, folder: Path, image_root: Path | None) -> Source:
    """Recognise a metadata table, shards, images beside captions or Parquet files, in this order.

    Shards and images take precedence because img2dataset writes a Parquet table of URLs beside them.
    """
    names = list_names(folder)
    for table, table_format in _TABLES.items():
        if table in names:
            return Source(spec, table_format, [folder / table])
    packed = [folder / name for name in names if Path(name).suffix.lower() in compressed.ENDINGS]
    if shards := _ending(folder, names, TAR):
        _refuse_packed(packed, TAR)
        return Source(spec, TAR, shards)
    found = list(walk(folder, ImageFolders.of(folder, image_root)))
    if any(holds_pairs(inside) for _, inside in found):
        below = [path for path, inside in found if path != folder and holds_parts(inside)]
        return Source(spec, FOLDER, [folder, *below])
    if tables := _ending(folder, names, PARQUET):
        _refuse_packed(packed, PARQUET)
        return Source(spec, PARQUET, tables)
    if packed:
        raise _is_packed(packed)
    raise DataError(
        f"Folder {str(folder)!r} holds no pairs: it needs metadata.csv, .tsv, .jsonl or .parquet (columns"
        " file_name and text), .tar shards, images beside .txt captions (here or in folders below), or .parquet files."
    )


def _ending(folder: Path, names: Sequence[str], wanted: Format) -> list[Path]:
    return [folder / name for name in names if Path(name).suffix.lower() in wanted.endings]
