"""A small CLIP with random weights, for every test that needs a model; and signals as a terminal sends them."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from clipdefend.models.builder import build_model
from clipdefend.models.clip import ClipModel
from small_clip import SMALL, small_architecture

# In the background SIGINT is ignored, under nohup SIGHUP: the program respects both, and its tests must see neither.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def small_model() -> ClipModel:
    """Random weights, in evaluation mode."""
    model = build_model(small_architecture(), seed=1)
    model.eval()
    return model


@pytest.fixture(scope="session")
def small_json(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model as a configuration file for ``--model``."""
    path = tmp_path_factory.mktemp("model") / "small.json"
    path.write_text(json.dumps(SMALL))
    return path
