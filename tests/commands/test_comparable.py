"""``evaluate`` shows figures side by side only where they were measured in the same setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_lines import EVAL, Outcome, Shell

DEFENCE = ("--from", "004-defend-ft-badnet")


@pytest.fixture(scope="module")
def other(chain: Shell, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A poison run of the same pairs with another trigger."""
    poison = ("--data", "pairs.csv", "--image-size", 32, "--count", 5, "--templates", "simple")
    out = tmp_path_factory.mktemp("other") / "run"
    done = chain("poison", "--attack", "blended", *poison, "--out", out)
    assert done.code == 0, done.err
    return out


def evaluate(chain: Shell, out: Path, *flags: object) -> Outcome:
    done = chain("evaluate", *DEFENCE, *EVAL, "--workers", 0, *flags, "--out", out)
    assert done.code == 0, done.err
    return done


def table(done: Outcome) -> dict[str, list[str]]:
    """Head and cells of the table on standard error, by the name of the row; intervals left out."""
    lines = [line for line in done.err.splitlines() if line.split()[:1] and not line.startswith(" " * 30)]
    rows = {line.split()[0]: line for line in lines}
    cells = {
        name: [cell for cell in line.split()[1:] if "[" not in cell and "]" not in cell]
        for name, line in rows.items()
        if name.partition("@")[0] in ("BA", "ASR", "RA")
    }
    (head,) = (line.split() for line in done.err.splitlines() if line.split()[-1:] == ["ft"])
    return {"": head, **cells}


def test_the_same_setting_shows_all_of_the_victim(chain: Shell, tmp_path: Path) -> None:
    done = evaluate(chain, tmp_path / "out")
    found = table(done)
    assert found[""] == ["victim", "ft"]
    with chain.inside():
        victim = chain.made["attack"].manifest["metrics"]
    for key in ("ba@1", "asr@1", "ra@3"):
        assert found[key.upper()][0] == f"{100 * victim[key]:.1f}"
    assert "not shown" not in done.err


def test_another_geometry_hides_the_victim(chain: Shell, tmp_path: Path) -> None:
    done = evaluate(chain, tmp_path / "out", "--canvas", "squash")
    assert table(done)[""] == ["ft"]
    assert "The victim's figures are not shown: they were measured with another canvas." in done.err


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--target", "cat"), "another target."),
        (("--asr-protocol", "all"), "another ASR protocol."),
        (("--attack-from",), "another trigger."),
    ],
    ids=["target", "protocol", "trigger"],
)
def test_another_attack_leaves_the_victims_accuracy_alone(
    chain: Shell, tmp_path: Path, other: Path, flags: tuple[str, ...], named: str
) -> None:
    done = evaluate(chain, tmp_path / "out", *flags, *([other] if flags == ("--attack-from",) else []))
    found = table(done)
    with chain.inside():
        victim = chain.made["attack"].manifest["metrics"]
    assert found[""] == ["victim", "ft"]
    assert found["BA@1"][0] == f"{100 * victim['ba@1']:.1f}"
    assert {found[key][0] for key in ("ASR@1", "ASR@3", "RA@1", "RA@3")} == {"-"}
    assert f"The victim's ASR and RA are not shown: they were measured with {named}" in done.err


def test_the_drop_of_accuracy_is_compared_whatever_the_attack(
    chain: Shell, tmp_path: Path, other: Path
) -> None:
    """BA needs no trigger, so that another one, or another target, does not keep the gate from being judged."""
    gate = ("--max-ba-drop", 1, "--against", "002-finetune-attack-badnet")
    done = evaluate(chain, tmp_path / "out", *gate, "--target", "cat", "--attack-from", other)
    assert "gate passed: BA@1 is" in done.err


def test_the_floor_is_kept_as_far_as_it_is_comparable(chain: Shell, tmp_path: Path, other: Path) -> None:
    start = chain.folder / "runs" / "004-defend-ft-badnet" / "model"
    runs = ("--runs", tmp_path / "runs")
    train = ("--epochs", 1, "--warmup", 2, "--lr", "1e-3", "--batch-size", 16, "--workers", 0)
    attack = chain(
        "finetune-attack", "--from", "runs/001-poison-badnet", "--model", f"local-dir:{start}", *EVAL, *train, *runs
    )  # fmt: skip
    assert attack.code == 0, attack.err
    floors = []
    for flags in ((), ("--attack-from", other), ("--canvas", "squash")):
        done = chain("evaluate", "--from", attack.folder, *EVAL, "--workers", 0, *flags, *runs)
        assert done.code == 0, done.err
        names = {key for key in done.manifest["metrics"] if key.startswith("floor_") and key.endswith("@1")}
        floors.append(names)
    assert floors == [{"floor_ba@1", "floor_asr@1", "floor_ra@1"}, {"floor_ba@1"}, set()]


def test_a_checkpoint_does_not_pass_for_the_runs_own_weights(chain: Shell, tmp_path: Path) -> None:
    weights = chain.folder / "runs" / "005-defend-ssl-badnet" / "model"
    done = chain(
        "evaluate", *DEFENCE, "--checkpoint", weights, *EVAL, "--workers", 0, "--out", tmp_path / "out"
    )
    assert done.code == 0, done.err
    (head,) = (line.split() for line in done.err.splitlines() if line.split()[-1:] == ["checkpoint"])
    assert head == ["victim", "checkpoint"]
