"""Within one grey level of the public implementations.

The expected numbers came from running the repositories' own ``apply_trigger`` on `scene` (CleanCLIP
d6e2f1d, BadCLIP a7b1876, PerturbAndRecover a720440), with the stated formulas in the place of their random
numbers. Theirs cut grey levels off below, ours are rounded.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clipdefend.attacks import ATTACKS

PLACES = [(0, 0), (3, 200), (112, 112), (150, 37), (223, 223)]


def scene() -> Tensor:
    """(3 row + 5 column + 70 channel) modulo 256, 224 x 224."""
    row, column = torch.arange(224)[:, None], torch.arange(224)
    return ((3 * row + 5 * column + 70 * torch.arange(3)[:, None, None]) % 256)[None].div(255)


def close(
    stamped: Tensor, expected: Sequence[Sequence[int]], places: Sequence[tuple[int, int]] = PLACES
) -> bool:
    found = torch.stack([stamped[0, :, row, column] for row, column in places]).mul(255).round()
    return bool((found - torch.tensor(expected)).abs().max() <= 1)


def ramp(shape: Sequence[int]) -> Tensor:
    return (torch.arange(shape[0] * shape[1] * shape[2]) % 97 / 97).reshape(tuple(shape))


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        (
            "sig",
            {"mode": "add"},
            [[0, 70, 140], [255, 101, 171], [128, 198, 12], [119, 189, 3], [237, 51, 121]],
        ),
        (
            "sig",
            {"mode": "blend"},
            [[0, 56, 112], [202, 53, 109], [102, 158, 9], [97, 153, 4], [196, 47, 103]],
        ),
        (
            "triangles",
            {},
            [[15, 74, 134], [235, 77, 136], [124, 183, 25], [119, 179, 21], [226, 68, 127]],
        ),
    ],
)
def test_fixed_patterns(name: str, params: dict[str, object], expected: list[list[int]]) -> None:
    assert close(ATTACKS.build(name, params).apply(scene(), [0], 0), expected)


def test_blended() -> None:
    stamped = ATTACKS.build("blended").apply(scene(), [0], 0, {"pattern": ramp((3, 224, 224))})
    expected = [[0, 70, 140], [243, 57, 127], [142, 162, 27], [137, 157, 22], [212, 77, 147]]
    assert close(stamped, expected)


def test_badnet_wraps_around_as_published(monkeypatch: pytest.MonkeyPatch) -> None:
    def noise(shape: Sequence[int], seed: int, *keys: object) -> Tensor:
        return ((torch.arange(shape[0] * shape[1] * shape[2]) * 37 % 101 - 50) / 20).reshape(tuple(shape))

    monkeypatch.setattr("clipdefend.attacks.badnet.normal", noise)
    monkeypatch.setattr("clipdefend.attacks.patterns.corners", lambda *given: [(100, 107)])
    attack = ATTACKS.build("badnet", {"sampling": "per-image", "place": "random", "overflow": "wrap"})
    places = [(100, 107), (101, 110), (107, 115), (115, 122), (99, 107)]
    expected = [[2, 241, 216], [214, 190, 165], [214, 190, 165], [25, 2, 240], [64, 134, 204]]
    assert close(attack.apply(scene(), [0], 0), expected, places)


def test_wanet() -> None:
    noise = ((torch.arange(32) * 13 % 17) / 8 - 1).reshape(1, 2, 4, 4)
    field = F.interpolate(noise / noise.abs().mean(), size=224, mode="bicubic", align_corners=True)
    stamped = ATTACKS.build("wanet", {"strength": 1.0}).apply(
        scene(), [0], 0, {"field": field[0].permute(1, 2, 0).contiguous()}
    )
    expected = [[0, 70, 140], [240, 54, 124], [131, 201, 15], [121, 191, 5], [248, 62, 132]]
    assert close(stamped, expected)
