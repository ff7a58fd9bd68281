"""The loop: what it logs and saves; it stops when the loss is not finite or data is bad."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from clipdefend.errors import ClipDefendError, ConfigError, DataError
from clipdefend.models.builder import build_model
from clipdefend.models.clip import ClipModel
from clipdefend.objectives.objective import build_objective
from clipdefend.training.devices import make_accelerator
from clipdefend.training.schedule import learning_rate
from memory_pairs import memory_pairs
from small_clip import small_architecture
from training_jobs import (
    BATCH,
    ROWS,
    STEPS,
    Source,
    equal,
    log_of,
    make_job,
    make_trainer,
    scale_of,
    train,
    weights,
)


def initial() -> dict[str, torch.Tensor]:
    return dict(build_model(small_architecture(), seed=1).clip.state_dict())


def test_the_log_has_every_step_and_every_epoch(tmp_path: Path) -> None:
    trainer = train(tmp_path)
    records = log_of(tmp_path)
    assert [record["event"] for record in records] == [
        "epoch",
        *["step"] * 5,
        "epoch",
        *["step"] * 5,
        "epoch",
    ]
    steps = [record for record in records if record["event"] == "step"]
    assert [(record["epoch"], record["step"]) for record in steps] == [(1 + i // 5, 1 + i) for i in range(10)]
    for i, record in enumerate(steps):
        assert record["lr"] == learning_rate(i, peak=1e-3, total=10, warmup=2)
        assert record["loss"] == pytest.approx(record["mmcl"] + record["ssl"], rel=1e-5)
    assert [record["epoch"] for record in records if record["event"] == "epoch"] == [0, 1, 2]
    progress = trainer.progress
    assert (progress.epoch, progress.step, progress.global_step, progress.extra_steps) == (2, 0, 10, 0)
    assert progress.start == scale_of(build_model(small_architecture(), seed=1))
    assert progress.evaluated == {"ba@1": records[-1]["ba@1"]}


def test_the_loss_falls(tmp_path: Path) -> None:
    train(tmp_path, method="ft", epochs=8)
    losses = [record["loss"] for record in log_of(tmp_path) if record["event"] == "step"]
    assert sum(losses[-STEPS:]) < 0.8 * sum(losses[:STEPS])


def test_the_first_loss_by_hand(tmp_path: Path) -> None:
    """Of the batch that the plan says, in training mode, before any step."""
    job = make_job(tmp_path, method="ft", epochs=1)
    trainer = make_trainer(job)
    rows = [item.row for item in next(trainer.timetable.stages[0].plan.epoch(0, torch.empty(0).numpy()))]
    model = build_model(small_architecture(), seed=1).train()
    images = torch.stack([job.canvas(job.pairs.image(row)) for row in rows])
    image, text, scale = model(images, model.tokenize(job.pairs.captions(rows)))
    logits = scale * image @ text.T
    target = torch.arange(len(rows))
    by_hand = (
        torch.nn.functional.cross_entropy(logits, target)
        + torch.nn.functional.cross_entropy(logits.T, target)
    ) / 2
    trainer.run()
    assert log_of(tmp_path)[1]["loss"] == pytest.approx(by_hand.item(), rel=1e-5)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 9), ("b", 9), ("c", 10)):
        train(tmp_path / name, method="cleanerclip", seed=seed)
    assert equal(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert log_of(tmp_path / "a") == log_of(tmp_path / "b")
    assert not equal(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_without_its_own_term_cleanerclip_trains_cleanclips_weights_bit_for_bit(tmp_path: Path) -> None:
    alone = build_objective("cleanerclip", {"fc": {"weight": 0}})
    train(tmp_path / "cleanclip", method="cleanclip")
    train(tmp_path / "cleanerclip", method="cleanerclip", objective=alone, subcaptions=None)
    train(tmp_path / "whole", method="cleanerclip")
    assert equal(weights(tmp_path / "cleanclip"), weights(tmp_path / "cleanerclip"))
    assert log_of(tmp_path / "cleanclip") == log_of(tmp_path / "cleanerclip")
    assert not equal(weights(tmp_path / "cleanclip"), weights(tmp_path / "whole"))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_the_result(tmp_path: Path, workers: int) -> None:
    train(tmp_path / "a", method="cleanerclip", epochs=1)
    train(tmp_path / "b", method="cleanerclip", epochs=1, workers=workers)
    assert log_of(tmp_path / "a") == log_of(tmp_path / "b")
    assert equal(weights(tmp_path / "a"), weights(tmp_path / "b"))


@pytest.mark.parametrize("schedule", ["interleave", "epoch-end", "in-batch"])
def test_sub_captions_take_part_in_their_steps(tmp_path: Path, schedule: str) -> None:
    trainer = train(tmp_path, method="cleanerclip", schedule=schedule)
    steps = [record for record in log_of(tmp_path) if record["event"] == "step"]
    with_fc = [record for record in steps if "fc" in record]
    assert trainer.progress.extra_steps == len(with_fc) > 0
    if schedule == "interleave":
        assert len(with_fc) == 4  # six rows in batches of four, in each of two epochs
    if schedule == "epoch-end":
        assert len(steps) == 14
        assert all("mmcl" not in record for record in with_fc)
    for record in with_fc:
        assert record["loss"] == pytest.approx(
            sum(record.get(term, 0) for term in ("mmcl", "ssl", "fc")), rel=1e-5
        )


def test_best_is_the_epoch_with_the_largest_value_and_model_the_last(tmp_path: Path) -> None:
    values = iter([9.0, 0.3, 0.8, 0.5])  # of the start, which is never the best, and of three epochs
    kept: list[dict[str, torch.Tensor]] = []

    def evaluate(model: Any, *, full: bool = False) -> dict[str, float]:
        kept.append({key: value.clone() for key, value in model.clip.state_dict().items()})
        return {"ba@1": next(values)}

    trainer = train(tmp_path, method="ft", epochs=3, evaluate=evaluate, note="BACKDOORED")
    assert (trainer.progress.best, trainer.progress.best_epoch) == (0.8, 2)
    assert equal(weights(tmp_path, "best"), kept[2])
    assert equal(weights(tmp_path, "model"), kept[3])
    for name in ("best", "model"):
        assert (tmp_path / name / "WARNING.txt").read_text() == "BACKDOORED\n"


@pytest.mark.parametrize(("every", "epochs"), [(1, [0, 1, 2, 3]), (2, [0, 2, 3]), (0, [])])
def test_evaluations_come_every_few_epochs_and_at_the_end(
    tmp_path: Path, every: int, epochs: list[int]
) -> None:
    progress = train(tmp_path, method="ft", epochs=3, eval_every=every).progress
    assert [record["epoch"] for record in log_of(tmp_path) if record["event"] == "epoch"] == epochs
    assert bool(progress.start) == bool(progress.evaluated) == bool(epochs)


def test_without_labelled_images_nothing_is_evaluated(tmp_path: Path) -> None:
    trainer = train(tmp_path, method="ft", epochs=1, evaluate=None, select=None)
    assert {record["event"] for record in log_of(tmp_path)} == {"step"}
    assert trainer.progress.best is None
    assert sorted(os.listdir(tmp_path)) == ["metrics.jsonl", "model", "state"]


def test_log_every_thins_the_log_and_keeps_the_last_step_of_an_epoch(tmp_path: Path) -> None:
    train(tmp_path, method="ft", log_every=3)
    assert [r["step"] for r in log_of(tmp_path) if r["event"] == "step"] == [3, 5, 6, 9, 10]


@pytest.mark.parametrize("tower", ["image", "text"])
def test_a_locked_tower_stays_as_it_is(tmp_path: Path, tower: str) -> None:
    lock: dict[str, Any] = {f"lock_{tower}": True}
    train(tmp_path, method="ft", epochs=1, **lock)
    before, after = initial(), weights(tmp_path)
    same = {key for key in before if torch.equal(before[key], after[key]) and before[key].is_floating_point()}
    moved = {key for key in before if before[key].is_floating_point()} - same
    image = {key for key in before if key.startswith("visual.")}
    assert moved
    # Batch-norm statistics of the image tower are among its own.
    assert not moved & (image if tower == "image" else {"token_embedding.weight", "ln_final.weight"})


@pytest.mark.parametrize(("mode", "moves"), [("train", True), ("eval", False)])
def test_batch_norm_statistics_move_or_stay(tmp_path: Path, mode: str, moves: bool) -> None:
    train(tmp_path, method="ft", batch_norm=mode)
    before, after = initial(), weights(tmp_path)
    statistics = [key for key in before if "running_mean" in key]
    assert statistics
    assert all(torch.equal(before[key], after[key]) is not moves for key in statistics)
    assert not torch.equal(before["visual.bn1.weight"], after["visual.bn1.weight"])


def test_the_gradient_is_clipped(tmp_path: Path) -> None:
    train(tmp_path, method="ft", grad_clip=1e-20, wd=0.0)
    before, after = initial(), weights(tmp_path)
    for key in ("visual.conv1.weight", "text_projection", "logit_scale"):
        assert torch.allclose(before[key], after[key], atol=1e-7), key


def test_the_scale_stays_at_most_100(tmp_path: Path) -> None:
    job = make_job(tmp_path, method="ft", lr=0.5, epochs=3)
    with torch.no_grad():
        job.model.clip.logit_scale.fill_(4.6)
    make_trainer(job).run()
    assert 0 <= weights(tmp_path)["logit_scale"].item() <= math.log(100) + 1e-6


def test_par_pushes_away_from_a_frozen_reference(tmp_path: Path) -> None:
    job = make_job(tmp_path, method="par")
    assert job.suspect is not None
    before = {key: value.clone() for key, value in job.suspect.state_dict().items()}
    make_trainer(job).run()
    assert equal(before, job.suspect.state_dict())
    steps = [record for record in log_of(tmp_path) if record["event"] == "step"]
    assert steps[0]["par"] != steps[-1]["par"]


def test_brain_floats_train_and_the_weights_stay_full(tmp_path: Path) -> None:
    train(tmp_path / "half", method="ft", epochs=1, precision="bf16")
    train(tmp_path / "full", method="ft", epochs=1)
    half, full = log_of(tmp_path / "half"), log_of(tmp_path / "full")
    assert half[1]["loss"] == pytest.approx(full[1]["loss"], rel=0.05)
    assert half[1]["loss"] != full[1]["loss"]
    assert all(v.dtype == torch.float32 for v in weights(tmp_path / "half").values() if v.is_floating_point())


def test_an_epoch_is_measured_in_full_precision_whatever_the_training_has(tmp_path: Path) -> None:
    seen = []

    def measure(model: ClipModel, *, full: bool = False) -> dict[str, float]:
        own = model.clip.encode_image(torch.rand(2, 3, 32, 32))
        seen.append((torch.is_autocast_enabled("cpu"), own.dtype))
        return {"ba@1": 0.5, "ba@1_low": 0.4, "ba@1_high": 0.6, "n_clean": 1}

    train(tmp_path, method="ft", epochs=1, precision="bf16", evaluate=measure)
    assert set(seen) == {(False, torch.float32)}


def test_a_loss_that_is_not_finite_stops_the_training_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ClipDefendError, match=r"The loss is (nan|inf) at step \d+\. .*lower --lr") as error:
        train(tmp_path, method="ft", lr=1e30, warmup=0, log_every=100)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "model").exists()
    assert not (tmp_path / "state").exists()


def test_a_spoilt_state_is_never_saved(tmp_path: Path) -> None:
    job = make_job(tmp_path, method="ft", save_every=1, log_every=100)
    trainer = make_trainer(job)
    real = trainer.stepper.step
    spoilt = iter([False, False, True])

    def step(*args: Any, **changes: Any) -> Any:
        result = real(*args, **changes)
        return dataclasses.replace(result, total=result.total * math.nan) if next(spoilt) else result

    trainer.stepper.step = step  # type: ignore[method-assign]
    with pytest.raises(ClipDefendError, match="The loss is nan at step 3"):
        trainer.run()
    again = make_trainer(make_job(tmp_path, method="ft", save_every=1, log_every=100))
    again.run()
    assert all(torch.isfinite(value).all() for value in weights(tmp_path).values())
    assert again.progress.global_step == 10


def test_bad_rows_are_counted_once_over_all_epochs(tmp_path: Path) -> None:
    trainer = train(tmp_path, method="ft", pairs=memory_pairs(ROWS, {3, 8}), max_bad=0.1, epochs=3)
    assert trainer.bad.rows == {3, 8} == set(trainer.progress.bad)
    assert trainer.bad.summary()["count"] == 2
    with pytest.raises(DataError, match=r"3 of 20 rows cannot be used, more than --max-bad 0\.1"):
        train(tmp_path / "more", method="ft", pairs=memory_pairs(ROWS, {3, 8, 9}), max_bad=0.1)


def test_too_few_pairs_are_an_error_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 pairs are too few for a step of 4: at least 2 are needed"):
        train(tmp_path, method="ft", pairs=memory_pairs(1))
    assert os.listdir(tmp_path) == []


def test_every_row_is_seen_once_an_epoch(tmp_path: Path) -> None:
    pairs = memory_pairs(ROWS + 2)
    train(tmp_path, method="cleanclip", epochs=3, pairs=pairs)
    assert pairs.asked == dict.fromkeys(range(ROWS + 2), 3)
    assert ROWS % BATCH == 0
    assert Source().per_epoch < ROWS


@pytest.mark.parametrize("device", ["cuda:99", "nowhere", "cuda"])
def test_devices_that_are_not_there(device: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("a machine with a GPU")
    with pytest.raises(ConfigError, match=f"Device '{device}'"):
        make_accelerator(device)


@pytest.mark.parametrize("plugin", ["FSDP", "DEEPSPEED"])
def test_a_launcher_that_would_split_the_weights(plugin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{plugin}", "true")
    with pytest.raises(
        ConfigError, match=r"(?i)requests " + plugin + r", .* set its distributed_type to MULTI_GPU"
    ):
        make_accelerator("cpu")


def test_half_precision_needs_a_gpu_and_precisions_can_follow_each_other() -> None:
    with pytest.raises(ConfigError, match="fp16 needs a GPU"):
        make_accelerator("cpu", "fp16")
    assert [str(make_accelerator("cpu", name).mixed_precision) for name in ("fp32", "bf16", "fp32")] == [
        "no",
        "bf16",
        "no",
    ]
