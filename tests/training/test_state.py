"""Resume state: whole or as it was before, and refused when damaged or foreign."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from clipdefend.errors import RunError
from clipdefend.training.state import NAME, Progress, load_state, save_state


def progress(**changes: Any) -> Progress:
    values = {"epoch": 1, "step": 3, "global_step": 13, "fingerprint": "abc", "bad": {7: "cut"}, "best": 0.5}
    return Progress(**{**values, **changes})


def tensors(value: float = 1.0) -> dict[str, Any]:
    weight = torch.nn.Parameter(torch.full((3,), value))
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    weight.sum().backward()
    optimizer.step()
    return {"model": {"weight": weight.detach()}, "optimizer": optimizer.state_dict()}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    given = tensors()
    save_state(tmp_path / "state", progress(), given)
    assert os.listdir(tmp_path / "state") == [NAME]
    loaded, found = load_state(tmp_path / "state", "abc") or (None, {})
    assert loaded == progress()
    assert torch.equal(found["model"]["weight"], given["model"]["weight"])
    slot, expected = found["optimizer"]["state"][0], given["optimizer"]["state"][0]
    assert all(torch.equal(slot[key], expected[key]) for key in ("step", "exp_avg", "exp_avg_sq"))


def test_a_missing_state_is_not_an_error(tmp_path: Path) -> None:
    assert load_state(tmp_path / "state", "abc") is None
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / f"{NAME}.tmp").write_bytes(b"half")
    assert load_state(tmp_path / "state", "abc") is None


@pytest.mark.parametrize("moment", ["write", "sync", "rename"])
def test_an_interruption_while_writing_leaves_the_old_state_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    save_state(tmp_path, progress(), tensors(1.0))

    def killed(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    where = {"write": (torch, "save"), "sync": (os, "fsync"), "rename": (os, "replace")}
    with monkeypatch.context() as patch:
        patch.setattr(*where[moment], killed)
        with pytest.raises(KeyboardInterrupt):
            save_state(tmp_path, progress(global_step=99), tensors(2.0))
    assert os.listdir(tmp_path) == [NAME]
    loaded, _ = load_state(tmp_path, "abc") or (None, {})
    assert loaded == progress()
    save_state(tmp_path, progress(global_step=99), tensors(2.0))
    loaded, _ = load_state(tmp_path, "abc") or (None, {})
    assert loaded == progress(global_step=99)


def test_an_interruption_inside_of_torchs_writer_stays_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(io.FileIO):
        def write(self, data: Any) -> int:
            if self.tell():
                raise KeyboardInterrupt
            return super().write(data)

    monkeypatch.setattr(Path, "open", lambda path, mode: Interrupted(path, mode))
    with pytest.raises(KeyboardInterrupt):
        save_state(tmp_path, progress(), {"model": {"weight": torch.zeros(100_000)}})
    assert os.listdir(tmp_path) == []


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.path}'",)


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "text", "list", "fields", "evil"])
def test_a_damaged_state_is_an_error_of_one_line(tmp_path: Path, damage: str) -> None:
    save_state(tmp_path, progress(), tensors())
    path = tmp_path / NAME
    whole = path.read_bytes()
    if damage == "list":
        torch.save([1, 2], path)
    elif damage == "fields":
        torch.save({"progress": {"epochs": 3}}, path)
    elif damage == "evil":
        path.write_bytes(pickle.dumps({"progress": Evil(tmp_path / "it ran")}))
    else:
        middle = len(whole) // 2
        content = {"empty": b"", "cut": whole[:middle], "text": b"hello"}
        path.write_bytes(content.get(damage, whole[:60] + bytes(40) + whole[100:]))
    with pytest.raises(RunError, match="is damaged") as error:
        load_state(tmp_path, "abc")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "it ran").exists()


def test_a_state_of_another_configuration_is_refused(tmp_path: Path) -> None:
    save_state(tmp_path, progress(), tensors())
    with pytest.raises(RunError, match="another configuration"):
        load_state(tmp_path, "abd")
