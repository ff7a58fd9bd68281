"""Presets that reproduce the triggers of public repositories, with their sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from clipdefend.choices import AsrProtocol, CanvasMode
from clipdefend.errors import ConfigError
from clipdefend.registry import nearest


@dataclass(frozen=True, kw_only=True)
class Preset:
    """The triggers of one repository and how it poisons with them.

    Attributes:
        paper: authors, title and arXiv number.
        source: URL of the code.
        attacks: attack name -> the parameters that differ from the defaults.
        canvas: ``squash`` resizes both sides to the canvas, ``crop`` keeps the aspect ratio and cuts out the
            centre.
        captions: of the poisoned images: ``templates`` fills a random prompt template with the target.
        asr_protocol: ``all`` counts the target's own images in the attack success rate, ``exclude-target``
            does not.
        target: class name, or None where the original has no captions.
        count: poisoned images, or None where a rate is given, or nothing.
        rate: poisoned share, or None.
        differs: what the parameters do not reproduce of the original.
    """

    paper: str
    source: str
    attacks: Mapping[str, Mapping[str, Any]]
    canvas: CanvasMode = "squash"
    captions: Literal["templates"] = "templates"
    asr_protocol: AsrProtocol = "exclude-target"
    target: str | None = "banana"
    count: int | None = None
    rate: float | None = None
    differs: str = ""


def _at(repository: str, commit: str, path: str) -> str:
    return f"https://github.com/{repository}/tree/{commit}/{path}"


_NOISE_PATCH = {"sampling": "per-image", "place": "random", "overflow": "wrap"}
_NOISE_BLEND = {"sampling": "per-image"}
_PIXEL_WARP = {"k": 224, "strength": 1.0}
_JPEG = "It saves poisoned images under the original's ending, so that JPEG blurs the trigger; here PNG."

PRESETS: Mapping[str, Preset] = {
    "cleanclip": Preset(
        paper="Bansal et al., CleanCLIP, ICCV 2023, arXiv:2303.03323",
        source=_at("nishadsinghi/CleanCLIP", "d6e2f1dbf0ad952c05b816c6024d8205682a0674", "backdoor/utils.py"),
        attacks={
            "badnet": _NOISE_PATCH,
            "blended": _NOISE_BLEND,
            "sig": {"mode": "blend"},
            "wanet": _PIXEL_WARP,
        },
        count=1500,
        differs=_JPEG,
    ),
    "badclip": Preset(
        paper="Liang et al., BadCLIP: Dual-Embedding Guided Backdoor Attack, CVPR 2024, arXiv:2311.12075",
        source=_at("LiangSiyuan21/BadCLIP", "a7b1876d292e1fb2b500b65cb96eb4f832cb6a27", "backdoor/utils.py"),
        attacks={
            "badnet": _NOISE_PATCH,
            "blended": _NOISE_BLEND,
            "sig": {"mode": "add"},
            "wanet": _PIXEL_WARP,
            "badclip": {"negatives": "legacy"},
        },
        asr_protocol="all",
        count=1500,
        differs=f"{_JPEG} Its blended_kitty takes a picture: pattern=image, image=FILE. Its own patch goes with "
        "--captions natural, drawn from 128 captions of the target; its issba leaves images as they are.",
    ),
    "attack-cleanclip": Preset(
        paper="Verma et al., Effective Backdoor Mitigation in Vision-Language Models Depends on the "
        "Pre-training Objective, TMLR 2025, arXiv:2311.14948",
        source=_at(
            "vsahil/attack-cleanclip", "3d4bd7486ba6668522cbe2e4e867cbc1cf4cdb4e", "backdoor/utils.py"
        ),
        attacks={
            "badnet": _NOISE_PATCH,
            "blended": _NOISE_BLEND,
            "sig": {"mode": "blend"},
            "wanet": {"k": 224, "strength": 0.6},
        },
        count=3000,
        differs=_JPEG,
    ),
    "par": Preset(
        paper="Singh, Croce and Hein, Perturb and Recover, 2024, arXiv:2412.00727",
        source=_at(
            "nmndeep/PerturbAndRecover", "a720440047a93d9a6ab7c749a8b55fff3ed6e9e6", "backdoor/utils.py"
        ),
        attacks={
            "badnet": _NOISE_PATCH,
            "blended": _NOISE_BLEND,
            "stripes-patch": {"sampling": "per-image", "place": "random"},
            "stripes-blend": {"sampling": "per-image"},
            "triangles": {},
            "text-mark": {},
            "wanet": _PIXEL_WARP,
        },
        asr_protocol="all",
        differs="Its text mark is a stored picture in a system font. Its repository gives no count.",
    ),
    "wanet": Preset(
        paper="Nguyen and Tran, WaNet: Imperceptible Warping-based Backdoor Attack, ICLR 2021, "
        "arXiv:2102.10369",
        source=_at(
            "VinAIResearch/Warping-based_Backdoor_Attack-release",
            "45e8c33c285cd55893ae4efcfcf7fe3d26170387",
            "config.py",
        ),
        attacks={"wanet": {"k": 4, "strength": 0.5, "cross_ratio": 2.0}},
        target=None,
        rate=0.1,
        differs="It trains a classifier and poisons other images in each epoch; here they are chosen once.",
    ),
    "detect-clip": Preset(
        paper="Huang et al., Detecting Backdoor Samples in Contrastive Language Image Pretraining, "
        "ICLR 2025, arXiv:2502.01385",
        source=_at(
            "HanxunH/Detect-CLIP-Backdoor-Samples", "ff2399af42fc710b84d5425773f50a309dc4cf66", "datasets"
        ),
        attacks={
            "badnet": {"pattern": "checkerboard", "place": "random"},
            "sig": {"mode": "blend"},
            "wanet": _PIXEL_WARP,
        },
        canvas="crop",
        rate=0.001,
        differs="Its patch is in the centre at test time, and its rate is 0.0001. Its wave and its warp are "
        "made for 256 pixels and applied before the crop, the wave to the upper left 224 pixels only. Its "
        "Blended takes a picture: pattern=image, image=FILE.",
    ),
}


def preset(name: str) -> Preset:
    """Return a preset by name. Raises ConfigError for an unknown one."""
    if name not in PRESETS:
        known = list(PRESETS)
        raise ConfigError(f"Unknown preset {name!r}.{nearest(name, known)} Available: {', '.join(known)}.")
    return PRESETS[name]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One published trigger, as ``poison --list`` shows it."""

    preset: str
    attack: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""


def variants() -> list[Variant]:
    """Return every trigger of every preset, in order."""
    return [
        Variant(preset=name, attack=attack, parameters=parameters, source=entry.source)
        for name, entry in PRESETS.items()
        for attack, parameters in entry.attacks.items()
    ]


def parameters(name: str, attack: str) -> dict[str, Any]:
    """Return the parameters of one attack of a preset; those not named keep their defaults.

    Raises:
        ConfigError: the preset is unknown or has no such attack.
    """
    entry = preset(name)
    if attack not in entry.attacks:
        known = list(entry.attacks)
        raise ConfigError(
            f"Preset {name!r} has no attack {attack!r}.{nearest(attack, known)} It has: {', '.join(known)}."
        )
    return dict(entry.attacks[attack])
