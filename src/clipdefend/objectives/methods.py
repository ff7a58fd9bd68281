"""The named methods and their weighted terms, as plain data, so that listing them imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Method:
    """A published training objective.

    Attributes:
        description: one line for people.
        source: its publication.
        terms: term name -> parameters that differ from the term's defaults; terms are summed in this order.
    """

    description: str
    source: str
    terms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


METHODS: dict[str, Method] = {
    "ft": Method(
        description="fine-tuning on clean pairs: MMCL",
        source="Radford et al. 2021 (arXiv:2103.00020)",
        terms={"mmcl": {}},
    ),
    "ssl": Method(
        description="self-supervision within images and within captions only: SSL",
        source="the SSL part of CleanCLIP alone, Bansal et al. 2023 (arXiv:2303.03323)",
        terms={"ssl": {}},
    ),
    "cleanclip": Method(
        description="CleanCLIP: MMCL + SSL",
        source="Bansal et al. 2023 (arXiv:2303.03323)",
        terms={"mmcl": {}, "ssl": {}},
    ),
    # The paper's lambda_1 is the weight of mmcl and ssl alike, its lambda_2 the weight of fc.
    "cleanerclip": Method(
        description="CleanerCLIP: MMCL + SSL + FC on factual and counterfactual sub-captions",
        source="CleanerCLIP 2024 (arXiv:2409.17601)",
        terms={"mmcl": {}, "ssl": {}, "fc": {}},
    ),
    # The published code gives one noisy view to both terms and does not train the logit scale.
    "par": Method(
        description="Perturb and Recover: MMCL - distance from the frozen victim, on perturbed images",
        source="Perturb and Recover 2024 (arXiv:2412.00727)",
        terms={"mmcl": {"image_view": "perturbed", "fixed_scale": True}, "par": {}},
    ),
    # Ours: without PAR's noise, which costs accuracy (docs/results.md).
    "par-clean": Method(
        description="PAR on the images as they are: MMCL - distance from the frozen victim",
        source="clipdefend, docs/results.md; after Perturb and Recover 2024 (arXiv:2412.00727)",
        terms={"mmcl": {}, "par": {"image_view": "clean"}},
    ),
    "mmcl+ssl": Method(
        description="another name of cleanclip, as an objective of pre-training: MMCL + SSL",
        source="Mu et al. 2021, SLIP (arXiv:2112.12750); Verma et al. 2025 (arXiv:2311.14948)",
        terms={"mmcl": {}, "ssl": {}},
    ),
}
