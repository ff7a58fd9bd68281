"""Objectives: a method is a named set of weighted terms, each a pure function of embeddings.

``TERMS`` lists the terms and ``METHODS`` the sets; ``clipdefend.objectives.objective.build_objective`` builds one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipdefend.objectives.methods import METHODS, Method
from clipdefend.registry import Registry

if TYPE_CHECKING:
    from clipdefend.objectives.term import Term

TERMS: Registry[Term] = Registry(
    "term",
    {
        "mmcl": "clipdefend.objectives.mmcl:Mmcl",
        "siglip": "clipdefend.objectives.siglip:Siglip",
        "ssl": "clipdefend.objectives.ssl:Ssl",
        "fc": "clipdefend.objectives.fc:FactualCounterfactual",
        "par": "clipdefend.objectives.par:PerturbRecover",
    },
)

__all__ = ["METHODS", "TERMS", "Method"]
