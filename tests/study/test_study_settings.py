"""A study's settings for all runs, and those that hold only where another key has a value."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from clipdefend.commands.doctor.diagnosis import Diagnosis, Estimate
from clipdefend.config import DefendConfig, FinetuneAttackConfig, RunConfig
from clipdefend.errors import ConfigError
from clipdefend.study.grid import check_changes, labels, reported_nodes
from clipdefend.study.study_file import read_study
from command_lines import Shell

GRID = """
seeds: [1]
steps:
  poison:
    attack: [badnet, wanet]
  finetune-attack:
    - train.epochs: 2
      method: [ft, cleanclip]
    - where: {attack: wanet, method: ft}
      train.epochs: 4
      train.lr: [2e-3, 1e-3]
  defend:
    - method: ft
    - where: {finetune-attack.method: cleanclip}
      train.lr: 3e-5
"""


def nodes(folder: Path, text: str, forced: dict[str, Any] | None = None) -> list[RunConfig]:
    path = folder / "grid.yaml"
    path.write_text(text)
    study = read_study(path, forced)
    check_changes(study)
    return [node.config for node in reported_nodes(study, None)]


def test_settings_where_another_key_has_a_value(tmp_path: Path) -> None:
    found = nodes(tmp_path, GRID)
    victims = [(c.method, c.train.epochs, c.train.lr) for c in found if isinstance(c, FinetuneAttackConfig)]
    assert sorted(victims) == sorted(
        [
            ("ft", 2, 5e-4),
            ("cleanclip", 2, 5e-4),
            ("ft", 4, 2e-3),
            ("ft", 4, 1e-3),
            ("cleanclip", 2, 5e-4),
        ]
    )
    rates = sorted(c.train.lr for c in found if isinstance(c, DefendConfig))
    assert rates == [3e-5, 3e-5, 5e-4, 5e-4, 5e-4]


def test_rates_of_one_method_instead_of_those_of_all(tmp_path: Path) -> None:
    """Each is one run, and the bound on the size of a grid does not multiply what replaces each other."""
    rates = {
        method: [start + step / 1e3 for step in range(40)] for start, method in enumerate(("par", "ssl"), 1)
    }
    blocks = [{"method": ["ft", "par", "ssl"], "train.lr": [step / 1e3 for step in range(1, 41)]}]
    blocks += [{"where": {"method": method}, "train.lr": own} for method, own in rates.items()]
    steps = {"poison": None, "finetune-attack": None, "defend": blocks}
    found = [
        (c.method, c.train.lr)
        for c in nodes(tmp_path, yaml.safe_dump({"seeds": [1], "steps": steps}))
        if isinstance(c, DefendConfig)
    ]
    assert len(found) == len(set(found)) == 120
    assert {method: [lr for own, lr in found if own == method] for method in rates} == rates


def test_a_parameter_as_a_condition_holds_for_no_other_attack(tmp_path: Path) -> None:
    grid = """
seeds: [1]
steps:
  poison:
    - attack: badnet
      attack.pixels: [16, 48]
    - attack: blended
  finetune-attack:
    - {}
    - where: {attack.pixels: 16}
      train.epochs: 4
"""
    unset = grid.replace("      attack.pixels: [16, 48]\n", "")  # 16 is the default
    for text, expected in ((grid, [2, 2, 4]), (unset, [2, 4])):
        found = [c.train.epochs for c in nodes(tmp_path, text) if isinstance(c, FinetuneAttackConfig)]
        assert sorted(found) == expected
    for wrong, words in (
        ("attack.pixel: 16", "holds for no run"),
        ("method.pixels: 16", "is not a key"),
        ("attak.pixels: 16", "is not a key"),
    ):
        with pytest.raises(ConfigError, match=words):
            nodes(tmp_path, grid.replace("attack.pixels: 16}", f"{wrong}}}"))


def test_a_parameter_of_a_defence_as_a_condition(tmp_path: Path) -> None:
    grid = """
seeds: [1]
steps:
  poison: {attack: badnet}
  finetune-attack:
  defend:
    - method: [ft, unlearn]
    - where: {defence.keep: 3}
      train.lr: 1e-3
"""
    rates = {c.method: c.train.lr for c in nodes(tmp_path, grid) if isinstance(c, DefendConfig)}
    assert rates["unlearn"] == 1e-3 != rates["ft"]


def test_labels_tell_a_defence_from_a_setting_of_its_victim(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(
        "seeds: [1, 2]\nsteps: {poison: {attack: badnet}, finetune-attack: {method: [ft, cleanclip]},"
        " defend: {method: [ft, par]}}"
    )
    found = reported_nodes(read_study(path), None)
    told = dict(zip((node.name for node in found), labels(found), strict=True))
    defences = [told[node.name] for node in found if node.command == "defend"]
    assert defences[:2] == [
        "seed 1, finetune-attack.method ft, method ft",
        "seed 1, finetune-attack.method ft, method par",
    ]
    assert len(set(defences)) == 8


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("{attack: wanet,", "{attack: wannet,", "where .*wannet.* holds for no run"),
        ("{attack: wanet,", "{atack: wanet,", "Did you mean 'attack'"),
        ("{attack: wanet, method: ft}", "[wanet]", "takes conditions and settings"),
    ],
)
def test_conditions_that_do_not_fit(tmp_path: Path, before: str, after: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        nodes(tmp_path, GRID.replace(before, after))


def test_sub_captions_of_pairs_that_are_named_are_made_once_for_all_attacks(tmp_path: Path) -> None:
    steps = (
        "poison: {attack: [badnet, blended]}, finetune-attack: {}, augment: {}, defend: {method: cleanerclip}"
    )
    path = tmp_path / "grid.yaml"
    for data, count in (("", 2), ("data: pairs.csv", 1)):
        path.write_text(f"seeds: [1]\nsteps: {{{steps}}}".replace("augment: {}", f"augment: {{{data}}}"))
        found = reported_nodes(read_study(path), None)
        augments = [node for node in found if node.command == "augment"]
        assert len(augments) == count
        assert all((node.source is None) == bool(data) for node in augments)
        defences = [node for node in found if node.command == "defend"]
        assert len(defences) == 2
        assert {each.name for node in defences for each in node.after} == {node.name for node in augments}
        assert all(len(node.after) == 1 for node in defences)


def test_merges_are_of_cleaned_models_unless_another_is_named(tmp_path: Path) -> None:
    text = (
        "steps: {poison: , finetune-attack: , defend: {method: [ft, ssl]}, merge: {share: 0.5, other: OTHER}}"
    )
    for other, count in (("null", 2), ("builtin", 3)):
        made = [each for each in nodes(tmp_path, text.replace("OTHER", other)) if each.command == "merge"]
        assert len(made) == count


def test_settings_of_all_runs(tmp_path: Path) -> None:
    text = (
        "{device: cpu, preset: paper, workers: 0,"
        " steps: {poison: {workers: 2}, finetune-attack: , defend: {method: ft}}}"
    )
    poison, victim, defence = nodes(tmp_path, text)
    assert [each.workers for each in (poison, victim, defence)] == [2, 0, 0]
    assert {each.preset for each in (poison, victim, defence)} == {"paper"}
    assert isinstance(victim, FinetuneAttackConfig)
    assert victim.train.device == "cpu"
    assert victim.train.lr != 5e-4  # of quick
    forced = nodes(tmp_path, text, {"workers": 1, "preset": "quick"})
    assert [each.workers for each in forced] == [1, 1, 1]
    assert {each.preset for each in forced} == {"quick"}


def test_flags_are_passed_on_or_refused(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump({"steps": {"poison": {"attack": ["badnet", "sig"]}}}))
    plan = shell("study", "plan", "grid.yaml")
    assert plan.code == 0, plan.err
    # The file's data chooses quick; the command line's preset makes other runs, its workers the same ones.
    assert shell("study", "plan", "grid.yaml", "--preset", "quick", "--workers", 0).out == plan.out
    assert shell("study", "plan", "grid.yaml", "--preset", "paper").out != plan.out
    for flags, words in (
        (("--seed", 3), "--seed does not apply to a study. Set it in the file, as in seeds: [1, 2, 3]."),
        (("--runs", "x"), "folder: DIR"),
        (("--out", "x"), "study report"),
    ):
        found = shell("study", "plan", "grid.yaml", *flags)
        assert found.code == 2
        assert words in found.err


def test_the_plan_measures_a_step_of_each_shape_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[float] = []

    def examine(config: FinetuneAttackConfig, context: object) -> Diagnosis:
        measured.append(config.train.lr)
        numbers: dict[str, Any] = dict.fromkeys((field.name for field in fields(Estimate)), 0)
        return Diagnosis(
            command=config.command,
            estimate=Estimate(**{**numbers, "training_seconds": 60.0 * config.train.epochs}),
        )

    monkeypatch.setattr("clipdefend.commands.doctor.run_doctor.run", examine)
    shell = Shell(tmp_path)
    grid = {
        "poison": {"attack": ["badnet", "sig"]},
        "finetune-attack": {"train.epochs": [1, 2], "train.lr": [1, 2]},
    }
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump({"seeds": [1, 2], "steps": grid}))
    assert "20 runs of unknown cost" in shell("study", "plan", "grid.yaml", "--no-measure").out
    assert not measured
    # Of the 16 victims half take one epoch: 8 * 60 s + 8 * 120 s.
    for _ in range(2):
        out = shell("study", "plan", "grid.yaml", "--jobs", 2).out
        assert (
            "20 runs, 0 finished, 20 to make: about 24 min, 12 min with --jobs 2, and 4 runs of unknown cost."
            in out
        )
    assert len(measured) == 2
    # What a run took counts more than an estimate; both parts of a resumed one.
    names = [line.split()[0] for line in out.splitlines() if "train.epochs 1" in line]
    log = [
        {"name": names[0], "command": "finetune-attack", "state": state, "seconds": 50.0}
        for state in ("stopped", "made")
    ]
    (tmp_path / "studies/grid/study.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    assert "about 29 min" in shell("study", "plan", "grid.yaml").out  # 8 * 100 s + 8 * 120 s


def test_poisoned_pairs_that_are_kept_do_not_change_the_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They cannot be drawn before their poison run is there, and are not needed for an estimate."""
    measured: list[int] = []

    def examine(config: RunConfig, context: object) -> Diagnosis:
        if isinstance(config, DefendConfig):
            measured.append(config.keep_poison)
        numbers: dict[str, Any] = dict.fromkeys((field.name for field in fields(Estimate)), 0)
        return Diagnosis(command=config.command, estimate=Estimate(**{**numbers, "training_seconds": 60.0}))

    monkeypatch.setattr("clipdefend.commands.doctor.run_doctor.run", examine)
    grid = {"poison": None, "finetune-attack": None, "defend": {"method": "ft", "keep_poison": [5, 0]}}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump({"seeds": [1], "steps": grid}))
    assert (
        "4 to make: about 3 min, and 1 runs of unknown cost"
        in Shell(tmp_path)("study", "plan", "grid.yaml").out
    )
    assert measured == [0]
