"""Losses of the methods: pure, differentiable functions of unit vectors, one formula each.

Every image or text argument has shape (n, d), one unit vector per row; row i of each of them comes from sample i
of the *global* batch. Results are scalars. Half precision is computed in float32, even under autocast, and
float64 stays float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

Denominator = Literal["all", "own", "all+positives", "positives"]
T2INegatives = Literal["images", "negtext"]
Combine = Literal["mean", "sum"]
Form = Literal["infonce", "mosaic"]
GradientSide = Literal["both", "text"]
Cutoff = Literal["threshold", "smooth"]
Per = Literal["pair", "image"]

TAU = 0.3
"""Temperature of factual and of counterfactual sub-captions (CleanerCLIP, section 4.3)."""


def info_nce(query: Tensor, key: Tensor, scale: Tensor | float) -> Tensor:
    """InfoNCE in one direction, -mean_i log[ e^{s c(Q_i, K_i)} / sum_j e^{s c(Q_i, K_j)} ]; c is the cosine.

    Args:
        query, key: unit vectors, shape (n, d).
        scale: s = exp(logit_scale), at most 100 in CLIP.

    Returns:
        A scalar >= 0; 0 for n = 1.

    Reference: van den Oord et al., Contrastive Predictive Coding (arXiv:1807.03748), equation 4.
    """
    query, key = _vectors(query=query, key=key)
    with _full_precision(query):
        return _match(scale * query @ key.T)


def mmcl(image: Tensor, text: Tensor, scale: Tensor | float) -> Tensor:
    """Symmetric InfoNCE between images and their captions.

    L = (InfoNCE(I, T) + InfoNCE(T, I)) / 2.

    Args:
        image, text: unit vectors, shape (n, d).
        scale: exp(logit_scale), at most 100 in CLIP.

    Returns:
        A scalar >= 0.

    Reference: Radford et al., Learning Transferable Visual Models From Natural Language Supervision
    (arXiv:2103.00020), figure 3.
    """
    image, text = _vectors(image=image, text=text)
    with _full_precision(image):
        logits = scale * image @ text.T
        return (_match(logits) + _match(logits.T)) / 2


def siglip(
    image: Tensor, text: Tensor, scale: Tensor | float, bias: Tensor | float = 0.0, *, per: Per = "pair"
) -> Tensor:
    """SigLIP's sigmoid loss, -mean_ij log sigmoid(y_ij (s c(I_i, T_j) + b)), y_ij = 1 for i = j and -1 otherwise.

    Args:
        image, text: unit vectors, shape (n, d).
        scale: s = exp(logit_scale).
        bias: b, the logit bias.
        per: mean over ``pair``, all n^2 of them, or sum divided by n, over ``image``, as published.

    Returns:
        A scalar > 0.

    Raises:
        ValueError: an unknown ``per``.

    Reference: Zhai et al., Sigmoid Loss for Language Image Pre-Training (arXiv:2303.15343), equation 1.
    """
    check_choice("per", per, Per)
    image, text = _vectors(image=image, text=text)
    with _full_precision(image):
        logits = scale * image @ text.T + bias
        signs = 2 * torch.eye(len(logits), dtype=logits.dtype, device=logits.device) - 1
        total = -F.logsigmoid(signs * logits).sum()
        return total / (logits.numel() if per == "pair" else len(logits))


def ssl(
    image: Tensor, image_augmented: Tensor, text: Tensor, text_augmented: Tensor, scale: Tensor | float
) -> Tensor:
    """CleanCLIP's self-supervision within each modality.

    L = (InfoNCE(I, I') + InfoNCE(T, T')) / 2 with I' the augmented images and T' the augmented captions: one
    direction per modality, at the scale of MMCL.

    Args:
        image, image_augmented, text, text_augmented: unit vectors, shape (n, d).
        scale: exp(logit_scale).

    Returns:
        A scalar >= 0.

    Reference: Bansal et al., CleanCLIP, ICCV 2023 (arXiv:2303.03323), equation 3 and its code
    (https://github.com/nishadsinghi/CleanCLIP, src/train.py).
    """
    return (info_nce(image, image_augmented, scale) + info_nce(text, text_augmented, scale)) / 2


def factual_counterfactual(
    image: Tensor,
    factual: Tensor,
    counterfactual: Tensor,
    tau_positive: float = TAU,
    tau_negative: float = TAU,
    *,
    denominator: Denominator = "all",
    t2i_negatives: T2INegatives = "images",
    combine: Combine = "mean",
    form: Form = "infonce",
    gradient: GradientSide = "both",
    scale: Tensor | float | None = None,
) -> Tensor:
    """CleanerCLIP's loss on images I, factual sub-captions P and counterfactual sub-captions N.

    L_i2t = -mean_i log[ e^{c(I_i,P_i)/tp} / ( e^{c(I_i,P_i)/tp} + sum_j e^{c(I_i,N_j)/tn} ) ],
    L_t2i = -mean_i log[ e^{c(P_i,I_i)/tp} / ( e^{c(P_i,I_i)/tp} + sum_{j != i} e^{c(P_i,I_j)/tn} ) ],
    L = (L_i2t + L_t2i) / 2.

    Args:
        image, factual, counterfactual: unit vectors, shape (n, d).
        tau_positive, tau_negative: tp and tn, > 0; a smaller value gives its side more weight.
        denominator: negatives of L_i2t: ``all`` counterfactuals of the batch; only the image's ``own``;
            ``all+positives``, with the factuals of the other images at tn; or those ``positives`` alone.
        t2i_negatives: negatives of L_t2i: the other ``images``, or (``negtext``) the image's pairing with its
            own counterfactual, e^{c(N_i,I_i)/tn}.
        combine: ``mean`` or ``sum`` of the two directions.
        form: ``infonce`` as above; ``mosaic``: MosaiCLIP's, every factual and counterfactual text in L_i2t at
            the logit scale; tau_positive, tau_negative, denominator and t2i_negatives are then not used.
        gradient: ``both`` towers, or ``text``, which treats images as constants.
        scale: s = exp(logit_scale); only for ``mosaic``, which needs it.

    Returns:
        A scalar >= 0. With n = 1 and negatives ``images``, L_t2i has no negatives and is 0.

    Raises:
        ValueError: a temperature is not positive, or an option is unknown.

    Reference: CleanerCLIP (arXiv:2409.17601), equations 1-3; MosaiCLIP (arXiv:2305.13812) for ``mosaic``.
    Deviates: we only know the equations in words. The default is the reading that agrees with the text's
    description of each temperature's effect; the options are the other readings that the text allows.
    """
    for name, value, allowed in (
        ("denominator", denominator, Denominator),
        ("t2i_negatives", t2i_negatives, T2INegatives),
        ("combine", combine, Combine),
        ("form", form, Form),
        ("gradient", gradient, GradientSide),
    ):
        check_choice(name, value, allowed)
    image, factual, counterfactual = _vectors(image=image, factual=factual, counterfactual=counterfactual)
    if gradient == "text":
        image = image.detach()
    positive_scale: Tensor | float
    negative_scale: Tensor | float
    if form == "mosaic":
        if scale is None:
            raise ValueError("form 'mosaic' needs scale, the model's exp(logit_scale)")
        positive_scale = negative_scale = scale
        denominator, t2i_negatives = "all+positives", "images"
    else:
        check_positive(tau_positive=tau_positive, tau_negative=tau_negative)
        positive_scale, negative_scale = 1 / tau_positive, 1 / tau_negative
    with _full_precision(image):
        match = image @ factual.T
        contrast = image @ counterfactual.T
        positive = positive_scale * match.diagonal()
        i2t_negatives = negative_scale * _i2t_negatives(match, contrast, denominator)
        if t2i_negatives == "images":
            t2i = _nll(positive, negative_scale * _others(match.T))
        else:
            t2i = _nll(positive, negative_scale * contrast.diagonal().unsqueeze(1))
        total = _nll(positive, i2t_negatives) + t2i
        return total / 2 if combine == "mean" else total


def perturb_recover_distance(
    embedding: Tensor, reference: Tensor, tau: float, *, cutoff: Cutoff = "threshold", width: float = 0.1
) -> Tensor:
    """PAR's distance from the frozen victim, which its loss *subtracts*, bounded at ``tau``.

    D = mean_i ||e_i - r_i||^2 (0 to 4). ``threshold``, as published: D while D <= tau, else 0 with a gradient
    of 0. ``smooth``: tau - w softplus((tau - D) / w), about min(D, tau), whose gradient fades over a few w
    around tau where the published one jumps.

    Args:
        embedding: unit vectors of the model in training, shape (n, d).
        reference: the frozen victim's unit vectors of the same view, shape (n, d), which get no gradient.
        tau: bound on D, > 0.
        cutoff: ``threshold`` or ``smooth``.
        width: w of ``smooth``, > 0.

    Returns:
        A scalar, larger for larger distances. Its gradient is 0 if embedding equals reference.

    Raises:
        ValueError: tau or width is not positive, or the cutoff is unknown.

    Reference: Perturb and Recover (arXiv:2412.00727) and its code (https://github.com/nmndeep/PerturbAndRecover,
    losses.py). Deviates: ``smooth`` is ours.
    """
    check_choice("cutoff", cutoff, Cutoff)
    check_positive(tau=tau, width=width)
    embedding, reference = _vectors(embedding=embedding, reference=reference)
    with _full_precision(embedding):
        distance = (embedding - reference.detach()).square().sum(dim=1).mean()
        if cutoff == "smooth":
            return tau - width * F.softplus((tau - distance) / width)
        # A product keeps the graph, so that parameters get a gradient of zero instead of none, for which
        # distributed training would wait.
        return distance * (distance.detach() <= tau)


def check_choice(name: str, value: str, allowed: object) -> None:
    """Raise ValueError unless ``value`` is one of a Literal's choices."""
    choices = get_args(allowed)
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; it must be one of: {', '.join(choices)}")


def check_positive(**values: float) -> None:
    """Raise ValueError unless all values are finite numbers above 0."""
    for name, value in values.items():
        if not 0 < value < float("inf"):
            raise ValueError(f"{name} is {value}; it must be a finite number above 0")


def _i2t_negatives(match: Tensor, contrast: Tensor, denominator: Denominator) -> Tensor:
    """Select the cosines of each image's negatives, (n, m), from those with factuals and counterfactuals, (n, n)."""
    if denominator == "all":
        return contrast
    if denominator == "own":
        return contrast.diagonal().unsqueeze(1)
    if denominator == "positives":
        return _others(match)
    return torch.cat([contrast, _others(match)], dim=1)


def _others(square: Tensor) -> Tensor:
    """Return the entries off the diagonal, (n, n) -> (n, n - 1)."""
    n = len(square)
    # Dropping the last entry leaves n - 1 runs of n + 1 entries that begin at the diagonal.
    return square.flatten()[:-1].view(n - 1, n + 1)[:, 1:].reshape(n, n - 1)


def _nll(positive: Tensor, negatives: Tensor) -> Tensor:
    """Return -mean log softmax of the positive: (n,) and (n, m) logits -> scalar."""
    denominator = torch.cat([positive.unsqueeze(1), negatives], dim=1).logsumexp(dim=1)
    return (denominator - positive).mean()


def _match(logits: Tensor) -> Tensor:
    """Return the InfoNCE of (n, n) logits with the matching pairs on the diagonal."""
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def _vectors(**vectors: Tensor) -> list[Tensor]:
    """Check that all vectors have one shape (n, d) with n >= 1, and convert half precision to float32."""
    first = next(iter(vectors.values())).shape
    for name, vector in vectors.items():
        if vector.ndim != 2 or vector.shape != first or len(vector) == 0:
            shapes = ", ".join(f"{key} {tuple(value.shape)}" for key, value in vectors.items())
            raise ValueError(
                f"{name} does not fit: all must be of one shape (n, d) with n >= 1; given {shapes}"
            )
    return [v if v.dtype == torch.float64 else v.float() for v in vectors.values()]


@contextmanager
def _full_precision(like: Tensor) -> Iterator[None]:
    """Disable autocast: cosines times a scale of 100 lose two digits in half precision."""
    with torch.autocast(device_type=like.device.type, enabled=False):
        yield
