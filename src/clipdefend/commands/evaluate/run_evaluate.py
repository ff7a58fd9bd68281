"""``clipdefend evaluate``: BA, ASR and RA of a model, beside those of the models before it, and gates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from clipdefend.canvas import Canvas
from clipdefend.commands.evaluate.gate_checks import Gates
from clipdefend.commands.evaluate.probing import ProbeTask
from clipdefend.commands.evaluate.publish import check_places, export_images, write_results
from clipdefend.commands.evaluate.retrieving import RetrievalTask
from clipdefend.commands.shared import inputs
from clipdefend.commands.shared.fitting import floor
from clipdefend.config import EvaluateConfig, to_dict
from clipdefend.errors import ConfigError
from clipdefend.evaluation.cache import Cache
from clipdefend.evaluation.zero_shot import Benchmark
from clipdefend.models.clip import ClipModel
from clipdefend.runs import Context, Run, find_run
from clipdefend.training.devices import make_accelerator

Task = Callable[[ClipModel], tuple[dict[str, float], dict[str, Any]]]
"""Gives flat metrics of a model, and what the manifest says of them."""


def run(config: EvaluateConfig, context: Context) -> Run:
    """Make an evaluation run.

    Raises:
        GateFailed: the run is finished and a bound was missed.
    """
    _check_asked(config)
    source = _source(config, context)
    poison = _poison(config, context, source)
    attack = inputs.AttackRecord.of(poison) if poison else None
    gates = Gates.of(config, context, has_trigger=attack is not None)
    check_places(config.publish)
    model = _model(config, source, context)
    canvas = inputs.canvas_of(model, attack, config.canvas)
    gates.check_canvas(canvas.mode)
    benchmark = _benchmark(config, canvas, context, attack)
    target = _target_name(config, benchmark, attack)
    tasks = _tasks(config, canvas, context, attack, target)
    device = make_accelerator(config.device).device
    label = source.name.split("-", 1)[-1] if source else "checkpoint"
    with context.begin(config, label, source=source) as folder:
        model.to(device)
        metrics: dict[str, float] = {}
        details: dict[str, Any] = {}
        if benchmark is not None:
            metrics |= _measure(benchmark, model, context, "Evaluate")
            known = _floor(config, context, source, benchmark, device)
            metrics |= {key: value for key, value in known.items() if key.removeprefix("floor_") in metrics}
            details |= _describe(benchmark)
            if config.publish.export is not None:
                details["exported"] = export_images(config, benchmark, context)
        for name, task in tasks.items():
            found, details[name] = task(model)
            metrics |= found
        finished = folder.finish(
            parents=[parent for parent in (source, poison if config.attack_from else None) if parent],
            metrics=metrics,
            warnings=context.console.warnings,
            details={
                **details,
                **_attacked(config, canvas, attack, target),
                "gates": gates.judge(metrics),
            },
            device=str(device),
        )
    show(context, finished, source)
    if config.publish.clip_benchmark is not None:
        write_results(config.publish.clip_benchmark, finished, config, source)
    gates.tell(context, finished)
    return finished


def _check_asked(config: EvaluateConfig) -> None:
    """Raise ConfigError where there is nothing to measure, or nothing that gates and other tools ask for."""
    if config.eval.data is not None:
        return
    if config.probe.data is None and config.retrieval.data is None:
        raise ConfigError("There is nothing to evaluate on: give --eval-data, --linear-probe or --retrieval.")
    asked = [*config.gates.bounds]
    asked += ["--export"] if config.publish.export is not None else []
    asked += ["--clip-benchmark"] if config.publish.clip_benchmark is not None else []
    if asked:
        raise ConfigError(f"{' and '.join(asked)} are of zero-shot evaluation: give --eval-data.")


def show(context: Context, finished: Run, source: Run | None) -> None:
    """A table of the model beside the clean model and the victim where they are known."""
    measured = finished.metrics
    show_tasks(context, finished)
    if "n_clean" not in measured:
        return
    rows = [(name, values) for name, values in _lineage(finished, source) if values]
    shares = [key for key in measured if "_" not in key]  # those of probes and retrieval have a prefix
    counts = f"{measured['n_clean']} clean images"
    if "n_triggered" in measured:
        details = finished.details
        counts += f", {measured['n_triggered']} triggered ({details['attack']} for {details['target']!r})"
    table = [[key.upper(), *(_cell(values, key) for _, values in rows)] for key in shares]
    title = f"{counts}; % with 95 % Wilson intervals"
    context.console.table(title, ["", *(name for name, _ in rows)], table)


def show_tasks(context: Context, finished: Run) -> None:
    """A table of the linear probe, and one of retrieval, where they were measured."""
    measured, details = finished.metrics, finished.details
    titles = {}
    if "probe" in details:
        training = details["probe"]["training"]
        kind = f"logistic regression, C = {training['C']:.3g}" if "C" in training else "a layer by AdamW"
        counts = f"{measured['probe_n_clean']} clean images"
        if "probe_n_triggered" in measured:
            counts += f", {measured['probe_n_triggered']} triggered"
        titles["probe_"] = f"Linear probe on {details['probe']['data']}, {kind}: {counts}"
    if "retrieval" in details:
        counts = f"{measured['n_retrieval_images']} images, {measured['n_retrieval_captions']} captions"
        if "n_retrieval_triggered" in measured:
            counts += f", {measured['n_retrieval_triggered']} triggered images without the target's"
        titles["retrieval_"] = f"Retrieval: {counts}"
    for prefix, title in titles.items():
        keys = [key for key in measured if key.startswith(prefix) and f"{key}_low" in measured]
        rows = [[key.removeprefix(prefix).replace("_", " ").upper(), _cell(measured, key)] for key in keys]
        context.console.table(f"{title}; % with 95 % Wilson intervals", ["", "this model"], rows)


def _lineage(finished: Run, source: Run | None) -> list[tuple[str, dict[str, Any]]]:
    """Names and metrics of the clean model, the victim and the model itself."""
    metrics = finished.metrics

    def part(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}

    found = [("clean", part(metrics, "floor_"))]
    if source is not None and source.command == "defend":
        all_images = finished.config["eval"].get("quick") is None  # as the victim's figures are
        if all_images and _setting(source.config["eval"]) == _setting(finished.config["eval"]):
            found.append(("victim", part(source.metrics, "victim_")))
        found.append((str(source.config.get("method")), metrics))
    else:
        found.append(("victim" if source else "checkpoint", metrics))
    return found


def _cell(values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        return "-"
    return f"{100 * values[key]:.1f} [{100 * values[f'{key}_low']:.1f}, {100 * values[f'{key}_high']:.1f}]"


def _source(config: EvaluateConfig, context: Context) -> Run | None:
    if config.checkpoint is not None and context.source is None:
        return None
    return context.input(config)


def _poison(config: EvaluateConfig, context: Context, source: Run | None) -> Run | None:
    if config.attack_from is not None:
        return find_run(context.runs, ("poison", "finetune-attack", "defend"), config.attack_from).ancestor(
            "poison"
        )
    return source.find_ancestor("poison") if source else None


def _model(config: EvaluateConfig, source: Run | None, context: Context) -> ClipModel:
    if config.checkpoint is not None:
        return inputs.bare_model(config.checkpoint, config.model, source, config.seed, context)
    if source is None:
        raise ConfigError("Nothing to evaluate: give a run with --from, or weights with --checkpoint.")
    return inputs.model_of(source)


def _benchmark(
    config: EvaluateConfig, canvas: Canvas, context: Context, attack: inputs.AttackRecord | None
) -> Benchmark | None:
    """The zero-shot evaluation, where there are labelled images for it."""
    if config.eval.data is None:
        return None
    cache = Cache(context.runs / inputs.CACHE / "class-texts")
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


def _tasks(
    config: EvaluateConfig,
    canvas: Canvas,
    context: Context,
    attack: inputs.AttackRecord | None,
    target: str | None,
) -> dict[str, Task]:
    """What is measured besides, by name, with its data opened."""
    tasks: dict[str, Task] = {}
    if config.probe.data is not None:
        tasks["probe"] = ProbeTask(config, canvas, context, attack)
    if config.retrieval.data is not None:
        tasks["retrieval"] = RetrievalTask(config, config.retrieval.data, canvas, context, attack, target)
    return tasks


def _describe(benchmark: Benchmark) -> dict[str, Any]:
    return {
        "eval_data": benchmark.images.spec,
        "classes": len(benchmark.images.classes),
        "templates": len(benchmark.templates),
        "bad": benchmark.bad.summary(),
    }


def _attacked(
    config: EvaluateConfig, canvas: Canvas, attack: inputs.AttackRecord | None, target: str | None
) -> dict[str, Any]:
    """What the images went through, for the manifest."""
    return {
        "canvas": {"size": canvas.size, "mode": canvas.mode},
        "attack": attack.trigger.name if attack else None,
        "target": target,
        "asr_protocol": config.eval.asr_protocol,
    }


def _measure(benchmark: Benchmark, model: ClipModel, context: Context, title: str) -> dict[str, float]:
    with context.console.progress(title, total=benchmark.size) as bar:
        return benchmark(model, bar.update)


def _floor(
    config: EvaluateConfig, context: Context, source: Run | None, benchmark: Benchmark, device: Any
) -> dict[str, float]:
    """The clean model's metrics: of ``--clean-checkpoint``, else of the weights that the attack began with."""
    if config.clean_checkpoint is not None:
        clean = inputs.bare_model(config.clean_checkpoint, config.model, source, config.seed, context)
        return floor(_measure(benchmark, clean.to(device), context, "Evaluate the clean model"))
    if source is None or config.attack_from or config.target or config.canvas or config.eval.quick:
        return {}
    victim = source.find_ancestor("finetune-attack")
    if victim is None or _setting(victim.config["eval"]) != _setting(to_dict(config.eval)):
        return {}
    return {key: value for key, value in victim.metrics.items() if key.startswith("floor_")}


def _setting(record: Mapping[str, Any]) -> list[Any]:
    """What two evaluations must have in common for their figures to be compared; each k stands for itself."""
    keys = ("data", "root", "split", "class_names", "templates", "asr_protocol")
    return [record.get(key) for key in keys]
