"""MM-BD: the margin and the Gamma fit by hand, and a linear model."""

from __future__ import annotations

import math
from typing import cast

import pytest
import torch

from clipdefend.inversion.margin import MarginSettings, fit_gamma, margin_test, margins, maximum_margins
from clipdefend.models.clip import ClipModel


def test_margins_by_hand() -> None:
    cosines = torch.tensor([[0.5, 0.2, 0.4], [0.5, 0.2, 0.4]])
    assert margins(cosines, torch.tensor([0, 1])).tolist() == pytest.approx([0.1, -0.3])


def test_the_fit_meets_the_equations_of_maximum_likelihood() -> None:
    values = [0.5, 1.0, 1.5, 4.0]
    shape, scale = fit_gamma(values)
    assert shape * scale == pytest.approx(1.75)  # the mean
    logs = sum(math.log(value) for value in values) / 4
    assert float(torch.digamma(torch.tensor(shape).double())) + math.log(scale) == pytest.approx(logs)


def test_the_p_value_of_exponential_margins_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shape 1, scale 2: F(x) = 1 - exp(-x / 2); n = 4 with the largest at 6."""
    monkeypatch.setattr("clipdefend.inversion.margin.fit_gamma", lambda values: (1.0, 2.0))
    assert margin_test([1, 2, 3, 6]) == pytest.approx(1 - (1 - math.exp(-3)) ** 4)


def test_one_far_margin_stands_out_and_even_ones_do_not() -> None:
    even = [0.10, 0.11, 0.12, 0.13, 0.14, 0.15, 0.16]
    assert margin_test([*even, 0.6]) < 0.01
    assert margin_test(even) > 0.1
    assert margin_test([0.2, 0.2, 0.2]) == 1.0


class _Linear:
    """Each class reads one colour: its cosine is its weight times the mean of that channel."""

    image_size = 2
    weights = torch.tensor([0.2, 0.3, 0.9])

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(2, 3)) * self.weights


def test_margins_of_a_linear_model_by_hand() -> None:
    """The best image of a class has its own colour at 1 and the others at 0, so that the margin is the weight."""
    settings = MarginSettings(starts=2, steps=30, lr=0.1, batch=4)
    done: list[int] = []
    values = maximum_margins(cast(ClipModel, _Linear()), torch.eye(3), settings, done.append)
    assert values == pytest.approx([0.2, 0.3, 0.9])
    assert done == [2, 1]
