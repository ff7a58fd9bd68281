"""Finished runs: what their manifests hold, how they are found and how their parents are followed."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from clipdefend.config import AugmentConfig, DefendConfig, FinetuneAttackConfig, PoisonConfig, RunConfig
from clipdefend.errors import RunError
from clipdefend.runs import (
    MANIFEST,
    SCHEMA,
    Run,
    RunDir,
    find_augment,
    find_inherited_data,
    find_run,
    manifest,
    newest_runs,
    plain,
    sha256_file,
)


def make(runs: Path, config: RunConfig, *parents: Run, label: str = "x", **details: Any) -> Run:
    with RunDir.begin(runs, config, label) as run:
        (run.path / "data.bin").write_bytes(b"abc")
        return run.finish(parents=parents, details=details)


def chain(runs: Path) -> tuple[Run, Run, Run]:
    poison = make(runs, PoisonConfig(data="builtin"))
    attack = make(runs, FinetuneAttackConfig(), poison)
    return poison, attack, make(runs, DefendConfig(), attack)


def rewrite(run: Run, **changes: Any) -> None:
    document = {**run.manifest, **changes}
    run.file.write_text(yaml.safe_dump({key: value for key, value in document.items() if value != "DROP"}))


def test_the_manifest_holds_what_was_done(tmp_path: Path) -> None:
    config = PoisonConfig(seed=3, data="pairs.csv")
    with RunDir.begin(tmp_path / "runs", config, "Bad Net!") as run:
        (run.path / "pairs.parquet").write_bytes(b"abc")
        (run.path / "sub").mkdir()
        (run.path / "sub" / "weights").write_bytes(b"")
        (run.path / "state").mkdir()
        (run.path / "state" / "optimizer").write_bytes(b"x")
        finished = run.finish(
            metrics={"ba@1": 0.5, "n_clean": 10},
            warnings=["few pairs"],
            details={"trigger": {"name": "badnet"}},
            device="cuda:0",
        )
    assert finished.name == "001-poison-bad-net"
    manifest = yaml.safe_load((finished.path / MANIFEST).read_text())
    assert manifest == finished.manifest
    assert manifest["schema"] == SCHEMA
    assert (manifest["command"], manifest["seed"], manifest["device"]) == ("poison", 3, "cuda:0")
    assert manifest["config"]["data"] == "pairs.csv"
    assert manifest["metrics"] == {"ba@1": 0.5, "n_clean": 10}
    assert manifest["warnings"] == ["few pairs"]
    assert manifest["details"] == {"trigger": {"name": "badnet"}}
    assert {"python", "torch", "open_clip", "accelerate", "clipdefend"} <= set(manifest["versions"])
    assert manifest["start"] <= manifest["end"]
    assert manifest["end"].endswith("+00:00")
    assert manifest["seconds"] >= 0
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert manifest["outputs"] == [
        {"path": "pairs.parquet", "bytes": 3, "sha256": abc},
        {"path": "sub/weights", "bytes": 0, "sha256": empty},
    ]
    assert json.loads(json.dumps(manifest)) == manifest


def test_a_folder_of_many_files_is_one_output(tmp_path: Path) -> None:
    with RunDir.begin(tmp_path, PoisonConfig(), "x") as run:
        images = run.path / "images"
        images.mkdir()
        for number in range(21):
            (images / f"{number:02d}.png").write_bytes(b"p" * number)
        finished = run.finish()
    lines = "".join(
        f"{number:02d}.png\0{hashlib.sha256(b'p' * number).hexdigest()}\n" for number in range(21)
    )
    assert finished.manifest["outputs"] == [
        {"path": "images/", "files": 21, "bytes": 210, "sha256": hashlib.sha256(lines.encode()).hexdigest()}
    ]
    assert finished.output("images") == finished.path / "images"
    assert finished.output("images/03.png").read_bytes() == b"ppp"


def test_plain_keeps_numbers_and_drops_what_json_lacks() -> None:
    class Scalar:
        def item(self) -> float:
            return 0.25

    class Count(int):
        pass

    given = {"a": float("nan"), "b": Scalar(), "c": (Count(2), True, None), 5: Path("x/y"), "d": "\udc80"}
    assert plain(given) == {"a": None, "b": 0.25, "c": [2, True, None], "5": "x/y", "d": "\\udc80"}
    assert type(plain(Count(2))) is int
    with pytest.raises(TypeError, match="object has no place in a manifest"):
        plain(object())


@pytest.mark.parametrize("form", ["folder", "manifest", "name", "stdin"])
def test_a_run_is_given_in_four_ways(form: str, tmp_path: Path) -> None:
    run = make(tmp_path / "my runs", PoisonConfig())
    given = {"folder": str(run.path), "manifest": str(run.file), "name": run.name, "stdin": "-"}[form]
    stdin = io.StringIO(f"{run.file}\n")
    assert find_run(tmp_path / "my runs", ("poison",), given, stdin=stdin).path == run.path


def test_without_a_name_the_newest_of_a_fitting_kind_is_taken_and_said(tmp_path: Path) -> None:
    first = make(tmp_path, PoisonConfig())
    second = make(tmp_path, PoisonConfig())
    make(tmp_path, AugmentConfig())
    rewrite(first, end="2030-01-01T00:00:00.000+00:00")
    os.utime(second.file, (2e9, 2e9))  # a copy's time says nothing
    said: list[str] = []
    assert find_run(tmp_path, ("poison",), None, say=said.append).path == first.path
    assert len(said) == 1
    assert str(first.path) in said[0]


def test_equal_times_are_ordered_by_name(tmp_path: Path) -> None:
    runs = [make(tmp_path, PoisonConfig()) for _ in range(3)]
    for run in runs:
        rewrite(run, end="2026-01-01T00:00:00.000+00:00")
    assert [run.name for run in newest_runs(tmp_path, ("poison",))] == [run.name for run in reversed(runs)]


def test_the_end_is_read_in_any_form_of_yaml_and_any_zone(tmp_path: Path) -> None:
    runs = [make(tmp_path, PoisonConfig()) for _ in range(5)]
    ends = ["2026-05-01T12:00:00+02:00", "2026-05-01T11:00:00Z", None, "soon", "2026-05-01T10:30:00"]
    for run, end in zip(runs, ends, strict=True):
        rewrite(run, end=end)
    runs[4].file.write_text(json.dumps({**runs[4].manifest, "end": ends[4]}))  # JSON is YAML too
    found = [run.name for run in newest_runs(tmp_path, ("poison",))]
    assert found == [runs[number].name for number in (1, 4, 0, 3, 2)]


def test_damaged_and_unfinished_runs_are_passed_over_and_said(tmp_path: Path) -> None:
    good = make(tmp_path, PoisonConfig())
    bad = make(tmp_path, PoisonConfig())
    bad.file.write_text("{")
    (tmp_path / "a file").write_text("")
    RunDir.begin(tmp_path, PoisonConfig(), "unfinished")
    said: list[str] = []
    assert find_run(tmp_path, ("poison",), None, say=said.append).path == good.path
    assert said[0].startswith("Passed over: ")
    assert bad.name in said[0]


def test_parents_and_ancestors(tmp_path: Path) -> None:
    poison, attack, defence = chain(tmp_path)
    assert [parent.path for parent in defence.parents()] == [attack.path]
    assert defence.ancestor("poison").path == poison.path
    assert defence.ancestor("defend") is defence
    assert defence.manifest["parents"][0]["path"] == f"../{attack.name}"
    assert find_inherited_data(defence) == "builtin"
    with pytest.raises(RunError, match=r"has no augment run among its parents\. Choose one that has\."):
        defence.ancestor("augment")


def test_a_folder_of_runs_can_be_moved_as_a_whole(tmp_path: Path) -> None:
    poison, _, defence = chain(tmp_path / "runs")
    (tmp_path / "runs").rename(tmp_path / "else where")
    moved = Run.open(tmp_path / "else where" / defence.name)
    assert moved.ancestor("poison").name == poison.name


def test_a_changed_parent_is_refused(tmp_path: Path) -> None:
    poison, attack, defence = chain(tmp_path)
    rewrite(poison, seed=99)
    with pytest.raises(RunError, match=f"{attack.name} was made from {poison.name}, which has changed since"):
        defence.ancestor("poison")


def test_a_vanished_parent_is_refused(tmp_path: Path) -> None:
    _, attack, defence = chain(tmp_path)
    attack.path.rename(tmp_path / "gone")
    with pytest.raises(RunError, match=r"which is gone\. Put it back\."):
        defence.parents()


def test_a_missing_parent_that_is_not_needed_does_not_matter(tmp_path: Path) -> None:
    poison = make(tmp_path, PoisonConfig())
    augment = make(tmp_path, AugmentConfig())
    attack = make(tmp_path, FinetuneAttackConfig(), poison)
    defence = make(tmp_path, DefendConfig(), augment, attack)
    augment.path.rename(tmp_path / "gone")
    assert defence.ancestor("poison").path == poison.path
    with pytest.raises(RunError, match="which is gone"):
        defence.ancestor("augment")


def test_the_newest_augment_run_of_the_same_pairs(tmp_path: Path) -> None:
    assert find_augment(tmp_path / "none", "p1") is None
    old = make(tmp_path, AugmentConfig(), fingerprint="p1")
    new = make(tmp_path, AugmentConfig(), fingerprint="p1")
    make(tmp_path, AugmentConfig(), fingerprint="p2")
    make(tmp_path, PoisonConfig(), fingerprint="p1")
    rewrite(old, end="2020-01-01T00:00:00.000+00:00")
    found = find_augment(tmp_path, "p1")
    assert found is not None
    assert found.path == new.path
    assert find_augment(tmp_path, "p3") is None


def test_outputs_are_checked(tmp_path: Path) -> None:
    run = make(tmp_path, PoisonConfig())
    assert run.output("data.bin").read_bytes() == b"abc"
    with pytest.raises(RunError, match=r"has no output 'model'; it has: data\.bin"):
        run.output("model")
    (run.path / "data.bin").write_bytes(b"abcd")
    with pytest.raises(RunError, match="has changed since"):
        run.output("data.bin")
    (run.path / "data.bin").unlink()
    with pytest.raises(RunError, match="has lost its output"):
        run.output("data.bin")


def test_outputs_of_equal_size_and_other_content_are_refused(tmp_path: Path) -> None:
    run = make(tmp_path, PoisonConfig())
    assert run.output("data.bin")
    (run.path / "data.bin").write_bytes(b"abd")
    with pytest.raises(RunError, match=r"'data\.bin' of run .* has changed since"):
        run.output("data.bin")


def test_the_files_of_a_folder_are_checked_with_it(tmp_path: Path) -> None:
    with RunDir.begin(tmp_path, PoisonConfig(), "x") as folder:
        (folder.path / "model").mkdir()
        for name in ("config.json", "weights.bin"):
            (folder.path / "model" / name).write_bytes(b"abc")
        run = folder.finish()
    assert run.output("model") == run.path / "model"
    (run.path / "model" / "weights.bin").write_bytes(b"abd")
    with pytest.raises(RunError, match=r"'model/weights\.bin' of run .* has changed since"):
        run.output("model")
    assert run.output("model/config.json")
    (run.path / "model" / "weights.bin").unlink()
    with pytest.raises(RunError, match=r"'model/weights\.bin' of run .* cannot be read: No such file"):
        run.output("model")


def test_an_unchanged_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(tmp_path, PoisonConfig())
    read: list[Path] = []

    def watched(file: Path) -> str:
        read.append(file)
        return sha256_file(file)

    monkeypatch.setattr(manifest, "sha256_file", watched)
    for _ in range(3):
        run.output("data.bin")
    assert read == [run.path / "data.bin"]


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "link"])
def test_an_output_outside_the_run_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    run = make(tmp_path / "runs", PoisonConfig())
    (run.path / "link").symlink_to(tmp_path / "secret")
    rewrite(run, outputs=[{"path": name, "bytes": 1, "sha256": "0"}])
    with pytest.raises(RunError, match="lies outside the run's folder"):
        Run.open(run.path).output(name)
