"""Weights between two models of one architecture."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from clipdefend.errors import CheckpointError


def interpolate(first: Mapping[str, Tensor], second: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return share * first + (1 - share) * second, for every floating-point tensor.

    Other tensors, such as counters of batches, are those of ``first``. The sum is formed in float64 and rounded once,
    so that shares of 1 and 0 give back the one and the other model bit for bit.

    Args:
        first, second: state dicts with the same names and shapes.
        share: of ``first``, 0 to 1.

    Returns:
        New tensors, with the types and devices of ``first``.

    Raises:
        CheckpointError: a tensor is missing from one of the two, or has another shape.
        ValueError: the share is not between 0 and 1.

    Reference:
        Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022 (arXiv:2109.01903), equation 1; merging a
        backdoored with a clean model: Arora et al., Here's a Free Lunch, Findings of ACL 2024 (arXiv:2402.19334).
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; it must be between 0 and 1")
    check_same_tensors(first, second)
    merged = {}
    for name, one in first.items():
        if one.is_floating_point():
            other = second[name].to(one.device)
            merged[name] = (share * one.double() + (1 - share) * other.double()).to(one.dtype)
        else:
            merged[name] = one.clone()
    return merged


def check_same_tensors(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError unless two state dicts have the same names and shapes."""
    alone = sorted(first.keys() ^ second.keys())
    if alone:
        shown = ", ".join(alone[:3]) + (", ..." if len(alone) > 3 else "")
        raise CheckpointError(
            f"The two models differ in {len(alone)} tensors ({shown}): only models of one architecture can be merged."
        )
    for name, one in first.items():
        if one.shape != second[name].shape:
            raise CheckpointError(
                f"Tensor {name} has shape {tuple(one.shape)} in one model and {tuple(second[name].shape)} in the"
                " other: only models of one architecture can be merged."
            )
