"""Which epoch is kept as ``best/``: the attacker's with the backdoor in, the defender's with it out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clipdefend.commands.defend.defence_score import defence_score
from clipdefend.commands.finetune_attack.attack_score import attack_score
from clipdefend.evaluation.flat_metrics import recovery
from clipdefend.evaluation.zero_shot import Benchmark
from command_lines import EVAL, MODEL, POISON, TRAIN, Shell, write_data


def test_scores_by_hand() -> None:
    epoch = {"ba@1": 0.5, "asr@1": 0.25}
    assert (attack_score(epoch), defence_score(epoch)) == (0.75, 0.25)
    assert attack_score({"ba@1": 0.5}) == defence_score({"ba@1": 0.5}) == 0.5


def test_a_defence_whose_triggered_images_are_recognised_again_is_worth_more() -> None:
    assert defence_score({"ba@1": 0.5, "asr@1": 0.0, "recovery@1": 0.125}) == 0.625
    assert defence_score({"ba@1": 0.5, "asr@1": 0.0, "recovery@1": 0.75}) == 1.25
    assert defence_score({"ba@1": 0.5, "asr@1": 0.25, "recovery@1": 1.5}) == 1.25  # counted up to 1


def test_the_quick_subset_counts_where_there_is_one() -> None:
    metrics = {"ba@1": 0.9, "asr@1": 0.9, "quick_ba@1": 0.5, "quick_asr@1": 0.25, "quick_recovery@1": 0.5}
    assert defence_score(metrics) == 0.75


def test_the_commands_keep_the_epoch_that_their_user_wants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal accuracy in both epochs, ASR 10 % and then 90 %."""
    shell = Shell(tmp_path / "here")
    write_data(shell.folder)
    assert shell("poison", *POISON).code == 0
    rates: list[float] = []

    def measure(self: Benchmark, model: Any, *, full: bool = False) -> dict[str, float]:
        return {"ba@1": 0.5, "asr@1": rates.pop(0), "n_clean": 24, "n_triggered": 18}

    monkeypatch.setattr(Benchmark, "__call__", measure)
    chosen = {}
    for command, more in (("finetune-attack", MODEL), ("defend", ("--method", "ft", "--val-pairs", 0))):
        rates[:] = [0.5, 0.1, 0.9]
        done = shell(command, *more, *EVAL, *TRAIN)
        assert done.code == 0, done.err
        chosen[command] = done.manifest["details"]["best_epoch"]
    assert chosen == {"finetune-attack": 2, "defend": 1}


def test_defend_keeps_the_epoch_in_which_triggered_images_are_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By BA@1 - ASR@1 alone the first epoch would win; the clean model, measured before the attack, has RA 40 %."""
    shell = Shell(tmp_path / "here")
    write_data(shell.folder)
    poisoned = shell("poison", *POISON).folder
    start = shell("finetune-attack", *MODEL, *TRAIN)
    figures: list[tuple[float, float]] = []

    def measure(self: Benchmark, model: Any, *, full: bool = False) -> dict[str, float]:
        asr, ra = figures.pop(0)
        found = {"ba@1": 0.5, "asr@1": asr, "ra@1": ra, "n_clean": 24, "n_triggered": 18}
        return found | recovery(found, self.clean)

    monkeypatch.setattr(Benchmark, "__call__", measure)
    figures[:] = [(0.0, 0.4), (0.9, 0.0), (0.9, 0.0)]
    model = ("--model", f"local-dir:{start.folder / 'model'}", "--from", poisoned)
    assert shell("finetune-attack", *model, *EVAL, *TRAIN).code == 0
    figures[:] = [(0.9, 0.0), (0.0, 0.05), (0.05, 0.4)]
    cleaned = shell("defend", "--method", "ft", "--val-pairs", 0, *EVAL, *TRAIN)
    assert cleaned.manifest["details"]["best_epoch"] == 2
