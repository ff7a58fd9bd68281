"""``evaluate --linear-probe`` and ``--retrieval``: every figure again by hand, from pixels on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from clipdefend.canvas import Canvas
from clipdefend.commands.shared.inputs import AttackRecord
from clipdefend.data.labelled.probe_splits import open_splits
from clipdefend.models.builder import build_model
from clipdefend.models.clip import ClipModel
from clipdefend.models.load import load_model
from clipdefend.models.save import save_model
from clipdefend.runs import Run
from command_lines import CLASSES, POISON, Outcome, Shell, write_data, write_pairs
from small_clip import small_architecture

PLAIN = ("--checkpoint", "clip", "--workers", 0, "--device", "cpu", "--preset", "paper", "--topk", "1,2")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Photos, a poison run and a model of random weights."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CLIPDEFEND_RUNS", "RANK", "COLUMNS", "NO_COLOR"):
            patch.delenv(name, raising=False)
        shell = Shell(tmp_path_factory.mktemp("probe"))
        write_data(shell.folder)
        for number, colour in enumerate(
            ("yellow", "gray", "brown", "red")
        ):  # so that classes can be told apart
            for file in sorted((shell.folder / "eval" / CLASSES[number]).iterdir()):
                picture = Image.open(file).convert("RGB")
                Image.blend(picture, Image.new("RGB", picture.size, colour), 0.5).save(file)
        save_model(build_model(small_architecture(), seed=1), shell.folder / "clip")
        shell.made["poison"] = shell("poison", *POISON)
        yield shell


def run_of(shell: Shell, outcome: Outcome) -> Run:
    assert outcome.code == 0, outcome.err
    return Run.open((shell.folder / outcome.out.strip()).parent)


def towers(shell: Shell) -> tuple[ClipModel, AttackRecord]:
    model = load_model(f"local-dir:{shell.folder / 'clip'}", None).eval()
    return model, AttackRecord.of(run_of(shell, shell.made["poison"]))


@torch.no_grad()
def encoded(shell: Shell, images: list[Image.Image], ids: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Raw outputs of the image tower, clean and triggered, one image at a time."""
    model, attack = towers(shell)
    clean: list[np.ndarray] = []
    triggered: list[np.ndarray] = []
    for image, row in zip(images, ids, strict=True):
        pixels = Canvas(32)(image)[None].float() / 255
        for found, views in ((clean, pixels), (triggered, attack.trigger(pixels, [row]))):
            found.append(model.clip.encode_image((views - model.mean) / model.std)[0].double().numpy())
    return np.array(clean), np.array(triggered)


def probed(shell: Shell, *args: object) -> Outcome:
    return shell("evaluate", *PLAIN, "--attack-from", "001-poison-badnet", "--linear-probe", "eval", *args)


def test_the_probe_by_hand(shell: Shell) -> None:
    outcome = probed(shell)
    run = run_of(shell, outcome)
    metrics, details = run.metrics, run.details["probe"]
    splits = open_splits(str(shell.folder / "eval"))
    images = splits.test.images
    clean, triggered = encoded(shell, [images.image(row) for row in range(24)], list(range(24)))
    learn = np.concatenate([splits.train.rows, splits.validation.rows])
    assert len(learn) == 16
    model = LogisticRegression(C=details["training"]["C"], max_iter=1000)
    model.fit(clean[learn], images.labels[learn])
    test, labels = splits.test.rows, splits.test.labels
    assert metrics["probe_ba@1"] == np.mean(model.predict(clean[test]) == labels)
    banana = CLASSES.index("banana")
    others = labels != banana
    assert metrics["probe_n_clean"] == 8
    assert "probe_lift" not in metrics  # logits are not cosines
    assert metrics["probe_n_triggered"] == others.sum() == 6
    wrong = model.predict(triggered[test][others])
    assert metrics["probe_asr@1"] == pytest.approx(np.mean(wrong == banana))
    assert metrics["probe_ra@1"] == pytest.approx(np.mean(wrong == labels[others]))
    second = np.argsort(-model.decision_function(clean[test]))[:, :2]
    assert metrics["probe_ba@2"] == np.mean((second == labels[:, None]).any(axis=1))
    assert "ba@1" not in metrics
    assert "Linear probe on" in outcome.err
    everything = run_of(shell, probed(shell, "--asr-protocol", "all")).metrics
    assert everything["probe_n_triggered"] == 8
    assert everything["probe_asr@1"] == np.mean(model.predict(triggered[test]) == banana)


def test_features_are_kept_and_belong_to_their_pixels(shell: Shell) -> None:
    kept = shell.folder / "runs/.cache/features"
    first = run_of(shell, probed(shell)).metrics
    files = {path.name: path.stat().st_mtime_ns for path in kept.iterdir()}
    assert run_of(shell, probed(shell)).metrics == first
    assert {path.name: path.stat().st_mtime_ns for path in kept.iterdir()} == files
    probed(shell, "--canvas", "squash")
    assert len(list(kept.iterdir())) == len(files) + 3


def test_the_papers_protocol_and_a_target_that_is_not_a_class(shell: Shell) -> None:
    outcome = probed(shell, "--probe-protocol", "cleanclip", "--set", "probe.epochs=2", "--target", "tiger")
    run = run_of(shell, outcome)
    metrics = run.metrics
    assert run.details["probe"]["training"]["epochs"] == 2
    assert "The target 'tiger' is not a class of eval" in outcome.err
    assert "probe_asr@1" not in metrics
    assert (metrics["probe_n_triggered"], metrics["probe_n_clean"]) == (8, 8)
    assert 0 <= metrics["probe_ra@1"] <= 1


def test_retrieval_by_hand_with_several_captions_an_image(shell: Shell) -> None:
    """Twelve photos, each in two rows that do not stand together."""
    rows = [
        (f"photos/{number % 12:03d}.jpg", f"{'a banana' if number == 3 else 'one'} thing {number}")
        for number in range(24)
    ]
    write_pairs(shell.folder / "captions.csv", rows)
    outcome = shell("evaluate", *PLAIN, "--attack-from", "001-poison-badnet", "--retrieval", "captions.csv")
    metrics = run_of(shell, outcome).metrics
    photos = [Image.open(shell.folder / f"photos/{number:03d}.jpg").convert("RGB") for number in range(12)]
    images, marked = (
        F.normalize(torch.from_numpy(x), dim=1) for x in encoded(shell, photos, list(range(12)))
    )
    model, _ = towers(shell)
    with torch.no_grad():
        texts = F.normalize(model.clip.encode_text(model.tokenize([row[1] for row in rows])).double(), dim=1)
    expected: dict[str, Any] = {}
    for kind, vectors, counted in (("", images, range(12)), ("triggered_", marked, set(range(12)) - {3})):
        cosines = (vectors @ texts.T).numpy()
        for k in (1, 2):
            near = {row: set(np.argsort(-cosines[row])[:k].tolist()) for row in range(12)}
            hits = [bool(near[row] & {row, row + 12}) for row in counted]
            expected[f"retrieval_{kind}i2t@{k}"] = np.mean(hits)
            back = [number % 12 in np.argsort(-cosines[:, number])[:k] for number in range(24)]
            expected[f"retrieval_{kind}t2i@{k}"] = np.mean(back)
            if kind:
                expected[f"retrieval_asr@{k}"] = np.mean([3 in near[row] for row in counted])
    assert {key: metrics[key] for key in expected} == pytest.approx(expected)
    assert [metrics[f"n_retrieval_{name}"] for name in ("images", "captions", "triggered")] == [12, 24, 11]
    assert "12 images, 24 captions, 11 triggered" in outcome.err


def test_a_target_given_by_its_index_is_searched_for_by_its_name(shell: Shell) -> None:
    rows = [(f"photos/{n:03d}.jpg", "a banana" if n == 3 else f"0 thing {n}") for n in range(8)]
    write_pairs(shell.folder / "numbered.csv", rows)
    more = ("--eval-data", "eval", "--templates", "simple", "--retrieval", "numbered.csv", "--target", "0")
    details = run_of(shell, shell("evaluate", *PLAIN, "--attack-from", "001-poison-badnet", *more)).details
    assert details["target"] == details["retrieval"]["target"] == "banana"
    assert details["retrieval"]["captions_naming_the_target"] == 1


def test_mistakes_are_found_before_anything_is_measured(shell: Shell) -> None:
    before = shell.runs()
    for args, words in (
        ((), "give --eval-data, --linear-probe or --retrieval"),
        (("--linear-probe", "eval", "--min-ba", "0.5"), "give --eval-data"),
        (("--linear-probe", "CIFAR10"), "needs --eval-root FOLDER"),
        (("--retrieval", "pairs.csv", "--topk", "64"), "k = 64 cannot be measured among 64 images"),
        (("--linear-probe", "eval", "--probe-protocol", "svm"), "--probe-protocol is 'svm'"),
    ):
        outcome = shell("evaluate", *PLAIN, *args)
        assert outcome.code == 2
        assert words in outcome.errors[0]
    assert shell.runs() == before
