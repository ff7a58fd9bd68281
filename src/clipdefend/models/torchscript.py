"""Tensors out of TorchScript archives, such as OpenAI's ``ViT-B-32.pt``, without running or compiling anything.

``torch.jit.load`` compiles the code that an archive brings, and ``torch.load(weights_only=True)`` refuses such
archives, so the few instructions that TorchScript's pickles consist of are interpreted here. No name is ever
imported: a name is text, an object is a record of its attributes, and the only calls are those that ``_call`` lists.
"""

from __future__ import annotations

import math
import pickletools
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

MAX_PICKLE_BYTES = 1 << 22  # OpenAI's are far below 1 MB
MAX_DEPTH = 64
MAX_TENSORS = 100_000

_DTYPES = {
    "torch FloatStorage": torch.float32,
    "torch DoubleStorage": torch.float64,
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch LongStorage": torch.int64,
    "torch IntStorage": torch.int32,
    "torch ShortStorage": torch.int16,
    "torch CharStorage": torch.int8,
    "torch ByteStorage": torch.uint8,
    "torch BoolStorage": torch.bool,
}
_VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"}
_NEW: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
# Number of items that an instruction takes from the stack; 0: all above the last mark.
_COLLECTING = {
    "TUPLE": 0,
    "TUPLE1": 1,
    "TUPLE2": 2,
    "TUPLE3": 3,
    "APPEND": 1,
    "APPENDS": 0,
    "SETITEM": 2,
    "SETITEMS": 0,
}
# Typed lists and type tags matter to TorchScript only.
_AS_GIVEN = {
    f"torch.jit._pickle {name}"
    for name in (
        "build_intlist",
        "build_tensorlist",
        "build_doublelist",
        "build_boollist",
        "restore_type_tag",
    )
}


@dataclass(frozen=True)
class _Name:
    """A global of the pickle, "module name": text that is compared and never looked up."""

    text: str


@dataclass
class _Object:
    """An instance of one of the archive's own types: its attributes."""

    attributes: dict[Any, Any] = field(default_factory=dict)


def is_torchscript(path: Path) -> bool:
    """Whether a file is a zip archive with the ``constants.pkl`` that only TorchScript writes."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.split("/")[1:] == ["constants.pkl"] for name in archive.namelist())


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """The tensors of an archive by the dotted paths of their attributes, as in a state dict.

    Args:
        path: an archive written by ``torch.jit.save``.

    Returns:
        Name -> tensor, on the CPU, in the archive's data types.

    Raises:
        ValueError, KeyError, IndexError, TypeError, zipfile.BadZipFile: a damaged or hostile archive.
    """
    with zipfile.ZipFile(path) as archive:
        roots = {name.partition("/")[0] for name in archive.namelist()}
        if len(roots) != 1:
            raise ValueError(f"{len(roots)} folders in place of one")
        reader = _Reader(archive, roots.pop(), path.stat().st_size)
        return dict(_tensors(_interpret(reader.pickle(), reader), "", depth=0, budget=[MAX_TENSORS]))


def _tensors(value: Any, prefix: str, *, depth: int, budget: list[int]) -> Iterator[tuple[str, Tensor]]:
    """Tensors below an object; the budget bounds what objects that share their parts can unfold to."""
    budget[0] -= 1
    if depth > MAX_DEPTH or budget[0] < 0:
        raise ValueError("modules nested too deeply")
    if isinstance(value, Tensor):
        yield prefix, value
    elif isinstance(value, _Object):
        for key, item in value.attributes.items():
            if isinstance(item, (Tensor, _Object)):
                yield from _tensors(
                    item, f"{prefix}.{key}" if prefix else str(key), depth=depth + 1, budget=budget
                )


def _interpret(data: bytes, reader: _Reader) -> Any:
    """The value that a TorchScript pickle describes."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    for opcode, arg, _ in pickletools.genops(data):
        name = opcode.name
        if name == "STOP":
            return stack.pop()
        if name in _VALUES:
            stack.append(arg)
        elif name in _NEW:
            stack.append(_NEW[name]())
        elif name == "GLOBAL":
            stack.append(_Name(str(arg)))
        elif name == "MARK":
            marks.append(len(stack))
        elif name in _COLLECTING:
            start = len(stack) - _COLLECTING[name] if _COLLECTING[name] else marks.pop()
            items = stack[start:]
            del stack[start:]
            _collect(name, items, stack)
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[int(str(arg))] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[int(str(arg))])
        elif name == "BINPERSID":
            stack.append(reader.storage(stack.pop()))
        elif name in ("NEWOBJ", "REDUCE"):
            given, called = _exactly(stack.pop(), tuple), _exactly(stack.pop(), _Name)
            stack.append(_call(called.text, given, creates=name == "NEWOBJ"))
        elif name == "BUILD":
            attributes = _exactly(stack.pop(), dict)
            _exactly(stack[-1], _Object).attributes = attributes
        elif name != "PROTO":
            raise ValueError(f"the instruction {name}, which TorchScript does not write")
    raise ValueError("a pickle without an end")


def _collect(name: str, items: list[Any], stack: list[Any]) -> None:
    """Put items into a new tuple, or into the list or dict that is uppermost."""
    if name.startswith("TUPLE"):
        stack.append(tuple(items))
    elif name.startswith("APPEND"):
        _exactly(stack[-1], list).extend(items)
    else:
        _exactly(stack[-1], dict).update(zip(items[::2], items[1::2], strict=True))


def _call(name: str, given: tuple[Any, ...], *, creates: bool) -> Any:
    """What TorchScript's calls give; none of them reaches a function that a pickle could choose."""
    if creates and name.startswith(("__torch__.", "__torch__ ")):
        return _Object()
    if not creates and name == "torch._utils _rebuild_tensor_v2":
        return _rebuild(*given[:4])
    if not creates and name in _AS_GIVEN:
        return given[0]
    if not creates and name == "collections OrderedDict" and not given:
        return {}
    if not creates and name == "torch device":
        return None
    raise ValueError(f"a call of {name!r:.80}, which TorchScript does not write")


def _rebuild(storage: Any, offset: Any, size: Any, stride: Any) -> Tensor:
    """A view of a storage, (0-d to 8-d), that lies inside it and has no more elements than it."""
    whole: Tensor = _exactly(storage, Tensor)
    numbers = [_exactly(number, int) for number in (offset, *size, *stride)]
    if min(numbers) < 0 or len(size) != len(stride) or len(size) > 8:
        raise ValueError(f"a tensor of size {size!s:.80}")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if math.prod(size) > whole.numel() or (math.prod(size) and last >= whole.numel()):
        raise ValueError(f"a tensor of size {size!s:.80} in a storage of {whole.numel()}")
    return whole.as_strided(size, stride, offset)


class _Reader:
    """The pickle and the storages of an archive, each read once, together no more bytes than the file has."""

    def __init__(self, archive: zipfile.ZipFile, root: str, size: int) -> None:
        self._archive = archive
        self._root = root
        self._left = size
        self._read: dict[str, Tensor] = {}
        if f"{root}/byteorder" in archive.namelist() and self._member("byteorder") != b"little":
            raise ValueError("numbers of another byte order")

    def pickle(self) -> bytes:
        if self._archive.getinfo(f"{self._root}/data.pkl").file_size > MAX_PICKLE_BYTES:
            raise ValueError(f"a pickle of more than {MAX_PICKLE_BYTES:,} bytes")
        return self._member("data.pkl")

    def storage(self, given: Any) -> Tensor:
        """The flat tensor that a persistent id names: ("storage", type, key, device, number of elements)."""
        kind, dtype, key, _, count = _exactly(given, tuple)
        if kind != "storage":
            raise ValueError(f"a persistent id of kind {kind!r:.40}")
        key = f"data/{_exactly(key, str)}"
        if key not in self._read:
            data = self._member(key)
            kept = (
                torch.frombuffer(bytearray(data), dtype=torch.uint8)
                if data
                else torch.empty(0, dtype=torch.uint8)
            )
            self._read[key] = kept
        found = self._read[key].view(_DTYPES[_exactly(dtype, _Name).text])
        if found.numel() != count:
            raise ValueError(f"a storage of {found.numel()} elements in place of {count!r:.40}")
        return found

    def _member(self, name: str) -> bytes:
        member = self._archive.getinfo(f"{self._root}/{name}")
        self._left -= member.file_size
        # TorchScript compresses nothing but code, which is never read here.
        if member.compress_type != zipfile.ZIP_STORED or self._left < 0:
            raise ValueError(f"{name!r:.80} unpacks to more bytes than the archive has")
        return self._archive.read(member)


def _exactly(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{type(value).__name__} in place of {kind.__name__}")
    return value
