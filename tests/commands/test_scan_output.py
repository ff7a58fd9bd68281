"""What a scan prints below its table, on figures by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clipdefend.attacks.trigger import Trigger
from clipdefend.commands.scan.scan_outputs import show_scan
from clipdefend.console import Console
from clipdefend.inversion.model_scan import FoundTrigger

CLASSES = ("cat", "dog", "house")
PATCH = FoundTrigger(
    family="patch",
    unit="share of pixels",
    trigger=Trigger.create("badnet", {}, size=32, seed=0),
    size=0.0125,
    reached=True,
    sizes=[0.0125],
    goal=0.85,
    collapse=0.9,
    clean_collapse=0.2,
    nearest=[1, 0, 2],
    asr=0.75,
    asr_count=4,
    curve=[],
)
WEAK = replace(PATCH, family="warp", asr=0.25, reached=False)


def shown(capsys: pytest.CaptureFixture[str], found: dict[str, FoundTrigger], **details: Any) -> str:
    verdict = {"verdict": "backdoored", "reason": "so it is", "rule": "the rule", "score": 2.5}
    finished: Any = SimpleNamespace(name="scan", path=Path("runs/001-scan"), details={**verdict, **details})
    show_scan(Console(), finished, {"suspect": found}, CLASSES)
    return capsys.readouterr().err


def test_the_strongest_trigger_names_the_target_with_its_interval(capsys: pytest.CaptureFixture[str]) -> None:
    # Wilson, 3 of 4: (0.75 + z2/8 -+ z * sqrt(0.75 * 0.25 / 4 + z2/64)) / (1 + z2/4) with z = 1.96
    text = shown(capsys, {"warp": WEAK, "patch": PATCH})
    assert "75.0 [30.1, 95.4]" in text
    assert (
        "Suspected target: 'dog', where the patch trigger sends 75.0 % [30.1, 95.4] of 4 held-out images."
        in text
    )
    assert "Score: 2.50" in text
    assert "runs/001-scan/triggers" in text
    assert text.rstrip().endswith("Verdict: backdoored: so it is.")


def test_a_clean_model_has_no_suspected_target(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, {"patch": PATCH}, verdict="clean")
    assert "Suspected" not in text
    assert "Nearest class: 'dog'" in text
    none_left = replace(PATCH, asr=0.0, asr_count=0)
    text = shown(capsys, {"patch": none_left})
    assert "'dog', to which all held-out images go even without a trigger." in text


def test_the_known_trigger_that_stands_out(capsys: pytest.CaptureFixture[str]) -> None:
    library = [
        {"name": "sig", "target": "cat", "share": 0.9, "reference": 0.8},
        {"name": "badnet", "target": "dog", "share": 0.6, "reference": 0.1},
    ]
    text = shown(capsys, {"patch": PATCH}, library=library)
    assert (
        "of 2, badnet stands out the most, with 60.0 % of the images to 'dog'; in the reference 10.0 %"
        in text
    )
