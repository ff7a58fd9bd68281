"""The index: true to its source, rebuilt when damaged, safe for several processes, picklable, flat in memory."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from clipdefend.data.pairs import Pairs, open_pairs
from clipdefend.data.store import index as index_module
from clipdefend.data.store.build import IndexWriter, open_index
from clipdefend.data.store.index import PATHS, read_meta
from clipdefend.errors import DataError
from data_samples import number_of

MakeFolder = Callable[[int], Path]


def write_table(folder: Path, captions: list[str], name: str = "pairs.csv") -> str:
    (folder / name).write_text(
        "image,caption\n" + "".join(f"images/0.png,{caption}\n" for caption in captions)
    )
    return str(folder / name)


def index_of(cache: Path) -> Path:
    (found,) = cache.glob("*.arrow")
    return found


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the sources whose index was built, in order."""
    from clipdefend.data.store import build as build_module

    names: list[str] = []
    real = build_module._build

    def build(path: Path, name: str, *rest: object) -> object:
        names.append(name)
        return real(path, name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(build_module, "_build", build)
    return names


def test_built_once_and_again_when_the_source_changes(
    pair_folder: MakeFolder, cache: Path, builds: list[str]
) -> None:
    folder = pair_folder(1)
    spec = write_table(folder, ["a", "b"])
    first = open_pairs(spec, cache=cache)
    assert open_pairs(spec, cache=cache).fingerprint == first.fingerprint
    assert len(builds) == 1
    write_table(folder, ["a", "b", "c"])
    again = open_pairs(spec, cache=cache)
    assert (len(again), len(builds)) == (3, 2)
    assert again.fingerprint != first.fingerprint
    assert len(list(cache.iterdir())) == 1  # the new index took the place of the old one


def test_other_columns_are_another_index(pair_folder: MakeFolder, cache: Path) -> None:
    folder = pair_folder(1)
    (folder / "a.csv").write_text("image,caption,text\nimages/0.png,one,two\n")
    assert open_pairs(str(folder / "a.csv"), cache=cache).captions() == ["one"]
    assert open_pairs(str(folder / "a.csv"), cache=cache, caption_key="text").captions() == ["two"]


def test_the_fingerprint_is_of_the_content(pair_folder: MakeFolder, cache: Path, tmp_path: Path) -> None:
    folder = pair_folder(1)
    spec = write_table(folder, ["a", "b"])
    first = open_pairs(spec, cache=cache)
    os.utime(spec, (1, 1))
    assert open_pairs(spec, cache=cache).fingerprint == first.fingerprint
    copied = write_table(folder, ["a", "b"], "copy.csv")
    assert open_pairs(copied, cache=tmp_path / "other").fingerprint == first.fingerprint
    for captions in (["b", "a"], ["ab", ""], ["a", "c"]):
        other = open_pairs(write_table(folder, captions, "other.csv"), cache=cache)
        assert other.fingerprint != first.fingerprint


@pytest.mark.parametrize("damage", ["truncated", "empty", "noise", "trailer", "blocks"])
def test_a_damaged_index_is_built_anew(
    damage: str, pair_folder: MakeFolder, cache: Path, builds: list[str]
) -> None:
    spec = write_table(pair_folder(1), [f"caption {n}" for n in range(50)])
    open_pairs(spec, cache=cache)
    path = index_of(cache)
    data = path.read_bytes()
    arrow = read_meta(path).arrow_bytes
    broken = {
        "truncated": data[: len(data) // 2],
        "empty": b"",
        "noise": bytes(len(data)),
        "trailer": data[:arrow] + data[arrow:].replace(b'"rows": 50', b'"rows": 51'),
        "blocks": data[: arrow - 40] + bytes(40) + data[arrow:],
    }[damage]
    path.write_bytes(broken)
    pairs = open_pairs(spec, cache=cache)
    assert pairs.captions() == [f"caption {n}" for n in range(50)]
    assert len(builds) == 2


def test_nothing_is_left_behind_by_a_failure(pair_folder: MakeFolder, cache: Path) -> None:
    folder = pair_folder(1)

    def fail(writer: IndexWriter) -> str:
        writer.add(pa.array(["x"] * 40_000), pa.array(["y"] * 40_000), 0)
        writer.write_blob(b"z")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        open_index(cache, "x", [folder], [], PATHS, fail)
    assert list(cache.iterdir()) == []


def test_old_leftovers_are_removed_and_fresh_ones_are_not(pair_folder: MakeFolder, cache: Path) -> None:
    cache.mkdir()
    (cache / ".pairs-1.tmp").touch()
    (cache / ".pairs-2.tmp").touch()
    os.utime(cache / ".pairs-1.tmp", (time.time() - 10**6,) * 2)
    open_pairs(write_table(pair_folder(1), ["a"]), cache=cache)
    assert sorted(path.name for path in cache.glob(".*")) == [".pairs-2.tmp"]


def test_a_source_that_changes_meanwhile(pair_folder: MakeFolder, cache: Path) -> None:
    spec = write_table(pair_folder(1), ["a"])

    def build(writer: IndexWriter) -> str:
        writer.add(pa.array(["x"]), pa.array(["y"]), 0)
        with open(spec, "a") as file:
            file.write("images/0.png,more\n")
        return "x"

    with pytest.raises(DataError, match="changed while it was being read"):
        open_index(cache, spec, [Path(spec)], [], PATHS, build)


def test_a_cache_that_cannot_be_made(pair_folder: MakeFolder, tmp_path: Path) -> None:
    spec = write_table(pair_folder(1), ["a"])
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written to"):
        open_pairs(spec, cache=tmp_path / "file" / "cache")


def test_rows_across_batches(pair_folder: MakeFolder, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = index_module.BATCH_ROWS * 2 + 7
    spec = write_table(pair_folder(1), [f"c{n}" for n in range(count)])
    pairs = open_pairs(spec, cache=cache)
    assert len(pairs) == count
    for row in (
        0,
        1,
        index_module.BATCH_ROWS - 1,
        index_module.BATCH_ROWS,
        2 * index_module.BATCH_ROWS,
        count - 1,
    ):
        assert pairs.caption(row) == f"c{row}"
    seen = [caption for _, batch in pairs.iter_captions(10_000) for caption in batch]
    assert seen == [f"c{n}" for n in range(count)]


def test_progress_is_reported_while_building_only(pair_folder: MakeFolder, cache: Path) -> None:
    spec = write_table(pair_folder(1), ["a"] * (2 * index_module.BATCH_ROWS + 5))
    told: list[int] = []
    open_pairs(spec, cache=cache, progress=told.append)
    assert told == [index_module.BATCH_ROWS, 2 * index_module.BATCH_ROWS, 2 * index_module.BATCH_ROWS + 5]
    open_pairs(spec, cache=cache, progress=told.append)
    assert len(told) == 3


def read_in_worker(pairs: Pairs, rows: list[int], results: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    results.put([(pairs.caption(row), number_of(pairs.image(row))) for row in rows])


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process")
def test_pairs_travel_to_workers(method: str, pair_folder: MakeFolder, cache: Path) -> None:
    folder = pair_folder(3)
    (folder / "a.csv").write_text("image,caption\n" + "".join(f"images/{n}.png,c{n}\n" for n in range(3)))
    pairs = open_pairs(str(folder / "a.csv"), cache=cache)
    assert pairs.caption(1) == "c1"  # opened here before it travels
    context: Any = multiprocessing.get_context(method)
    results = context.Queue()
    worker = context.Process(target=read_in_worker, args=(pairs, [2, 0], results))
    worker.start()
    assert results.get(timeout=60) == [("c2", 2), ("c0", 0)]
    worker.join()


def test_pickles_are_small_and_know_when_their_index_was_replaced(
    pair_folder: MakeFolder, cache: Path
) -> None:
    folder = pair_folder(1)
    spec = write_table(folder, [f"caption number {n}" for n in range(20_000)])
    data = pickle.dumps(open_pairs(spec, cache=cache))
    assert len(data) < 2000
    assert pickle.loads(data).caption(7) == "caption number 7"
    write_table(folder, ["other"])
    open_pairs(spec, cache=cache)
    with pytest.raises(DataError, match="rebuilt from changed data"):
        pickle.loads(data).caption(7)


def open_in_process(spec: str, cache: str, start: float, results: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    time.sleep(max(0.0, start - time.time()))
    pairs = open_pairs(spec, cache=Path(cache))
    results.put((len(pairs), pairs.fingerprint, pairs.caption(len(pairs) - 1)))


def test_two_processes_build_the_same_index_at_once(pair_folder: MakeFolder, cache: Path) -> None:
    count = 100_000
    spec = write_table(pair_folder(1), [f"caption {n}" for n in range(count)])
    context: Any = multiprocessing.get_context("spawn")
    results = context.Queue()
    start = time.time() + 2.0
    workers = [
        context.Process(target=open_in_process, args=(spec, str(cache), start, results)) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    answers = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert answers[0] == answers[1]
    assert answers[0][0::2] == (count, f"caption {count - 1}")
    assert [path.suffix for path in cache.iterdir()] == [".arrow"]


def resident_mb() -> float:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's own account of memory")
def test_a_million_rows_open_at_once_and_stay_flat(pair_folder: MakeFolder, cache: Path) -> None:
    count = 1_000_000
    spec = write_table(
        pair_folder(1),
        [f"a caption with some words in it, number {n}".replace(",", "") for n in range(count)],
    )
    open_pairs(spec, cache=cache)
    size_mb = index_of(cache).stat().st_size / 2**20
    started = time.perf_counter()
    pairs = open_pairs(spec, cache=cache)
    assert pairs.caption(count - 1).endswith(str(count - 1))
    assert time.perf_counter() - started < 1.0
    rows = np.random.default_rng(0).integers(0, count, 20_000).tolist()
    before = resident_mb()
    for row in rows:
        pairs.caption(row)
    grown = resident_mb() - before
    assert size_mb > 50
    assert grown < 45, f"{grown:.0f} MB for an index of {size_mb:.0f} MB"
