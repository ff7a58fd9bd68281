"""Labelled images stored as separate files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from clipdefend.data.decode import ImageError, decode_image
from clipdefend.data.labelled.labelled_images import LabelledImages, file_identity
from clipdefend.data.paths import ImageFolders

if TYPE_CHECKING:
    from PIL import Image


@dataclass(kw_only=True)
class FileImages(LabelledImages):
    """Labelled images stored as separate files.

    Args:
        paths: string array, relative to the folder of ``folders``.
        folders: the folders that the paths, and links in them, may point into.
    """

    paths: pa.Array = field(repr=False)
    folders: ImageFolders

    def _decode(self, row: int) -> Image.Image:
        return decode_image(self._path(row))

    def _path(self, row: int) -> Path:
        return Path(self.folders.locate(self.image_ref(row)))

    def _image_identity(self, row: int) -> str:
        try:
            return file_identity(self._path(row))
        except ImageError as error:
            return str(error)

    def image_ref(self, row: int) -> str:
        return str(self.paths[row].as_py())


def path_array(paths: list[str]) -> pa.Array:
    """Return file names as a string array; invalid UTF-8 is replaced, so that such a file is not found later."""
    return pa.array([path.encode(errors="replace").decode() for path in paths], pa.string())
