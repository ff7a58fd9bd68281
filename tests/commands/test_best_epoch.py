"""Which epoch is kept as ``best/``: the attacker's with the backdoor in, the defender's with it out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from clipdefend.commands.defend.defence_score import defence_score
from clipdefend.commands.finetune_attack.attack_score import attack_score
from clipdefend.evaluation.zero_shot import Benchmark
from command_lines import EVAL, MODEL, TRAIN, Shell, write_data


def test_scores_by_hand() -> None:
    epoch = {"ba@1": 0.5, "asr@1": 0.25}
    assert (attack_score(epoch), defence_score(epoch)) == (0.75, 0.25)
    assert attack_score({"ba@1": 0.5}) == defence_score({"ba@1": 0.5}) == 0.5


def test_the_commands_keep_the_epoch_that_their_user_wants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal accuracy in both epochs, ASR 10 % and then 90 %."""
    shell = Shell(tmp_path / "here")
    write_data(shell.folder)
    poison = ("--data", "pairs.csv", "--image-size", 32, "--count", 20, "--templates", "simple")
    assert shell("poison", *poison).code == 0
    rates: list[float] = []

    def measure(self: Benchmark, model: Any, *, full: bool = False) -> dict[str, float]:
        return {"ba@1": 0.5, "asr@1": rates.pop(0), "n_clean": 24, "n_triggered": 18}

    monkeypatch.setattr(Benchmark, "__call__", measure)
    chosen = {}
    for command, more in (("finetune-attack", MODEL), ("defend", ("--method", "ft", "--val-pairs", 0))):
        rates[:] = [0.5, 0.1, 0.9]
        done = shell(command, *more, *EVAL, *TRAIN)
        assert done.code == 0, done.err
        manifest = yaml.safe_load((shell.folder / done.out.strip()).read_text())
        chosen[command] = manifest["details"]["best_epoch"]
    assert chosen == {"finetune-attack": 2, "defend": 1}
