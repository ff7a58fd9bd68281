"""Optimising BadCLIP's patch on a frozen surrogate."""

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
from clipdefend.data.naming import naming
from clipdefend.draws import generator, permutation, text_random
from clipdefend.errors import DataError
from clipdefend.learning.example_batches import BATCH, Item, embed, in_batches, in_epochs, read, steps
from clipdefend.learning.task import LOG_EVERY, Learned, Surrogate, Task
from clipdefend.losses import mmcl
from clipdefend.models.clip import ClipModel

NATURAL = 64
"""Captions that name the target from which on no prompts are needed: a batch of the paper."""
MOST = 2000
"""The most captions and images of the target that are used, about as many as the paper's."""


def image_triplet(
    triggered: Tensor, positive: Tensor, negative: Tensor, *, margin: float, negative_weight: float
) -> Tensor:
    """Return mean_i max(0, ||x_i - p_i|| - negative_weight ||x_i - n_i|| + margin).

    Args:
        triggered: x, unit vectors of triggered images, shape (n, d).
        positive: p, of images of the target, shape (n, d).
        negative: n, of the images' clean views, shape (n, d).
        margin: eta.
        negative_weight: lambda 2.

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
    """Captions of the target with their unit vectors, shape (n, d).

    Attributes:
        texts: the captions.
        vectors: theirs.
        natural: whether they are the data's own.
    """

    texts: list[str]
    vectors: Tensor
    natural: bool

    @classmethod
    @torch.no_grad()
    def collect(cls, task: Task, model: ClipModel, named: NDArray[np.int64]) -> Captions:
        """The data's own captions of the target where there are enough, else prompts."""
        natural = len(named) >= NATURAL
        if natural:
            texts = [task.pairs.caption(int(row)) for row in named]
        else:
            texts = [template.replace("{}", task.target) for template in task.templates]
        tokens = model.tokenize(texts).to(model.device)
        vectors = [model.encode_text(part) for part in tokens.split(BATCH)]
        return cls(texts, torch.cat(vectors), natural)

    @torch.no_grad()
    def draw(self, task: Task, model: ClipModel, share: float, items: list[Item]) -> Tensor:
        """A caption's vector for each item, shape (n, d); a share of the captions is changed by EDA."""
        places, changed = [], {}
        for index, (row, epoch, _) in enumerate(items):
            draw = generator(task.seed, "badclip-caption", epoch, row)
            places.append(int(draw.integers(len(self.texts))))
            if draw.random() < share:
                rng = text_random(task.seed, "badclip-eda", epoch, row)
                changed[index] = Eda()(self.texts[places[-1]], rng)
        vectors = self.vectors[places]
        if changed:
            tokens = model.tokenize(list(changed.values())).to(model.device)
            vectors[list(changed)] = model.encode_text(tokens)
        return vectors


def learn(task: Task) -> Learned:
    """Optimise the patch.

    Raises:
        DataError: no image of the target among the pairs.
    """
    attack, surrogate = cast(BadCLIP, task.attack), task.surrogate()
    model = surrogate.model
    named = naming(task.pairs, task.target)
    rows, held_out = task.rows(attack.images, named)
    named = named[permutation(len(named), task.seed, "badclip-target")][:MOST]
    if not len(named):
        raise DataError(
            f"No caption names {task.target!r}, so there is no image of it to be near: choose another --target,"
            " or add pairs of it."
        )
    captions = Captions.collect(task, model, named)
    _, positives = embed(task, model, named)
    start = attack.tensors(task.canvas.size, task.seed)["patch"]
    patch = start.clone().to(task.device).requires_grad_()
    optimizer = torch.optim.Adam([patch], lr=attack.lr)
    total = steps(len(rows), attack.batch, attack.epochs)
    with task.console.progress("Optimise the patch", total=total) as bar:
        plan = in_epochs(rows, attack.batch, attack.epochs, task.seed, attack.augment)
        for step, (batch, images) in enumerate(read(task, plan)):
            texts = captions.draw(task, model, attack.eda, batch)
            chosen = generator(task.seed, "badclip-positive", step).integers(len(positives), size=len(batch))
            ids = [item.row for item in batch]
            near = positives[torch.from_numpy(chosen)]
            loss, parts = objective(attack, model, patch, images, texts, near, ids, task.seed, step)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                patch.clamp_(0, 1)
            bar.update(1, loss=loss.item())
            if step % LOG_EVERY == 0 or step + 1 == total:
                task.log({"event": "learn", "step": step + 1, "loss": loss.item(), **parts})
    learned = {"patch": patch.detach().cpu()}
    measured = measure(task, attack, surrogate, {"random_patch": start, "patch": learned["patch"]}, held_out)
    _tell(task, measured)
    details = {
        "images": len(rows),
        "steps": total,
        "captions": "natural" if captions.natural else "templates",
        "target_captions": len(captions.texts),
        "target_images": len(positives),
        "held_out": measured,
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
    """The loss of `BadCLIP` on a batch.

    Args:
        attack: its weights and the patch's place.
        model: the frozen surrogate.
        patch: shape (3, side, side).
        images: clean, in [0, 1], shape (n, 3, h, w).
        texts: captions of the target, unit vectors (n, d).
        positives: images of the target, unit vectors (n, d).
        rows: ids of the images.
        seed, step: of places and orders that are drawn.

    Returns:
        The loss, and its two terms unweighted, as ``text`` and ``image``.
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
def measure(
    task: Task,
    attack: BadCLIP,
    surrogate: Surrogate,
    patches: dict[str, Tensor],
    rows: NDArray[np.int64],
) -> dict[str, Any]:
    """What the unpoisoned surrogate makes of clean and triggered images that were not learned from.

    Returns:
        For ``clean`` and each patch: ``similarity_...``, the mean cosine with the target's class text, and,
        among several classes, ``asr_...``, the share of images whose nearest class text is the target's.
    """
    cosines: dict[str, list[Tensor]] = {name: [] for name in ("clean", *patches)}
    for batch, images in read(task, in_batches(rows)):
        views = {"clean": images}
        for name, patch in patches.items():
            views[name] = attack.apply(images, [item.row for item in batch], task.seed, {"patch": patch})
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


def _tell(task: Task, measured: dict[str, Any]) -> None:
    line = (
        f"Patch: cosine with the target {measured['similarity_patch']:.3f} on {measured['images']} other images,"
        f" {measured['similarity_random_patch']:.3f} with a random patch, {measured['similarity_clean']:.3f} clean"
    )
    if "asr_patch" in measured:
        line += f"; the unpoisoned surrogate falls for it on {100 * measured['asr_patch']:.1f} %"
    task.console.info(line)
