"""Agrees on one error for all processes when any of them fails."""

from __future__ import annotations

from clipdefend import errors
from clipdefend.distributed import collectives
from clipdefend.errors import ClipDefendError


def first_fault(own: ClipDefendError | None) -> ClipDefendError:
    """Return the error of the lowest-ranked process that has one; every process must call this.

    Args:
        own: error of this process; None if it has none.
    """
    if own is not None and not collectives.is_distributed():
        return own
    faults = collectives.all_gather_object(None if own is None else [type(own).__name__, str(own)])
    kind, text = next(fault for fault in faults if fault is not None)
    error: ClipDefendError = getattr(errors, kind, ClipDefendError)(text)
    return error
