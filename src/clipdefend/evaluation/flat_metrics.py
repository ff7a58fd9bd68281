"""Metrics as a manifest holds them: flat names and numbers."""

from __future__ import annotations

from collections.abc import Mapping

from clipdefend.metrics import Share


def flatten(
    *,
    ba: Mapping[int, Share] | None = None,
    asr: Mapping[int, Share] | None = None,
    ra: Mapping[int, Share] | None = None,
) -> dict[str, float | int]:
    """Return the flat metrics of a manifest.

    Args:
        ba: BA@k, k -> Share.
        asr, ra: ASR@k and RA@k, over the same images.

    Returns:
        ``ba@1``, ``ba@1_low``, ``ba@1_high`` and so on, ``n_clean`` and ``n_triggered``. A share of no images (n = 0)
        has no value: its three numbers are left out and its count stays.
    """
    flat: dict[str, float | int] = {}
    for name, found, count in (
        ("ba", ba, "n_clean"),
        ("asr", asr, "n_triggered"),
        ("ra", ra, "n_triggered"),
    ):
        for k, share in (found or {}).items():
            flat[count] = share.n
            if share.n:
                flat |= {
                    f"{name}@{k}": share.value,
                    f"{name}@{k}_low": share.low,
                    f"{name}@{k}_high": share.high,
                }
    return flat
