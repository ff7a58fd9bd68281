"""One fault for all processes, where any of them has one."""

from __future__ import annotations

from clipdefend import errors
from clipdefend.distributed import collectives
from clipdefend.errors import ClipDefendError


def first_fault(own: ClipDefendError | None) -> ClipDefendError:
    """The error of the first process that has one."""
    if own is not None and not collectives.is_distributed():
        return own
    faults = collectives.all_gather_object(None if own is None else [type(own).__name__, str(own)])
    kind, text = next(fault for fault in faults if fault is not None)
    error: ClipDefendError = getattr(errors, kind, ClipDefendError)(text)
    return error
