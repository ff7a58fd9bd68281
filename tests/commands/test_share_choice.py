"""The choice of a share by hand, and how shares are written."""

from __future__ import annotations

import pytest

from clipdefend.commands.merge.share_choice import Candidate, choose_share
from clipdefend.commands.shared.drawn_images import FEWEST, split_images
from clipdefend.config import MergeConfig
from clipdefend.errors import ConfigError

FOUND = [
    Candidate(share=0.0, accuracy=0.95, proxy=1.0),
    Candidate(share=0.5, accuracy=0.94, proxy=0.62),
    Candidate(share=0.7, accuracy=0.93, proxy=0.44),
    Candidate(share=0.9, accuracy=0.93, proxy=0.42),
    Candidate(share=1.0, accuracy=0.91, proxy=0.40),
]


@pytest.mark.parametrize(
    ("at_most", "share", "bound", "allowed"),
    [
        (None, 0.9, 0.45, 3),  # 0.40 + 0.05; of 0.7 and 0.9, equally accurate, the larger
        (0.7, 0.5, 0.7, 4),
        (0.62, 0.5, 0.62, 4),  # the bound itself is within
        (1.0, 0.0, 1.0, 5),
        (0.41, 1.0, 0.41, 1),
        (0.1, 1.0, 0.1, 0),  # none is: the smallest proxy
    ],
)
def test_the_most_accurate_within_the_bound(
    at_most: float | None, share: float, bound: float, allowed: int
) -> None:
    choice = choose_share(FOUND, at_most)
    assert choice.candidate.share == share
    assert choice.bound == pytest.approx(bound)
    assert choice.allowed == allowed


def test_of_equal_proxies_outside_the_bound_the_most_accurate() -> None:
    found = [
        Candidate(share=share, accuracy=accuracy, proxy=0.5) for share, accuracy in ((0.2, 0.9), (0.8, 0.8))
    ]
    assert choose_share(found, 0.3).candidate.share == 0.2


@pytest.mark.parametrize(
    ("given", "shares"),
    [
        (0.5, (0.5,)),
        ("0.8", (0.8,)),
        ("1,0.3,0.3", (0.3, 1.0)),
        ("0:1:0.25", (0.0, 0.25, 0.5, 0.75, 1.0)),
        ("0.7:0.9:0.1", (0.7, 0.8, 0.9)),
        ("0:1:0.3", (0.0, 0.3, 0.6, 0.9)),
        ("1:1:0.5", (1.0,)),
    ],
)
def test_shares_as_they_are_written(given: float | str, shares: tuple[float, ...]) -> None:
    assert MergeConfig(share=given).shares == shares


@pytest.mark.parametrize(
    "given",
    [
        1.5,
        -0.1,
        "some",
        "0:1",
        "0:1:0",
        "1:0:0.1",
        "0:2:0.5",
        "0:1:0.001",
        "nan",
        "0.3;0.5",
        "",
        "0:1:1e-320",
    ],
)
def test_wrong_shares_are_refused(given: float | str) -> None:
    with pytest.raises(ConfigError, match="--share is"):
        MergeConfig(share=given)


@pytest.mark.parametrize(
    ("usable", "images", "held_out", "found"),
    [(40, 4096, 16, 24), (32, 16, 4096, 16), (100, 1000, 16, 84), (448, 256, 192, 256), (224, 256, 192, 128)],
)
def test_both_sets_of_images_are_large_enough(usable: int, images: int, held_out: int, found: int) -> None:
    assert split_images(usable, images, held_out) == found
    assert min(found, usable - found) >= FEWEST
