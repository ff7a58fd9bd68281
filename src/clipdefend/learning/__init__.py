"""Learning the triggers that are trained instead of drawn: on the user's images, before they are poisoned."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipdefend.learning.task import Learned, Task

LEARNERS = {
    "ssba": "clipdefend.learning.ssba_encoder",
    "badclip": "clipdefend.learning.badclip_patch",
}
"""Name of each attack that is ``learned`` -> the module whose ``learn`` does it."""


def learn(name: str, task: Task) -> Learned:
    """Learn the tensors of an attack.

    Args:
        name: of the attack, one of `LEARNERS`.
        task: what it is learned on.

    Raises:
        DataError: the pairs do not hold what the attack needs.
    """
    learned: Learned = importlib.import_module(LEARNERS[name]).learn(task)
    return learned
