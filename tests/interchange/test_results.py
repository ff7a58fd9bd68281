"""Results in CLIP_benchmark's JSON."""

from __future__ import annotations

import json
import math

import pytest

from clipdefend.interchange.clip_benchmark import clip_benchmark_json, column


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        ("ba@1", "acc1"),
        ("ba@5", "acc5"),
        ("ba@5_low", "acc5_low"),
        ("asr@10_high", "asr10_high"),
        ("ra@1", "ra1"),
        ("floor_ba@1", "floor_acc1"),
        ("floor_asr@1_low", "floor_asr1_low"),
        ("n_clean", "n_clean"),
    ],
)
def test_columns(metric: str, name: str) -> None:
    assert column(metric) == name


def test_build_can_read_the_document() -> None:
    text = clip_benchmark_json(
        {"ba@1": 0.25, "asr@1": math.nan, "n_clean": 4},
        dataset="imagenet/val",
        model="RN50",
        pretrained="003-defend-ft",
        extra={"attack": "badnet"},
    )
    data = json.loads(text)
    # What CLIP_benchmark's main_build does with it.
    row = {**data["metrics"], **data}
    del row["metrics"]
    assert row == {
        "acc1": 0.25,
        "n_clean": 4,
        "dataset": "imagenet/val",
        "model": "RN50",
        "pretrained": "003-defend-ft",
        "task": "zeroshot_classification",
        "language": "en",
        "attack": "badnet",
    }
