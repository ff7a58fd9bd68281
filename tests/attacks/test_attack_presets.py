"""Presets: each builds, and holds what its repository has."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import pytest

from clipdefend.attacks import ATTACKS
from clipdefend.attacks.published import PRESETS, Variant, parameters, preset, variants
from clipdefend.errors import ConfigError


@pytest.mark.parametrize("variant", variants(), ids=lambda v: f"{v.preset}-{v.attack}")
def test_every_variant_builds_and_names_its_source(variant: Variant) -> None:
    ATTACKS.build(variant.attack, variant.parameters)
    assert variant.source.startswith("https://github.com/")
    assert parameters(variant.preset, variant.attack) == dict(variant.parameters)


def full(name: str, attack: str) -> dict[str, object]:
    built: Any = ATTACKS.build(attack, parameters(name, attack))
    return dict(dataclasses.asdict(built))


def test_variants_do_not_follow_our_defaults() -> None:
    patch = {
        "pattern": "gaussian",
        "place": "random",
        "pixels": 16,
        "sampling": "per-image",
        "overflow": "wrap",
        "image": None,
    }
    noise = {"alpha": 0.2, "pattern": "noise", "sampling": "per-image", "image": None}
    wave = {"amplitude": 60 / 255, "frequency": 6.0, "alpha": 0.2}
    for name in ("cleanclip", "badclip", "attack-cleanclip", "par"):
        assert full(name, "badnet") == patch
        assert full(name, "blended") == noise
    warp = {"k": 224, "grid_rescale": 1.0, "cross_ratio": 0.0}
    assert full("cleanclip", "sig") == full("detect-clip", "sig") == {"mode": "blend"} | wave
    assert full("badclip", "sig") == {"mode": "add"} | wave
    assert (
        full("cleanclip", "wanet")
        == full("badclip", "wanet")
        == full("par", "wanet")
        == warp | {"strength": 1.0}
    )
    assert full("attack-cleanclip", "wanet") == warp | {"strength": 0.6}
    assert full("wanet", "wanet") == {"k": 4, "strength": 0.5, "grid_rescale": 1.0, "cross_ratio": 2.0}
    stripes = {"sampling": "per-image", "width": 1}
    assert full("par", "stripes-patch") == stripes | {"place": "random", "pixels": 16}
    assert full("par", "stripes-blend") == stripes | {"alpha": 0.03}
    assert full("par", "triangles") == {"alpha": 0.15, "tile": 14}
    assert full("par", "text-mark") == {"text": "Watermarked", "colour": "red", "alpha": 0.5, "width": 196}
    assert full("detect-clip", "badnet") == patch | {
        "pattern": "checkerboard",
        "sampling": "fixed",
        "overflow": "clip",
    }


def test_who_squashes_and_who_counts_the_target() -> None:
    assert [name for name, entry in PRESETS.items() if entry.canvas == "crop"] == ["detect-clip"]
    assert [name for name, entry in PRESETS.items() if entry.asr_protocol == "all"] == ["badclip", "par"]


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"Unknown preset 'cleanclp'\. Did you mean 'cleanclip'\? Available: "
    ):
        preset("cleanclp")
    with pytest.raises(ConfigError, match=r"Preset 'wanet' has no attack 'sig'\. It has: wanet\."):
        parameters("wanet", "sig")


def test_listing_needs_no_heavy_import() -> None:
    code = (
        "import sys; from clipdefend.attacks import ATTACKS; from clipdefend.attacks.published import variants;"
        "variants(), ATTACKS.names(); print([n for n in ('torch', 'numpy', 'PIL') if n in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
