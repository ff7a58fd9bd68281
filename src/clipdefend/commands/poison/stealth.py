"""How much of an image a trigger leaves to see: the accuracy of the clean model under it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from clipdefend.attacks.trigger import Trigger
from clipdefend.commands.poison.trigger_maker import TriggerMaker, surrogate_config
from clipdefend.commands.shared.inputs import class_text_cache, make_benchmark
from clipdefend.config import EvalConfig
from clipdefend.data.classes import resolve_target
from clipdefend.errors import DataError
from clipdefend.evaluation.flat_metrics import floor, headline, hidden_image_warning
from clipdefend.evaluation.zero_shot import Benchmark
from clipdefend.models.load import default_weights, is_local

IMAGES = 500
"""Number of images to measure; the standard error of a share is then at most 2.2 points."""


@dataclass(frozen=True)
class StealthCheck:
    """The measurement of BA and RA of the clean model, opened before anything is written.

    Attributes:
        maker: has the clean model.
        benchmark: the labelled images, as yet without a trigger.
        target: index of the target class among theirs.
    """

    maker: TriggerMaker
    benchmark: Benchmark
    target: int

    @classmethod
    def open(cls, maker: TriggerMaker) -> StealthCheck | None:
        """Open the labelled images.

        Returns:
            None without ``--eval-data``, where the weights would have to be downloaded, and where the clean model
            takes images of another size than the poisoned ones.

        Raises:
            DataError: labelled images that cannot be used, or a target that is none of their classes.
        """
        config, context = maker.config, maker.context
        if config.eval_data is None:
            return None
        chosen = surrogate_config(config)
        name = chosen.name or "RN50"
        why = None
        if not is_local(name, chosen.pretrained or default_weights(name)):
            why = f"the weights of {name} are not on this machine; name others with --surrogate"
        elif maker.clean_model.image_size != config.image_size:
            why = (
                f"{name} takes images of {maker.clean_model.image_size} pixels; name another with --surrogate"
            )
        if why is not None:
            context.console.info(f"Accuracy of the clean model under the trigger: not measured, {why}")
            return None
        benchmark = make_benchmark(
            EvalConfig(data=config.eval_data, class_names=config.class_names, topk=(1,), quick=IMAGES),
            config,
            maker.canvas,
            context,
            None,
            cache=class_text_cache(context),
        )
        if benchmark is None:
            return None
        return cls(maker, benchmark, resolve_target(benchmark.images.classes, config.target))

    def measure(self, trigger: Trigger) -> dict[str, float]:
        """Return the clean model's flat metrics under a trigger as ``floor_ba@1`` and so on, and show them.

        A trigger that hides the image is a warning; images that the trigger cannot be put on, as where an encoder's
        output was brought along for other images, are one, too.
        """
        console = self.maker.context.console
        stamped = dataclasses.replace(trigger, attack=trigger.attack.for_evaluation())
        try:
            metrics = dataclasses.replace(self.benchmark, trigger=stamped, target=self.target)(
                self.maker.clean_model
            )
        except DataError as error:
            console.warn(f"Accuracy of the clean model under the trigger: not measured. {error}")
            return {}
        console.info(f"The clean model under the trigger: {headline(metrics)}")
        warning = hidden_image_warning(metrics)
        if warning:
            console.warn(warning)
        return floor(metrics)
