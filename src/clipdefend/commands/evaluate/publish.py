"""What ``evaluate`` writes for other people's tools, beside its run folder."""

from __future__ import annotations

from pathlib import Path

from clipdefend.commands.shared.gate_report import check_file
from clipdefend.config import EvaluateConfig, PublishConfig
from clipdefend.distributed import launch
from clipdefend.evaluation.encoding import quick_rows
from clipdefend.evaluation.zero_shot import Benchmark
from clipdefend.interchange.clip_benchmark import clip_benchmark_json
from clipdefend.interchange.export import Export, check_free
from clipdefend.runs import Context, EvaluateDetails, Run, atomic_write


def check_places(config: PublishConfig) -> None:
    """Raise ConfigError where something cannot be written, before anything is computed."""
    if config.clip_benchmark is not None:
        check_file(config.clip_benchmark, "--clip-benchmark")
    if config.export is not None:
        check_free(Path(config.export))


def export_images(config: EvaluateConfig, benchmark: Benchmark, context: Context) -> dict[str, int]:
    """Write the images that a benchmark measured; returns the number of images of each set.

    Of several processes the first one writes, and the others, whose manifest is not kept, return nothing.
    """
    if not launch.current().main:
        return {}
    folder = Path(str(config.publish.export))
    export = Export(
        images=benchmark.images,
        templates=benchmark.templates,
        canvas=benchmark.canvas,
        trigger=benchmark.trigger,
        target=benchmark.target,
        protocol=benchmark.protocol,
        workers=benchmark.workers,
        rows=quick_rows(len(benchmark.images), config.eval.quick).tolist(),
    )
    with context.console.progress("Export", total=len(export)) as bar:
        counts = export.write(folder, bar.update)
    listed = ", ".join(f"{name} ({count} images)" for name, count in counts.items())
    context.console.info(f"Exported to {folder}: {listed}")
    return counts


def write_results(file: str, finished: Run, config: EvaluateConfig, source: Run | None) -> None:
    """Write the results as CLIP_benchmark's JSON."""
    if not launch.current().main:
        return
    details = EvaluateDetails.of(finished)
    document = clip_benchmark_json(
        finished.metrics,
        dataset=str(config.eval.data),
        model=_architecture(config, source),
        pretrained=config.checkpoint or (source.name if source else ""),
        extra={key: getattr(details, key) for key in ("attack", "target", "asr_protocol")},
    )
    atomic_write(Path(file), document)


def _architecture(config: EvaluateConfig, source: Run | None) -> str:
    """The model's name as it was given, to this command or to the attack."""
    if config.model.name is not None:
        return config.model.name
    attack = source.find_ancestor("finetune-attack") if source else None
    recorded = attack.config.get("model") if attack else None
    name = recorded.get("name") if isinstance(recorded, dict) else None
    return str(name or config.checkpoint or (source.name if source else ""))
