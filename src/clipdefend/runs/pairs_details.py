"""Details that the runs of several commands record alike: their pairs, and the geometry of their images."""

from __future__ import annotations

from dataclasses import dataclass

from clipdefend.runs.recorded import Details


@dataclass(frozen=True, kw_only=True)
class PairsSource(Details):
    """The source of pairs, from which the same pairs can be opened again.

    Attributes:
        spec: value of ``--data``.
        image_key, caption_key, delimiter: columns and separator of a table, if flags named them.
        image_root: absolute path.
    """

    spec: str
    image_key: str | None = None
    caption_key: str | None = None
    delimiter: str | None = None
    image_root: str | None = None


@dataclass(frozen=True, kw_only=True)
class PairsDetails(Details):
    """Details of every run that was made from pairs.

    Attributes:
        fingerprint: fingerprint of the pairs.
        source: source of the pairs; None in runs that only trained on them.
    """

    fingerprint: str
    source: PairsSource | None = None


@dataclass(frozen=True, kw_only=True)
class CanvasRecord(Details):
    """Geometry of triggered images: side in pixels, crop or squash, and interpolation."""

    mode: str
    size: int | None = None
    interpolation: str = "bicubic"
