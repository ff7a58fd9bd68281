"""``report`` on the command line: any number of runs, and a folder that is no run."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clipdefend.config import ReportConfig
from clipdefend.runs import Context


@pytest.fixture
def reported(cli: Any) -> Any:
    def body(config: ReportConfig, context: Context) -> Any:
        return SimpleNamespace(file=Path.cwd() / "report" / "index.html", manifest={"schema": "x"})

    cli.replace("report", body)
    return cli


@pytest.mark.parametrize(
    ("args", "inputs"), [((), ()), (("a",), ("a",)), (("a", "b/c", "d"), ("a", "b/c", "d"))]
)
def test_any_number_of_runs(reported: Any, args: tuple[str, ...], inputs: tuple[str, ...]) -> None:
    done = reported("report", *args, "--maps", "1")
    assert (done.code, done.out) == (0, "report/index.html\n")
    config, context = reported.calls[-1]
    assert (config.maps, context.inputs, context.source) == (1, inputs, None)


def test_a_pipe_and_json(reported: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("runs/x/manifest.yaml\n"))
    done = reported("report", "-", "b", "--json")
    assert done.out == '{"schema": "x"}\n'
    assert reported.calls[-1][1].inputs == ("runs/x/manifest.yaml", "b")


def test_from_is_for_commands_of_one_run(reported: Any) -> None:
    done = reported("report", "--from", "x")
    assert (done.code, done.err) == (2, "error: report reads many runs: give 'x' without --from.\n")
