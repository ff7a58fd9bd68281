"""Filter runs in a report: curves, contact sheet and lineage; damaged files are left out."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clipdefend.config import FilterConfig
from clipdefend.report.collect import collect
from clipdefend.report.filters import filter_pictures
from clipdefend.report.illustrations import Plot, Preview
from clipdefend.report.write import arrange_runs, write_report
from clipdefend.runs import FilterDetails, Run, RunDir
from report_runs import Lab, shares

CURVES = {"dao": {"false": [0, 0.1, 1], "true": [0, 0.8, 1]}, "lid<b>": {"false": [0, 1], "true": [0, 1]}}


def filter_run(folder: Path, victim: Run, curves: Any = CURVES, sheet: bytes | None = None) -> Run:
    picture = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(picture, format="PNG")
    with RunDir.begin(folder, FilterConfig(), "dao") as run:
        (run.path / "curves.json").write_text(json.dumps(curves))
        (run.path / "suspects.png").write_bytes(picture.getvalue() if sheet is None else sheet)
        details = FilterDetails(fingerprint="0" * 16, decided_by="dao", truth="001-poison-badnet")
        metrics = {"n_rows": 100, "n_flagged": 3, "dao_auroc": 0.85, "n_poisoned": 20}
        return run.finish(parents=[victim], metrics=metrics, details=details)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def victim(runs: Path) -> Run:
    lab = Lab(runs)
    return lab.victim(lab.poison(), shares(ba1=0.9, asr1=0.95))


def test_curves_and_sheet_are_shown_with_their_lineage(runs: Path, victim: Run, tmp_path: Path) -> None:
    made = filter_run(runs, victim)
    plot, sheet = filter_pictures(collect([runs]))[0]
    assert isinstance(plot, Plot)
    assert "what 001-poison-badnet says of its rows. AUROC: dao 0.850, lid<b>" in plot.caption
    assert isinstance(sheet, Preview)
    assert "3 of 100 are flagged" in sheet.caption
    report = write_report(arrange_runs(collect([runs])), tmp_path / "report")
    page = report.file.read_text()
    assert "Suspicious pairs" in page
    assert "lid&lt;b&gt;" in page
    assert "lid<b>" not in page
    assert f"plots/roc-{made.name}.svg" in report.manifest["files"]
    (origin,) = [each for each in report.manifest["runs"] if each["command"] == "filter"]
    assert origin["parents"] == [victim.name]
    assert f"--from runs/{victim.name}" in origin["repeat"]


@pytest.mark.parametrize(
    ("curves", "reason"),
    [
        ({"dao": {"false": [0, 2], "true": [0, 1]}}, "other things than rates"),
        ({"dao": {"false": [0, True], "true": [0, 1]}}, "other things than rates"),
        ({"dao": {"false": [0], "true": [0, 1]}}, "unequal sides"),
        ([1], "no curves"),
    ],
)
def test_what_is_no_curve_is_left_out(runs: Path, victim: Run, curves: Any, reason: str) -> None:
    run = filter_run(runs, victim, curves, sheet=b"<svg>")
    found, faults = filter_pictures(collect([runs]))
    assert found == []
    assert [fault.name for fault in faults] == [run.name] * 2
    assert reason in faults[0].reason
    assert "not a PNG image" in faults[1].reason
