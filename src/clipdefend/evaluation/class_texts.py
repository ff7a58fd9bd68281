"""Class prompts and their embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from clipdefend.distributed import collectives
from clipdefend.models.clip import ClipModel

PROMPT_BATCH = 128


def prompts(classes: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Return the prompts of all classes and templates, grouped by class."""
    return [template.replace("{}", name) for name in classes for template in templates]


@torch.no_grad()
def class_embeddings(model: ClipModel, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Embed classes: a unit vector per prompt, averaged over the templates and normalised again.

    Prompts are sorted by length and encoded in large batches, so that little of each batch is padding. Several
    processes share the batches.

    Args:
        model: in evaluation mode.
        classes: n class names.
        templates: prompts with ``{}`` for the name.

    Returns:
        Unit vectors, shape (n, d).

    Reference: Radford et al. 2021, section 3.1.4.
    """
    tokens = model.tokenize(prompts(classes, templates))
    order = torch.argsort(tokens.argmax(dim=1), stable=True)
    batches = order.split(PROMPT_BATCH)
    shared = len(batches) >= collectives.world()
    own = batches[collectives.rank() :: collectives.world()] if shared else batches
    encoded = torch.cat([model.encode_text(tokens[part].to(model.device)) for part in own])
    vectors = torch.zeros(len(tokens), encoded.shape[1], dtype=encoded.dtype, device=encoded.device)
    vectors[torch.cat(own).to(model.device)] = encoded
    if shared:
        vectors = collectives.all_reduce_(vectors)
    means = vectors.view(len(classes), len(templates), -1).mean(dim=1)
    return F.normalize(means, dim=-1)
