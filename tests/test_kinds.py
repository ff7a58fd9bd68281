"""Kinds of runs: one table says what each is made from and what it offers."""

from __future__ import annotations

import pytest

from clipdefend.config import COMMANDS, KINDS, Kind, kind_of, leading_to, offering
from clipdefend.config import kinds as table


def test_every_command_that_makes_runs_has_a_kind_made_from_kinds_above_it() -> None:
    assert set(KINDS) == {name for name, config in COMMANDS.items() if not config.many}
    seen: list[str] = []
    for name, kind in KINDS.items():
        assert set(kind.inputs) <= set(seen), name
        seen.append(name)


def test_what_the_kinds_offer() -> None:
    assert offering("model") == offering("measured")[:4] == ("finetune-attack", "defend", "merge", "clean")
    assert offering("trigger") == ("poison", "scan")
    # What is made from them may grow.
    every = {"poison", "finetune-attack", "augment", "defend", "evaluate", "export"}
    assert set(leading_to("trigger")) >= every
    assert set(leading_to("model")) >= {"finetune-attack", "defend", "evaluate", "export"}
    assert not {"poison", "augment"} & set(leading_to("model"))
    assert kind_of("of a newer version").inputs == ()


def test_a_new_kind_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = Kind(command="probe", inputs=("defend", "finetune-attack"), parallel=True)
    monkeypatch.setattr(table, "KINDS", {**KINDS, "probe": probe})
    assert leading_to("trigger")[-1] == "probe"
    assert offering("parallel")[-1] == "probe"
    assert kind_of("probe") is probe
