"""The merged model at one share after the other, and its figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from clipdefend.canvas import Canvas
from clipdefend.commands.merge.merge_inputs import BATCH, MergedModels, MergeImages
from clipdefend.commands.shared.class_choice import choose_classes
from clipdefend.config import MergeConfig
from clipdefend.data.classes import load_templates
from clipdefend.data.pairs import Pairs
from clipdefend.defences.proxy_asr import KINDS, ProxySettings, proxy_asr
from clipdefend.evaluation.class_texts import class_embeddings
from clipdefend.evaluation.zero_shot import Benchmark, epoch_metrics
from clipdefend.models.clip import ClipModel, evaluating
from clipdefend.models.interpolate import interpolate
from clipdefend.models.norm_statistics import reestimate_norms
from clipdefend.training.job import freeze
from clipdefend.training.validation import Validation, draw_validation

VALIDATION_PAIRS = 256
"""Pairs among which an image's caption is looked for, where there are no labelled images."""
Figures = dict[str, float]


@dataclass(kw_only=True)
class MergedShares:
    """Sets one model to one share after the other and measures it.

    Attributes:
        model: holds the weights of the share that was set last.
        first, other: state dicts of the two models, on the CPU.
        images: clean pairs for the statistics of batch norms and for the proxy.
        classes, templates: the classes that perturbed images may go to, and their prompts.
        settings: of the proxy.
        benchmark: the evaluation; None without labelled images.
        validation: what stands for it then.
    """

    model: ClipModel
    first: Mapping[str, Tensor]
    other: Mapping[str, Tensor]
    images: MergeImages
    classes: list[str]
    templates: list[str]
    settings: ProxySettings
    benchmark: Benchmark | None
    validation: Validation | None

    @classmethod
    def open(
        cls,
        config: MergeConfig,
        models: MergedModels,
        images: MergeImages,
        pairs: Pairs,
        canvas: Canvas,
        benchmark: Benchmark | None,
    ) -> MergedShares:
        """Put together what a command needs; the first model's module is used for all shares.

        Raises:
            DataError: there are no labelled images, and too few pairs to stand for them.
        """
        validation = None
        if benchmark is None:
            frozen = freeze(models.first)
            validation = draw_validation(pairs, canvas, frozen, size=VALIDATION_PAIRS, seed=config.seed)
        proxy = config.proxy
        return cls(
            model=models.first.requires_grad_(False).eval(),
            first={name: each.clone() for name, each in models.first.clip.state_dict().items()},
            other=models.other.clip.state_dict(),
            images=images,
            classes=benchmark.images.classes if benchmark else choose_classes(config.eval.class_names, pairs),
            templates=load_templates(proxy.templates),
            settings=ProxySettings(
                steps=proxy.steps,
                members=proxy.members,
                batch=proxy.batch_size,
                step=proxy.step,
                seed=config.seed,
            ),
            benchmark=benchmark,
            validation=validation,
        )

    @property
    def accuracy(self) -> str:
        """The metric by which a share is chosen."""
        return "ba@1" if self.benchmark else "val_r@1"

    @property
    def units(self) -> int:
        """Units of progress of one share: images of the evaluation, and steps on perturbations."""
        steps = len(KINDS) * self.settings.members * self.settings.steps
        return steps + (self.benchmark.size if self.benchmark else 0)

    def set(self, share: float) -> int:
        """Give the model the weights of a share.

        At 0 and 1 it is one of the two models as it is; between them the statistics of batch norms, which no average
        of the two models' fits, are estimated anew.

        Returns:
            The number of images that they were estimated on.
        """
        self.model.clip.load_state_dict(interpolate(self.first, self.other, share))
        if share in (0, 1):
            return 0
        tokens = self.model.tokenize(self.images.captions)
        return reestimate_norms(self.model, self.images.pixels, tokens, BATCH)

    def measure(self, share: float, report: Callable[[int], None]) -> Figures:
        """Return the figures of a share: those of the evaluation, and the proxy ASR as ``proxy_asr``."""
        self.set(share)
        figures = self._evaluate(report, full=False)
        with evaluating(self.model):
            texts = class_embeddings(self.model, self.classes, self.templates).float()
        images, held_out = self.images.search(self.model.device)
        found = proxy_asr(self.model, texts, images, held_out, self.settings, report)
        kinds = {f"proxy_asr_{kind}": value for kind, value in found.kinds.items()}
        return {**epoch_metrics(figures), "proxy_asr": found.value, **kinds}

    def finish(self, share: float, figures: Figures) -> tuple[Figures, int]:
        """Set the chosen share.

        Args:
            share: the chosen one.
            figures: as measured.

        Returns:
            Its figures on all images, and the number of images for statistics of batch norms.
        """
        used = self.set(share)
        if self.benchmark is None or self.benchmark.quick is None:
            return figures, used
        return {**figures, **self._evaluate(lambda _: None, full=True)}, used

    def _evaluate(self, report: Callable[[int], None], *, full: bool) -> Figures:
        if self.benchmark is not None:
            return self.benchmark(self.model, report, full=full)
        return self.validation(self.model) if self.validation is not None else {}
