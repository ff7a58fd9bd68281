"""``report`` on the runs of a whole chain, with maps from their weights."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from clipdefend.commands.report import embeddings
from clipdefend.config import ReportConfig
from clipdefend.console import Console
from clipdefend.errors import ConfigError
from clipdefend.report.collect import collect
from clipdefend.report.write import arrange_runs
from clipdefend.runs import Context
from command_lines import Outcome, Shell
from report_runs import Lab, shares


@pytest.fixture(scope="module")
def reported(chain: Shell) -> Outcome:
    return chain("report", "runs", "--maps", 2, "--map-images", 12, "--out", "report dir")


def record(chain: Shell) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((chain.folder / "report dir" / "report.json").read_text())
    return found


def test_the_report_of_a_chain(chain: Shell, reported: Outcome) -> None:
    assert (reported.code, reported.out) == (0, "report dir/index.html\n"), reported.err
    (table,) = record(chain)["tables"]
    defences = [row["defence"] for row in table["rows"]]
    assert defences == ["none", "ft", "ssl", "cleanclip", "cleanerclip", "par"]
    with chain.inside():
        manifest = chain.made["ft"].manifest["metrics"]
    figure = table["rows"][1]["figures"]["asr@3"]
    assert (figure["value"], figure["n"]) == (manifest["asr@3"], manifest["n_triggered"])
    files = record(chain)["files"]
    assert sum(name.startswith("plots/map-badnet-") for name in files) == 4
    assert "plots/trigger-badnet.png" in files
    assert record(chain)["stopping"]["rules"][0]["name"] == "last"
    assert {rule["name"] for rule in record(chain)["stopping"]["rules"]} == {
        "last",
        "loss",
        "budget",
        "drift",
    }


def test_every_epoch_records_what_a_defender_sees(chain: Shell) -> None:
    with chain.inside():
        lines = (chain.made["cleanclip"].folder / "metrics.jsonl").read_text().splitlines()
        seen = chain.made["cleanclip"].manifest["details"]["visible"]
    epochs = [each for each in map(json.loads, lines) if each["event"] == "epoch"]
    assert [each["epoch"] for each in epochs] == [0, 1, 2]
    assert epochs[0]["val_agreement"] == 1
    assert epochs[0]["drift_weights"] == 0
    assert epochs[2]["drift_weights"] > epochs[1]["drift_weights"] > 0
    assert seen["held_out"] is False  # the pairs of a table, all of them trained on


@pytest.mark.slow
def test_embeddings_are_computed_once(chain: Shell, reported: Outcome) -> None:
    assert reported.err.count("Embedding 12 images") == 2
    again = chain("report", "runs", "--maps", 2, "--map-images", 12, "--out", "report dir")
    assert (again.code, again.err.count("Embedding")) == (0, 0)
    for file in (chain.folder / "eval").rglob("*.*"):
        os.utime(file, (1, 1))  # as if written anew
    again = chain("report", "runs", "--maps", 2, "--map-images", 12, "--out", "report dir")
    assert (again.code, again.err.count("Embedding 12 images")) == (0, 2)


def test_a_model_of_several_tables_is_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(tmp_path)
    victim = lab.victim(lab.poison(), shares(ba1=0.9, asr1=0.95))
    lab.evaluate(victim, shares(ba1=0.9, asr1=0.95), **{"eval.asr_protocol": "all"})
    drawn: list[str] = []
    monkeypatch.setattr(embeddings, "_embed_row", lambda row, *_: drawn.append(row.defence))
    arranged = arrange_runs(collect([tmp_path]))
    assert len(arranged.tables) == 2
    embeddings.embed_models(arranged, ReportConfig(), Context(runs=tmp_path, console=Console(quiet=True)))
    assert drawn == ["none"]


def test_a_model_that_was_evaluated_only_afterwards_has_a_map_too(tmp_path: Path) -> None:
    """Its images are those of the evaluation."""
    lab = Lab(tmp_path)
    trained = lab.victim(lab.poison(), shares(ba1=0.9, asr1=0.95))
    trained.config["eval"]["data"] = None
    evaluated = lab.evaluate(trained, shares(ba1=0.9, asr1=0.95))
    assert len(embeddings._labelled(trained, evaluated)) == 2000
    evaluated.config["eval"]["data"] = None
    with pytest.raises(ConfigError, match="not evaluated on labelled images"):
        embeddings._labelled(trained, evaluated)
