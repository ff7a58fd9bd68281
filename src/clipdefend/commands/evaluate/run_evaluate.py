"""``clipdefend evaluate``: BA, ASR and RA of a model, beside those of the models before it, and gates."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from clipdefend.canvas import Canvas
from clipdefend.commands.evaluate.detect_measurement import DetectMeasurement
from clipdefend.commands.evaluate.gate_checks import Gates
from clipdefend.commands.evaluate.probe_measurement import ProbeMeasurement
from clipdefend.commands.evaluate.publish import check_places, export_images, write_results
from clipdefend.commands.evaluate.result_tables import show_results
from clipdefend.commands.evaluate.retrieval_measurement import RetrievalMeasurement
from clipdefend.commands.shared import inputs
from clipdefend.config import EvaluateConfig, to_dict
from clipdefend.errors import ConfigError
from clipdefend.evaluation.flat_metrics import floor, recovery, select_prefix
from clipdefend.evaluation.recorded_floor import floor_of_run
from clipdefend.evaluation.setting import EvaluationSetting
from clipdefend.evaluation.zero_shot import Benchmark
from clipdefend.models.clip import ClipModel
from clipdefend.runs import CanvasRecord, Context, EvaluateDetails, Run
from clipdefend.training.devices import make_accelerator

Measured = tuple[dict[str, float], dict[str, Any]]
"""Flat metrics of a model, and what the manifest says of them."""
Measurement = Callable[[ClipModel], Measured]


def run(config: EvaluateConfig, context: Context) -> Run:
    """Make an evaluation run.

    Raises:
        GateFailed: the run is finished and a bound was missed.
    """
    source = _source(config, context)  # first, so that a mistyped run is reported as such
    _check_asked(config)
    attack = (
        inputs.named_attack(context, config.attack_from) if config.attack_from else inputs.find_attack(source)
    )
    poison = attack.run if attack else None
    gates = Gates.of(config, context, has_trigger=attack is not None)
    check_places(config.publish)
    model = _model(config, source, context)
    canvas = inputs.canvas_of(model, attack, config.canvas)
    benchmark = _benchmark(config, canvas, context, attack)
    target = _target_name(config, benchmark, attack)
    setting = EvaluationSetting.from_config(
        to_dict(config.eval), canvas=canvas.mode, target=target, poison=poison
    )
    gates.check_comparable(setting)
    others = _other_measurements(config, canvas, context, attack, target, benchmark)
    device = make_accelerator(config.device).device
    label = re.sub(r"^\d+-", "", source.name) if source else _bare_name(config)
    with context.begin(config, label, source=source) as folder:
        model.to(device)
        metrics: dict[str, float] = {}
        details: dict[str, Any] = {}
        if benchmark is not None:
            metrics, details = _measure_zero_shot(config, context, source, benchmark, setting, model)
            setting = setting.with_counts(metrics)
        for name, measure in others.items():
            found, details[name] = measure(model)
            metrics |= found
        finished = folder.finish(
            parents=[parent for parent in (source, poison if config.attack_from else None) if parent],
            metrics=metrics,
            warnings=context.console.warnings,
            details=EvaluateDetails(
                **details,
                canvas=CanvasRecord(size=canvas.size, mode=canvas.mode, interpolation=canvas.interpolation),
                attack=attack.trigger.name if attack else None,
                target=target,
                asr_protocol=config.eval.asr_protocol,
                gates=gates.judge(metrics),
            ),
            device=str(device),
        )
    show_results(context, finished, source, setting)
    if config.publish.clip_benchmark is not None:
        write_results(config.publish.clip_benchmark, finished, config, source)
    gates.tell(context, finished)
    return finished


def _bare_name(config: EvaluateConfig) -> str:
    """What a model without a run is called."""
    return "checkpoint" if config.checkpoint is not None else f"model-{config.model.name}"


def _check_asked(config: EvaluateConfig) -> None:
    """Raise ConfigError where there is nothing to measure, or nothing that gates and other tools ask for."""
    if config.eval.data is not None:
        return
    if config.probe.data is None and config.retrieval.data is None:
        raise ConfigError("There is nothing to evaluate on: give --eval-data, --linear-probe or --retrieval.")
    asked = [*config.gates.bounds]
    asked += ["--detect"] if config.detect.scores is not None else []
    asked += ["--export"] if config.publish.export is not None else []
    asked += ["--clip-benchmark"] if config.publish.clip_benchmark is not None else []
    if asked:
        raise ConfigError(f"{' and '.join(asked)} are of zero-shot evaluation: give --eval-data.")


def _source(config: EvaluateConfig, context: Context) -> Run | None:
    """The run whose model is measured; None where a checkpoint or a model by name stands in for one."""
    if context.source is None and (config.checkpoint is not None or config.model.name is not None):
        return None
    if config.checkpoint is None and config.model.name is not None:
        raise ConfigError(
            f"--model {config.model.name} names the architecture of a --checkpoint, or a model to measure in place of a"
            " run's: leave it out, or leave out the run."
        )
    return context.input(config)


def _model(config: EvaluateConfig, source: Run | None, context: Context) -> ClipModel:
    if config.checkpoint is not None:
        return inputs.bare_model(config.checkpoint, config.model, source, config.seed, context)
    if source is None:
        return inputs.first_model(config.model, config.seed, context)[0]
    return inputs.model_of(source)


def _benchmark(
    config: EvaluateConfig, canvas: Canvas, context: Context, attack: inputs.AttackRecord | None
) -> Benchmark | None:
    """The zero-shot evaluation, where there are labelled images for it."""
    if config.eval.data is None:
        return None
    cache = inputs.class_text_cache(context)
    return inputs.make_benchmark(
        config.eval, config, canvas, context, attack, target=config.target, cache=cache
    )


def _target_name(
    config: EvaluateConfig, benchmark: Benchmark | None, attack: inputs.AttackRecord | None
) -> str | None:
    """The target's name, also where it was given by its index among the classes."""
    if benchmark is not None and benchmark.target is not None:
        return benchmark.images.classes[benchmark.target]
    return config.target or (attack.target if attack else None)


def _other_measurements(
    config: EvaluateConfig,
    canvas: Canvas,
    context: Context,
    attack: inputs.AttackRecord | None,
    target: str | None,
    benchmark: Benchmark | None,
) -> dict[str, Measurement]:
    """The measurements besides zero-shot classification, by name, with their data opened."""
    others: dict[str, Measurement] = {}
    if config.probe.data is not None:
        others["probe"] = ProbeMeasurement(config, canvas, context, attack)
    if config.retrieval.data is not None:
        others["retrieval"] = RetrievalMeasurement(
            config, config.retrieval.data, canvas, context, attack, target
        )
    if config.detect.scores is not None:
        others["detect"] = DetectMeasurement(config, canvas, context, attack, benchmark)
    return others


def _describe(benchmark: Benchmark) -> dict[str, Any]:
    return {
        "eval_data": benchmark.images.spec,
        "classes": len(benchmark.images.classes),
        "templates": len(benchmark.templates),
        "bad": benchmark.bad.summary(),
    }


def _measure_zero_shot(
    config: EvaluateConfig,
    context: Context,
    source: Run | None,
    benchmark: Benchmark,
    setting: EvaluationSetting,
    model: ClipModel,
) -> Measured:
    """Measure BA, ASR and RA, beside the clean model's where they are known."""
    metrics = _measure(benchmark, model, context, "Evaluate")
    known = _floor(config, context, source, benchmark, setting.with_counts(metrics), model.device)
    metrics |= {key: value for key, value in known.items() if key.removeprefix("floor_") in metrics}
    metrics |= recovery(metrics, select_prefix(known, "floor_"))
    details = _describe(benchmark)
    if config.publish.export is not None:
        details["exported"] = export_images(config, benchmark, context)
    return metrics, details


def _measure(benchmark: Benchmark, model: ClipModel, context: Context, title: str) -> dict[str, float]:
    with context.console.progress(title, total=benchmark.size) as bar:
        return benchmark(model, bar.update)


def _floor(
    config: EvaluateConfig,
    context: Context,
    source: Run | None,
    benchmark: Benchmark,
    setting: EvaluationSetting,
    device: Any,
) -> dict[str, float]:
    """Return the clean model's metrics as ``floor_...``.

    They are those of ``--clean-checkpoint``, measured now, else those that the attack recorded of the weights that it
    began with, as far as these are comparable.
    """
    if config.clean_checkpoint is not None:
        clean = inputs.bare_model(config.clean_checkpoint, config.model, source, config.seed, context)
        return floor(_measure(benchmark, clean.to(device), context, "Evaluate the clean model"))
    return floor(floor_of_run(source, setting))
