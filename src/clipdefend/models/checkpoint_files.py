"""Files of weights of unknown origin: nothing but tensors is read, and what is something else is named."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from clipdefend.errors import CheckpointError
from clipdefend.models.torchscript import is_torchscript, read_torchscript

WEIGHTS_NAME = "open_clip_model.safetensors"
STATE_DICT_NAME = "state_dict.pt"  # as export writes it
INDEX_SUFFIX = ".index.json"
# What a folder's weights are called, the safe formats first: open_clip's, then transformers'.
WEIGHTS_NAMES = (
    WEIGHTS_NAME,
    "open_clip_pytorch_model.bin",
    "model.safetensors",
    f"model.safetensors{INDEX_SUFFIX}",
    "pytorch_model.bin",
    f"pytorch_model.bin{INDEX_SUFFIX}",
    STATE_DICT_NAME,
)
MAX_INDEX_BYTES = 1 << 24
MAX_SHARDS = 1000
_HEAD_BYTES = 512


def weights_in(folder: Path) -> Path | None:
    """The weights of a folder in open_clip's or transformers' layout, an index where they are in shards."""
    return next((folder / name for name in WEIGHTS_NAMES if (folder / name).is_file()), None)


def read_file(path: Path) -> Mapping[Any, Any]:
    """Load the contents of a weights file, unpacked but not interpreted.

    Reads .safetensors, pickles with ``weights_only=True``, TorchScript archives and indexes of shards, recognised
    by their content where it tells.

    Args:
        path: a file, or a folder that contains one with a usual name.

    Returns:
        The dictionary in the file: tensors by name, or a training checkpoint around them.

    Raises:
        CheckpointError: missing, damaged, something else, or holding anything but tensors and plain values.
    """
    if path.is_dir():
        found = weights_in(path)
        if found is None:
            raise CheckpointError(f"Folder {path} has no weights; looked for {', '.join(WEIGHTS_NAMES)}.")
        path = found
    if not path.is_file():
        raise CheckpointError(f"Checkpoint {path} not found.")
    if path.name.endswith(INDEX_SUFFIX):
        return _read_shards(path)
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    _refuse_other_things(path, head)
    try:
        if path.suffix == ".safetensors" or _is_safetensors(path, head):
            return load_file(path)
        if is_torchscript(path):
            return read_torchscript(path)
        _check_archive(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged and hostile files make the unpickler raise nearly everything
        raise CheckpointError(
            f"Checkpoint {path} is damaged or contains more than tensors, so it was not opened: {first_line(error)}."
            " Convert it to .safetensors with the program that wrote it."
        ) from error
    if not isinstance(state, Mapping):
        raise CheckpointError(f"Checkpoint {path} contains a {type(state).__name__} instead of a state dict.")
    return state


def first_line(error: Exception) -> str:
    """First line of an error's message, at most 160 characters; its type where it has none."""
    return f"{str(error).strip().splitlines()[0]:.160}" if str(error).strip() else type(error).__name__


def _refuse_other_things(path: Path, head: bytes) -> None:
    """Raise CheckpointError for what downloads leave in place of weights."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    what = None
    if not head:
        what = "an empty file: the download failed. Download it again"
    elif text.startswith(b"version https://git-lfs"):
        what = (
            "a Git LFS pointer, which stands for the weights in a clone made without Git LFS. Run 'git lfs pull'"
            " in that clone, or download the file itself"
        )
    elif text.startswith((b"<!doctype html", b"<html", b"<head", b"<!--")):
        what = (
            "an HTML page, such as a server's login or error page, saved in place of the weights. Download the"
            " file itself, from the address of its download link"
        )
    elif text.startswith(b"<?xml"):
        what = "an XML document, such as a storage server's error message. Download the weights again"
    elif text.startswith((b"{", b"[")):
        what = "a JSON file. Give the weights, or the folder that contains both"
    if what is not None:
        raise CheckpointError(f"Checkpoint {path} is {what}.")


def _is_safetensors(path: Path, head: bytes) -> bool:
    """Whether a file begins as safetensors do: the length of a JSON header, then the header."""
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and length < path.stat().st_size


def _read_shards(index: Path) -> dict[str, Tensor]:
    """All tensors of the shards that an index of transformers' lists, which lie beside it."""
    try:
        if index.stat().st_size > MAX_INDEX_BYTES:
            raise ValueError(f"larger than {MAX_INDEX_BYTES:,} bytes")
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted({str(name) for name in places.values()})
        if any(Path(name).name != name or name in ("", ".", "..") for name in names):
            raise ValueError("a shard outside the folder")
        if not names or len(names) > MAX_SHARDS:
            raise ValueError(f"{len(names)} shards, not 1 to {MAX_SHARDS}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise CheckpointError(f"{index} is not an index of shards: {first_line(error)}.") from error
    lost = [name for name in names if not (index.parent / name).is_file()]
    if lost:
        raise CheckpointError(
            f"{len(lost)} of the {len(names)} shards of {index} are missing, such as {lost[0]}. Download them too."
        )
    tensors: dict[str, Tensor] = {}
    for name in names:
        if name.endswith(INDEX_SUFFIX):
            raise CheckpointError(f"{index} names another index, {name}, as a shard.")
        tensors.update(read_file(index.parent / name))
    absent = [name for name in places if name not in tensors]
    if absent:
        raise CheckpointError(
            f"The shards of {index} lack {len(absent)} tensors that it lists, such as {absent[0]}."
        )
    return tensors


def _check_archive(path: Path) -> None:
    """Raise ValueError for an archive that unpacks to more than its size: torch compresses nothing, a trap does."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > path.stat().st_size:
        raise ValueError(f"an archive that unpacks to {unpacked:,} bytes, more than it has")
