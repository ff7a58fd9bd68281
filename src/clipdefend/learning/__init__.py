"""Optimises the triggers that are learned from the user's images instead of drawn from a seed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipdefend.learning.learning_inputs import Learned, LearningInputs

LEARNERS = {
    "ssba": "clipdefend.learning.ssba_encoder",
    "badclip": "clipdefend.learning.badclip_patch",
}
"""Name of each attack whose trigger is learned -> the module whose ``learn`` does it."""


def learn(name: str, inputs: LearningInputs) -> Learned:
    """Learn the tensors of an attack.

    Args:
        name: the attack, a key of `LEARNERS`.
        inputs: data, surrogate and parameters to learn from.

    Returns:
        The trigger's tensors, and how well it works on held-out images.

    Raises:
        DataError: the pairs do not contain what the attack needs.
    """
    learned: Learned = importlib.import_module(LEARNERS[name]).learn(inputs)
    return learned
