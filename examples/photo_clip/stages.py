"""The three stages of training, each a loop over one loss."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from photos import CLASSES, TEMPLATES, Photos
from torch import Tensor, nn
from towers import encode_bag, front_parameters, rear

from clipdefend.draws import generator, permutation
from clipdefend.losses import mmcl
from clipdefend.models.clip import ClipModel

MAX_SCALE = 50.0
"""Of the cosines: at CLIP's 100, a batch of tens has nothing left to learn and its gradients vanish."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Numbers of a stage.

    Attributes:
        steps: optimiser steps; 0 leaves the stage out.
        captions, prompts: of each step.
        lr: peak rate of AdamW, after a warm-up of a tenth of the steps, on a cosine to zero.
    """

    steps: int
    captions: int
    prompts: int
    lr: float


def fit(
    name: str, stage: Stage, parameters: Iterable[nn.Parameter], loss_of: Callable[[int], dict[str, Tensor]]
) -> None:
    """Minimise the sum of the terms that ``loss_of`` gives for each step, and print them now and then."""
    trained = list(parameters)
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": 0.05},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
    start = time.monotonic()
    for step in range(stage.steps):
        rate = min((step + 1) / max(1, stage.steps // 10), 0.5 * (1 + math.cos(math.pi * step / stage.steps)))
        for group in optimizer.param_groups:
            group["lr"] = stage.lr * rate
        terms = loss_of(step)
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        if step % 25 == 0 or step + 1 == stage.steps:
            shown = "  ".join(f"{term} {value.item():.3f}" for term, value in terms.items())
            print(f"{name} {step + 1}/{stage.steps}  {shown}  {time.monotonic() - start:.0f} s", flush=True)


class Lessons:
    """What a step sees: class prompts with their proxies, and captions with their photos.

    Args:
        model: for its tokenizer.
        photos: captioned photos.
        proxies: unit vectors of the classes (1000, d).
    """

    def __init__(self, model: ClipModel, photos: Photos, proxies: Tensor) -> None:
        self.model, self.photos, self.proxies = model, photos, proxies
        rows = [row for each in photos.rows for row in each]
        self.tokens = model.tokenize(photos.pairs.captions(rows))
        self.first = torch.tensor([0, *(len(each) for each in photos.rows)]).cumsum(0)
        self.training = torch.tensor(photos.training)

    def prompts(self, stage: str, step: int, count: int) -> tuple[Tensor, Tensor]:
        """Tokens of prompts of random classes (count, length), and the classes' proxies (count, d)."""
        drawn = generator(0, "photo_clip", stage, "prompts", step)
        classes = drawn.integers(len(self.proxies), size=count).tolist()
        templates = drawn.integers(len(TEMPLATES), size=count).tolist()
        texts = [TEMPLATES[t].replace("{}", CLASSES[c]) for c, t in zip(classes, templates, strict=True)]
        return self.model.tokenize(texts), self.proxies[classes]

    def captions(self, stage: str, step: int, count: int) -> tuple[Tensor, Tensor]:
        """Numbers of photos (n,), each once in a batch, and tokens of one caption of each (n, length)."""
        per_epoch = max(1, len(self.training) // count)
        epoch, place = divmod(step, per_epoch)
        order = torch.from_numpy(permutation(len(self.training), 0, "photo_clip", stage, epoch))
        photos = self.training[order[place * count : (place + 1) * count]]
        drawn = generator(0, "photo_clip", stage, "captions", step).random(len(photos))
        several = self.first[photos + 1] - self.first[photos]
        return photos, self.tokens[self.first[photos] + (torch.from_numpy(drawn) * several).long()]


def encode_texts(model: ClipModel, tokens: Tensor, parts: int = 4) -> Tensor:
    """``ClipModel.encode_text`` in parts of like length, each cut to its longest: equal, and faster."""
    order = tokens.argmax(dim=1).argsort(stable=True)
    encoded = torch.cat([model.encode_text(tokens[rows]) for rows in order.chunk(parts)])
    return encoded[order.argsort()]


def train_text(name: str, stage: Stage, lessons: Lessons, images: Tensor, *, bag: bool) -> None:
    """Train the text side against frozen unit image vectors (photos, d): as a bag of words, or the whole tower."""
    clip: Any = lessons.model.clip
    trained = {
        "token_embedding": clip.token_embedding,
        "text": clip.ln_final,
        "bag": clip.transformer.resblocks[0].ln_1,
    }
    parameters = [p for module in trained.values() for p in module.parameters()] + [clip.text_projection]
    if not bag:
        parameters = [
            p for key, p in clip.named_parameters() if not key.startswith("visual") and key != "logit_scale"
        ]

    def loss_of(step: int) -> dict[str, Tensor]:
        prompts, proxies = lessons.prompts(name, step, stage.prompts)
        photos, captions = lessons.captions(name, step, stage.captions)
        tokens = torch.cat([prompts, captions])
        texts = encode_bag(clip, tokens) if bag else encode_texts(lessons.model, tokens)
        own, told = texts.split([len(prompts), len(captions)])
        scale = clip.logit_scale.exp().clamp(max=MAX_SCALE)
        return {"classes": class_loss(own, proxies), "captions": mmcl(images[photos], told, scale)}

    fit(name, stage, [*parameters, clip.logit_scale], loss_of)


def class_loss(texts: Tensor, proxies: Tensor) -> Tensor:
    """Ten times the mean of 1 - cosine of texts and proxies, both (n, d).

    Cross-entropy over the classes would stop at a cosine of 0.4, where all of them are told apart.
    """
    return 10 * (1 - (texts * proxies).sum(1)).mean()


def train_both(stage: Stage, lessons: Lessons, maps: Tensor, before: Tensor) -> None:
    """Train the text tower and the rear of the image tower, batch norms in evaluation mode.

    The photos are held near their vectors from before, since no photo of ImageNet is at hand that could hold its
    classes.

    Args:
        maps: of all photos behind the frozen stages.
        before: unit vectors of all photos before this stage (photos, d).
    """
    clip: Any = lessons.model.clip
    trunk = clip.visual.trunk
    frozen = {id(p) for p in front_parameters(trunk)}

    def loss_of(step: int) -> dict[str, Tensor]:
        prompts, proxies = lessons.prompts("both", step, stage.prompts)
        photos, captions = lessons.captions("both", step, stage.captions)
        texts = encode_texts(lessons.model, torch.cat([prompts, captions]))
        own, told = texts.split([len(prompts), len(captions)])
        images = rear(trunk, maps[photos])
        kept = 10 * (1 - (images * before[photos]).sum(1)).mean()
        scale = clip.logit_scale.exp().clamp(max=MAX_SCALE)
        return {"classes": class_loss(own, proxies), "captions": mmcl(images, told, scale), "kept": kept}

    fit("both", stage, [p for p in clip.parameters() if id(p) not in frozen], loss_of)
