"""Image-caption pairs of any format and size, opened lazily."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from clipdefend.data.bad import BadRows
from clipdefend.data.decode import ImageError, decode_image
from clipdefend.data.file_digest import digest_files
from clipdefend.data.pair_formats.discover import Source, discover
from clipdefend.data.pair_formats.folder_pairs import FOLDER
from clipdefend.data.pair_formats.pair_format import Columns
from clipdefend.data.paths import ImageFolders
from clipdefend.data.store.build import open_index
from clipdefend.data.store.index import BYTES, Index, identify
from clipdefend.data.store.ranges import ByteRanges
from clipdefend.data.store.remote import RemoteFile, RemoteRanges, is_remote
from clipdefend.data.tables.text_columns import DOWNLOAD, NO_IMAGE, is_address
from clipdefend.errors import DataError
from clipdefend.registry import nearest

if TYPE_CHECKING:
    from PIL import Image

BUILTIN_PAIRS = ("train", "pretrain")
NO_CAPTION = "has no usable caption (empty, not UTF-8, too long or with NUL bytes)"
_LOOK_AT = 16
_IMAGE, _CAPTION, _SOURCE, _OFFSET, _SIZE = range(5)


class Pairs(ABC):
    """Image-caption pairs, rows 0 to len - 1, which can be pickled.

    Resident memory does not grow with the number of rows.

    Attributes:
        spec: absolute description of the source, from which ``open_pairs`` opens the same rows.
        recognised: one line about format, columns and rows, for people.
        fingerprint: short hash of the image references and captions.
        skipped: number of samples that did not become rows, such as images without a caption.
        skip_reasons: the first reasons for skipping a sample.
    """

    spec: str
    recognised: str
    fingerprint: str
    skipped: int = 0
    skip_reasons: Sequence[str] = ()

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def caption(self, row: int) -> str:
        """Return a caption without surrounding white space; an empty one marks a bad row."""

    @abstractmethod
    def image(self, row: int) -> Image.Image:
        """Read an RGB image. Raises ImageError, which names the row and the file, if it cannot be used."""

    @abstractmethod
    def image_ref(self, row: int) -> str:
        """Return the source's name of an image: a path, "00000.tar/000000012.jpg", "builtin:train/12"."""

    def prefetch(self, rows: Sequence[int]) -> None:  # noqa: B027  (most sources have nothing to do)
        """Fetch the images of these rows concurrently, if they are remote."""

    def image_digest(self, rows: Sequence[int]) -> str:
        """Return a hash that changes when image files of these rows do; the fingerprint only covers their names."""
        return ""

    def image_refs(self, start: int, stop: int) -> list[str]:
        """Return ``image_ref`` of rows ``start`` to ``stop`` (exclusive)."""
        return [self.image_ref(row) for row in range(start, stop)]

    def captions(self, rows: Sequence[int] | None = None) -> list[str]:
        """Return the captions of some rows in their order, or of all rows (``iter_captions`` needs less memory)."""
        if rows is not None:
            return [self.caption(row) for row in rows]
        return [caption for _, batch in self.iter_captions() for caption in batch]

    def iter_captions(self, batch_size: int = 8192) -> Iterator[tuple[int, list[str]]]:
        """Yield all captions in order, as (first row, captions) of each batch."""
        for start in range(0, len(self), batch_size):
            yield start, self._captions(start, min(start + batch_size, len(self)))

    def _captions(self, start: int, stop: int) -> list[str]:
        return [self.caption(row) for row in range(start, stop)]

    def bad_rows(self, limit: float = 0.01) -> BadRows:
        """Return a counter of bad rows that starts with the skipped samples.

        Args:
            limit: largest allowed share of bad rows and skipped samples, 0 to 1.

        Raises:
            DataError: the skipped samples alone exceed the limit.
        """
        bad = BadRows(limit=limit, skipped=self.skipped, examples=list(self.skip_reasons))
        bad.check(len(self))
        return bad


@dataclass
class IndexedPairs(Pairs):
    """Pairs read through an index file.

    Args:
        spec: absolute description of the source.
        index: the rows; images are byte ranges if it has offsets, and separate files otherwise.
        folders: for each source file, the folders that its image paths may point into.
    """

    spec: str
    index: Index
    folders: Sequence[ImageFolders]
    packed: bool
    ranges: ByteRanges | RemoteRanges = field(repr=False)

    def __post_init__(self) -> None:
        self.recognised = self.index.meta.recognised
        self.fingerprint = self.index.meta.fingerprint
        self.skipped = self.index.meta.skipped
        self.skip_reasons = tuple(self.index.meta.examples)

    def __len__(self) -> int:
        return self.index.meta.rows

    def caption(self, row: int) -> str:
        return str(self.index.value(_CAPTION, row))

    def _captions(self, start: int, stop: int) -> list[str]:
        return self.index.texts(_CAPTION, start, stop)

    def image_refs(self, start: int, stop: int) -> list[str]:
        return super().image_refs(start, stop) if self.packed else self.index.texts(_IMAGE, start, stop)

    def image_ref(self, row: int) -> str:
        path = str(self.index.value(_IMAGE, row))
        packed = self.packed and self.index.value(_SIZE, row) >= 0
        if not packed or (path and self.index.meta.blob):
            return path
        source = self._source(row)
        return f"{source}/{path or row}"

    def _source(self, row: int) -> str:
        """Return the name of the file that a row comes from."""
        place = self.index.meta.stamps[int(self.index.value(_SOURCE, row))][0]
        return RemoteFile(place).name if is_remote(place) else os.path.basename(place)

    def image_digest(self, rows: Sequence[int]) -> str:
        return digest_files(() if self.packed else rows, self._encoded, self.index.meta.stamps)

    def prefetch(self, rows: Sequence[int]) -> None:
        if isinstance(self.ranges, RemoteRanges):
            columns = (_SOURCE, _OFFSET, _SIZE)
            places = [tuple(int(self.index.value(column, row)) for column in columns) for row in rows]
            self.ranges.prefetch([(source, offset, size) for source, offset, size in places])

    def image(self, row: int) -> Image.Image:
        try:
            return decode_image(self._encoded(row))
        except ImageError as error:
            where = os.path.basename(self.spec.split("::")[0])
            where = where.partition("?")[0] if is_remote(self.spec) else where
            raise ImageError(f"Row {row} of {where}, image {self.image_ref(row)[:200]!r}: {error}") from error

    def _encoded(self, row: int) -> bytes | Path:
        """Return the encoded image, or the path of its file."""
        source = int(self.index.value(_SOURCE, row))
        size = int(self.index.value(_SIZE, row)) if self.packed else -1
        if size >= 0:
            offset = int(self.index.value(_OFFSET, row))
            return self.ranges.read(0 if self.index.meta.blob else source, offset, size)
        if self.packed and not self.index.value(_IMAGE, row):
            raise ImageError(NO_IMAGE)
        return Path(self.folders[source].locate(str(self.index.value(_IMAGE, row))))

    def check_first(self) -> None:
        """Raise DataError if none of the first rows' images can be found."""
        first: ImageError | None = None
        for row in range(min(_LOOK_AT, len(self))):
            try:
                encoded = self._encoded(row)
            except ImageError as error:
                first = first or error
            else:
                if isinstance(encoded, Path) or encoded:
                    return
        count = min(_LOOK_AT, len(self))
        if is_address(self.image_ref(0)):
            raise DataError(
                f"The image column of {self.spec!r} holds web addresses ({self.image_ref(0)[:100]!r}), not files:"
                f" {DOWNLOAD}."
            )
        reason = first or "the file is empty"
        raise DataError(
            f"None of the first {count} images of {self.spec!r} can be used;"
            f" row 0, {self.image_ref(0)[:200]!r}: {reason}."
        )


def open_pairs(
    spec: str,
    *,
    image_key: str | None = None,
    caption_key: str | None = None,
    delimiter: str | None = None,
    image_root: Path | None = None,
    cache: Path,
    progress: Callable[[int], None] | None = None,
) -> Pairs:
    """Open image-caption pairs, building an index of the source in ``cache`` the first time.

    Args:
        spec: CSV, TSV, JSON lines, Parquet or tar files (see ``paths.expand`` for patterns and ``::``), a
            folder with ``metadata.csv|tsv|jsonl|parquet``, tar shards, images beside captions (img2dataset's
            ``files``) or Parquet files, or ``builtin`` (= ``builtin:train``).
        image_key, caption_key, delimiter: columns and separator of a table; None to recognise them.
        image_root: another folder that image paths may point into besides the table's own; relative paths are
            resolved there first.
        cache: folder of the indexes.
        progress: called now and then with the number of rows so far, while an index is built.

    Raises:
        DataError: the source does not exist, is not recognised or has no usable row, or none of the first images
            can be found.
    """
    if spec.split(":", 1)[0] == "builtin":
        return _builtin(spec)
    source = discover(spec, image_root)
    columns = Columns(image_key, caption_key, delimiter, image_root)
    # Captions that are files of their own may lie behind links, so that the rows depend on where these may lead.
    root = str(image_root) if image_root is not None and source.format is FOLDER else None
    schema, write = source.format.schema, source.format.write
    index = open_index(
        cache,
        spec,
        source.files,
        (source.format.name, image_key, caption_key, delimiter, *([root] if root else [])),
        schema,
        lambda writer: write(writer, source.files, columns),
        progress,
    )
    folders = {base: ImageFolders.of(base, image_root) for base in set(source.bases)}
    pairs = IndexedPairs(
        spec=source.spec,
        index=index,
        folders=[folders[base] for base in source.bases],
        packed=schema is BYTES,
        ranges=_ranges(source, index),
    )
    pairs.check_first()
    return pairs


def _ranges(source: Source, index: Index) -> ByteRanges | RemoteRanges:
    if isinstance(source.files[0], RemoteFile):
        return RemoteRanges(index.meta.stamps)
    return ByteRanges([identify(index.blob_path)] if index.meta.blob else index.meta.stamps)


def _builtin(spec: str) -> Pairs:
    from clipdefend.data.builtin_pairs import BuiltinPairs

    split = spec.partition(":")[2] or BUILTIN_PAIRS[0]
    if split not in BUILTIN_PAIRS:
        allowed = [f"builtin:{name}" for name in BUILTIN_PAIRS]
        raise DataError(
            f"There are no pairs {spec!r}.{nearest(spec, allowed)} Built in are: {', '.join(allowed)}."
        )
    return BuiltinPairs(split)
