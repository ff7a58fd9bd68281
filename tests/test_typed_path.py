"""Paths in messages can be pasted into a command line."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from clipdefend.typed_path import typed_path


@pytest.mark.parametrize("name", ["runs/001-filter-dao", "out dir/f one"])
def test_what_is_below_the_working_directory_is_relative(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shlex.split(typed_path(tmp_path / name)) == [name]
    assert shlex.split(typed_path(name)) == [name]
    other = tmp_path.parent / f"{tmp_path.name}-other" / name
    assert shlex.split(typed_path(other)) == [str(other)]
