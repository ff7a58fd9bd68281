"""The details that commands record: written, and read back with their types, old manifests included."""

from __future__ import annotations

from typing import Any

import pytest

from clipdefend.errors import RunError
from clipdefend.runs import CanvasRecord, DefendDetails, EvaluateDetails, PairsSource, PoisonDetails

RECORD: dict[str, Any] = {
    "fingerprint": "f1",
    "source": {"spec": "pairs.csv", "image_key": None, "image_root": "/data"},
    "rows": 40,
    "poisoned": 10,
    "target": "banana",
    "trigger": {"name": "badnet", "seed": 0},
    "canvas": {"size": 32, "mode": "crop", "interpolation": "bilinear"},
    "bad": {"count": 0, "examples": []},
    "cross": 2,
}


def test_details_come_back_as_they_were_written() -> None:
    details = PoisonDetails.from_dict(RECORD, "details")
    assert details.source == PairsSource(spec="pairs.csv", image_root="/data")
    assert details.canvas == CanvasRecord(size=32, mode="crop", interpolation="bilinear")
    assert PoisonDetails.from_dict(details.to_dict(), "details") == details
    assert "learning" not in details.to_dict()
    assert DefendDetails(method="ft").to_dict()["best_epoch"] is None


def test_old_and_newer_manifests_are_read() -> None:
    old = {key: value for key, value in RECORD.items() if key not in ("cross", "bad")}
    details = PoisonDetails.from_dict({**old, "canvas": {"mode": "squash"}, "of tomorrow": 1}, "details")
    assert (details.cross, details.canvas.interpolation, details.canvas.size) == (0, "bicubic", None)
    assert DefendDetails.from_dict({}, "details").terms is None
    assert EvaluateDetails.from_dict({"canvas": {"mode": "crop"}}, "details").attack is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fingerprint": None}, r"details\.fingerprint is None, not a text"),
        ({"rows": "many"}, r"details\.rows is 'many', not a whole number"),
        ({"rows": True}, r"details\.rows is True, not a whole number"),
        ({"rows": 1.5}, r"details\.rows is 1\.5, not a whole number"),
        ({"trigger": "badnet"}, r"details\.trigger is 'badnet', not a mapping"),
        ({"canvas": {"size": 32}}, r"details\.canvas\.mode is missing"),
        ({"canvas": None}, r"details\.canvas is None, not a mapping"),
        ({"source": {"spec": 5}}, r"details\.source\.spec is 5, not a text"),
        ({"learning": [1]}, r"details\.learning is \[1\], not a mapping"),
    ],
)
def test_a_damaged_value_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(RunError, match=f"^Run x: {said}.*make the run again"):
        PoisonDetails.from_dict({**RECORD, **change}, "Run x: details")


def test_a_missing_value_is_named() -> None:
    with pytest.raises(RunError, match=r"details\.target is missing\. Restore the manifest"):
        PoisonDetails.from_dict({key: value for key, value in RECORD.items() if key != "target"}, "details")


def test_whole_numbers_pass_for_numbers() -> None:
    assert DefendDetails.from_dict({"training_seconds": 3}, "details").training_seconds == 3
