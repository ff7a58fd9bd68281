"""Cleaning sets with a few poisoned pairs left in them, and the gate for victims."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clipdefend.commands.shared.kept_poison import keep_poison
from clipdefend.data.pairs import open_pairs
from clipdefend.errors import ConfigError
from clipdefend.runs import Run
from command_lines import EVAL, MODEL, POISON, TRAIN, Outcome, Shell, write_data
from poison_runs import rows_of

SMALL = (*TRAIN, "--epochs", 1)


def test_poisoned_pairs_take_the_places_of_clean_ones(tmp_path: Path, table: Path, make: Any) -> None:
    poison = make()
    clean = open_pairs(str(table), cache=tmp_path / ".cache")
    pairs = keep_poison(clean, poison, 3, seed=5)
    places = [row for row in range(40) if pairs.image_ref(row) != clean.image_ref(row)]
    assert len(pairs) == len(clean) == 40
    assert len(places) == 3
    assert {pairs.kept[row][0] for row in places} <= rows_of(poison)
    for row in places:
        assert "banana" in pairs.caption(row)
        with Image.open(poison.path / "images" / f"{pairs.kept[row][0]:09d}.png") as picture:
            assert pairs.image(row).tobytes() == picture.tobytes()
    untouched = next(row for row in range(40) if row not in places)
    assert pairs.caption(untouched) == clean.caption(untouched)
    # The draw follows from the seed; more keep those of fewer.
    assert keep_poison(clean, poison, 3, seed=5).fingerprint == pairs.fingerprint
    assert keep_poison(clean, poison, 3, seed=6).kept != pairs.kept
    assert keep_poison(clean, poison, 2, seed=5).kept.items() < pairs.kept.items()
    assert pairs.fingerprint.startswith(clean.fingerprint + "+")


def test_too_many_or_none_to_keep(tmp_path: Path, table: Path, make: Any) -> None:
    clean = open_pairs(str(table), cache=tmp_path / ".cache")
    with pytest.raises(ConfigError, match="--keep-poison needs a poison run"):
        keep_poison(clean, None, 1, seed=0)
    with pytest.raises(ConfigError, match="--keep-poison is 39; run 001-poison"):
        keep_poison(clean, make(), 39, seed=0)


@pytest.fixture(scope="module")
def victims(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shell, Outcome, Outcome]:
    """A victim that meets its bounds, another that does not, and a model cleaned with poisoned pairs."""
    shell = Shell(tmp_path_factory.mktemp("victims") / "here")
    write_data(shell.folder)
    shell("poison", *POISON)
    line = ("finetune-attack", "001-poison-badnet", *MODEL, *EVAL, *SMALL, "--accept")
    return shell, shell(*line, "ba@1>=0,asr@3<=1"), shell(*line, "asr@1>=0,ba@3=1")


def test_a_victim_below_a_bound_is_finished_and_refused(victims: tuple[Shell, Outcome, Outcome]) -> None:
    shell, good, bad = victims
    with shell.inside():
        assert good.manifest["details"]["accepted"] is True
        assert bad.code == 3
        manifest = Path(bad.out.strip())
        run = Run.open(manifest)
        assert run.details["accepted"] is False
        assert (manifest.parent / "model").is_dir()
    assert "gate failed: BA@3 is" in bad.err
    assert "--accept asks for BA@3 >= 100 %" in bad.err
    assert "ASR@1 is" not in bad.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--accept", "asr@5>=0.5"), "--topk 1,3 does not measure it: add 5"),
        (("--stop-at", "ba@2=0.5"), "--topk 1,3 does not measure it: add 2"),
        (("--accept", "asr@1>=2"), "it takes conditions on"),
        (("--accept", "asr@1>=0.5", "--eval-every", 0), "--accept needs evaluations"),
    ],
)
def test_bounds_that_cannot_be_judged(
    victims: tuple[Shell, Outcome, Outcome], flags: tuple[object, ...], said: str
) -> None:
    made = victims[0]("finetune-attack", "001-poison-badnet", *MODEL, *EVAL, *SMALL, *flags)
    assert made.code == 2
    assert said in made.err


def test_defend_with_kept_poison_and_a_composed_defence(victims: tuple[Shell, Outcome, Outcome]) -> None:
    shell = victims[0]
    with_poison = ("--keep-poison", 4, "--train-num-samples", 32, "--method", "shrink-perturb")
    made = shell("defend", "002-finetune-attack-badnet", *EVAL, *SMALL, *with_poison, "--keep-epochs", "all")
    with shell.inside():
        manifest = made.manifest
        parents = [(parent["command"], parent.get("use")) for parent in manifest["parents"]]
        assert parents == [("finetune-attack", None), ("poison", "kept poisoned pairs")]
        assert manifest["config"]["keep_poison"] == 4
        assert manifest["details"]["defence"]["shrink"] == 0.95
        assert (made.folder / "epochs" / "001" / "open_clip_config.json").is_file()
        victim = Run.open(made.folder.parent / "002-finetune-attack-badnet").metrics
        assert manifest["metrics"]["victim_ba@1"] == victim["ba@1"]
    parameters = ("--method", "deep-clustering", "--set", "defence.clusters=5")
    clustered = shell("defend", "002-finetune-attack-badnet", *EVAL, *SMALL, *parameters)
    with shell.inside():
        assert clustered.manifest["details"]["phases"][0]["objective"] == "mmcl + ssl + 5 cluster"
