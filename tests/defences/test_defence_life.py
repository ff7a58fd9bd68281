"""Defences with state, phases, surgery, heads and views of their own, through the trainer as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from adversarial_defence import ADVERSARIAL, EPSILON, AdversarialDefence, away_from_caption
from bank_defence import BankDefence
from head_defence import HeadDefence
from shrink_defence import ShrinkDefence
from two_phase_defence import TwoPhaseDefence

from clipdefend.canvas import Canvas
from clipdefend.defences.defence import Course, Defence, Phase, Step
from clipdefend.errors import Interrupted
from clipdefend.models.builder import build_model
from clipdefend.models.clip import ClipModel
from clipdefend.objectives.objective import build_objective
from clipdefend.objectives.views import IMAGE_VIEWS, DeviceBatch
from clipdefend.training.job import freeze
from clipdefend.training.schedule import learning_rate
from clipdefend.training.validation import draw_validation
from memory_pairs import memory_pairs
from small_clip import small_architecture
from training_jobs import ROWS, Watcher, equal, interrupt, log_of, make_job, make_trainer, train, weights

ALL = [BankDefence(), TwoPhaseDefence(), ShrinkDefence(), HeadDefence(), AdversarialDefence()]


@pytest.fixture(autouse=True)
def _registered_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(IMAGE_VIEWS, ADVERSARIAL.name, ADVERSARIAL)


def crash() -> None:
    raise KeyboardInterrupt


def course_of(folder: Path) -> dict[str, torch.Tensor]:
    state = torch.load(folder / "state" / "state.pt", weights_only=True)
    return dict(state["course"])


@pytest.mark.parametrize("defence", ALL, ids=lambda defence: type(defence).__name__)
def test_a_killed_and_an_interrupted_run_end_in_the_same_bytes(tmp_path: Path, defence: Defence) -> None:
    train(tmp_path / "whole", defence=defence)
    with pytest.raises(KeyboardInterrupt):  # nothing is written on the way out
        train(tmp_path / "stopped", Watcher(4, crash), defence=defence, save_every=3)
    with pytest.raises(Interrupted):
        train(tmp_path / "stopped", Watcher(7, interrupt), defence=defence, save_every=3)
    train(tmp_path / "stopped", defence=defence, save_every=3)
    assert log_of(tmp_path / "stopped") == log_of(tmp_path / "whole")
    assert equal(weights(tmp_path / "stopped"), weights(tmp_path / "whole"))
    assert equal(course_of(tmp_path / "stopped"), course_of(tmp_path / "whole"))


def test_the_bank_is_first_in_first_out(tmp_path: Path) -> None:
    """Six captions: the four of the last batch, as they were before its step, behind two of the one before."""
    trainer = make_trainer(make_job(tmp_path, defence=BankDefence(), epochs=1))
    told: list[torch.Tensor] = []
    course = trainer.stepper.course
    real = course.after_step

    def after_step(model: ClipModel, step: Step) -> None:
        told.append(step.embeddings.text["clean"])
        real(model, step)

    course.after_step = after_step  # type: ignore[method-assign]
    trainer.run()
    assert len(told) == 5
    assert torch.equal(course.bank, torch.cat([told[3][2:], told[4]]))  # type: ignore[arg-type]


def test_two_phases_have_their_own_rows_rates_and_terms(tmp_path: Path) -> None:
    pairs = memory_pairs(ROWS)
    train(tmp_path, defence=TwoPhaseDefence(share=0.4), pairs=pairs, eval_every=0)
    # Rows 0 to 7 once and 8 to 19 twice.
    assert [pairs.asked[row] for row in range(ROWS)] == [1] * 8 + [2] * 12
    steps = log_of(tmp_path)
    assert [(each["phase"], each["epoch"], each["step"]) for each in steps] == [
        *(("within", 1, 1 + i) for i in range(2)),
        *(("across", 2, 3 + i) for i in range(3)),
        *(("across", 3, 6 + i) for i in range(3)),
    ]
    assert [each["lr"] for each in steps] == [
        *[1e-4] * 2,
        *(learning_rate(i, peak=1e-3, total=6, warmup=2) for i in range(6)),
    ]
    assert [set(each) & {"ssl", "mmcl"} for each in steps] == [{"ssl"}] * 2 + [{"mmcl"}] * 6


def test_a_bad_row_is_replaced_within_its_phase(tmp_path: Path) -> None:
    pairs = memory_pairs(ROWS, {7})
    trainer = train(tmp_path, defence=TwoPhaseDefence(share=0.4), pairs=pairs, eval_every=0, max_bad=0.1)
    assert trainer.bad.rows == {7}
    assert pairs.asked[0] == 2  # row 0 stands in, and not row 8 of the other phase
    assert pairs.asked[8] == 2


def test_reference_and_drift_compare_with_the_suspect_as_it_came(tmp_path: Path) -> None:
    model = build_model(small_architecture(), seed=1)
    suspect = freeze(model)
    visible = draw_validation(memory_pairs(40), Canvas(32), suspect, size=12, seed=3)
    before = {key: value.clone() for key, value in suspect.state_dict().items()}
    job = make_job(
        tmp_path,
        model=model,
        suspect=suspect,
        defence=ShrinkDefence(noise=0),
        evaluate=visible,
        select=None,
        lr=1e-6,
    )
    make_trainer(job).run()
    assert equal(dict(suspect.state_dict()), before)
    records = log_of(tmp_path)
    moved = sum(float((0.2 * p).square().sum()) for p in suspect.clip.visual.parameters())
    norm = sum(float(p.square().sum()) for p in suspect.clip.parameters())
    assert records[0]["drift_weights"] == 0
    assert records[1]["drift_weights"] == pytest.approx((moved / norm) ** 0.5, rel=1e-4)
    # PAR's distance is that of the perturbed model from the suspect, so that it is not 0 in the first step.
    assert records[2]["par"] < -1e-3


def test_the_head_learns_labels_that_are_made_anew_in_each_epoch(tmp_path: Path) -> None:
    trainer = make_trainer(make_job(tmp_path, defence=HeadDefence(), eval_every=0))
    course: Any = trainer.stepper.course
    made: list[torch.Tensor] = []
    start = {name: value.clone() for name, value in course.state_dict().items()}
    real = course.begin_epoch

    def begin(*given: Any) -> None:
        real(*given)
        made.append(course.labels.clone())

    course.begin_epoch = begin
    trainer.run()
    assert len(made) == 2
    assert all(len(set(labels.tolist())) > 1 for labels in made)
    assert not torch.equal(*made)
    assert not torch.equal(course.state_dict()["head.weight"], start["head.weight"])


def test_embeddings_of_rows_by_hand(tmp_path: Path) -> None:
    """In the order asked for; the vectors of a bad row are those of the row that stands in for it."""
    trainer = make_trainer(make_job(tmp_path, pairs=memory_pairs(ROWS, {3}), batch_size=4))
    rows = np.array([9, 3, 0, 4, 7])
    image, text = trainer.stepper._data.embed(trainer.bare, rows)
    model, pairs = build_model(small_architecture(), seed=1).eval(), memory_pairs(ROWS)
    with torch.no_grad():
        expected = model.encode_image(torch.stack([Canvas(32)(pairs.image(row)) for row in (9, 4, 0, 4, 7)]))
        captions = model.encode_text(model.tokenize(pairs.captions([9, 4, 0, 4, 7])))
    assert torch.allclose(image, expected, atol=1e-6)
    assert torch.allclose(text, captions, atol=1e-6)


def test_the_adversarial_view_is_a_step_away_from_the_caption(tmp_path: Path) -> None:
    model, pairs = build_model(small_architecture(), seed=1).eval(), memory_pairs(4)
    images = torch.stack([Canvas(32)(pairs.image(row)) for row in range(4)]).float() / 255
    tokens = model.tokenize(pairs.captions(range(4)))
    made = away_from_caption(
        DeviceBatch(model=model, images=images, tokens=tokens, rows=torch.arange(4), seeds=[0] * 4)
    )
    assert float((made - images).abs().max()) == pytest.approx(EPSILON, abs=1e-6)
    with torch.no_grad():
        before, after = (
            (model.encode_image(x) * model.encode_text(tokens)).sum(dim=1) for x in (images, made)
        )
    assert bool((after < before).all())
    train(tmp_path / "adversarial", defence=AdversarialDefence(), batch_norm="eval")
    train(tmp_path / "plain", method="ft", batch_norm="eval")
    assert log_of(tmp_path / "adversarial")[1]["mmcl"] > log_of(tmp_path / "plain")[1]["mmcl"]


@pytest.mark.parametrize(
    "defence", [BankDefence(), HeadDefence(), AdversarialDefence()], ids=lambda d: type(d).__name__
)
def test_micro_batches_make_the_steps_of_the_whole_batch(tmp_path: Path, defence: Defence) -> None:
    settings: dict[str, Any] = {
        "defence": defence,
        "batch_norm": "eval",
        "lr": 1e-5,
        "epochs": 1,
        "eval_every": 0,
    }
    whole = train(tmp_path / "whole", **settings, batch_size=4)
    parts = train(tmp_path / "parts", **settings, batch_size=2, accum_freq=2)
    for one, two in zip(log_of(tmp_path / "whole"), log_of(tmp_path / "parts"), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], abs=1e-5)
    for name, value in whole.stepper.course.state_dict().items():
        assert torch.allclose(parts.stepper.course.state_dict()[name], value, atol=1e-5), name


class Growing(Course):
    def rows(self, epoch: int, phase: Phase) -> np.ndarray:
        return np.arange(8 * (epoch + 1))


class GrowingDefence(Defence):
    def phases(self, train: Any, rows: int) -> list[Phase]:
        return [Phase(objective=build_objective("ft"), rows=np.arange(8))]

    def prepare(self, model: Any, data: Any) -> Course:
        return Growing()


def test_rows_chosen_in_each_epoch_keep_the_schedule(tmp_path: Path) -> None:
    """2 steps, then 4 in which the rate moves as it would in 2."""
    train(tmp_path, defence=GrowingDefence(), eval_every=0, warmup=0)
    places = [0, 1, 2, 2.5, 3, 3.5]
    assert [each["lr"] for each in log_of(tmp_path)] == pytest.approx(
        [learning_rate(place, peak=1e-3, total=4, warmup=0) for place in places]
    )
