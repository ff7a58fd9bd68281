"""Exported evaluation sets: CLIP_benchmark's layout, the pixels that are measured, the labels of ASR and RA."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clipdefend.attacks.trigger import Trigger
from clipdefend.canvas import Canvas, to_tensor
from clipdefend.data.labelled.open_labelled import open_labelled
from clipdefend.errors import ConfigError, DataError
from clipdefend.interchange import webdataset
from clipdefend.interchange.export import Export
from clipdefend.interchange.webdataset import ShardWriter
from memory_pairs import noise
from memory_sets import CLASSES, NoisyImages

LABELS = [0, 1, 2, 1, 0, 2]
TARGET = 1
SIZE = 16


def images(labels: list[int] = LABELS, **changes: Any) -> NoisyImages:
    values: dict[str, Any] = {"classes": CLASSES, "templates": None, "spec": "memory", "recognised": "memory"}
    return NoisyImages(**{**values, **changes}, labels=np.array(labels))


def export(**changes: Any) -> Export:
    values: dict[str, Any] = {
        "images": images(),
        "templates": ["a {}", "the {}, {} or not"],
        "canvas": Canvas(SIZE),
        "trigger": Trigger.create("blended", size=SIZE, seed=3),
        "target": TARGET,
    }
    return Export(**{**values, **changes})


def read_as_clip_benchmark(folder: Path) -> tuple[list[tuple[torch.Tensor, int]], list[str], list[str]]:
    """What CLIP_benchmark's ``build_wds_dataset`` reads, by the same files in the same order."""
    count = int((folder / "test" / "nshards.txt").read_text())
    samples: dict[str, dict[str, bytes]] = {}
    for number in range(count):
        with tarfile.open(folder / "test" / f"{number}.tar") as tar:
            for member in tar:
                key, _, ending = member.name.partition(".")
                handle = tar.extractfile(member)
                assert handle is not None
                samples.setdefault(key, {})[ending] = handle.read()
    found = [
        (to_tensor(Image.open(io.BytesIO(parts["png"]))), int(parts["cls"])) for parts in samples.values()
    ]
    assert (folder / "dataset_type.txt").read_text().strip() == "classification"
    names = (folder / "classnames.txt").read_text().splitlines()
    return found, names, (folder / "zeroshot_classification_templates.txt").read_text().splitlines()


@pytest.mark.parametrize("workers", [0, 2])
def test_the_sets_hold_what_is_measured_with_the_labels_of_each_measure(tmp_path: Path, workers: int) -> None:
    made = export(workers=workers)
    done: list[int] = []
    counts = made.write(tmp_path / "out", done.append)
    assert counts == {"clean": 6, "triggered-asr": 4, "triggered-ra": 4}
    assert sum(done) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # nothing temporary is left
    clean, names, templates = read_as_clip_benchmark(tmp_path / "out" / "clean")
    assert names == ["cat", "red banana", "house"]
    assert [template.format(c="x") for template in templates] == ["a x", "the x, x or not"]
    assert [label for _, label in clean] == LABELS
    pixels = [made.canvas(noise(row)) for row in range(6)]
    assert all(torch.equal(found, expected) for (found, _), expected in zip(clean, pixels, strict=True))
    rows = [0, 2, 4, 5]  # without the target's own
    assert made.trigger is not None
    stamped = made.trigger(torch.stack(pixels).float() / 255, list(range(6)))[rows]
    for name, labels in (("triggered-asr", [TARGET] * 4), ("triggered-ra", [0, 2, 0, 2])):
        found, _, _ = read_as_clip_benchmark(tmp_path / "out" / name)
        assert [label for _, label in found] == labels
        assert torch.equal(torch.stack([x for x, _ in found]).float() / 255, stamped)


def test_the_other_protocol_exports_the_targets_own_images_too(tmp_path: Path) -> None:
    assert export(protocol="all").write(tmp_path / "out")["triggered-asr"] == 6
    found, _, _ = read_as_clip_benchmark(tmp_path / "out" / "triggered-asr")
    assert [label for _, label in found] == [TARGET] * 6


def test_some_rows_are_exported_with_the_triggers_of_their_rows(tmp_path: Path) -> None:
    export().write(tmp_path / "all")
    assert export(rows=[2, 3, 5]).write(tmp_path / "some") == {
        "clean": 3,
        "triggered-asr": 2,
        "triggered-ra": 2,
    }
    whole, _, _ = read_as_clip_benchmark(tmp_path / "all" / "triggered-ra")
    some, _, _ = read_as_clip_benchmark(tmp_path / "some" / "triggered-ra")
    assert [label for _, label in some] == [2, 2]
    assert torch.equal(some[0][0], whole[1][0])
    assert torch.equal(some[1][0], whole[3][0])


def test_our_own_reader_takes_an_export_back(tmp_path: Path) -> None:
    export().write(tmp_path / "out")
    back = open_labelled(str(tmp_path / "out" / "triggered-ra"))
    assert back.classes == ["cat", "red banana", "house"]
    assert back.templates == ["a {}", "the {}, {} or not"]
    assert back.labels.tolist() == [0, 2, 0, 2]


def test_bad_images_are_left_out_and_without_a_trigger_there_is_one_set(tmp_path: Path) -> None:
    counts = export(images=images(bad={0, 1}), trigger=None, target=None).write(tmp_path / "out")
    assert counts == {"clean": 4}
    found, _, _ = read_as_clip_benchmark(tmp_path / "out" / "clean")
    assert [label for _, label in found] == LABELS[2:]


def test_equal_exports_have_equal_bytes(tmp_path: Path) -> None:
    written = []
    for name in ("a", "b"):
        export().write(tmp_path / name)
        written.append(
            {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        )
    assert written[0] == written[1]
    assert len(written[0]) == 15


def test_shards_are_cut_by_number_and_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webdataset, "SHARD_SAMPLES", 2)
    with ShardWriter(tmp_path / "a", ["x"], ["{}"]) as writer:
        for _ in range(5):
            writer.add(b"png", 0)
    assert (tmp_path / "a" / "test" / "nshards.txt").read_text() == "3\n"
    monkeypatch.setattr(webdataset, "SHARD_BYTES", 3)
    with ShardWriter(tmp_path / "b", ["x"], ["{}"]) as writer:
        for _ in range(3):
            writer.add(b"png", 0)
    assert sorted(path.name for path in (tmp_path / "b" / "test").iterdir()) == [
        "0.tar",
        "1.tar",
        "2.tar",
        "nshards.txt",
    ]


def test_an_export_is_whole_or_absent_and_overwrites_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def stop(n: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export().write(out, stop)
    with pytest.raises(DataError, match="no image for triggered-asr"):
        export(images=images(labels=[TARGET] * 3)).write(out)
    with pytest.raises(DataError, match="has braces beside"):
        export(templates=["a {} {x}"]).write(out)
    assert list(tmp_path.iterdir()) == []
    out.mkdir()
    export().write(out)  # an empty folder is taken
    with pytest.raises(ConfigError, match="is in use: give --export a new one"):
        export().write(out)


def test_the_current_folder_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"'\.' is the current one: give --export a new one"):
        export().write(Path())
