"""Remote tar shards, from a server that the tests start."""

from __future__ import annotations

import http.server
import pickle
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.data import DataLoader

from clipdefend.canvas import Canvas
from clipdefend.data.pairs import Pairs, open_pairs
from clipdefend.data.remaining_pairs import RemainingPairs
from clipdefend.data.store import remote
from clipdefend.errors import DataError, RemoteError
from clipdefend.objectives.objective import build_objective
from clipdefend.training.plan import PlannedRow
from clipdefend.training.samples import Views, collate
from data_samples import number_of, numbered, write_tar


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder; counts requests and bytes, and misbehaves on demand."""

    folder: Path
    ranges = True
    failures = 0
    requests = 0
    sent = 0
    version = "1"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        server = self.server
        server.requests += 1
        path = server.folder / self.path.partition("?")[0].lstrip("/")
        if server.failures or not path.is_file():
            server.failures = max(0, server.failures - 1)
            self.send_response(404 if not path.is_file() else 503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data, status = path.read_bytes(), 200
        wanted = self.headers.get("Range")
        if wanted and server.ranges:
            first, last = wanted.removeprefix("bytes=").split("-")
            status, whole = 206, len(data)
            data = data[int(first) : int(last) + 1]
        self.send_response(status)
        self.send_header("ETag", server.version)
        self.send_header("Content-Length", str(len(data)))
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(data) - 1}/{whole}")
        self.end_headers()
        if body:
            server.sent += len(data)
            try:
                self.wfile.write(data)
            except OSError:
                self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(remote, "WAITS", (0.0, 0.0, 0.0))
    with Server(("127.0.0.1", 0), Handler) as made:
        made.folder = tmp_path / "served"
        made.folder.mkdir()
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield made
        made.shutdown()


def write(server: Server, *counts: int) -> str:
    number = 0
    for shard, count in enumerate(counts):
        members = []
        for n in range(number, number + count):
            members += [(f"{n:06d}.png", numbered(n)), (f"{n:06d}.txt", f"photo {n}".encode())]
        write_tar(server.folder / f"{shard:03d}.tar", members)
        number += count
    return f"{server.url}/{{000..{len(counts) - 1:03d}}}.tar"


def numbers(pairs: Pairs) -> list[int]:
    return [number_of(pairs.image(row)) for row in range(len(pairs))]


def test_remote_shards_read_as_local_ones(server: Server, cache: Path) -> None:
    spec = write(server, 5, 0, 9, 1)
    pairs = open_pairs(spec, cache=cache)
    local = open_pairs(f"{server.folder}/*.tar", cache=cache)
    assert pairs.captions() == local.captions() == [f"photo {n}" for n in range(15)]
    assert pairs.fingerprint == local.fingerprint
    assert numbers(pairs) == numbers(local) == list(range(15))
    assert pairs.image_ref(5) == local.image_ref(5) == "002.tar/000005.png"
    assert numbers(pickle.loads(pickle.dumps(pairs))) == list(range(15))
    assert pairs.spec == spec


def test_the_index_is_made_once_by_reading_each_shard_once(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "BLOCK_BYTES", 4096)
    spec = write(server, 60, 60)
    whole = sum(path.stat().st_size for path in server.folder.iterdir())
    open_pairs(spec, cache=cache)
    assert server.sent < 1.5 * whole
    sent, requests = server.sent, server.requests
    assert len(open_pairs(spec, cache=cache)) == 120
    assert server.sent - sent == len(numbered(0))  # the first image is looked at
    assert server.requests == requests + 3  # and each shard's version asked for


def test_a_batch_is_fetched_together_and_kept(server: Server, cache: Path) -> None:
    pairs = open_pairs(write(server, 20), cache=cache)
    part = RemainingPairs(pairs, without=np.array([0, 1]))
    part.prefetch([3, 4, 4, 5])
    before = server.requests
    assert [number_of(part.image(row)) for row in (3, 4, 4, 5)] == [5, 6, 6, 7]
    assert server.requests == before
    assert number_of(part.image(9)) == 11
    assert server.requests == before + 1


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_the_same_batches_with_any_number_of_workers(workers: int, server: Server, cache: Path) -> None:
    pairs = open_pairs(write(server, 2, 7), cache=cache)  # fewer shards than workers, of unequal size
    assert numbers(pairs) == list(range(9))  # the parent has used the network before it forks
    views = Views(
        pairs=pairs, canvas=Canvas(4), tokenize=_tokens, objective=build_objective("cleanclip"), seed=3
    )
    items = [[PlannedRow(row, subset=False) for row in rows] for rows in ([8, 0, 3], [1, 7, 2], [5, 4, 6])]
    loader = DataLoader(views, batch_sampler=items, collate_fn=collate, num_workers=workers)
    batches = list(loader)
    alone = [collate([views[item] for item in batch]) for batch in items]
    for batch, expected in zip(batches, alone, strict=True):
        assert not batch.bad
        for view, pixels in expected.images.items():
            assert batch.images[view].equal(pixels)


def _tokens(texts: list[str]) -> Any:
    import torch

    return torch.tensor([[len(text), 9] for text in texts])


def test_failures_that_pass_are_tried_again(server: Server, cache: Path) -> None:
    pairs = open_pairs(write(server, 4), cache=cache)
    server.failures = 3
    assert number_of(pairs.image(2)) == 2
    server.failures = 2
    pairs.prefetch([0, 1, 2, 3])
    assert numbers(pairs) == [0, 1, 2, 3]


def test_failures_that_stay_end_in_one_line(server: Server, cache: Path) -> None:
    pairs = open_pairs(write(server, 4), cache=cache)
    server.failures = 10**6
    with pytest.raises(RemoteError, match=r"000\.tar' failed \(HTTP 503\), 4 times: .*--resume"):
        pairs.image(0)
    loader = DataLoader(
        Views(pairs=pairs, canvas=Canvas(4), tokenize=_tokens, objective=build_objective("ft"), seed=0),
        batch_sampler=[[PlannedRow(0, subset=False), PlannedRow(1, subset=False)]],
        collate_fn=collate,
        num_workers=1,
    )
    with pytest.raises(RemoteError) as caught:
        list(loader)
    assert str(caught.value).startswith(f"'{server.url}/000.tar' failed (HTTP 503)")


def test_missing_shards_are_named(server: Server, cache: Path) -> None:
    write(server, 2)
    with pytest.raises(DataError, match=r"001\.tar' does not exist \(HTTP 404\)"):
        open_pairs(f"{server.url}/{{000..001}}.tar", cache=cache)


def test_a_server_without_ranges_is_named_before_it_sends_much(server: Server, cache: Path) -> None:
    spec = write(server, 2)
    with open(server.folder / "000.tar", "ab") as file:
        file.write(bytes(2**24))
    server.ranges = False
    with pytest.raises(DataError, match="the server does not support range requests"):
        open_pairs(spec, cache=cache)
    assert server.requests <= 3


def test_shards_that_change_are_indexed_anew(server: Server, cache: Path) -> None:
    spec = write(server, 2)
    opened = open_pairs(spec, cache=cache)
    write(server, 3)
    server.version = "2"
    assert len(open_pairs(spec, cache=cache)) == 3
    (server.folder / "000.tar").unlink()
    with pytest.raises(DataError, match=r"does not exist \(HTTP 404\)"):
        opened.prefetch([1])


def test_a_damaged_remote_shard_keeps_what_is_whole(server: Server, cache: Path) -> None:
    spec = write(server, 4, 2)
    path = server.folder / "000.tar"
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"photo 2") + 3])
    pairs = open_pairs(spec, cache=cache)
    assert pairs.captions() == ["photo 0", "photo 1", "photo 4", "photo 5"]
    assert pairs.skipped == 1
    assert "000002: has no caption (.txt or .json) (cut off at byte" in pairs.skip_reasons[0]


def test_nobody_there(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "WAITS", ())
    with pytest.raises(RemoteError, match=r"cannot be read: .*check the network"):
        open_pairs("http://127.0.0.1:9/a.tar", cache=cache)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("https://example.org/a.csv", "only tar shards can be read remotely"),
        ("https://example.org/*.tar", "remote files cannot be listed"),
        ("https:///a.tar", "lacks a host"),
        ("https://me:secret@example.org/a.tar", "contains a user name or password"),
        ("https://example.org/a.tar::/tmp/b.tar", "mixes remote with local"),
        ("gs://bucket/a.tar", "Remote source"),
    ],
)
def test_addresses_that_are_not_read(spec: str, words: str, cache: Path) -> None:
    with pytest.raises(DataError, match=words) as caught:
        open_pairs(spec, cache=cache)
    assert "secret" not in str(caught.value)
    assert not cache.exists()


@pytest.mark.parametrize(("url", "package"), [("s3://b/a.tar", "s3fs"), ("https://h.test/a.tar", "aiohttp")])
def test_packages_that_lack_are_named(
    url: str, package: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DataError, match=rf"needs the package {package}: pip install {package}"):
        open_pairs(url, cache=cache)
