"""WaNet: the field, the warp and the noise mode."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from clipdefend.attacks.wanet import WaNet


def field(size: int, across: float, down: float) -> dict[str, Tensor]:
    """A field that moves every pixel by a number of pixels, for strength 1: f / W, and a pixel is 2 / (W - 1)."""
    scale = 2 * size / (size - 1)
    return {"field": torch.tensor([across, down]).mul(scale).expand(size, size, 2)}


def numbered(size: int) -> Tensor:
    """Image whose pixel at (row, column) is 10 row + column, in grey levels."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return (10 * rows + columns).div(255).expand(1, 3, size, size)


def test_whole_pixel_shift_takes_the_neighbour_and_repeats_the_border() -> None:
    stamped = WaNet(strength=1.0).apply(numbered(4), [0], 0, field(4, 1, 0))[0, 0].mul(255).round()
    assert stamped.tolist() == [[1, 2, 3, 3], [11, 12, 13, 13], [21, 22, 23, 23], [31, 32, 33, 33]]


def test_half_a_pixel_down_averages_rows() -> None:
    stamped = WaNet(strength=0.5).apply(numbered(4), [0], 0, field(4, 0, 1))[0, 1].mul(255).round()
    assert stamped.tolist() == [[5, 6, 7, 8], [15, 16, 17, 18], [25, 26, 27, 28], [30, 31, 32, 33]]


def test_grid_rescale_shrinks_towards_the_middle() -> None:
    still = {"field": torch.zeros(5, 5, 2)}
    stamped = WaNet(grid_rescale=0.5).apply(numbered(5), [0], 0, still)[0, 0].mul(255).round()
    assert stamped[0].tolist() == [11, 12, 12, 12, 13]  # row 1, columns 1, 1.5, 2, 2.5, 3


def test_control_points_have_a_mean_size_of_one_and_pixel_noise_is_kept_as_it_is() -> None:
    pixelwise = WaNet(k=24).tensors(24, 1)["field"]
    assert float(pixelwise.abs().mean()) == pytest.approx(1, abs=1e-5)
    assert torch.equal(WaNet(k=224).tensors(24, 1)["field"], pixelwise)


def test_four_control_points_give_a_smooth_warp() -> None:
    smooth, rough = WaNet(k=4).tensors(64, 1)["field"], WaNet(k=224).tensors(64, 1)["field"]
    assert float(smooth.diff(dim=1).abs().mean()) < 0.1
    assert float(rough.diff(dim=1).abs().mean()) > 0.5


def test_pixels_move_by_half_the_strength_on_every_canvas() -> None:
    for size in (32, 224):
        attack = WaNet(k=224, strength=1.0)
        images = torch.linspace(0, 1, size).expand(1, 3, size, size)
        warp = attack._grid(images, attack.tensors(size, 0)["field"]) - attack._grid(
            images, torch.zeros(size, size, 2)
        )
        inside = warp[1:-1, 1:-1]  # at the border the grid is cut off
        assert float(inside.abs().mean()) * (size - 1) / 2 == pytest.approx(0.5, rel=0.05)


def test_noise_mode_moves_each_image_by_its_own_noise_of_up_to_half_a_pixel() -> None:
    attack = WaNet(cross_ratio=2.0)
    still = {"field": torch.zeros(33, 33, 2)}
    columns = torch.arange(33).mul(6).div(255).expand(2, 3, 33, 33)
    crossed = attack.apply_cross(columns, [4, 5], 0, still)
    moved = (crossed - columns)[:, 0].mul(255 / 6)
    assert 0.4 < float(moved.abs().max()) <= 0.5 + 0.5 / 6
    assert float(moved.mean()) == pytest.approx(0, abs=0.02)
    assert not torch.equal(crossed[0], crossed[1])
    assert torch.equal(attack.apply(columns, [4, 5], 0, still), columns.mul(255).round().div(255))


@pytest.mark.parametrize(("ratio", "poisoned", "noisy"), [(0.0, 100, 0), (2.0, 100, 200), (0.5, 3, 1)])
def test_noise_mode_counts_its_images(ratio: float, poisoned: int, noisy: int) -> None:
    assert WaNet(cross_ratio=ratio).cross_count(poisoned) == noisy
