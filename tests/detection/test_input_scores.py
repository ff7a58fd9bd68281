"""Scores of inputs: numbers worked by hand, plain loops, and batches that change nothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clipdefend.attacks.trigger import Trigger
from clipdefend.detection import INPUT_SCORES
from clipdefend.detection.blending import entropies
from clipdefend.detection.input_score import Known
from clipdefend.errors import ConfigError, DataError
from clipdefend.evaluation.input_detection import make_detector
from clipdefend.models.clip import ClipModel

CLASSES = ("cat", "dog", "house", "banana")
TEMPLATES = ("a photo of a {}.", "a {}")


def encode_text(texts: list[str]) -> Tensor:
    """Three counted properties of a text as a unit vector."""
    counts = [[1.0 + text.count("a"), len(text) / 10, 1.0 + text.count(" ")] for text in texts]
    return F.normalize(torch.tensor(counts, dtype=torch.float64), dim=1)


def encode_image(pixels: Tensor) -> Tensor:
    """The mean of each colour."""
    return pixels.double().mean(dim=(2, 3))


def pictures(count: int, seed: int) -> Tensor:
    return torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def known(**changes: object) -> Known:
    given = {
        "encode_image": encode_image,
        "encode_text": encode_text,
        "classes": CLASSES,
        "templates": TEMPLATES,
        "clean": pictures(20, 1),
        "traffic": encode_image(pictures(30, 2)),
        "scale": 5.0,
    }
    return Known(**{**given, **changes})  # type: ignore[arg-type]


def judge(name: str, pixels: Tensor, given: Known, **parameters: object) -> list[float]:
    return INPUT_SCORES.build(name, parameters).prepare(given)(pixels, encode_image(pixels)).tolist()


def test_entropies_by_hand() -> None:
    """Equal cosines: ln 4. With scale ln 3 and cosines 1, 0 the shares are 3/4 and 1/4: 0.5623 nats."""
    assert entropies(torch.zeros(1, 4), 9.0).tolist() == pytest.approx([math.log(4)])
    found = entropies(torch.tensor([[1.0, 0.0]], dtype=torch.float64), math.log(3)).tolist()
    assert found == pytest.approx([0.75 * math.log(4 / 3) + 0.25 * math.log(4)])
    assert found == pytest.approx([0.56234], abs=1e-5)


def test_strip_equals_a_plain_loop() -> None:
    given, pixels = known(clean=pictures(3, 1)), pictures(5, 3)
    found = judge("strip", pixels, given, overlays=3, alpha=0.25)
    texts = [
        F.normalize(encode_text([t.replace("{}", c) for t in TEMPLATES]).mean(dim=0), dim=0) for c in CLASSES
    ]
    for picture, score in zip(pixels, found, strict=True):
        total = 0.0
        for overlay in given.clean:
            image = F.normalize(encode_image((0.75 * picture + 0.25 * overlay)[None])[0], dim=0)
            weights = [math.exp(5 * float(image @ text)) for text in texts]
            total += sum(-w / sum(weights) * math.log(w / sum(weights)) for w in weights)
        assert score == pytest.approx(-total / 3)


def test_contrastive_prompts_equal_a_plain_loop() -> None:
    """Every other class stands behind each prompt here, so that no draw decides which."""
    pixels = pictures(4, 3)
    found = judge("bdetclip", pixels, known(encode_text=unordered), words=3)
    for picture, score in zip(pixels, found, strict=True):
        image = F.normalize(encode_image(picture[None])[0], dim=0)
        total = 0.0
        for name in CLASSES:
            others = " ".join(other for other in CLASSES if other != name)
            plain = [template.replace("{}", name) for template in TEMPLATES]
            for sign, texts in ((1, plain), (-1, [f"{text} {others}" for text in plain])):
                total += sign * float(image @ F.normalize(unordered(texts).mean(dim=0), dim=0))
        assert score == pytest.approx(-total / len(CLASSES))


def unordered(texts: list[str]) -> Tensor:
    return encode_text([" ".join(sorted(text.split())) for text in texts])


def test_the_draw_of_words_follows_the_seed() -> None:
    scores = [judge("bdetclip", pictures(2, 3), known(seed=seed), words=1) for seed in (0, 0, 1)]
    assert scores[0] == scores[1] != scores[2]


@pytest.mark.parametrize("name", INPUT_SCORES.names())
def test_every_image_is_judged_by_itself(name: str) -> None:
    pixels, given = pictures(7, 4), known()
    score = INPUT_SCORES.build(name).prepare(given)
    whole = score(pixels, encode_image(pixels)).tolist()
    alone = [float(score(each[None], encode_image(each[None]))) for each in pixels]
    assert alone == pytest.approx(whole, rel=1e-9)


def test_lorex_finds_what_is_odd_about_the_traffic() -> None:
    plain, odd = pictures(30, 2), pictures(10, 3)
    odd[:, 0] += 0.5
    given = known(traffic=encode_image(torch.cat([plain, odd])))
    assert min(judge("lorex", odd, given)) > max(judge("lorex", plain, given))


def test_what_is_missing_is_named() -> None:
    with pytest.raises(DataError, match="lorex needs embeddings of received images"):
        judge("lorex", pictures(1, 0), known(traffic=None))
    with pytest.raises(DataError, match="strip needs 8 clean images, but there are only 2"):
        judge("strip", pictures(1, 0), known(clean=pictures(2, 0)))
    with pytest.raises(DataError, match="no classes or no prompts"):
        judge("bdetclip", pictures(1, 0), known(classes=()))
    with pytest.raises(ConfigError, match=r"alpha 1; they must be at least 1, and between 0 and 1"):
        INPUT_SCORES.build("strip", {"alpha": 1})


@pytest.mark.parametrize("name", INPUT_SCORES.names())
def test_a_detector_of_a_model(name: str, small_model: ClipModel) -> None:
    """Batches hardly matter, the threshold lets the asked share of clean images through, and the model's mode stays."""
    small_model.train()
    clean, inputs = (
        torch.rand(24, 3, 32, 32, generator=torch.Generator().manual_seed(s)) * 0.2 for s in (5, 6)
    )
    triggered = Trigger.create("badnet", size=32, seed=0)(inputs, range(24))
    traffic = torch.cat([inputs, triggered])
    detector = make_detector(
        name, small_model, classes=CLASSES, templates=TEMPLATES, clean=clean, traffic=traffic
    )
    scores = detector(traffic)
    assert small_model.training
    assert scores.dtype == torch.float64
    parts = torch.cat([detector(part) for part in traffic.split(10)])
    assert parts.tolist() == pytest.approx(scores.tolist(), rel=0.05)  # rounding, of a random model
    assert float((detector.clean_scores > detector.threshold(0.25)).double().mean()) == pytest.approx(0.25)
