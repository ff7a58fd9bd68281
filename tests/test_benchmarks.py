"""The benchmarks run as their first lines say; what they measure is another matter."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"


def run(
    name: str, flags: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[dict[str, Any]]:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, "argv", [str(FOLDER / name), *flags.split(), "--json"])
    runpy.run_path(str(FOLDER / name), run_name="__main__")
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return rows


def test_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    rows = run("input.py", "--images 4 --size 32 --workers 0 --turns 1", monkeypatch, capsys)
    floors = [row for row in rows if row["pipeline"].startswith("Pillow")]
    assert [row["ratio"] for row in floors] == [1, 1]
    assert len(rows) == 6


def test_training(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    flags = "--model tiny --batch-size 2 --steps 2 --turns 1 --precision bf16"
    ours, bare, public = run("training.py", flags, monkeypatch, capsys)
    assert ours["step"] == "clipdefend, bf16"
    assert bare["ratio"] == public["to public"] == 1
    assert ours["ratio"] > 0


def test_unlearn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    flags = "--batch-size 4 --turns 1 --set members=1"
    rows = run("unlearn.py", flags, monkeypatch, capsys)
    assert [row["step"] for row in rows] == ["ft", "cleanclip", "cleanerclip", "unlearn"]
    assert rows[0]["ratio"] == 1
    assert all(row["ratio"] == pytest.approx(row["milliseconds"] / rows[0]["milliseconds"]) for row in rows)


@pytest.mark.slow
def test_start(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    alone, forked = run("start.py", "--turns 1", monkeypatch, capsys)
    assert alone["ratio"] == 1
    assert forked["ratio"] == pytest.approx(forked["seconds"] / alone["seconds"])


def test_evaluation(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    floor, ours = run("evaluation.py", "--model tiny --images 20 --turns 1", monkeypatch, capsys)
    assert floor["times floor"] == 1
    assert ours["times floor"] == pytest.approx(floor["images/s"] / ours["images/s"])


def test_term_shares(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = run("term_shares.py", "--models tiny --turns 1", monkeypatch, capsys)
    assert row["every ten"] == pytest.approx(0.9 + row["ratio"] / 10)


@pytest.mark.slow
def test_surroundings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    flags = "--models tiny --steps 1 --work evaluate --machine idle"
    rows = run("surroundings.py", flags, monkeypatch, capsys)
    assert [(row["work"], row["machine"]) for row in rows] == [("evaluate", "idle")]
    assert all(row[name] > 0 for row in rows for name in ("default, s", "waiting", "memory", "clipdefend"))


def test_the_median_turn_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that slows down: 1.2 is the median, though the medians of both alone are 3 and 2."""
    monkeypatch.syspath_prepend(str(FOLDER))
    from common import median_turn  # type: ignore[import-not-found]  # of benchmarks/

    assert median_turn([1.2, 3.0, 4.4], [1.0, 2.0, 4.0]) == 0
    assert median_turn([2.2, 3.0, 1.0], [2.0, 2.0, 1.0]) == 0
    assert median_turn([1.0, 3.0], [1.0, 2.0]) == 1


@pytest.mark.slow
def test_opening(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    few, more = run(
        "opening.py", "--rows 40,80 --steps 2 --batch-size 4 --workers 1 --format tar", monkeypatch, capsys
    )
    assert (few["rows"], more["rows"], few["ratio"]) == (40, 80, 1)
    assert few["MB"] > 50


def test_filter(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    flags = "--model tiny --images 20 --batch-size 8 --turns 1"
    floor, ours = run("filter.py", flags, monkeypatch, capsys)
    assert floor["of floor"] == 1
    assert ours["of floor"] == pytest.approx(ours["images/s"] / floor["images/s"])


@pytest.mark.slow
def test_filter_by_size(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    few, more = run("filter.py", "--rows 300,5000 --dimension 8", monkeypatch, capsys)
    assert more["rows"] == 5000
    assert 0 < more["MB"] < 2 * few["MB"]
