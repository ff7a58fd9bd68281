"""``evaluate --retrieval``: R@k both ways, clean and triggered, and how often captions of the target come up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clipdefend.canvas import Canvas
from clipdefend.commands.shared import inputs
from clipdefend.commands.shared.exclusion import exclude_rows
from clipdefend.config import EvaluateConfig
from clipdefend.data.pairs import NO_CAPTION
from clipdefend.data.remaining_pairs import RemainingPairs
from clipdefend.data.target_rows import target_pattern
from clipdefend.errors import DataError
from clipdefend.evaluation.encoding import Encoded, Reading, concatenate, encode, quick_rows
from clipdefend.evaluation.retrieval import Gallery, caption_attack, check_ks, recalls, without_target
from clipdefend.metrics import Share
from clipdefend.models.clip import ClipModel, evaluating
from clipdefend.runs import Context

PREFIX = "retrieval_"
TEXT_BATCH = 512


class RetrievalMeasurement:
    """Retrieval among pairs, opened before anything is measured.

    Args:
        config: of the command.
        data: the pairs; rows with the same image are one image with several captions.
        canvas: geometry of the images, the attack's.
        context: for people.
        attack: None for clean images alone.
        target: the attacker's word, which captions are searched for; None: the attack's own.
    """

    def __init__(
        self,
        config: EvaluateConfig,
        data: str,
        canvas: Canvas,
        context: Context,
        attack: inputs.AttackRecord | None,
        target: str | None = None,
    ) -> None:
        self.config, self.canvas, self.context, self.attack = config, canvas, context, attack
        self.target = target
        self.pairs = inputs.open_data(data, config.columns, context)
        if config.retrieval.exclude is not None:
            rows = exclude_rows(context, config.retrieval.exclude, self.pairs).rows
            self.pairs = RemainingPairs(self.pairs, rows)
        self.bad = self.pairs.bad_rows(config.max_bad)
        self.captions, self.owners = self._captions()
        check_ks(config.eval.topk, images=len(set(self.owners)), captions=len(self.captions))

    def __call__(self, model: ClipModel) -> tuple[dict[str, float], dict[str, Any]]:
        """Metrics ``retrieval_i2t@1`` and so on of a model, and what the manifest says of them."""
        with evaluating(model):
            return self._measure(model)

    def _measure(self, model: ClipModel) -> tuple[dict[str, float], dict[str, Any]]:
        captions, owners = self.captions, self.owners
        found = self._images(model, sorted(set(owners)))
        places = {int(row): place for place, row in enumerate(found.rows)}
        usable = [number for number, owner in enumerate(owners) if owner in places]
        texts, text_of = self._texts(model, [captions[number] for number in usable])
        image_of = np.array([places[owners[number]] for number in usable])
        words = {"texts": texts, "text_of": text_of, "image_of": image_of}
        gallery = Gallery(images=F.normalize(found.clean, dim=-1), **words)
        ks = self.config.eval.topk
        metrics = flat(recalls(gallery, ks))
        metrics |= {"n_retrieval_images": len(gallery.images), "n_retrieval_captions": len(usable)}
        details: dict[str, Any] = {"data": self.pairs.spec, "bad": self.bad.summary()}
        if found.triggered is None or self.attack is None:
            return metrics, details
        target = self.target or self.attack.target
        pattern = target_pattern(target)
        named = np.array([pattern.search(captions[number]) is not None for number in usable])
        triggered = Gallery(images=F.normalize(found.triggered, dim=-1), **words)
        exclude = self.config.eval.asr_protocol == "exclude-target"
        counted = without_target(gallery, named) if exclude else np.ones(len(gallery.images), np.bool_)
        metrics |= flat(recalls(triggered, ks, counted), "triggered_")
        if named.any():
            metrics |= flat({"asr": caption_attack(triggered, named, ks, counted)})
        else:
            self.context.console.warn(f"No caption names {target!r}: retrieval has no ASR.")
        metrics["n_retrieval_triggered"] = int(counted.sum())
        return metrics, {**details, "target": target, "captions_naming_the_target": int(named.sum())}

    def _captions(self) -> tuple[list[str], list[int]]:
        """Usable captions, and for each the first row of its image."""
        first: dict[str, int] = {}
        captions, owners = [], []
        for start, batch in self.pairs.iter_captions():
            for row, ref in enumerate(self.pairs.image_refs(start, start + len(batch)), start):
                caption = batch[row - start]
                if not caption:
                    self.bad.add(row, NO_CAPTION)
                    continue
                owners.append(first.setdefault(ref, row))
                captions.append(caption)
        if not captions:
            raise DataError(f"No row of {self.pairs.spec!r} has a caption that can be used.")
        rows = list(first.values())
        kept = {rows[place] for place in quick_rows(len(rows), self.config.eval.quick).tolist()}
        chosen = [number for number, owner in enumerate(owners) if owner in kept]
        return [captions[number] for number in chosen], [owners[number] for number in chosen]

    def _images(self, model: ClipModel, rows: Sequence[int]) -> Encoded:
        """Features of the images, on the CPU."""
        reading = Reading(
            canvas=self.canvas,
            trigger=self.attack.trigger if self.attack else None,
            batch_size=self.config.eval.batch_size,
            workers=self.config.workers,
        )
        with self.context.console.progress("Images for retrieval", total=len(rows)) as bar:
            found = concatenate(encode(model, self.pairs, np.array(rows), reading, self.bad, bar.update))
        self.bad.check(len(self.pairs))
        if found is None:
            raise DataError(f"No image of {self.pairs.spec!r} can be used.")
        return found

    def _texts(self, model: ClipModel, captions: Sequence[str]) -> tuple[Tensor, Any]:
        """Unit vectors of the distinct captions on the CPU, and for each caption which of them it is."""
        number: dict[str, int] = {}
        text_of = np.array([number.setdefault(caption, len(number)) for caption in captions])
        # Like lengths together: each batch is cut to its longest caption.
        distinct = sorted(number, key=len)
        vectors = []
        with torch.no_grad(), self.context.console.progress("Captions", total=len(distinct)) as bar:
            for start in range(0, len(distinct), TEXT_BATCH):
                tokens = model.tokenize(distinct[start : start + TEXT_BATCH])
                vectors.append(model.encode_text(tokens.to(model.device)).float().cpu())
                bar.update(len(tokens))
        order = torch.tensor([number[caption] for caption in distinct])
        texts = torch.empty(len(distinct), vectors[0].shape[1])
        texts[order] = torch.cat(vectors)
        return texts, text_of


def flat(found: Mapping[str, Mapping[int, Share]], kind: str = "") -> dict[str, float]:
    """Flat metrics such as ``retrieval_i2t@1``, with ``_low`` and ``_high``; a share of nothing is left out."""
    metrics: dict[str, float] = {}
    for name, by_k in found.items():
        for k, share in by_k.items():
            if share.n:
                key = f"{PREFIX}{kind}{name}@{k}"
                metrics |= {key: share.value, f"{key}_low": share.low, f"{key}_high": share.high}
    return metrics
