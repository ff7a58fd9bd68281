"""BadNet: patterns, places and sampling."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from clipdefend.attacks import ATTACKS
from clipdefend.attacks.badnet import BadNet
from clipdefend.attacks.trigger import Trigger
from clipdefend.errors import ConfigError, DataError


def grey(size: int, level: int = 128, count: int = 1) -> Tensor:
    return torch.full((count, 3, size, size), level / 255)


def changed(image: Tensor) -> set[tuple[int, int]]:
    """Places of a grey image that the yellow patch overwrote."""
    return {(int(row), int(column)) for row, column in (image[2] == 0).nonzero()}


def square(row: int, column: int, side: int) -> set[tuple[int, int]]:
    return {(row + i, column + j) for i in range(side) for j in range(side)}


@pytest.mark.parametrize(("size", "side"), [(224, 16), (64, 5), (336, 24), (14, 1), (7, 1)])
def test_patch_scales_with_the_canvas(size: int, side: int) -> None:
    assert BadNet().tensors(size, 0)["patch"].shape == (3, side, side)


@pytest.mark.parametrize(
    ("place", "corners"),
    [
        ("bottom-right", [(26, 26)]),
        ("bottom-left", [(26, 0)]),
        ("top-right", [(0, 26)]),
        ("top-left", [(0, 0)]),
        ("centre", [(13, 13)]),
        ("four-corners", [(0, 0), (0, 26), (26, 0), (26, 26)]),
    ],
)
def test_yellow_patch_overwrites_exactly_its_place(place: str, corners: list[tuple[int, int]]) -> None:
    attack = ATTACKS.build("badnet", {"pattern": "yellow", "place": place, "pixels": 40})  # 6 of 32
    stamped = attack.apply(grey(32), [0], 0)[0]
    assert changed(stamped) == set().union(*(square(row, column, 6) for row, column in corners))
    row, column = corners[0]
    assert stamped[:, row, column].tolist() == [1, 1, 0]


def test_checkerboard_is_white_at_every_second_row_and_column() -> None:
    patch = BadNet(pattern="checkerboard").tensors(64, 0)["patch"]
    row = [1.0, 0.0, 1.0, 0.0, 1.0]
    assert patch[1].tolist() == [row, [0.0] * 5, row, [0.0] * 5, row]


def test_random_places_reach_every_legal_corner_and_no_other() -> None:
    attack = BadNet(pattern="yellow", place="random", pixels=112)
    stamped = attack.apply(grey(6, count=400), range(400), 3)
    corners = {min(changed(image)) for image in stamped}
    assert all(len(changed(image)) == 9 for image in stamped)
    assert corners == {(row, column) for row in range(4) for column in range(4)}


def test_fixed_noise_is_half_grey_plus_clipped_normal_noise() -> None:
    patch = BadNet(pixels=224).tensors(224, 1)["patch"]
    assert float(patch.min()) == 0
    assert float(patch.max()) == 1
    inside = patch[(patch > 0) & (patch < 1)]
    share = inside.numel() / patch.numel()
    assert share == pytest.approx(0.3829, abs=0.005)  # P(|N(0, 1)| < 0.5)
    assert float(patch.mean()) == pytest.approx(0.5, abs=0.005)


def test_noise_for_single_images_is_centred_on_their_channel_means(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = torch.tensor([0.0, 0.12, -0.12, 9.0]).view(1, 2, 2).expand(3, 2, 2)
    monkeypatch.setattr("clipdefend.attacks.badnet.normal", lambda shape, seed, *keys: noise)
    image = torch.zeros(1, 3, 28, 28)
    image[0, 0, :14] = 1.0  # mean 1/2
    image[0, 1, :, :7] = 204 / 255  # mean 1/5
    stamped = BadNet(sampling="per-image").apply(image, [0], 0)[0, :, -2:, -2:].mul(255).round()
    assert stamped[0].tolist() == [[128, 158], [97, 255]]  # 127.5 and 30.6
    assert stamped[1].tolist() == [[51, 82], [20, 255]]
    assert stamped[2].tolist() == [[0, 31], [0, 255]]


def test_wrapping_takes_values_modulo_256_grey_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = torch.tensor([1.5, -0.5, 0.25, -2.0]).view(1, 2, 2).expand(3, 2, 2)
    monkeypatch.setattr("clipdefend.attacks.badnet.normal", lambda shape, seed, *keys: noise)
    attack = BadNet(sampling="per-image", overflow="wrap")
    stamped = attack.apply(torch.zeros(1, 3, 28, 28), [0], 0)[0, 0, -2:, -2:].mul(255).round()
    # 382.5 -> 382 - 256; -127.5 -> -127 + 256; 63.75 -> 63; -510 + 512
    assert stamped.tolist() == [[126, 129], [63, 2]]


def test_image_file_is_kept_in_the_run_and_not_read_again(tmp_path: Path) -> None:
    file = tmp_path / "patch.png"
    Image.new("RGB", (9, 5), (10, 20, 30)).save(file)
    trigger = Trigger.create("badnet", {"pattern": "image", "image": str(file)}, size=64, seed=0)
    trigger.save(tmp_path)
    file.unlink()
    loaded = Trigger.load(tmp_path, trigger.to_dict())
    assert loaded(grey(64), [0])[0, :, -1, -1].mul(255).round().tolist() == [10, 20, 30]


def test_image_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png.*not found"):
        BadNet(pattern="image", image=str(tmp_path / "gone.png")).tensors(8, 0)
    text = tmp_path / "text.png"
    text.write_text("no picture")
    with pytest.raises(DataError, match=r"text\.png.*not a readable image"):
        BadNet(pattern="image", image=str(text)).tensors(8, 0)


def test_huge_image_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "huge.png"
    Image.new("RGB", (20, 20)).save(file)
    monkeypatch.setattr("clipdefend.attacks.patterns.MAX_PICTURE_PIXELS", 399)
    with pytest.raises(DataError, match="larger than 399 pixels"):
        BadNet(pattern="image", image=str(file)).tensors(8, 0)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"pattern": "stripes"}, "gaussian, checkerboard, yellow, image"),
        ({"place": "middle"}, "four-corners, centre, random"),
        ({"pixels": 225}, "from 1 to 224"),
        ({"pixels": 2.5}, "a whole number"),
        ({"sampling": "never"}, "fixed, per-image"),
        ({"overflow": "keep"}, "clip, wrap"),
        ({"pattern": "image"}, "image=FILE"),
        ({"image": "a.png"}, "pattern=image"),
    ],
)
def test_wrong_parameters_say_what_is_allowed(params: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        ATTACKS.build("badnet", params)
    assert "\n" not in str(raised.value)
