"""Backdoor triggers: what is stamped on an image. Whose image, and its caption, is part of poisoning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipdefend.registry import Registry

if TYPE_CHECKING:
    from clipdefend.attacks.attack import Attack

ATTACKS: Registry[Attack] = Registry(
    "attack",
    {
        "badnet": "clipdefend.attacks.badnet:BadNet",
        "blended": "clipdefend.attacks.blended:Blended",
        "sig": "clipdefend.attacks.sig:SIG",
        "wanet": "clipdefend.attacks.wanet:WaNet",
        "ssba": "clipdefend.attacks.ssba:SSBA",
        "badclip": "clipdefend.attacks.badclip:BadCLIP",
        "stripes-patch": "clipdefend.attacks.stripes:StripesPatch",
        "stripes-blend": "clipdefend.attacks.stripes:StripesBlend",
        "triangles": "clipdefend.attacks.triangles:Triangles",
        "text-mark": "clipdefend.attacks.text_mark:TextMark",
        "masked-pattern": "clipdefend.attacks.masked_pattern:MaskedPattern",
        "additive-field": "clipdefend.attacks.additive_field:AdditiveField",
    },
)
