"""OpenAI's TorchScript archives: read to the tensors that torch.jit reads, and never run or compiled."""

from __future__ import annotations

import io
import os
import pickle
import random
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from open_clip.model import build_model_from_openai_state_dict
from torch.nn import functional as F

from clipdefend.errors import CheckpointError
from clipdefend.models import torchscript
from clipdefend.models.builder import build_model
from clipdefend.models.load import load_model
from clipdefend.models.torchscript import is_torchscript, read_torchscript
from foreign_models import openai_architecture, write_torchscript


@pytest.fixture(scope="module", params=["ViT", "ResNet"])
def archive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("openai") / f"{request.param}.pt"
    write_torchscript(path, build_model(openai_architecture(request.param), seed=3).clip.eval())
    return path


def test_the_tensors_are_those_that_torch_reads(archive: Path) -> None:
    assert is_torchscript(archive)
    ours, theirs = read_torchscript(archive), torch.jit.load(archive).state_dict()
    assert theirs.keys() <= ours.keys()
    assert all(torch.equal(ours[key], theirs[key]) and ours[key].dtype == theirs[key].dtype for key in theirs)
    assert ours["visual.conv1.weight"].dtype == torch.float16


@torch.no_grad()
@pytest.mark.parametrize("name", ["auto", "json"])
def test_features_are_those_of_open_clips_reader(name: str, archive: Path, tmp_path: Path) -> None:
    if name == "json":
        import json

        model = {**openai_architecture(archive.stem).model, "quick_gelu": False}
        (tmp_path / "model.json").write_text(json.dumps(model))
        name = str(tmp_path / "model.json")
    ours = load_model(name, str(archive)).eval()
    theirs = build_model_from_openai_state_dict(torch.jit.load(archive).state_dict()).float().eval()
    pixels = torch.rand(2, 3, ours.image_size, ours.image_size)
    tokens = ours.tokenize(["a cat", "two red bananas"])
    image = F.normalize(theirs.encode_image((pixels - ours.mean) / ours.std), dim=-1)
    assert torch.allclose(ours.encode_image(pixels), image, atol=1e-5)
    assert torch.allclose(
        ours.encode_text(tokens), F.normalize(theirs.encode_text(tokens), dim=-1), atol=1e-5
    )
    assert any("QuickGELU" in note for note in ours.notes)


def test_nothing_compiles_or_runs_an_archive(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("load", "script", "trace"):
        monkeypatch.setattr(torch.jit, name, None)
    monkeypatch.setattr(pickle, "Unpickler", None)
    monkeypatch.setattr(torch, "load", None)
    load_model("auto", str(archive))


def rewrite(source: Path, target: Path, change: Callable[[str, bytes], bytes | None], **options: Any) -> None:
    """A copy of an archive with members changed, or left out for None."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", **options) as new:
        for member in old.infolist():
            data = change(member.filename.partition("/")[2], old.read(member))
            if data is not None:
                new.writestr(zipfile.ZipInfo(member.filename), data, options.get("compression"))


def small_archive(path: Path) -> Path:
    with torch.no_grad():
        layer = torch.jit.trace(torch.nn.Linear(2, 3), torch.rand(1, 2))
    torch.jit.save(layer, path)
    return path


class Evil:
    """A pickle of it runs a program."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.system, (f"touch '{self.path}'",)


STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQ"
CALL = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x80\x02cos\nsystem\n(X\x04\x00\x00\x00truetR.", "a call of 'os system'"),
        (b"\x80\x02c__torch__\nM\n)R.", "a call of '__torch__ M'"),
        (b"\x80\x02cbuiltins\neval\n)\x81.", "a call of 'builtins eval'"),
        (
            b"\x80\x02c__torch__\nM\n)\x81}(X\x01\x00\x00\x00acos\nsystem\nubX\x01\x00\x00\x00b0.",
            "instruction POP",
        ),
        (b"\x80\x02ios\nsystem\n.", "the instruction INST"),
        (b"\x80\x02}}b.", "dict in place of _Object"),
        (b"\x80\x02cos\nsystem\n}b.", "_Name in place of _Object"),
        (CALL + b"K\x00(K\x09t(K\x01ttR.", "in a storage of 6"),
        (CALL + b"K\x05(K\x02t(K\x01ttR.", "in a storage of 6"),
        (CALL + b"K\x00(M\xff\xffM\xff\xfft(K\x00K\x00ttR.", "in a storage of 6"),
        (CALL + b"J\xff\xff\xff\xff(K\x01t(K\x01ttR.", "a tensor of size"),
        (b"\x80\x02" + STORAGE.replace(b"K\x06", b"K\x07") + b".", "6 elements in place of 7"),
        (b"\x80\x02" + STORAGE.replace(b"0X", b"../version0X"[:1] + b"X"), "damaged"),
        (b"\x80\x02h\x07.", "damaged"),
        (b"\x80\x02N", "damaged"),
        (b"", "damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hostile_pickles_are_one_line(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    rewrite(small_archive(tmp_path / "good.pt"), path, lambda name, old: data if name == "data.pkl" else old)
    with pytest.raises(CheckpointError) as error:
        load_model("auto", str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_pickle_that_runs_a_program_elsewhere_does_not_here(tmp_path: Path) -> None:
    proof, path = tmp_path / "it ran", tmp_path / "evil.pt"
    data = pickle.dumps(Evil(proof), protocol=2)
    rewrite(small_archive(tmp_path / "good.pt"), path, lambda name, old: data if name == "data.pkl" else old)
    with pytest.raises(CheckpointError, match="was not opened: a call of"):
        load_model("auto", str(path))
    assert not proof.exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_objects_that_share_their_parts_do_not_unfold(tmp_path: Path) -> None:
    """Thirty levels of two references each would be a thousand million paths to one tensor."""
    levels = b"c__torch__\nM\n)\x81q\x01"
    for place in range(1, 31):
        both = b"}(X\x01\x00\x00\x00ah" + bytes([place]) + b"X\x01\x00\x00\x00bh" + bytes([place]) + b"ub"
        levels += b"c__torch__\nM\n)\x81" + both + b"q" + bytes([place + 1])
    path = tmp_path / "x.pt"
    data = b"\x80\x02" + levels + b"."
    rewrite(small_archive(tmp_path / "good.pt"), path, lambda name, old: data if name == "data.pkl" else old)
    with pytest.raises(CheckpointError, match="nested too deeply"):
        load_model("auto", str(path))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_members_that_unpack_to_more_are_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, path = small_archive(tmp_path / "good.pt"), tmp_path / "x.pt"
    rewrite(good, path, lambda name, old: old, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="unpacks to more bytes"):
        load_model("auto", str(path))
    monkeypatch.setattr(torchscript, "MAX_PICKLE_BYTES", 10)
    with pytest.raises(CheckpointError, match="a pickle of more than 10 bytes"):
        load_model("auto", str(good))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_archives_that_are_not_clips(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be deduced"):
        load_model("auto", str(small_archive(tmp_path / "linear.pt")))
    rewrite(
        tmp_path / "linear.pt", tmp_path / "big.pt", lambda name, old: b"big" if name == "byteorder" else old
    )
    with pytest.raises(CheckpointError, match="another byte order"):
        load_model("auto", str(tmp_path / "big.pt"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_flipped_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(small_archive(tmp_path / "good.pt")) as archive:
        root = archive.namelist()[0].partition("/")[0]
        raw = archive.read(f"{root}/data.pkl")
    rng, path, refused = random.Random(0), tmp_path / "x.pt", 0

    def exchange(data: bytes, name: str, old: bytes) -> bytes:
        return data if name == "data.pkl" else old

    for _ in range(150):
        damaged = bytearray(raw)
        for _ in range(rng.choice([1, 2, 5])):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        data = bytes(damaged)
        rewrite(tmp_path / "good.pt", path, partial(exchange, data))
        try:
            load_model("auto", str(path))
        except CheckpointError:
            refused += 1
    assert refused == 150  # also those that can be read are of no CLIP


def test_a_cut_archive(archive: Path, tmp_path: Path) -> None:
    whole = io.BytesIO(archive.read_bytes()).getvalue()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        load_model("auto", str(tmp_path / "cut.pt"))
