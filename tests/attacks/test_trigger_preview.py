"""PSNR, SSIM and the preview."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clipdefend.attacks.preview import psnr, ssim, write_preview
from clipdefend.attacks.trigger import Trigger


def test_psnr_by_hand() -> None:
    a = torch.zeros(3, 3, 12, 12)
    b = a.clone()
    b[0] = 0.1  # mean square 0.01: 20 dB
    b[1, :, :6] = 0.2  # mean square 0.02
    assert psnr(a, b).tolist() == pytest.approx([20, 10 * math.log10(50), math.inf])


def test_ssim_of_flat_images_is_the_luminance_term() -> None:
    a, b = torch.full((1, 3, 16, 16), 0.4), torch.full((1, 3, 16, 16), 0.6)
    assert float(ssim(a, b)) == pytest.approx((2 * 0.4 * 0.6 + 1e-4) / (0.16 + 0.36 + 1e-4), abs=1e-6)
    assert float(ssim(a, a)) == pytest.approx(1)


def test_ssim_equals_a_plain_loop_over_windows() -> None:
    draw = np.random.default_rng(0)
    a = draw.random((1, 3, 13, 14))
    b = np.clip(a + 0.3 * draw.standard_normal(a.shape), 0, 1)
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / 4.5)
    window /= window.sum()
    values = []
    for channel in range(3):
        for row in range(3):
            for column in range(4):
                x, y = (image[0, channel, row : row + 11, column : column + 11] for image in (a, b))
                mx, my = (window * x).sum(), (window * y).sum()
                vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
                cov = (window * (x - mx) * (y - my)).sum()
                values.append(
                    (2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
                )
    assert float(ssim(torch.from_numpy(a), torch.from_numpy(b))) == pytest.approx(np.mean(values), abs=1e-9)


@pytest.mark.parametrize("count", [1, 3, 11])
def test_preview_is_a_picture_with_figures_over_all_images(tmp_path: Path, count: int) -> None:
    clean = torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    trigger = Trigger.create("badnet", {"pattern": "yellow"}, size=32, seed=0)
    stamped = trigger(clean, range(count))
    figures = write_preview(tmp_path / "new" / "preview.png", clean, stamped, trigger.describe())
    assert figures == {
        "psnr": pytest.approx(float(psnr(clean, stamped).mean())),
        "ssim": pytest.approx(float(ssim(clean, stamped).mean())),
    }
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["preview.png"]
    with Image.open(tmp_path / "new" / "preview.png") as picture:
        shown = np.asarray(picture.convert("RGB")).reshape(-1, 3)
        assert picture.format == "PNG"
        assert picture.width > 600
    yellow = (shown == [255, 255, 0]).all(axis=1).sum()
    assert yellow > 50 * min(count, 8)
    assert "matplotlib.pyplot" not in sys.modules or sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_equal_images_have_finite_figures(tmp_path: Path) -> None:
    clean = torch.zeros(2, 3, 16, 16)
    assert write_preview(tmp_path / "p.png", clean, clean, "none") == {
        "psnr": 100.0,
        "ssim": pytest.approx(1),
    }


def test_description_leaves_out_what_is_not_set() -> None:
    trigger = Trigger.create("sig", {"frequency": 3}, size=16, seed=0)
    assert trigger.describe() == "sig: mode add, amplitude 0.2353, frequency 3, alpha 0.2"
    assert "image" not in Trigger.create("blended", size=16, seed=0).describe()
