"""Fixtures of the data tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from data_samples import numbered


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def pair_folder(tmp_path: Path) -> Callable[[int], Path]:
    """Makes a folder with images/0.png ... whose first pixel holds their number."""

    def make(count: int) -> Path:
        folder = tmp_path / "set"
        (folder / "images").mkdir(parents=True)
        for number in range(count):
            (folder / "images" / f"{number}.png").write_bytes(numbered(number))
        return folder

    return make
