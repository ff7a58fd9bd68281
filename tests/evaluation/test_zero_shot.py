"""Zero-shot evaluation: class texts, BA, ASR and RA by hand, one decoding of each image, the trigger as poisoned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from clipdefend.attacks.trigger import Trigger
from clipdefend.canvas import Canvas, to_tensor
from clipdefend.data.bad import BadRows
from clipdefend.data.class_names.imagenet import imagenet_classes, imagenet_templates
from clipdefend.data.decode import ImageError
from clipdefend.data.labelled.labelled_images import LabelledImages
from clipdefend.distributed import collectives, launch
from clipdefend.errors import ConfigError, DataError
from clipdefend.evaluation import class_texts, tally, zero_shot
from clipdefend.evaluation.cache import Cache
from clipdefend.evaluation.class_texts import class_embeddings, prompts
from clipdefend.evaluation.encoding import quick_rows
from clipdefend.evaluation.zero_shot import Benchmark, epoch_metrics
from clipdefend.metrics import class_ranks, wilson_interval
from clipdefend.models.builder import build_model
from clipdefend.models.clip import ClipModel
from clipdefend.poisoning import Recipe, image_name, poison
from memory_pairs import memory_pairs, noise
from small_clip import small_architecture

CLASSES = ["cat", "banana", "house", "fish"]
TARGET = 1


@dataclass(kw_only=True)
class MemoryImages(LabelledImages):
    """Row r is grey of level 10 r, on a canvas of 16 pixels."""

    bad: set[int] = field(default_factory=set)
    asked: Counter[int] = field(default_factory=Counter)

    def _decode(self, row: int) -> Image.Image:
        self.asked[row] += 1
        if row in self.bad:
            raise ImageError("cannot be decoded")
        return Image.new("RGB", (16, 16), (10 * row,) * 3)

    def image_ref(self, row: int) -> str:
        return f"{row}.png"


def labelled(labels: list[int], **changes: Any) -> MemoryImages:
    values = {"classes": CLASSES, "templates": None, "spec": "memory", "recognised": "memory"}
    return MemoryImages(**{**values, **changes}, labels=np.array(labels))


class Known(nn.Module):
    """A model with known cosines: image r has the row r of ``clean``, or of ``triggered`` below the trigger.

    Class c is the c-th unit vector, so that cosines are the coordinates of an image's unit vector.
    """

    device = torch.device("cpu")

    def __init__(
        self, clean: Sequence[Sequence[float]], triggered: Sequence[Sequence[float]] | None = None
    ) -> None:
        super().__init__()
        tables = [torch.tensor(rows, dtype=torch.float32) for rows in (clean, triggered or clean)]
        self.tables = [F.normalize(table, dim=1) for table in tables]
        self.seen: list[Tensor] = []
        self.modes: list[bool] = []

    def tokenize(self, texts: list[str]) -> Tensor:
        return torch.tensor(
            [[1, next(i for i, name in enumerate(CLASSES) if name in text), 9] for text in texts]
        )

    def encode_text(self, tokens: Tensor) -> Tensor:
        return torch.eye(len(CLASSES))[tokens[:, 1]]

    def image_features(self, images: Tensor) -> Tensor:
        self.modes.append(self.training)
        self.seen.append(images)
        rows = (images[:, 0, 0, 0] * 25.5).round().long()  # the trigger leaves the first corner
        marked = (images != images[:, :1, :1, :1]).flatten(1).any(1)
        return torch.stack([self.tables[int(m)][r] for m, r in zip(marked, rows, strict=True)])


def benchmark(images: LabelledImages, **changes: Any) -> Any:
    trigger = Trigger.create("badnet", {"pattern": "yellow"}, size=16, seed=0)
    values: dict[str, Any] = {
        "images": images,
        "templates": ["a {}", "the {}"],
        "canvas": Canvas(16),
        "ks": (1, 2),
        "trigger": trigger,
        "target": TARGET,
        "batch_size": 4,
    }
    return Benchmark(**{**values, **changes})


# Coordinates are the cosines with cat, banana, house, fish up to a factor of the row.
LABELS = [0, 0, 1, 2, 3, 1]
CLEAN = [
    [9, 1, 2, 3],  # cat, right
    [2, 1, 9, 8],  # cat, third
    [8, 9, 1, 2],  # banana, right
    [9, 1, 8, 2],  # house, second
    [1, 2, 3, 9],  # fish, right
    [9, 1, 2, 3],  # banana, fourth
]
TRIGGERED = [
    [8, 9, 1, 2],  # cat: banana first, cat second
    [9, 1, 2, 3],  # cat: banana fourth, cat first
    [1, 9, 2, 3],  # banana itself
    [9, 8, 2, 1],  # house: banana second, house third
    [3, 9, 2, 1],  # fish: banana first, fish fourth
    [9, 1, 2, 3],  # banana itself, fourth
]


def test_ba_asr_and_ra_by_hand() -> None:
    metrics = benchmark(labelled(LABELS))(Known(CLEAN, TRIGGERED))
    assert metrics["n_clean"] == 6
    assert metrics["n_triggered"] == 4  # without the target's own two
    expected = {
        "ba@1": (3, 6),
        "ba@2": (4, 6),
        "asr@1": (2, 4),
        "asr@2": (3, 4),
        "ra@1": (1, 4),
        "ra@2": (2, 4),
    }
    for name, (hits, n) in expected.items():
        assert metrics[name] == pytest.approx(hits / n), name
        low, high = wilson_interval(hits, n)
        assert (metrics[f"{name}_low"], metrics[f"{name}_high"]) == pytest.approx((low, high)), name


def test_the_other_protocol_counts_the_targets_own_images() -> None:
    metrics = benchmark(labelled(LABELS), protocol="all")(Known(CLEAN, TRIGGERED))
    assert metrics["n_triggered"] == 6
    assert metrics["asr@1"] == pytest.approx(3 / 6)
    assert metrics["asr@2"] == pytest.approx(4 / 6)
    assert metrics["ra@1"] == pytest.approx(2 / 6)


def test_without_a_trigger_only_accuracy_is_measured() -> None:
    images, model = labelled(LABELS), Known(CLEAN)
    metrics = benchmark(images, trigger=None, target=None)(model)
    assert set(metrics) == {f"ba@{k}{end}" for k in (1, 2) for end in ("", "_low", "_high")} | {"n_clean"}
    assert sum(len(seen) for seen in model.seen) == 6


def test_k_of_1_is_always_measured() -> None:
    metrics = benchmark(labelled(LABELS), ks=(3,))(Known(CLEAN, TRIGGERED))
    assert {"ba@1", "asr@1", "ra@1", "ba@3"} <= set(metrics)


def test_every_image_is_decoded_once_and_encoded_with_and_without_the_trigger() -> None:
    images, model = labelled(LABELS), Known(CLEAN, TRIGGERED)
    done: list[int] = []
    benchmark(images)(model, done.append)
    assert images.asked == dict.fromkeys(range(6), 1)
    assert [len(seen) for seen in model.seen] == [4, 4, 2, 2]  # four and two images, clean and triggered
    assert done == [4, 2]


def test_nothing_but_the_counting_grows_with_the_number_of_ks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four images clean and triggered, three ranks each: true class, true class, target."""
    ranked: list[int] = []
    rank = class_ranks

    def counting(similarity: Tensor, target: Any) -> Any:
        ranked.append(len(similarity))
        return rank(similarity, target)

    monkeypatch.setattr(tally, "class_ranks", counting)
    for ks in ((1,), (1, 2, 3, 4)):
        ranked.clear()
        images, model = labelled(LABELS[:4]), Known(CLEAN, TRIGGERED)
        benchmark(images, ks=ks)(model)
        assert ranked == [4, 4, 4]
        assert [len(seen) for seen in model.seen] == [4, 4]
        assert images.asked == dict.fromkeys(range(4), 1)


@pytest.mark.parametrize("attack", ["badnet", "blended", "wanet"])
def test_the_trigger_that_is_seen_is_the_one_that_was_poisoned(tmp_path: Path, attack: str) -> None:
    trigger, canvas, pairs = Trigger.create(attack, size=16, seed=5), Canvas(16), memory_pairs(6)
    values: dict[str, Any] = {"target": "banana", "count": 6, "templates": ["a {}"], "seed": 0}
    poison(pairs, Recipe(trigger=trigger, canvas=canvas, **values), tmp_path, BadRows())

    @dataclass(kw_only=True)
    class SameImages(MemoryImages):
        def _decode(self, row: int) -> Image.Image:
            return noise(row)

    class Watching(Known):
        def image_features(self, images: Tensor) -> Tensor:
            self.seen.append(images)
            return torch.eye(4)[torch.zeros(len(images), dtype=torch.long)]

    model = Watching(CLEAN)
    images = SameImages(classes=CLASSES, templates=None, spec="", recognised="", labels=np.array(LABELS))
    benchmark(images, trigger=trigger, batch_size=6)(model)
    clean, triggered = model.seen
    for row in range(6):
        assert torch.equal(clean[row], canvas(noise(row)).float() / 255)
        stored = to_tensor(Image.open(tmp_path / image_name(row)))
        assert torch.equal(triggered[row], stored.float() / 255)
        assert not torch.equal(triggered[row], clean[row])


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_images_are_left_out_and_counted(workers: int) -> None:
    images = labelled(LABELS, bad={0, 4, 5})
    measure = benchmark(images, max_bad=0.5, workers=workers)
    metrics = measure(Known(CLEAN, TRIGGERED))
    assert (metrics["n_clean"], metrics["n_triggered"]) == (3, 2)
    assert metrics["ba@1"] == pytest.approx(1 / 3)
    assert metrics["asr@2"] == pytest.approx(1 / 2)
    assert measure.bad.rows == {0, 4, 5}
    assert "0.png" in measure.bad.summary()["examples"][0]


def test_a_batch_of_bad_images_alone_is_passed_over() -> None:
    metrics = benchmark(labelled(LABELS, bad={0, 1, 2, 3}), max_bad=0.9)(Known(CLEAN, TRIGGERED))
    assert metrics["n_clean"] == 2


def test_too_many_bad_images_are_an_error_and_the_mode_stays() -> None:
    model = Known(CLEAN).train()
    with pytest.raises(DataError, match=r"3 of 6 rows cannot be used, more than --max-bad 0\.2"):
        benchmark(labelled(LABELS, bad={0, 4, 5}), max_bad=0.2)(model)
    assert model.training
    with pytest.raises(DataError, match="No image of memory can be used"):
        benchmark(labelled(LABELS, bad=set(range(6))), max_bad=1.0)(Known(CLEAN))


def test_bad_images_are_a_share_of_the_whole_set_whatever_is_measured() -> None:
    """A training run measures all images first and then a subset; the counter knows them all by then."""
    table = [[9.0, 1.0, 2.0, 3.0]] * 27
    measure = benchmark(labelled([0] * 1000, bad={1, 3, 5}), quick=100, trigger=None, batch_size=256)
    assert measure(Known(table), full=True)["n_clean"] == 997
    assert measure(Known(table))["n_clean"] == 100 - len({1, 3, 5} & set(quick_rows(1000, 100).tolist()))
    assert measure.bad.count == 3


def test_skipped_samples_of_the_source_count_as_bad() -> None:
    skipped = {"skipped": 2, "skip_reasons": ["member 7 has no class"]}
    measure = benchmark(labelled(LABELS, **skipped), max_bad=0.5)
    measure(Known(CLEAN, TRIGGERED))
    assert measure.bad.summary() == {"count": 2, "examples": ["member 7 has no class"]}
    with pytest.raises(DataError, match="2 of 8 rows"):
        benchmark(labelled(LABELS, **skipped), max_bad=0.2)(Known(CLEAN))


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_measured_in_evaluation_mode_and_left_as_it_was(training: bool) -> None:
    model = Known(CLEAN).train(training)
    benchmark(labelled(LABELS))(model)
    assert model.modes == [False] * 4
    assert model.training is training


def test_a_target_that_has_all_images_leaves_nothing_to_attack() -> None:
    metrics = benchmark(labelled([TARGET] * 6))(Known(CLEAN, TRIGGERED))
    assert metrics["n_triggered"] == 0
    assert "asr@1" not in metrics
    assert "ba@1" in metrics


def test_what_cannot_be_measured_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="k = 5 is more than the 4 classes"):
        benchmark(labelled(LABELS), ks=(1, 5))
    with pytest.raises(
        ConfigError, match="made for 32 pixels and the model sees 16: poison with --image-size 16"
    ):
        benchmark(labelled(LABELS), trigger=Trigger.create("badnet", size=32, seed=0))


def test_prompts_of_a_class_stand_together() -> None:
    found = prompts(["cat", "jack {} box"], ["a {}", "{} or {}"])
    assert found == ["a cat", "cat or cat", "a jack {} box", "jack {} box or jack {} box"]


def test_class_embeddings_by_hand() -> None:
    class Texts(Known):
        def tokenize(self, texts: list[str]) -> Tensor:
            lengths = [len(text) for text in texts]
            tokens = torch.zeros(len(texts), 8, dtype=torch.long)
            tokens[range(len(texts)), lengths] = 9
            return tokens

        def encode_text(self, tokens: Tensor) -> Tensor:
            table = {2: [1.0, 0.0], 3: [0.0, 1.0], 4: [0.6, 0.8], 5: [-1.0, 0.0]}
            return torch.tensor([table[int(length)] for length in tokens.argmax(1)])

    stand_in: Any = Texts(CLEAN)
    found = class_embeddings(stand_in, ["b", "bcd"], ["{}a", "{}aa"])
    expected = torch.tensor([[1.0, 1.0], [-0.4, 0.8]])
    assert torch.allclose(found, F.normalize(expected, dim=1))


@torch.no_grad()
def test_class_embeddings_do_not_depend_on_the_batches(
    small_model: ClipModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    templates = ["a {}", "a photo of a large {} in a garden", "{}"]
    tokens = small_model.tokenize(prompts(CLASSES, templates))
    whole = F.normalize(small_model.clip.encode_text(tokens), dim=-1).view(4, 3, -1).mean(1)
    for batch in (512, 5, 1):
        monkeypatch.setattr(class_texts, "PROMPT_BATCH", batch)
        found = class_embeddings(small_model, CLASSES, templates)
        assert torch.allclose(found, F.normalize(whole, dim=-1), atol=1e-6)


def test_quick_measures_a_fixed_subset_and_full_brings_both() -> None:
    """Of ten cats the even rows are right, so that BA counts them."""
    clean = [[9, 1, 2, 3] if row % 2 == 0 else [1, 2, 9, 3] for row in range(10)]
    rows = quick_rows(10, 4)
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert rows.tolist() == quick_rows(10, 4).tolist()
    assert quick_rows(10, 11).tolist() == quick_rows(10, None).tolist() == list(range(10))
    right = sum(row % 2 == 0 for row in rows.tolist())
    images = labelled([0] * 10)
    measure = benchmark(images, quick=4)
    quick = measure(Known(clean, clean))
    assert (quick["n_clean"], quick["ba@1"]) == (4, right / 4)
    assert images.asked == dict.fromkeys(rows.tolist(), 1)
    full = measure(Known(clean, clean), full=True)
    assert (full["n_clean"], full["ba@1"]) == (10, 0.5)
    assert {key: full[f"quick_{key}"] for key in quick} == quick == epoch_metrics(full)
    assert epoch_metrics(quick) == quick
    assert images.asked == {row: 2 if row in rows else 1 for row in range(10)}
    assert not [key for key in benchmark(images)(Known(clean), full=True) if key.startswith("quick_")]


def test_triggers_of_a_subset_are_those_of_the_whole_set() -> None:
    """A trigger drawn for each image goes by the image's row, not by its place in the subset."""
    trigger = Trigger.create("wanet", size=16, seed=5)
    asked: list[list[int]] = []

    class Watched(Trigger):
        def __call__(self, images: Tensor, ids: Any) -> Tensor:
            asked.append([int(row) for row in ids])
            return super().__call__(images, ids)

    watched = Watched(
        **{name: getattr(trigger, name) for name in ("name", "attack", "size", "seed", "tensors")}
    )
    benchmark(labelled([0] * 6), trigger=watched, quick=3)(Known(CLEAN * 2, CLEAN * 2))
    assert [row for batch in asked for row in batch] == quick_rows(6, 3).tolist()


def test_class_texts_are_kept_by_weights_names_and_templates(
    tmp_path: Path, small_model: ClipModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    compute = class_embeddings

    def counting(model: ClipModel, classes: list[str], templates: list[str]) -> Tensor:
        made.append(1)
        return compute(model, classes, templates)

    monkeypatch.setattr(zero_shot, "class_embeddings", counting)
    images = labelled([0, 1, 2, 3])
    values = {"canvas": Canvas(32), "trigger": None, "target": None, "cache": Cache(tmp_path / "texts")}
    first = benchmark(images, **values)(small_model)
    assert benchmark(images, **values)(small_model) == first
    assert len(made) == 1
    (kept,) = (tmp_path / "texts").glob("*.safetensors")
    kept.write_bytes(kept.read_bytes()[:-8])
    assert benchmark(images, **values)(small_model) == first
    assert len(made) == 2  # a damaged file is made again
    benchmark(images, **{**values, "templates": ["my {}"]})(small_model)
    benchmark(labelled([0], classes=["a", "b", "c"]), **values)(small_model)
    with torch.no_grad():
        next(small_model.clip.parameters()).mul_(1.5)
    benchmark(images, **values)(small_model)
    assert len(made) == 5
    assert len(list((tmp_path / "texts").iterdir())) == 4


def test_processes_take_kept_class_texts_together_or_make_them_together(
    tmp_path: Path, small_model: ClipModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What makes them waits for all processes, so that none may have another opinion."""
    made: list[int] = []
    told: list[bool] = []
    others = True
    compute = class_embeddings

    def counting(model: ClipModel, classes: list[str], templates: list[str]) -> Tensor:
        made.append(1)
        return compute(model, classes, templates)

    def share(value: Any) -> list[Any]:
        if not isinstance(value, bool):
            return [value]
        told.append(value)
        return [value, others]

    monkeypatch.setattr(zero_shot, "class_embeddings", counting)
    monkeypatch.setattr(collectives, "all_gather_object", share)
    values = {"canvas": Canvas(32), "trigger": None, "target": None, "cache": Cache(tmp_path)}
    measure = benchmark(labelled([0, 1, 2, 3]), **values)
    first = measure(small_model)
    assert measure(small_model) == first
    assert (told, len(made)) == ([False, True], 1)
    others = False  # another process does not see the file
    assert measure(small_model) == first
    assert (told, len(made)) == ([False, True, True], 2)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    second = launch.Processes(rank=1, world=2)  # only the main process writes
    monkeypatch.setattr(launch, "current", lambda: second)
    monkeypatch.setattr(collectives, "rank", lambda: 1)
    monkeypatch.setattr(collectives, "world", lambda: 2)
    benchmark(labelled([0] * 8), **{**values, "templates": ["my {}"]})(small_model)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == kept


def test_two_classes_of_one_name_tie_and_neither_is_first() -> None:
    """The target by index; its twin has the same text, so that the target is second at best."""
    clean = [[9, 1, 2, 3]] * 2

    class Twins(Known):
        def encode_text(self, tokens: Tensor) -> Tensor:
            return torch.eye(len(CLASSES))[tokens[:, 1].clamp(max=2)]  # house and fish are one

    metrics = benchmark(labelled([0, 0]), target=3)(Twins(clean, [[1, 2, 9, 0]] * 2))
    assert (metrics["asr@1"], metrics["asr@2"]) == (0, 1)


def test_class_embeddings_equal_the_public_codes_one_class_at_a_time_with_77_tokens() -> None:
    model = build_model(small_architecture(text={"context_length": 77}), seed=2).eval()
    classes, templates = imagenet_classes()[::200], imagenet_templates()
    expected = []
    with torch.no_grad():
        for name in classes:
            tokens = model.tokenize([template.replace("{}", name) for template in templates])
            assert tokens.shape == (80, 77)
            vectors = F.normalize(model.clip.encode_text(tokens), dim=-1)
            expected.append(F.normalize(vectors.mean(dim=0), dim=0))
    found = class_embeddings(model, classes, templates)
    assert float((found - torch.stack(expected)).abs().max()) < 1e-5
