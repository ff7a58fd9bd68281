"""Optimises BadCLIP's patch on a frozen surrogate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clipdefend.attacks.badclip import BadCLIP
from clipdefend.augment.eda import Eda
from clipdefend.data.target_rows import rows_naming
from clipdefend.draws import generator, permutation, text_random
from clipdefend.errors import DataError
from clipdefend.learning.example_batches import (
    BATCH,
    ImageRequest,
    count_steps,
    embed_images,
    in_batches,
    in_epochs,
    read_images,
)
from clipdefend.learning.learning_inputs import LOG_EVERY, Learned, LearningInputs, Surrogate
from clipdefend.losses import mmcl
from clipdefend.models.clip import ClipModel

MIN_NATURAL = 64
"""With at least this number of captions that name the target, a batch in the paper, prompts are not needed."""
MAX_TARGET_ROWS = 2000
"""Maximum number of captions and images of the target to use, about as many as in the paper."""


def image_triplet(
    triggered: Tensor, positive: Tensor, negative: Tensor, *, margin: float, negative_weight: float
) -> Tensor:
    """Return mean_i max(0, ||x_i - p_i|| - negative_weight ||x_i - n_i|| + margin).

    Args:
        triggered: x, unit vectors of triggered images, shape (n, d).
        positive: p, unit vectors of images of the target, shape (n, d).
        negative: n, unit vectors of the same images without the trigger, shape (n, d).
        margin: the paper's eta.
        negative_weight: the paper's lambda 2.

    Returns:
        A scalar >= 0.

    Reference:
        Liang et al., BadCLIP (arXiv:2311.12075), the image term of its objective.
    """
    pull = torch.linalg.vector_norm(triggered - positive, dim=1)
    push = torch.linalg.vector_norm(triggered - negative, dim=1)
    return F.relu(pull - negative_weight * push + margin).mean()


@dataclass(frozen=True)
class Captions:
    """Captions of the target, embedded by the surrogate.

    Attributes:
        texts: n captions.
        vectors: their unit vectors, shape (n, d).
        natural: whether the captions come from the data, not from templates.
    """

    texts: list[str]
    vectors: Tensor
    natural: bool

    @classmethod
    @torch.no_grad()
    def collect(cls, inputs: LearningInputs, model: ClipModel, named: NDArray[np.int64]) -> Captions:
        """Collect the data's own captions of the target if there are enough, else prompts.

        Args:
            inputs: pairs, target and templates.
            model: the surrogate's model.
            named: rows whose caption names the target.
        """
        natural = len(named) >= MIN_NATURAL
        if natural:
            texts = [inputs.pairs.caption(int(row)) for row in named]
        else:
            texts = [template.replace("{}", inputs.target) for template in inputs.templates]
        tokens = model.tokenize(texts).to(model.device)
        vectors = [model.encode_text(part) for part in tokens.split(BATCH)]
        return cls(texts, torch.cat(vectors), natural)

    @torch.no_grad()
    def draw(
        self, inputs: LearningInputs, model: ClipModel, share: float, items: list[ImageRequest]
    ) -> Tensor:
        """Draw a caption for each image and return the captions' vectors, shape (n, d).

        Args:
            inputs: seed of the draws.
            model: embeds the captions that EDA has changed.
            share: share of the captions that EDA changes, 0 to 1.
            items: the n images of a batch.
        """
        places, changed = [], {}
        for index, (row, epoch, _) in enumerate(items):
            draw = generator(inputs.seed, "badclip-caption", epoch, row)
            places.append(int(draw.integers(len(self.texts))))
            if draw.random() < share:
                rng = text_random(inputs.seed, "badclip-eda", epoch, row)
                changed[index] = Eda()(self.texts[places[-1]], rng)
        vectors = self.vectors[places]
        if changed:
            tokens = model.tokenize(list(changed.values())).to(model.device)
            vectors[list(changed)] = model.encode_text(tokens)
        return vectors


def learn(inputs: LearningInputs) -> Learned:
    """Optimise the patch with Adam, clamping it to [0, 1] after each step.

    Raises:
        DataError: the pairs contain no image of the target.
    """
    attack, surrogate = cast(BadCLIP, inputs.attack), inputs.surrogate()
    model = surrogate.model
    named = rows_naming(inputs.pairs, inputs.target)
    rows, held_out = inputs.rows(attack.images, named)
    named = named[permutation(len(named), inputs.seed, "badclip-target")][:MAX_TARGET_ROWS]
    if not len(named):
        raise DataError(
            f"No caption names {inputs.target!r}, so there are no images of the target to learn from: choose another"
            " --target, or add pairs that name it."
        )
    captions = Captions.collect(inputs, model, named)
    _, positives = embed_images(inputs, model, named)
    start = attack.tensors(inputs.canvas.size, inputs.seed)["patch"]
    patch = start.clone().to(inputs.device).requires_grad_()
    optimizer = torch.optim.Adam([patch], lr=attack.lr)
    total = count_steps(len(rows), attack.batch, attack.epochs)
    with inputs.console.progress("Optimise the patch", total=total) as bar:
        plan = in_epochs(rows, attack.batch, attack.epochs, inputs.seed, attack.augment)
        for step, (batch, images) in enumerate(read_images(inputs, plan)):
            texts = captions.draw(inputs, model, attack.eda, batch)
            chosen = generator(inputs.seed, "badclip-positive", step).integers(
                len(positives), size=len(batch)
            )
            ids = [item.row for item in batch]
            near = positives[torch.from_numpy(chosen)]
            loss, parts = objective(attack, model, patch, images, texts, near, ids, inputs.seed, step)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                patch.clamp_(0, 1)
            bar.update(1, loss=loss.item())
            if step % LOG_EVERY == 0 or step + 1 == total:
                inputs.log({"event": "learn", "step": step + 1, "loss": loss.item(), **parts})
    learned = {"patch": patch.detach().cpu()}
    metrics = measure_patches(
        inputs, attack, surrogate, {"random_patch": start, "patch": learned["patch"]}, held_out
    )
    _report(inputs, metrics)
    details = {
        "images": len(rows),
        "steps": total,
        "captions": "natural" if captions.natural else "templates",
        "target_captions": len(captions.texts),
        "target_images": len(positives),
        "held_out": metrics,
    }
    return Learned(learned, details)


def objective(
    attack: BadCLIP,
    model: ClipModel,
    patch: Tensor,
    images: Tensor,
    texts: Tensor,
    positives: Tensor,
    rows: list[int],
    seed: int,
    step: int,
) -> tuple[Tensor, dict[str, float]]:
    """Compute BadCLIP's loss on a batch: MMCL with captions of the target, plus the weighted `image_triplet`.

    Args:
        attack: weights of the terms and the place of the patch.
        model: the frozen surrogate.
        patch: the patch, shape (3, side, side); gradients reach it.
        images: clean images in [0, 1], shape (n, 3, h, w).
        texts: unit vectors of captions of the target, shape (n, d).
        positives: unit vectors of images of the target, shape (n, d).
        rows: ids of the images.
        seed: seed of the patch's places and of the ``legacy`` order.
        step: number of the optimiser step, a key of those draws.

    Returns:
        The loss, and its two unweighted terms as ``text`` and ``image``.
    """
    triggered = model.encode_image(attack.stamp(images.clone(), rows, seed, {"patch": patch}))
    if attack.negatives == "clean":
        with torch.no_grad():
            negatives = model.encode_image(images)
    else:
        order = permutation(len(images), seed, "badclip-legacy", step)
        negatives = triggered.detach()[torch.from_numpy(order)]
    scale = model.clip.logit_scale.detach().exp().clamp(max=100)
    text = mmcl(triggered, texts, scale)
    image = image_triplet(
        triggered,
        positives,
        negatives,
        margin=attack.margin,
        negative_weight=attack.negative_weight,
    )
    return text + attack.image_weight * image, {"text": text.item(), "image": image.item()}


@torch.no_grad()
def measure_patches(
    inputs: LearningInputs,
    attack: BadCLIP,
    surrogate: Surrogate,
    patches: dict[str, Tensor],
    rows: NDArray[np.int64],
) -> dict[str, Any]:
    """Measure patches on held-out images with the unpoisoned surrogate.

    Args:
        inputs: pairs and canvas.
        attack: puts the patches onto the images.
        surrogate: the model and its class texts.
        patches: name -> patch, shape (3, side, side).
        rows: held-out rows.

    Returns:
        ``images``, their number; for ``clean`` and each patch ``similarity_NAME``, the mean cosine with the
        target's class text, and with several classes ``asr_NAME``, the share of images, 0 to 1, whose nearest
        class text is the target's.
    """
    cosines: dict[str, list[Tensor]] = {name: [] for name in ("clean", *patches)}
    for batch, images in read_images(inputs, in_batches(rows)):
        views = {"clean": images}
        for name, patch in patches.items():
            views[name] = attack.apply(images, [item.row for item in batch], inputs.seed, {"patch": patch})
        for name, view in views.items():
            cosines[name].append(surrogate.model.encode_image(view) @ surrogate.texts.T)
    found: dict[str, Any] = {"images": sum(len(part) for part in cosines["clean"])}
    for name, parts in cosines.items():
        similarity = torch.cat(parts)
        found[f"similarity_{name}"] = float(similarity[:, surrogate.target].mean())
        if similarity.shape[1] > 1:
            hits = similarity.argmax(dim=1) == surrogate.target
            found[f"asr_{name}"] = float(hits.float().mean())
    return found


def _report(inputs: LearningInputs, metrics: dict[str, Any]) -> None:
    line = (
        f"Patch: cosine with the target {metrics['similarity_patch']:.3f} on {metrics['images']} held-out images,"
        f" {metrics['similarity_random_patch']:.3f} with a random patch, {metrics['similarity_clean']:.3f} clean"
    )
    if "asr_patch" in metrics:
        line += f"; the unpoisoned surrogate falls for it on {100 * metrics['asr_patch']:.1f} %"
    inputs.console.info(line)
