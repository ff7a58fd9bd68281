"""The forms in which a scan writes what it finds, by hand."""

from __future__ import annotations

import pytest
import torch

from clipdefend.attacks import ATTACKS
from clipdefend.attacks.additive_field import AdditiveField
from clipdefend.attacks.masked_pattern import MaskedPattern
from clipdefend.errors import ConfigError


def test_a_masked_pattern_mixes_where_the_mask_is() -> None:
    mask = torch.tensor([[[0.0, 0.25], [1.0, 0.5]]])
    tensors = {"mask": mask, "pattern": torch.full((3, 2, 2), 40 / 255)}
    stamped = MaskedPattern().apply(torch.full((1, 3, 2, 2), 200 / 255), [0], 0, tensors)
    assert stamped[0, 1].mul(255).round().tolist() == [[200, 160], [40, 120]]


def test_a_drawn_mask_is_one_square() -> None:
    mask = MaskedPattern(pixels=56, opacity=0.5).tensors(32, 3)["mask"][0]
    assert mask.unique().tolist() == [0.0, 0.5]
    rows, columns = mask.nonzero(as_tuple=True)
    assert rows.unique().numel() == columns.unique().numel() == 8
    assert len(rows) == 64


def test_an_additive_field_is_bounded_and_clipped() -> None:
    field = torch.tensor([0.1, -0.1, 0.9]).reshape(1, 1, 3).expand(3, 1, 3)
    attack = AdditiveField(bound=51 / 255)
    stamped = attack.apply(torch.tensor([0.0, 0.05, 0.2]).expand(1, 3, 1, 3), [0], 0, {"field": field})
    assert stamped[0, 0, 0].mul(255).round().tolist() == [26, 0, 102]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("masked-pattern", {"opacity": 0}), ("masked-pattern", {"pixels": 0}), ("additive-field", {"bound": 2})],
)
def test_wrong_parameters_are_refused(name: str, wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ATTACKS.build(name, wrong)
