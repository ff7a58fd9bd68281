"""SIG: the wave, worked by hand."""

from __future__ import annotations

import pytest
import torch

from clipdefend.attacks import ATTACKS
from clipdefend.attacks.sig import SIG
from clipdefend.errors import ConfigError


def levels(attack: SIG, level: int, size: int) -> torch.Tensor:
    return attack.apply(torch.full((1, 3, size, size), level / 255), [0], 0)[0].mul(255).round()


def test_added_wave_by_hand() -> None:
    # two periods over 8 columns: sin(0), sin(pi/2), sin(pi), sin(3 pi/2), and again
    stamped = levels(SIG(frequency=2), 100, 8)
    assert stamped[0, 0].tolist() == [100, 160, 100, 40, 100, 160, 100, 40]
    assert torch.equal(stamped, stamped[:1, :1].expand(3, 8, 8))


def test_added_wave_is_clipped() -> None:
    assert levels(SIG(frequency=2), 30, 8)[0, 0].tolist() == [30, 90, 30, 0, 30, 90, 30, 0]


def test_blended_wave_darkens_and_keeps_a_fifth_of_its_height() -> None:
    # 0.8 * 100 + 0.2 * 60 sin
    assert levels(SIG(frequency=2, mode="blend"), 100, 8)[2, 5].tolist() == [80, 92, 80, 68, 80, 92, 80, 68]


@pytest.mark.parametrize("size", [64, 224, 336])
def test_six_periods_on_every_canvas(size: int) -> None:
    wave = SIG().tensors(size, 0)["wave"][0]
    spectrum = torch.fft.rfft(wave).abs()
    assert int(spectrum.argmax()) == 6
    assert float(wave.abs().max()) == pytest.approx(60 / 255, rel=0.01)


def test_unknown_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match="mode is 'multiply'; choose one of add, blend"):
        ATTACKS.build("sig", {"mode": "multiply"})
