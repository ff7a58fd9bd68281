"""``poison`` measures the clean model under the trigger, and warns of a trigger that hides the image."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_lines import Shell, write_data

BUILTIN = ("poison", "--count", 4, "--device", "cpu", "--quiet")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(tmp_path_factory.mktemp("stealth"))


def test_a_small_patch_leaves_the_image_and_the_figures_stand_in_the_manifest(shell: Shell) -> None:
    done = shell(*BUILTIN, "--attack", "badnet")
    metrics = done.manifest["metrics"]
    assert metrics["floor_ra@1"] > 0.8 * metrics["floor_ba@1"] > 0.5
    assert "hides the image" not in done.err


def test_a_trigger_that_covers_the_image_is_a_warning_that_the_manifest_keeps(shell: Shell) -> None:
    done = shell(*BUILTIN, "--attack", "blended", "--set", "attack.alpha=1.0")
    manifest = done.manifest
    assert manifest["metrics"]["floor_ra@1"] < 0.5 * manifest["metrics"]["floor_ba@1"]
    assert "hides the image" in done.err
    assert any("hides the image" in line for line in manifest["warnings"])


def test_weights_that_would_be_downloaded_are_left_alone_and_reported(tmp_path: Path) -> None:
    shell = Shell(tmp_path / "here")
    write_data(shell.folder)
    given = ("poison", "--data", "pairs.csv", "--image-size", 224, "--count", 4, "--templates", "simple")
    done = shell(*given, "--eval-data", "eval")
    assert "the weights of RN50 are not on this machine" in done.err
    assert not any(key.startswith("floor_") for key in done.manifest["metrics"])
    unmeasured = shell(*given, "--eval-data", "eval", "--surrogate", "tiny")
    assert "tiny takes images of 64 pixels" in unmeasured.err


def test_labelled_images_without_the_target_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    shell = Shell(tmp_path / "here")
    write_data(shell.folder)
    done = shell(
        *("poison", "--data", "pairs.csv", "--image-size", 64, "--count", 4, "--templates", "simple"),
        *("--eval-data", "eval", "--surrogate", "tiny", "--target", "submarine"),
    )
    assert (done.code, len(done.errors)) == (2, 1)
    assert "submarine" in done.errors[0]
    assert not list((shell.folder / "runs").glob("0*"))
