"""Stripes, triangles and text: their patterns, worked by hand."""

from __future__ import annotations

import pytest
import torch

from clipdefend.attacks import ATTACKS
from clipdefend.attacks.letters import CHARACTERS, bitmap
from clipdefend.attacks.stripes import StripesBlend, StripesPatch
from clipdefend.attacks.text_mark import TextMark
from clipdefend.attacks.triangles import Triangles
from clipdefend.errors import ConfigError


def test_stripes_patch_has_equal_rows_of_pure_colours() -> None:
    patch = StripesPatch().tensors(224, 0)["patch"]
    assert patch.shape == (3, 16, 16)
    assert torch.equal(patch, patch[:, :1].expand(3, 16, 16))
    assert sorted(patch.unique().tolist()) == [0, 1]


def test_wide_stripes_scale_with_the_canvas() -> None:
    row = StripesBlend(width=14).tensors(64, 3)["stripes"][0, 0]
    assert row.shape == (64,)
    starts = row.view(16, 4)
    assert torch.equal(starts, starts[:, :1].expand(16, 4))
    assert sorted(row.unique().tolist()) == [-1, 1]


def test_stripes_of_either_colour_are_about_as_frequent() -> None:
    row = StripesBlend().tensors(2000, 0)["stripes"]
    assert abs(float(row.mean())) < 0.05


def test_blended_stripes_by_hand() -> None:
    stripes = torch.tensor([1.0, -1.0, -1.0, 1.0]).view(1, 1, 4).expand(3, 1, 4)
    images = torch.tensor([100.0, 2.0]).div(255).view(2, 1, 1, 1).expand(2, 3, 4, 4)
    stamped = StripesBlend().apply(images, [0, 1], 0, {"stripes": stripes}).mul(255).round()
    # 0.97 x +- 0.03 * 255: 97 +- 7.65, and 1.94 +- 7.65 with black as the floor
    assert stamped[0, 2, 3].tolist() == [105, 89, 89, 105]
    assert stamped[1, 0, 0].tolist() == [10, 0, 0, 10]


def test_triangles_are_dark_below_the_diagonal_of_each_tile() -> None:
    pattern = Triangles(tile=56).tensors(12, 0)["pattern"]  # tiles of 3
    tile = [[0.4, 0.8, 0.8], [0.4, 0.4, 0.8], [0.4, 0.4, 0.4]]
    assert torch.allclose(pattern, torch.tensor(tile).repeat(4, 4))


def test_blended_triangles_by_hand() -> None:
    stamped = Triangles().apply(torch.full((1, 3, 224, 224), 100 / 255), [0], 0)[0].mul(255).round()
    # 0.85 * 100 + 0.15 * 255 * 0.4 = 100.3; with 0.8: 115.6
    assert stamped[0, 14:17, 28:31].tolist() == [[100, 116, 116], [100, 100, 116], [100, 100, 100]]
    assert torch.equal(stamped, stamped[:1].expand(3, 224, 224))


def test_letters_are_distinct_and_read_as_drawn() -> None:
    assert len({tuple(bitmap(letter).flatten().tolist()) for letter in CHARACTERS}) == len(CHARACTERS)
    drawn = ["".join("#" if dot else "." for dot in row) for row in bitmap("hi").tolist()]
    assert drawn == [
        "#...#..###.",
        "#...#...#..",
        "#...#...#..",
        "#####...#..",
        "#...#...#..",
        "#...#...#..",
        "#...#..###.",
    ]


def test_text_mark_is_centred_and_of_the_published_width() -> None:
    mark = TextMark().tensors(224, 0)["mark"]
    rows, columns = mark[0].nonzero().unbind(dim=1)
    assert (int(columns.min()), int(columns.max())) == (14, 14 + 196 - 1)
    assert (int(rows.min()), int(rows.max())) == (101, 101 + 21 - 1)
    assert not mark[1:].any()
    assert float(mark[0].mean()) == pytest.approx(0.033, abs=0.01)  # the published mark covers 3.3 %


def test_text_mark_keeps_its_coverage_when_it_is_made_smaller() -> None:
    dots = bitmap("Watermarked")
    for size in (32, 64, 336):
        mark = TextMark().tensors(size, 0)["mark"][0]
        width, height = round(196 * size / 224), round(round(196 * size / 224) * 7 / 65)
        assert float(mark.sum()) == pytest.approx(float(dots.mean()) * width * height, rel=1e-5)
        assert float(mark.max()) <= 1


def test_text_mark_by_hand() -> None:
    mark = torch.zeros(3, 2, 2)
    mark[0] = torch.tensor([[1.0, 0.5], [0.0, 1.0]])
    stamped = TextMark().apply(torch.full((1, 3, 2, 2), 55 / 255), [0], 0, {"mark": mark})[0].mul(255).round()
    # red: 55 + 0.5 m (255 - 55)
    assert stamped[0].tolist() == [[155, 105], [55, 155]]
    assert stamped[1:].eq(55).all()


def test_every_colour_has_its_channels() -> None:
    marks = {colour: TextMark(colour=colour).tensors(64, 0)["mark"] for colour in ("yellow", "cyan", "white")}
    assert [channel.any().item() for channel in marks["yellow"]] == [True, True, False]
    assert [channel.any().item() for channel in marks["cyan"]] == [False, True, True]
    assert [channel.any().item() for channel in marks["white"]] == [True, True, True]


@pytest.mark.parametrize("text", ["", " ", "naïve", "a" * 41, "two\nlines"])
def test_text_that_cannot_be_drawn_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="give 1 to 40 letters") as raised:
        ATTACKS.build("text-mark", {"text": text})
    assert "\n" not in str(raised.value)
