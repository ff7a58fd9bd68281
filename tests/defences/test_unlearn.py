"""Unlearn: perturbations by hand and within their bounds, the goal's gradient, and runs that are resumed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clipdefend.attacks.trigger import Trigger
from clipdefend.defences.build_defence import build_defence
from clipdefend.defences.perturbation_bank import PerturbationBank
from clipdefend.defences.perturbations import Field, Mark, Overlay, Patch, Perturbation, Warp, WavyPatch
from clipdefend.defences.unlearn import Keep, Unlearn
from clipdefend.errors import ConfigError, Interrupted
from clipdefend.objectives.term import Embeddings
from training_jobs import ROWS, Watcher, equal, interrupt, log_of, make_job, make_trainer, train, weights

KINDS = [
    Patch(share=0.25),
    WavyPatch(share=0.25),
    Field(bound=0.1),
    Overlay(share=0.3),
    Warp(share=0.05),
    Warp(share=0.05, points=64),
    Mark(share=0.1),
]
SMALL = Unlearn(members=2, ramp=4, momentum=0.5, stripes=0.2, mark=0.1)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def images_of(count: int = 3, size: int = 32) -> Tensor:
    return torch.sigmoid(draw(count, 3, size, size, seed=5))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: type(kind).__name__)
def test_a_kind_keeps_to_its_bound_and_treats_each_image_alone(kind: Perturbation) -> None:
    images, seeds = images_of(), [3 << 20, 4, 9 << 20]
    values = draw(3, *kind.shape(32), seed=1)
    made = kind.apply(images, values, seeds, 1.0)
    assert made.shape == images.shape
    assert bool((made >= 0).all()) and bool((made <= 1).all())  # noqa: PT018
    assert not torch.allclose(made, images, atol=1e-3)
    alone = kind.apply(images[1:2], values[1:2], seeds[1:2], 1.0)
    assert torch.allclose(alone, made[1:2], atol=1e-6)
    # Without strength nothing changes, and the gradient in the values flows.
    assert torch.allclose(kind.apply(images, values, seeds, 0.0), images, atol=1e-5)
    free = values.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(kind.apply(images, free, seeds, 1.0).square().sum(), free)
    assert float(gradient.abs().sum()) > 0


def test_a_patch_by_hand() -> None:
    """A quarter of 8 pixels is 2: seed 1 + (2 << 20) puts it at row 2097153 % 7 = 2, column 2."""
    images = torch.zeros(1, 3, 8, 8)
    seed = 1 + (2 << 20)
    made = Patch(share=0.25).apply(images, torch.full((1, 3, 2, 2), math.log(3) / 2), [seed], 0.5)
    top, left = seed % 7, (seed >> 20) % 7
    expected = torch.zeros(1, 3, 8, 8)
    expected[:, :, top : top + 2, left : left + 2] = 0.5 * 0.75  # sigmoid(log 3) = 3/4, half opaque
    assert torch.allclose(made, expected, atol=1e-6)


def test_a_patch_of_one_wave_has_stripes() -> None:
    """Half a wave down and none across: rows of one colour each, the upper half above 1/2 and the lower below."""
    values = torch.zeros(1, 3, 8, 8)
    values[:, :, 1, 0] = 2.0
    patch = WavyPatch(share=0.5, power=1).apply(torch.zeros(1, 3, 16, 16), values, [0], 1.0)[0, 0, :8, :8]
    # An amplitude is of no account: the root mean square of the wave is one, its peaks are the square root of two.
    assert float(patch[0, 0]) == pytest.approx(
        1 / (1 + math.exp(-4 * math.sqrt(2) * math.cos(math.pi / 16))), abs=1e-5
    )
    assert torch.allclose(patch, patch[:, :1].expand(8, 8), atol=1e-6)
    assert bool((patch[:4] > 0.5).all()) and bool((patch[4:] < 0.5).all())  # noqa: PT018


def test_a_mark_covers_its_share_at_the_same_place_in_all_images() -> None:
    images = torch.stack([torch.zeros(3, 64, 64), torch.ones(3, 64, 64)])
    values = draw(1, *Mark().shape(64), seed=3).expand(2, -1, -1, -1)
    for share in (0.05, 0.2):
        black, white = Mark(share=share).apply(images, values, [1, 2], 1.0)
        uncovered = white - black  # 1 - the opacity, at each pixel
        assert float((uncovered < 0.5).float().mean()) == pytest.approx(share, abs=0.01)
        assert float(uncovered.min()) < 0.01
        assert float(uncovered.median()) > 0.99
        colours = black[:, uncovered[0] < 0.01]
        assert bool((colours.std(dim=1) > 0.1).all())  # of their own in each channel
    half = Mark(share=0.2).apply(images, values, [1, 2], 0.5)
    assert torch.allclose(half[1] - half[0], 1 - (1 - uncovered) / 2, atol=1e-5)


def test_fields_and_overlays_stay_within_their_share() -> None:
    images = torch.full((2, 3, 32, 32), 0.5)
    for kind, bound in ((Field(bound=0.1), 0.1), (Overlay(share=0.3), 0.15)):
        values = draw(2, *kind.shape(32), seed=2)
        change = (kind.apply(images, values, [0, 1], 1.0) - images).abs()
        assert 0.3 * bound < float(change.max()) <= bound + 1e-6


def test_the_pull_by_hand() -> None:
    image = {"clean": torch.tensor([[1.0, 0.0]]), "universal": torch.tensor([[0.6, 0.8]])}
    reference = {"clean": torch.tensor([[0.0, 1.0]])}
    e = Embeddings(image=image, text={}, scale=torch.tensor(1.0), reference_image=reference)
    assert float(Keep(image_view="universal").loss(e)) == pytest.approx(0.2)
    assert float(Keep().loss(e)) == pytest.approx(1.0)


def test_perturbations_move_where_the_loss_rises(tmp_path: Path) -> None:
    """Checked against the loss itself: the images that carry a member lose more after its step, and less against it."""
    defence = Unlearn(members=1, ramp=0, step=0.02, restart=0, caption=0)
    job = make_job(tmp_path, defence=defence, epochs=1, batch_norm="eval")
    trainer = make_trainer(job)
    bank: Any = trainer.stepper.course
    model = trainer.bare.eval()
    images, seeds = images_of(12, bank.size), list(range(12))
    with torch.no_grad():
        before = {name: values.clone() for name, values in bank.named_buffers()}
        clean = model.encode_image(images)

    def pull(sign: float) -> float:
        for name, values in before.items():
            bank.get_buffer(name).copy_(values + sign * (after[name] - values))
        with torch.no_grad():
            return float((1 - (model.encode_image(bank.perturb(images, seeds)) * clean).sum(dim=1)).mean())

    pixels = bank.perturb(images, seeds)
    (1 - (model.encode_image(pixels) * clean).sum(dim=1)).mean().backward()
    with torch.no_grad():
        bank.after_step(model, None)
    after = {name: values.clone() for name, values in bank.named_buffers()}
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert pull(1) > pull(0) > pull(-1)


def test_momentum_by_hand() -> None:
    """Up, down, and no gradient: a step follows the last direction by half, and all are of one length."""
    bank: Any = PerturbationBank([Overlay()], 1, step=0.5, momentum=0.5, restart=0, ramp=0, size=2, seed=0)
    begun = bank.values0.clone()
    gradients = [torch.ones(1, 3, 2, 2), -torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)]
    moved = []
    for gradient in gradients:
        bank._gradients = lambda gradient=gradient: [gradient]
        bank.after_step(None, None)
        moved.append(float((bank.values0 - begun).mean()))
        begun = bank.values0.clone()
    # Directions 1, then 0.5 - 1, then 0.25 - 0.5: each step has the same length.
    assert moved == pytest.approx([0.5, -0.5, -0.5], abs=1e-6)
    assert float(bank.rise0.mean()) == pytest.approx(-0.25)


def test_restarts_come_one_after_the_other(tmp_path: Path) -> None:
    """12 perturbations and a period of 24: one is drawn anew every other step."""
    bank: Any = PerturbationBank(
        KINDS[:3] * 2, 2, step=0.0, momentum=0.5, restart=24, ramp=0, size=16, seed=0
    )
    changed = []
    for _ in range(24):
        before = [values.clone() for values in bank.buffers()]
        bank.after_step(None, None)
        pairs = zip(before[1:], list(bank.buffers())[1:], strict=True)
        changed.append(
            sum(int((old != new).any()) for olds, news in pairs for old, new in zip(olds, news, strict=True))
        )
    assert changed == [0, 1] * 12


def test_a_restart_forgets_the_direction() -> None:
    bank: Any = PerturbationBank(KINDS[:1], 2, step=0.0, momentum=0.5, restart=2, ramp=0, size=16, seed=0)
    bank.rise0.fill_(1.0)
    bank.after_step(None, None)  # the second one's turn
    assert bool((bank.rise0[0] == 0.5).all())
    assert bool((bank.rise0[1] == 0).all())


def test_the_images_carry_perturbations_and_the_terms_see_them(tmp_path: Path) -> None:
    train(
        tmp_path,
        defence=Unlearn(members=2, ramp=0, method="ft", caption=0.5),
        epochs=1,
        batch_norm="eval",
    )
    steps = [record for record in log_of(tmp_path) if record["event"] == "step"]
    assert len(steps) == ROWS // 4
    assert {"mmcl", "caption", "pull", "keep"} <= steps[0].keys()
    # Before the first step the model is the suspect, and only what changes the image moves an embedding.
    assert abs(steps[0]["keep"]) < 2e-7
    assert steps[0]["pull"] > 1e-6


def test_a_stopped_run_ends_in_the_same_bytes(tmp_path: Path) -> None:
    train(tmp_path / "whole", defence=SMALL)
    for at in (3, 7):
        with pytest.raises(Interrupted):
            train(tmp_path / "stopped", Watcher(at, interrupt), defence=SMALL, save_every=2)
    train(tmp_path / "stopped", defence=SMALL, save_every=2)
    assert log_of(tmp_path / "stopped") == log_of(tmp_path / "whole")
    assert equal(weights(tmp_path / "stopped"), weights(tmp_path / "whole"))


def found_triggers() -> tuple[Trigger, ...]:
    """What a scan hands over: a patch that paints a white corner, and a field that adds 0.1 to every value."""
    mask, white = torch.zeros(1, 32, 32), torch.ones(3, 32, 32)
    mask[:, :4, :4] = 1
    patch = Trigger.create("masked-pattern", size=32, seed=0, tensors={"mask": mask, "pattern": white})
    field = torch.full((3, 32, 32), 0.1)
    return patch, Trigger.create("additive-field", {"bound": 0.1}, size=32, seed=0, tensors={"field": field})


def test_found_triggers_are_one_more_kind_that_takes_no_steps(tmp_path: Path) -> None:
    """One kind and two triggers: even seeds carry an overlay, 1 and 5 the patch, 3 and 7 the field."""
    defence = Unlearn(members=1, ramp=1000, patch=0, field=0, warp=0, triggers=found_triggers())
    trainer = make_trainer(make_job(tmp_path, defence=defence))
    bank: Any = trainer.stepper.course
    images = (images_of(8) * 204).round() / 255  # grey levels, below 0.8
    made = bank.perturb(images, range(8))
    for place in (1, 5):
        assert bool((made[place, :, :4, :4] == 1).all())
        assert torch.equal(made[place, :, 4:], images[place, :, 4:])
    for place in (3, 7):  # at full strength, whatever the ramp says; on grey levels
        assert torch.allclose(made[place], images[place] + 0.1, atol=1 / 510 + 1e-6)
    assert torch.allclose(made[::2], images[::2], atol=2e-3)  # an overlay at a thousandth of its share
    assert not any("trigger" in name for name in bank.state_dict())


def test_a_stopped_run_with_triggers_ends_in_the_same_bytes(tmp_path: Path) -> None:
    defence = Unlearn(members=2, ramp=4, triggers=found_triggers())
    train(tmp_path / "whole", defence=defence)
    with pytest.raises(Interrupted):
        train(tmp_path / "stopped", Watcher(5, interrupt), defence=defence, save_every=2)
    train(tmp_path / "stopped", defence=defence, save_every=2)
    assert equal(weights(tmp_path / "stopped"), weights(tmp_path / "whole"))


def test_other_triggers_are_another_run() -> None:
    one, other = found_triggers()
    records = [Unlearn(triggers=triggers).to_dict() for triggers in ((), (one,), (other,), (one, other))]
    assert len({repr(record) for record in records}) == 4
    assert "triggers" not in records[0]
    painted = {**one.tensors, "pattern": one.tensors["pattern"] * 0.5}
    changed = Trigger.create("masked-pattern", size=32, seed=0, tensors=painted)
    assert Unlearn(triggers=(changed,)).to_dict() != records[1]


def test_micro_batches_make_the_step_of_one_batch(tmp_path: Path) -> None:
    train(tmp_path / "one", defence=SMALL, epochs=1, batch_size=4, batch_norm="eval")
    train(tmp_path / "two", defence=SMALL, epochs=1, batch_size=2, accum_freq=2, batch_norm="eval")
    losses = [
        [record["loss"] for record in log_of(tmp_path / name) if record["event"] == "step"]
        for name in ("one", "two")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_wrong_parameters_are_refused_in_words() -> None:
    for name, value in (("patch", 2), ("members", 0), ("step", -1), ("ramp", -1), ("momentum", 1)):
        with pytest.raises(ConfigError, match=name):
            build_defence("unlearn", parameters={name: value})
    assert len(Unlearn(stripes=0.2, mark=0.1).kinds) == len(Unlearn().kinds) + 2
    with pytest.raises(ConfigError, match="one kind must be left"):
        build_defence("unlearn", parameters={"patch": 0, "field": 0, "overlay": 0, "warp": 0})
    with pytest.raises(ConfigError, match="triggers are given by --triggers RUN"):
        build_defence("unlearn", parameters={"triggers": "some"})
    with pytest.raises(ConfigError, match="both 0"):
        build_defence("unlearn", parameters={"caption": 0, "pull": 0})


def test_the_view_belongs_to_the_defence(tmp_path: Path) -> None:
    job = make_job(tmp_path, method="ft", defence=build_defence("ft", {"mmcl": {"image_view": "universal"}}))
    with pytest.raises(ConfigError, match="--method unlearn alone"):
        make_trainer(job).run()
