"""Tar shards that lie elsewhere (``https:``, ``http:``, ``s3:``), read by byte ranges through fsspec.

A shard is read once from its beginning to its end for the index, a few megabytes a request; from then on only the
images that a batch needs are fetched, all of them at the same time. Nothing is kept on the local disk but the index.
"""

from __future__ import annotations

import posixpath
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from clipdefend.draws import draw_seed
from clipdefend.errors import DataError, RemoteError

PACKAGES = {"http": "aiohttp", "https": "aiohttp", "s3": "s3fs"}
"""What each kind of address needs besides fsspec."""
BLOCK_BYTES = 8 * 2**20
"""Bytes asked for at once while a shard is indexed."""
MAX_AHEAD_BYTES = 256 * 2**20
"""Most bytes of a batch that are fetched together; the rest is fetched image by image."""
WAITS = (0.5, 2.0, 6.0)
"""Seconds before each further try."""
CONNECT_SECONDS, READ_SECONDS = 15, 60
_AT_ONCE = 16
_NOT_FINAL = (408, 425, 429)
_SCHEME = re.compile(r"^(https?|s3)://", re.IGNORECASE)

Result = TypeVar("Result")
Stamp = tuple[str, int, int]


@dataclass(frozen=True)
class RemoteFile:
    """A file behind an address."""

    url: str

    @property
    def name(self) -> str:
        """Last part of the path, without what a signed address carries behind it."""
        return posixpath.basename(unquote(urlsplit(self.url).path))

    @property
    def suffix(self) -> str:
        return posixpath.splitext(self.name)[1]

    def __str__(self) -> str:
        return self.url.partition("?")[0]


def is_remote(spec: str) -> bool:
    """Whether a part of a data source is an address that can be read."""
    return _SCHEME.match(spec) is not None


def checked(url: str) -> RemoteFile:
    """Raises DataError for addresses with credentials or wildcards, and for files that are no tar."""
    parts = urlsplit(url)
    file = RemoteFile(url)
    if not parts.netloc:
        raise DataError(f"Remote source {str(file)!r} names no host or bucket: give the whole address.")
    if "@" in parts.netloc:
        raise DataError(
            f"Remote source of host {parts.hostname!r} holds a user name or password, which would be written to"
            " manifests: leave them out and give them in ~/.netrc or the environment."
        )
    if "*" in parts.path:
        raise DataError(
            f"Remote source {str(file)!r} has a wildcard, and nothing lists remote files:"
            " name them by a range such as {00000..00049}."
        )
    if file.suffix.lower() != ".tar":
        raise DataError(
            f"Remote source {str(file)!r} does not end in .tar: only tar shards are read from afar;"
            " copy tables and folders to a local disk."
        )
    return file


def _filesystem(url: str) -> Any:
    """fsspec's, one for each process and kind of address."""
    import fsspec

    scheme = urlsplit(url).scheme.lower()
    try:
        if scheme == "s3":
            wait = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
            return fsspec.filesystem("s3", config_kwargs=wait)
        import aiohttp

        limits = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
        return fsspec.filesystem("http", client_kwargs={"timeout": limits, "trust_env": True})
    except ImportError as error:
        package = PACKAGES[scheme]
        raise DataError(
            f"Remote source {str(RemoteFile(url))!r} needs the package {package}: pip install {package}."
        ) from error


def _patiently(url: str, action: Callable[[], Result]) -> Result:
    """Do it, again after a while where that may help. Raises DataError or RemoteError with a plain reason."""
    for wait in (*WAITS, None):
        try:
            return action()
        except DataError:
            raise
        except Exception as error:  # each transport has its own
            reason, final = _reason(error)
            if final:
                raise DataError(f"{str(RemoteFile(url))!r} {reason}.") from error
            if wait is None:
                raise RemoteError(
                    f"{str(RemoteFile(url))!r} {reason}, {len(WAITS) + 1} times: see to the network and go on with"
                    " --resume, or start again."
                ) from error
            time.sleep(wait)
    raise AssertionError("unreachable")


def _reason(error: BaseException) -> tuple[str, bool]:
    """What went wrong, and whether it would go wrong again."""
    cause = error.__cause__ or error
    status = getattr(cause, "status", None)
    if status is None and isinstance(cause, FileNotFoundError):
        status = 404
    if status is None and isinstance(cause, PermissionError):
        status = 403
    if isinstance(status, int):
        final = 400 <= status < 500 and status not in _NOT_FINAL
        text = {404: "does not exist", 403: "may not be read", 401: "may not be read"}.get(status, "failed")
        return f"{text} (HTTP {status})", final
    if isinstance(cause, TimeoutError):
        return "did not answer in time", False
    return f"cannot be read: {' '.join(str(cause).split())[:200] or type(cause).__name__}", False


def stamp(file: RemoteFile) -> Stamp:
    """Address, bytes, and a number that changes with the server's version mark."""

    def ask() -> Any:
        return _filesystem(file.url).info(file.url)

    info = _patiently(file.url, ask)
    if info.get("size") is None:
        raise DataError(f"{str(file)!r}: the server does not tell the size. Copy the shards to a local disk.")
    mark = next((str(info[key]) for key in ("ETag", "Last-Modified", "LastModified") if info.get(key)), "")
    return file.url, int(info["size"]), draw_seed(0, mark)


def stamps(files: Sequence[RemoteFile]) -> list[Stamp]:
    """``stamp`` of many files, several at a time."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(stamp, files))


def fetch(places: Sequence[tuple[str, int, int]]) -> list[bytes]:
    """Byte ranges (address, offset, size), all asked for at the same time; several tries each.

    Raises:
        DataError: a file is gone or the server gives other bytes than those asked for.
        RemoteError: the network fails.
    """
    found: dict[int, bytes] = {at: b"" for at, place in enumerate(places) if not place[2]}
    while missing := [at for at in range(len(places)) if at not in found]:
        url = places[missing[0]][0]
        found |= _patiently(url, lambda: _some(places, missing))
    return [found[at] for at in range(len(places))]


def _some(places: Sequence[tuple[str, int, int]], wanted: Sequence[int]) -> dict[int, bytes]:
    """Those of the wanted ranges that came; raises the first failure when none did."""
    urls = [places[at][0] for at in wanted]
    starts = [places[at][1] for at in wanted]
    ends = [sum(places[at][1:]) for at in wanted]
    answers = _filesystem(urls[0]).cat_ranges(urls, starts, ends, on_error="return")
    found = {at: data for at, data in zip(wanted, answers, strict=True) if isinstance(data, bytes)}
    if not found:
        raise answers[0]
    for at, data in found.items():
        if len(data) != places[at][2]:
            raise DataError(
                f"{str(RemoteFile(places[at][0]))!r} gave {len(data):,} bytes instead of {places[at][2]:,}:"
                " it has changed, or the server does not answer range requests."
            )
    return found


class RemoteShard:
    """A shard read from front to back; the last two blocks stay, since captions are read after their member.

    Args:
        file: the shard.

    Raises:
        DataError: it is not there, or the server does not answer range requests.
        RemoteError: the network fails.
    """

    def __init__(self, file: RemoteFile) -> None:
        self.path = file
        self.size = stamp(file)[1]
        self._blocks: list[tuple[int, bytes]] = []
        self._file: Any = None
        if self.size > 1:
            self._load(self.size - 1, 1)  # tells a server that knows no ranges before it sends all

    def read(self, size: int, offset: int) -> bytes:
        """Up to ``size`` bytes from ``offset`` on; fewer at the end of the file."""
        size = max(0, min(size, self.size - offset))
        for start, data in self._blocks:
            if start <= offset and offset + size <= start + len(data):
                return data[offset - start : offset - start + size]
        data = self._load(offset, min(max(size, BLOCK_BYTES), self.size - offset)) if size else b""
        self._blocks = [*self._blocks[-1:], (offset, data)]
        return data[:size]

    def _load(self, offset: int, size: int) -> bytes:
        def load() -> bytes:
            try:
                if self._file is None:
                    self._file = _filesystem(self.path.url).open(
                        self.path.url, "rb", block_size=BLOCK_BYTES, cache_type="none", size=self.size
                    )
                self._file.seek(offset)
                return bytes(self._file.read(size))
            except ValueError as error:  # fsspec's word for it
                raise DataError(
                    f"{str(self.path)!r}: the server does not answer range requests."
                    " Copy the shards to a local disk, or to a server that does."
                ) from error

        return _patiently(self.path.url, load)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


@dataclass
class RemoteRanges:
    """Byte ranges of remote files, fetched batch by batch.

    Args:
        stamps: (address, bytes, version) of each file.
    """

    stamps: Sequence[Stamp]
    _ready: dict[tuple[int, int], bytes] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"stamps": self.stamps}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def prefetch(self, places: Sequence[tuple[int, int, int]]) -> None:
        """Fetch ranges (file, offset, size) together and keep them until the next call."""
        self._ready = {}
        chosen: dict[tuple[int, int], int] = {}
        room = MAX_AHEAD_BYTES
        for number, offset, size in places:
            if (number, offset) not in chosen and size <= room:
                chosen[number, offset] = size
                room -= size
        wanted = [(self.stamps[n][0], offset, size) for (n, offset), size in chosen.items()]
        self._ready = dict(zip(chosen, fetch(wanted), strict=True))

    def read(self, number: int, offset: int, size: int) -> bytes:
        """``size`` bytes of file ``number``."""
        data = self._ready.get((number, offset))
        return fetch([(self.stamps[number][0], offset, size)])[0] if data is None else data
