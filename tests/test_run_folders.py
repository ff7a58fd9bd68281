"""Run folders in the making: never overwritten, whole or gone, resumable."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save

from clipdefend.config import DefendConfig, PoisonConfig, TrainConfig, load_config
from clipdefend.errors import DataError, Interrupted, RunError, Stopped
from clipdefend.runs import MANIFEST, UNFINISHED, RunDir, atomic_write, find_unfinished, folder
from clipdefend.runs.files import atomic_file, write_safetensors


def training(**train: object) -> DefendConfig:
    return DefendConfig(train=TrainConfig(**train))  # type: ignore[arg-type]


def write_state(run: RunDir) -> None:
    run.state.mkdir()
    (run.state / "state.pt").write_bytes(b"s")


def start(runs: Path, config: DefendConfig | None = None, *, state: bool = True) -> RunDir:
    run = RunDir.begin(runs, config or training(), "cleanclip")
    if state:
        write_state(run)
    with pytest.raises(Interrupted), run:
        raise KeyboardInterrupt
    return run


def test_numbers_go_up_and_gaps_are_not_filled(tmp_path: Path) -> None:
    (tmp_path / "007-poison-x").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "12-short").mkdir()
    assert RunDir.begin(tmp_path, PoisonConfig(), "badnet").path.name == "008-poison-badnet"
    assert RunDir.begin(tmp_path, DefendConfig(), "par").path.name == "009-defend-par"
    (tmp_path / "999-poison-x").mkdir()
    assert RunDir.begin(tmp_path, PoisonConfig(), "badnet").path.name == "1000-poison-badnet"


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("../../etc", "001-poison-etc"),
        ("", "001-poison-run"),
        ("A b/c", "001-poison-a-b-c"),
        ("猫", "001-poison-run-a810bf84"),
        ("x" * 40, f"001-poison-{'x' * 40}"),
    ],
)
def test_labels_become_plain_names(label: str, name: str, tmp_path: Path) -> None:
    path = RunDir.begin(tmp_path / "r", PoisonConfig(), label).path
    assert path.parent == tmp_path / "r"
    assert path.name == name


def test_long_labels_stay_apart_where_they_are_cut(tmp_path: Path) -> None:
    long = "defend-cleanerclip-on-the-photos-of-the-first-study"
    cut = [RunDir.begin(tmp_path, PoisonConfig(), f"{long}-lr-{rate}").path.name[4:] for rate in (1e-4, 1e-5)]
    assert len(set(cut)) == 2
    assert all(name.startswith("poison-defend-cleanerclip-on-the-") for name in cut)
    assert {len(name.removeprefix("poison-")) for name in cut} == {40}


def _begin_many(runs: Path, label: str, count: int) -> None:
    for _ in range(count):
        RunDir.begin(runs, PoisonConfig(), label)


def test_processes_at_once_get_numbers_of_their_own(tmp_path: Path) -> None:
    context: Any = multiprocessing.get_context("fork" if sys.platform != "darwin" else "spawn")
    workers = [context.Process(target=_begin_many, args=(tmp_path, f"w{n}", 8)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    numbers = sorted(int(path.name.split("-")[0]) for path in tmp_path.iterdir())
    assert len(numbers) == len(set(numbers)) == 32


def test_out_may_be_new_or_empty_with_spaces_and_parents(tmp_path: Path) -> None:
    deep = tmp_path / "a b" / "c"
    with RunDir.begin(tmp_path, PoisonConfig(), "x", out=deep) as run:
        assert run.finish().path == deep
    (tmp_path / "empty").mkdir()
    with RunDir.begin(tmp_path, PoisonConfig(), "x", out=tmp_path / "empty") as run:
        assert run.finish().path == tmp_path / "empty"


def test_out_is_never_overwritten(tmp_path: Path) -> None:
    def refusal(out: Path) -> str:
        with pytest.raises(RunError) as caught:
            RunDir.begin(tmp_path, PoisonConfig(), "x", out=out)
        return str(caught.value)

    with RunDir.begin(tmp_path, PoisonConfig(), "x", out=tmp_path / "done") as run:
        run.finish()
    before = (tmp_path / "done" / MANIFEST).read_bytes()
    RunDir.begin(tmp_path, PoisonConfig(), "x", out=tmp_path / "half")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("dear")
    (tmp_path / "file").write_text("")
    assert "is a finished run, which is never overwritten. Choose another folder." in refusal(
        tmp_path / "done"
    )
    assert "is an unfinished run. Continue it with --resume, or delete it." in refusal(tmp_path / "half")
    assert "is a folder with other files. Choose a new or an empty one." in refusal(tmp_path / "home")
    assert "File exists. Choose another place." in refusal(tmp_path / "file")
    assert "Not a directory. Choose another place." in refusal(tmp_path / "file" / "below")
    assert "File name too long. Choose another place." in refusal(tmp_path / ("x" * 300))
    assert (tmp_path / "done" / MANIFEST).read_bytes() == before
    assert (tmp_path / "home" / "letter").read_text() == "dear"


def test_runs_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(RunError, match="No run can be made in"):
        RunDir.begin(tmp_path / "runs", PoisonConfig(), "x")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind root")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="Permission denied"):
        RunDir.begin(tmp_path / "runs", PoisonConfig(), "x")


def leave(run: RunDir, error: BaseException) -> None:
    with run:
        (run.path / "half").write_bytes(b"half")
        raise error


@pytest.mark.parametrize("error", [DataError("bad pairs"), OSError(28, "No space left on device")])
def test_a_users_error_leaves_no_half_written_run(error: Exception, tmp_path: Path) -> None:
    run = RunDir.begin(tmp_path / "runs", PoisonConfig(), "x")
    with pytest.raises(type(error)):
        leave(run, error)
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_bug_leaves_the_folder_to_look_at(tmp_path: Path) -> None:
    run = RunDir.begin(tmp_path, PoisonConfig(), "x")
    with pytest.raises(ZeroDivisionError):
        leave(run, ZeroDivisionError())
    assert (run.path / "half").exists()


def test_an_interruption_without_a_state_leaves_nothing(tmp_path: Path) -> None:
    run = RunDir.begin(tmp_path / "runs", training(), "x")
    with pytest.raises(Interrupted) as caught:
        leave(run, KeyboardInterrupt())
    assert caught.value.folder is None
    assert list((tmp_path / "runs").iterdir()) == []


def test_an_interruption_with_a_state_can_be_resumed(tmp_path: Path) -> None:
    run = RunDir.begin(tmp_path, training(lr=0.5), "x")
    write_state(run)
    run.log({"step": 1, "loss": float("inf")})
    with pytest.raises(Interrupted) as caught:
        leave(run, KeyboardInterrupt())
    assert caught.value.folder == run.path
    again = load_config(
        DefendConfig,
        recorded=find_unfinished(tmp_path, "defend", "latest").config,
        flags={"train.resume": "latest", "workers": "0"},
    )
    with RunDir.begin(tmp_path, again, "ignored") as resumed:
        assert resumed.resumed
        assert resumed.path == run.path
        resumed.log({"step": 2})
        finished = resumed.finish()
    assert finished.manifest["start"] == run.start.isoformat(timespec="milliseconds")
    assert [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()] == [
        {"step": 1, "loss": None},
        {"step": 2},
    ]
    assert sorted(path.name for path in run.path.iterdir()) == ["half", MANIFEST, "metrics.jsonl"]


def test_half_a_state_is_none(tmp_path: Path) -> None:
    run = RunDir.begin(tmp_path / "runs", training(), "x")
    run.state.mkdir()
    (run.state / ".state.pt.17.tmp").write_bytes(b"half")
    with pytest.raises(Interrupted) as caught:
        leave(run, KeyboardInterrupt())
    assert caught.value.folder is None
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("keep", [False, True])
def test_the_resume_state_goes_at_the_end_unless_it_is_kept(keep: bool, tmp_path: Path) -> None:
    with RunDir.begin(tmp_path, training(keep_state=keep), "x") as run:
        write_state(run)
        finished = run.finish()
    assert run.state.exists() is keep
    assert finished.manifest["outputs"] == []


def test_a_resumed_run_that_fails_is_kept(tmp_path: Path) -> None:
    run = start(tmp_path)
    resumed = RunDir.begin(tmp_path, training(resume=run.path.name), "x")
    fault = DataError("images are gone")
    with pytest.raises(Stopped) as stopped:
        leave(resumed, fault)
    assert (stopped.value.folder, stopped.value.__cause__) == (run.path, fault)
    assert run.state.is_dir()


def test_what_a_killed_process_had_not_renamed_is_swept_away(tmp_path: Path) -> None:
    run = start(tmp_path)
    (run.path / "best").mkdir()
    halves = [run.path / ".manifest.yaml.17.tmp", run.path / "best" / ".open_clip_model.safetensors.17.tmp"]
    for half in halves:
        half.write_bytes(b"half")
    with RunDir.begin(tmp_path, training(resume="latest"), "x") as resumed:
        assert not any(half.exists() for half in halves)
        assert resumed.finish().manifest["outputs"] == []


def test_an_interruption_while_the_folder_is_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path, data: object) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(folder, "atomic_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        RunDir.begin(tmp_path / "runs", training(), "x")
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("given", ["path", "name", "latest"])
def test_an_unfinished_run_is_named_in_three_ways(given: str, tmp_path: Path) -> None:
    run = start(tmp_path)
    name = {"path": str(run.path), "name": run.path.name, "latest": "latest"}[given]
    assert find_unfinished(tmp_path, "defend", name).path == run.path


def test_the_latest_is_the_last_begun_of_the_command(tmp_path: Path) -> None:
    first, second = start(tmp_path), start(tmp_path)
    RunDir.begin(tmp_path, PoisonConfig(), "x")
    os.utime(first.path / UNFINISHED, (2e9, 2e9))  # as copying does
    assert find_unfinished(tmp_path, "defend", "latest").path == second.path
    (second.path / UNFINISHED).write_text("{")
    assert find_unfinished(tmp_path, "defend", "latest").path == first.path


def test_a_resumed_run_keeps_its_configuration(tmp_path: Path) -> None:
    run = start(tmp_path, training(lr=0.5))
    with pytest.raises(RunError, match=r"train\.lr was 0\.5 and is now 0\.25; a resumed run keeps"):
        RunDir.begin(tmp_path, training(lr=0.25, resume="latest"), "x")
    changed = training(lr=0.5, resume=str(run.path), log_every=1, keep_state=True, save_every=5)
    assert RunDir.begin(tmp_path, changed, "x").path == run.path


def test_what_cannot_be_resumed(tmp_path: Path) -> None:
    def refusal(given: str) -> str:
        with pytest.raises(RunError) as caught:
            find_unfinished(tmp_path, "defend", given)
        return str(caught.value)

    assert "no unfinished run of 'defend' under" in refusal("latest")
    assert "is not an unfinished run. Give its folder, or latest." in refusal("nowhere")
    with RunDir.begin(tmp_path, training(), "x") as run:
        run.finish()
    assert "is a finished run; leave --resume out to start a new one." in refusal(str(run.path))
    other = RunDir.begin(tmp_path, PoisonConfig(), "x")
    assert "is a run of 'poison', not of 'defend'." in refusal(str(other.path))
    damaged = start(tmp_path)
    for content in ("{", "[]", "schema: 1", "schema: clipdefend/run/1\nconfig: {}\nstart: soon\n"):
        (damaged.path / UNFINISHED).write_text(content)
        assert "is damaged; the run cannot be resumed. Start a new one." in refusal(str(damaged.path))


def test_a_run_that_another_process_writes_is_not_resumed(tmp_path: Path) -> None:
    run = start(tmp_path)
    code = (
        "import sys; from pathlib import Path; from clipdefend.runs.lock import acquire\n"
        "acquire(Path(sys.argv[1])); print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(run.path / UNFINISHED)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(RunError, match="is still being written by another process"):
            RunDir.begin(tmp_path, training(resume="latest"), "x")
    assert RunDir.begin(tmp_path, training(resume="latest"), "x").path == run.path


def test_the_start_is_recorded_with_the_input(tmp_path: Path) -> None:
    with RunDir.begin(tmp_path, PoisonConfig(), "x") as poison:
        source = poison.finish()
    run = RunDir.begin(tmp_path, training(), "x", source=source)
    record = yaml.safe_load((run.path / UNFINISHED).read_text())
    assert record["source"] == f"../{source.name}"
    assert find_unfinished(tmp_path, "defend", "latest").source == str(source.path)


def test_the_manifest_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    run = RunDir.begin(tmp_path, training(), "x")
    write_state(run)
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(Stopped) as stopped, run:
        run.finish()
    assert "No space left" in str(stopped.value.__cause__)
    assert sorted(path.name for path in run.path.iterdir()) == ["state", UNFINISHED]


def test_an_atomic_write_replaces_a_file_or_leaves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "f"
    atomic_write(file, "one")
    atomic_write(file, b"two")
    assert file.read_bytes() == b"two"

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        atomic_write(file, "three")
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert file.read_bytes() == b"two"


def test_an_interrupted_write_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    file = tmp_path / "f"
    atomic_write(file, "one")

    def write_half() -> None:
        with atomic_file(file) as stream:
            stream.write(b"tw")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert file.read_bytes() == b"one"


def test_safetensors_have_the_same_bytes_whatever_the_order_of_their_metadata(tmp_path: Path) -> None:
    tensors = {"b": torch.arange(6.0).view(2, 3), "a": torch.ones(2, dtype=torch.int64)}
    orders = ({"warning": "Émile's", "format": "pt"}, {"format": "pt", "warning": "Émile's"})
    for number in range(8):  # the library's hash map has another order in about every second object
        write_safetensors(tmp_path / f"{number}", save(tensors, metadata=orders[number % 2]))
    assert len({(tmp_path / f"{number}").read_bytes() for number in range(8)}) == 1
    with safe_open(tmp_path / "0", framework="pt") as file:
        assert file.metadata() == orders[0]
        assert torch.equal(file.get_tensor("b"), tensors["b"])
        assert torch.equal(file.get_tensor("a"), tensors["a"])
