"""RoCLIP and SafeCLIP: the bank, the losses by a double loop, the switch, the split, and runs that are resumed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clipdefend.config import TrainConfig
from clipdefend.defences.build_defence import build_defence
from clipdefend.defences.defence import Defence
from clipdefend.defences.memory_bank import MemoryBank
from clipdefend.defences.roclip import PooledMmcl, RoClip
from clipdefend.defences.safeclip import AcrossOrWithin, SafeClip, split_by_similarity
from clipdefend.distributed import collectives
from clipdefend.errors import ConfigError, Interrupted
from clipdefend.objectives.term import Embeddings
from memory_pairs import memory_pairs
from training_jobs import ROWS, Watcher, equal, interrupt, log_of, make_job, make_trainer, train, weights

SCALE = 3.0
ROW_IDS = torch.tensor([4, 7, 9])
SAFE = SafeClip(in_modal_epochs=1, bank=6)


def draw(seed: int, n: int = 3) -> Tensor:
    values = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(values, dim=1)


def bank_of(vectors: Tensor, rows: list[int]) -> MemoryBank:
    bank = MemoryBank(len(vectors), vectors.shape[1]).double()
    bank.put(vectors, torch.tensor(rows))
    return bank


def info_nce_by_hand(query: Tensor, key: Tensor) -> float:
    total = 0.0
    for i in range(len(query)):
        logits = [SCALE * sum(float(a * b) for a, b in zip(query[i], other, strict=True)) for other in key]
        total += math.log(sum(math.exp(x) for x in logits)) - logits[i]
    return total / len(query)


def test_the_bank_keeps_the_last_and_no_row_finds_itself() -> None:
    bank = MemoryBank(3, 2)
    assert bank.is_empty
    bank.put(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1]))
    bank.put(torch.tensor([[0.6, 0.8], [-1.0, 0.0]]), torch.tensor([2, 3]))
    assert bank.rows.tolist() == [1, 2, 3]
    query = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    # The most similar to (0, 1) is row 1; row 1 itself has to take row 2.
    assert torch.equal(bank.nearest(query, torch.tensor([5, 1])), torch.tensor([[0.0, 1.0], [0.6, 0.8]]))


def test_an_empty_place_is_never_the_nearest() -> None:
    bank = MemoryBank(2, 2)
    bank.put(torch.tensor([[-1.0, 0.0]]), torch.tensor([3]))
    assert torch.equal(
        bank.nearest(torch.tensor([[1.0, 0.0]]), torch.tensor([0])), torch.tensor([[-1.0, 0.0]])
    )


def test_roclip_by_a_double_loop() -> None:
    image, text, pool = draw(1), draw(2), draw(3, 5)
    bank = bank_of(pool, [0, 4, 2, 9, 8])
    nearest = []
    for i, row in enumerate(ROW_IDS.tolist()):
        allowed = [k for k, own in enumerate([0, 4, 2, 9, 8]) if own != row]
        nearest.append(pool[max(allowed, key=lambda k: float(image[i] @ pool[k]))])
    found = torch.stack(nearest)

    def loss(bank: MemoryBank | None) -> float:
        embeddings = Embeddings(
            image={"strong": image},
            text={"eda": text},
            scale=torch.tensor(SCALE),
            rows={"main": ROW_IDS},
            extra={"bank": bank},
        )
        return float(PooledMmcl().loss(embeddings))

    pooled = (info_nce_by_hand(image, found) + info_nce_by_hand(found, image)) / 2
    assert loss(bank) == pytest.approx(pooled, abs=1e-12)
    plain = (info_nce_by_hand(image, text) + info_nce_by_hand(text, image)) / 2
    assert loss(None) == pytest.approx(plain, abs=1e-12)
    assert abs(pooled - plain) > 0.01


def test_safeclip_by_a_double_loop() -> None:
    views: Any = {"image": {"strong": draw(1), "strong2": draw(2)}, "text": {"eda": draw(3), "eda2": draw(4)}}
    images, texts = draw(5, 4), draw(6, 4)
    extra = {"images": bank_of(images, [0, 1, 2, 3]), "texts": bank_of(texts, [0, 1, 2, 3])}

    def loss(within: bool) -> float:
        embeddings = Embeddings(
            **views,
            scale=torch.tensor(SCALE),
            rows={"main": ROW_IDS},
            extra={**extra, "within": within},
        )
        return float(AcrossOrWithin().loss(embeddings))

    near_image = torch.stack([images[int((images @ x).argmax())] for x in views["image"]["strong"]])
    near_text = torch.stack([texts[int((texts @ x).argmax())] for x in views["text"]["eda"]])
    within = info_nce_by_hand(views["image"]["strong2"], near_image)
    within += info_nce_by_hand(views["text"]["eda2"], near_text)
    assert loss(True) == pytest.approx(within / 2, abs=1e-12)
    across = info_nce_by_hand(views["image"]["strong"], views["text"]["eda2"])
    across += info_nce_by_hand(views["text"]["eda"], views["image"]["strong2"])
    assert loss(False) == pytest.approx(across / 2, abs=1e-12)


def test_two_groups_of_pairs_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    similarity = np.concatenate([rng.normal(0.1, 0.03, 40), rng.normal(0.6, 0.03, 60)])
    assert split_by_similarity(similarity, 0.9).tolist() == [False] * 40 + [True] * 60


def test_roclip_looks_into_a_full_bank_in_every_second_epoch(tmp_path: Path) -> None:
    trainer = make_trainer(make_job(tmp_path, defence=RoClip(bank=6), epochs=3))
    course: Any = trainer.stepper.course
    seen: list[tuple[bool, bool]] = []
    real = course.extra

    def extra(rows: dict[str, Tensor]) -> object:
        handed = real(rows)
        seen.append((handed["bank"] is not None, bool((course.bank.rows < 0).any())))
        return handed

    course.extra = extra
    trainer.run()
    steps = ROWS // 4
    assert [pooled for pooled, _ in seen] == [False] * steps + [True] * steps + [False] * steps
    assert not any(empty for pooled, empty in seen if pooled)


def test_safeclip_trains_on_the_rest_and_then_on_the_safe_pairs(tmp_path: Path) -> None:
    pairs = memory_pairs(ROWS)
    trainer = train(tmp_path, defence=SAFE, pairs=pairs, epochs=4, eval_every=0)
    phases = [(each["phase"], each["epoch"]) for each in log_of(tmp_path)]
    assert [name for name, _ in phases[:10]] == ["in-modal"] * 5 + ["cross-modal"] * 5
    assert {name for name, _ in phases[10:]} == {"mixed"}
    assert max(epoch for _, epoch in phases) == 6  # two mixed epochs, which count as two each
    course: Any = trainer.stepper.course
    first, last = int(course.safe.sum()), round(float(course.share) * ROWS)
    assert 4 <= first == last <= ROWS - 4


@pytest.mark.parametrize("defence", [RoClip(bank=6), SAFE], ids=["roclip", "safeclip"])
def test_a_stopped_run_ends_in_the_same_bytes(tmp_path: Path, defence: Defence) -> None:
    train(tmp_path / "whole", defence=defence, epochs=3)
    for at in (4, 8, 13):
        with pytest.raises(Interrupted):
            train(tmp_path / "stopped", Watcher(at, interrupt), defence=defence, epochs=3, save_every=2)
    train(tmp_path / "stopped", defence=defence, epochs=3, save_every=2)
    assert log_of(tmp_path / "stopped") == log_of(tmp_path / "whole")
    assert equal(weights(tmp_path / "stopped"), weights(tmp_path / "whole"))


def test_too_few_epochs_or_pairs_are_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="at least 7 epochs"):
        make_trainer(make_job(tmp_path, defence=SafeClip(), epochs=6))
    with pytest.raises(ConfigError, match="fewer than two steps"):
        make_trainer(make_job(tmp_path, defence=SAFE, epochs=3, batch_size=11))
    with monkeypatch.context() as patch:
        patch.setattr(collectives, "world", lambda: 3)  # so that a step takes three times as many pairs
        with pytest.raises(ConfigError, match="fewer than two steps of 12"):
            SAFE.phases(TrainConfig(epochs=3, batch_size=4), 20)
    wrong: dict[str, dict[str, float]] = {
        "roclip": {"every": 0, "bank": 1},
        "safeclip": {
            "threshold": 1.5,
            "growth": -1,
            "largest": 0,
            "filter_lr": 0,
            "bank": 1,
            "in_modal_epochs": 0,
        },
    }
    for method, values in wrong.items():
        for name, value in values.items():
            with pytest.raises(ConfigError, match=name):
                build_defence(method, parameters={name: value})
