"""Remote tar shards (``https:``, ``http:``, ``s3:``), read by byte ranges through fsspec.

A shard is read once from start to end to build the index, a few megabytes per request. After that only the images
of each batch are fetched, concurrently. Only the index is kept on the local disk.
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
"""URL scheme -> package that fsspec needs for it."""
BLOCK_BYTES = 8 * 2**20
"""Bytes per request while a shard is indexed."""
MAX_AHEAD_BYTES = 256 * 2**20
"""Maximum number of bytes to prefetch for a batch; the remaining images are fetched one by one."""
WAITS = (0.5, 2.0, 6.0)
"""Seconds to wait before each retry."""
CONNECT_SECONDS, READ_SECONDS = 15, 60
_AT_ONCE = 16
_NOT_FINAL = (408, 425, 429)
_SCHEME = re.compile(r"^(https?|s3)://", re.IGNORECASE)

Result = TypeVar("Result")
FileIdentity = tuple[str, int, int]


@dataclass(frozen=True)
class RemoteFile:
    """A file at a URL."""

    url: str

    @property
    def name(self) -> str:
        """The last part of the path, without the query of a signed URL."""
        return posixpath.basename(unquote(urlsplit(self.url).path))

    @property
    def suffix(self) -> str:
        return posixpath.splitext(self.name)[1]

    def __str__(self) -> str:
        return self.url.partition("?")[0]


def is_remote(spec: str) -> bool:
    """Whether a part of a data source is a URL of a supported scheme."""
    return _SCHEME.match(spec) is not None


def check_address(url: str) -> RemoteFile:
    """Return the file at a URL after checking it.

    Raises:
        DataError: the URL lacks a host, contains credentials or wildcards, or does not name a tar file.
    """
    parts = urlsplit(url)
    file = RemoteFile(url)
    if not parts.netloc:
        raise DataError(f"Remote source {str(file)!r} lacks a host or bucket: give the complete URL.")
    if "@" in parts.netloc:
        raise DataError(
            f"The URL of a remote source on {parts.hostname!r} contains a user name or password, which would be"
            " written to manifests: remove them, and put them in ~/.netrc or the environment."
        )
    if "*" in parts.path:
        raise DataError(
            f"Remote source {str(file)!r} contains a wildcard, but remote files cannot be listed:"
            " use a range such as {00000..00049}."
        )
    if file.suffix.lower() != ".tar":
        raise DataError(
            f"Remote source {str(file)!r} does not end in .tar: only tar shards can be read remotely;"
            " copy tables and folders to a local disk."
        )
    return file


def _filesystem(url: str) -> Any:
    """Return fsspec's file system for a URL; fsspec caches one per process and scheme."""
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


def _retry(url: str, action: Callable[[], Result]) -> Result:
    """Carry out an action, retrying it after errors that may be temporary.

    Raises:
        DataError: retrying cannot help.
        RemoteError: the last retry failed as well.
    """
    for wait in (*WAITS, None):
        try:
            return action()
        except DataError:
            raise
        except Exception as error:  # each transport raises its own exceptions
            reason, final = _explain(error)
            if final:
                raise DataError(f"{str(RemoteFile(url))!r} {reason}.") from error
            if wait is None:
                raise RemoteError(
                    f"{str(RemoteFile(url))!r} {reason}, {len(WAITS) + 1} times: check the network and continue with"
                    " --resume, or start again."
                ) from error
            time.sleep(wait)
    raise AssertionError("unreachable")


def _explain(error: BaseException) -> tuple[str, bool]:
    """Return what went wrong, and whether the failure is permanent."""
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


def identify(file: RemoteFile) -> FileIdentity:
    """Return the URL, the size in bytes, and a hash of the server's ETag or modification date."""

    def ask() -> Any:
        return _filesystem(file.url).info(file.url)

    info = _retry(file.url, ask)
    if info.get("size") is None:
        raise DataError(
            f"{str(file)!r}: the server does not report the file size. Copy the shards to a local disk."
        )
    mark = next((str(info[key]) for key in ("ETag", "Last-Modified", "LastModified") if info.get(key)), "")
    return file.url, int(info["size"]), draw_seed(0, mark)


def identify_all(files: Sequence[RemoteFile]) -> list[FileIdentity]:
    """Identify several files concurrently."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(identify, files))


def fetch(places: Sequence[tuple[str, int, int]]) -> list[bytes]:
    """Fetch byte ranges (URL, offset, size) concurrently, with retries.

    Returns:
        The bytes of each range, in the order of ``places``.

    Raises:
        DataError: a file is gone, or the server returns a different number of bytes.
        RemoteError: the network fails.
    """
    found: dict[int, bytes] = {at: b"" for at, place in enumerate(places) if not place[2]}
    while missing := [at for at in range(len(places)) if at not in found]:
        url = places[missing[0]][0]
        found |= _retry(url, lambda: _fetch_some(places, missing))
    return [found[at] for at in range(len(places))]


def _fetch_some(places: Sequence[tuple[str, int, int]], wanted: Sequence[int]) -> dict[int, bytes]:
    """Return the wanted ranges that arrived; raise the first failure if none did."""
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
                f"{str(RemoteFile(places[at][0]))!r} returned {len(data):,} bytes instead of {places[at][2]:,}:"
                " it has changed, or the server does not support range requests."
            )
    return found


class RemoteShard:
    """A shard that is read sequentially.

    The last two blocks are kept, because a caption is read after the members that follow it were looked at.

    Args:
        file: the shard.

    Raises:
        DataError: the shard does not exist, or the server does not support range requests.
        RemoteError: the network fails.
    """

    def __init__(self, file: RemoteFile) -> None:
        self.path = file
        self.size = identify(file)[1]
        self._blocks: list[tuple[int, bytes]] = []
        self._file: Any = None
        if self.size > 1:
            self._load(
                self.size - 1, 1
            )  # detects a server without range requests before it sends the whole file

    def read(self, size: int, offset: int) -> bytes:
        """Read up to ``size`` bytes from ``offset`` on; fewer at the end of the file."""
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
            except ValueError as error:  # what fsspec raises for a server without range requests
                raise DataError(
                    f"{str(self.path)!r}: the server does not support range requests."
                    " Copy the shards to a local disk, or to a server that does."
                ) from error

        return _retry(self.path.url, load)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


@dataclass
class RemoteRanges:
    """Byte ranges of remote files, fetched batch by batch.

    Args:
        stamps: (URL, bytes, hash of the version) of each file.
    """

    stamps: Sequence[FileIdentity]
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
        """Return ``size`` bytes of file ``number`` from ``offset`` on, prefetched or fetched now."""
        data = self._ready.get((number, offset))
        return fetch([(self.stamps[number][0], offset, size)])[0] if data is None else data
