"""Shrink and perturb: the weights by hand, what stays, and the run around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from clipdefend.defences.build_defence import build_defence
from clipdefend.defences.shrink_perturb import ShrinkPerturb
from clipdefend.errors import ConfigError, Interrupted
from clipdefend.models.builder import build_model
from clipdefend.training.job import freeze
from small_clip import small_architecture
from training_jobs import Watcher, equal, interrupt, log_of, make_job, make_trainer, train, weights


def prepared(folder: Path, **parameters: Any) -> tuple[nn.Module, nn.Module]:
    """The weights before and after."""
    model = build_model(small_architecture(), seed=1)
    before = freeze(model).clip
    make_trainer(make_job(folder, model=model, defence=ShrinkPerturb(**parameters)))
    return before, model.clip


def test_weights_are_shrunk_and_a_fresh_initialisation_is_added(tmp_path: Path) -> None:
    """At shrink 0.5: 2 * after - before is 2 p theta_random, the difference of two values of p is proportional."""
    before, half = prepared(tmp_path, shrink=0.5, perturb=0.0)
    for name, value in before.named_parameters():
        assert torch.allclose(half.get_parameter(name), value / 2, atol=1e-7), name
    _, one = prepared(tmp_path, shrink=0.5, perturb=1.0)
    fresh = {name: one.get_parameter(name) - value / 2 for name, value in before.named_parameters()}
    # CLIP's initialisation: logit scale ln(1 / 0.07), token embeddings of deviation 0.02, norms of 1.
    assert fresh["logit_scale"].item() == pytest.approx(2.6593, abs=1e-4)
    assert float(fresh["token_embedding.weight"].std()) == pytest.approx(0.02, rel=0.02)
    assert torch.allclose(fresh["ln_final.weight"], torch.ones(16))
    # Another draw than that of the victim, and the same one in each run.
    start = before.get_parameter("token_embedding.weight")
    both = torch.stack([fresh["token_embedding.weight"].flatten(), start.flatten()])
    assert abs(float(torch.corrcoef(both)[0, 1])) < 0.01
    assert equal(dict(prepared(tmp_path, shrink=0.5, perturb=1.0)[1].state_dict()), dict(one.state_dict()))


def test_buffers_stay_and_so_do_scale_and_batch_norm_on_demand(tmp_path: Path) -> None:
    before, after = prepared(tmp_path)
    assert equal(dict(before.named_buffers()), dict(after.named_buffers()))
    assert after.get_parameter("logit_scale").item() == pytest.approx(0.95 * 2.6593 + 1e-4 * 2.6593, abs=1e-4)
    before, after = prepared(tmp_path, logit_scale=False, batch_norm=False)
    norms = {
        f"{path}.{name}"
        for path, module in before.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for name, _ in module.named_parameters()
    }
    kept = {
        name for name, value in before.named_parameters() if torch.equal(value, after.get_parameter(name))
    }
    assert {"logit_scale", *norms} <= kept
    assert not any("conv" in name or ("ln_" in name and "weight" in name) for name in kept - norms)


def test_the_suspect_is_measured_as_it_came_and_after_the_change(tmp_path: Path) -> None:
    train(tmp_path / "plain", method="cleanclip")
    train(tmp_path / "shrunk", defence=ShrinkPerturb(shrink=0.9))
    plain, shrunk = log_of(tmp_path / "plain"), log_of(tmp_path / "shrunk")
    assert shrunk[0] == plain[0]
    assert shrunk[1]["event"] == "prepared"
    assert shrunk[1]["ba@1"] != shrunk[0]["ba@1"]
    assert [record["event"] for record in plain[:2]] == ["epoch", "step"]


def test_a_killed_run_is_not_shrunk_twice(tmp_path: Path) -> None:
    defence = ShrinkPerturb(shrink=0.8, perturb=0.01)
    train(tmp_path / "whole", defence=defence)
    with pytest.raises(Interrupted):
        train(tmp_path / "stopped", Watcher(3, interrupt), defence=defence, save_every=2)
    train(tmp_path / "stopped", defence=defence, save_every=2)
    assert log_of(tmp_path / "stopped") == log_of(tmp_path / "whole")
    assert equal(weights(tmp_path / "stopped"), weights(tmp_path / "whole"))


def test_the_terms_of_its_method_can_be_changed() -> None:
    made = build_defence("shrink-perturb", {"ssl": {"weight": 2}}, {"method": "ft", "perturb": "1e-3"})
    assert isinstance(made, ShrinkPerturb)
    assert str(made.objective) == "mmcl + 2 ssl"
    assert made.perturb == 1e-3
    assert made.to_dict()["terms"] == {"ssl": {"weight": 2}}


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"shrink": 0}, "shrink is 0.0; it must be a finite number above 0"),
        ({"perturb": -1}, "at least 0"),
        ({"batch_norm": "no"}, "true or false"),
        ({"method": "cleanclp"}, "Did you mean 'cleanclip'"),
        ({"shrnk": 1}, "Did you mean 'shrink'"),
    ],
)
def test_wrong_parameters(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_defence("shrink-perturb", None, parameters)
