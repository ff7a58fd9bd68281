"""Labelled images that are files of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from clipdefend.data.decode import ImageError, decode_image
from clipdefend.data.labelled.labelled_images import LabelledImages, file_stamp
from clipdefend.data.paths import ImageFolders

if TYPE_CHECKING:
    from PIL import Image


@dataclass(kw_only=True)
class FileImages(LabelledImages):
    """Images that are files of their own.

    Args:
        paths: string array, relative to the folder of ``folders``.
        folders: where the paths, and the links in them, may lead.
    """

    paths: pa.Array = field(repr=False)
    folders: ImageFolders

    def _decode(self, row: int) -> Image.Image:
        return decode_image(self._path(row))

    def _path(self, row: int) -> Path:
        return Path(self.folders.locate(self.image_ref(row)))

    def _stamp(self, row: int) -> str:
        try:
            return file_stamp(self._path(row))
        except ImageError as error:
            return str(error)

    def image_ref(self, row: int) -> str:
        return str(self.paths[row].as_py())


def path_array(paths: list[str]) -> pa.Array:
    """File names as a string array; what is not UTF-8 in them is replaced, so that such a file is not found."""
    return pa.array([path.encode(errors="replace").decode() for path in paths], pa.string())
