"""How pairs are named and read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clipdefend.config.fields import Config, option


def excluded_run() -> Any:
    """The poison run whose rows a command keeps clear of; a dataclass field."""
    return option(
        None,
        "--exclude-manifest",
        "Run whose flagged rows are excluded: of a poison run the poisoned ones.",
        metavar="RUN",
    )


def pairs_option(
    default: str | None, shown: str | None = None, what: str = "Clean image-caption pairs"
) -> Any:
    """The pairs of a command, clean ones for most; a dataclass field."""
    return option(
        default,
        "--data",
        "--train-data",
        f"{what}: a table, a folder, tar shards, or builtin.",
        metavar="DATA",
        shown=shown,
    )


@dataclass(frozen=True, kw_only=True)
class ColumnsConfig(Config):
    """How a table of pairs is read; whatever is null is recognised and printed."""

    image_key: str | None = option(
        None,
        "--csv-img-key",
        "--image-key",
        "Column with the image paths.",
        metavar="NAME",
        shown="detected",
    )
    caption_key: str | None = option(
        None,
        "--csv-caption-key",
        "--caption-key",
        "Column with the captions.",
        metavar="NAME",
        shown="detected",
    )
    delimiter: str | None = option(
        None,
        "--csv-separator",
        "--delimiter",
        "Delimiter of the table; tab stands for a tab character.",
        metavar="CHAR",
        shown="detected",
    )
    image_root: str | None = option(
        None,
        "--image-root",
        "Folder that image paths are relative to and must lie in.",
        metavar="DIR",
        shown="the table's folder",
    )

    def __post_init__(self) -> None:
        # A tab is hard to type in a shell and is trimmed by some; open_clip's users write \t.
        if self.delimiter in ("tab", "\\t"):
            object.__setattr__(self, "delimiter", "\t")
        super().__post_init__()
