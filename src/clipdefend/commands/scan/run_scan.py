"""``clipdefend scan``: is this model backdoored?"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clipdefend import __version__
from clipdefend.commands.scan import scan_inputs
from clipdefend.commands.scan.scan_outputs import show_scan, write_triggers
from clipdefend.commands.scan.verdict_gate import VerdictGate
from clipdefend.commands.shared import inputs
from clipdefend.commands.shared.gate_report import check_file, tell_gates
from clipdefend.config import ScanConfig
from clipdefend.errors import ConfigError
from clipdefend.evaluation.cache import Cache, model_digest
from clipdefend.evaluation.class_texts import class_embeddings
from clipdefend.inversion import FAMILIES
from clipdefend.inversion.margin import MarginSettings, margin_test, maximum_margins
from clipdefend.inversion.model_scan import FoundTrigger, ModelScan
from clipdefend.inversion.scan_verdict import Evidence, ScanVerdict, Thresholds, decide, score_of
from clipdefend.inversion.trigger_search import SearchSettings
from clipdefend.models.clip import ClipModel
from clipdefend.runs import CanvasRecord, Context, Run, ScanDetails
from clipdefend.training.devices import make_accelerator

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Scanned:
    """What the stages found in one model.

    Attributes:
        name: of the model, for people.
        found: family -> its trigger.
        library: what the known triggers do.
    """

    name: str
    found: dict[str, FoundTrigger]
    library: list[dict[str, Any]]


def run(config: ScanConfig, context: Context) -> Run:
    """Make a scan run.

    Raises:
        GateFailed: the run is finished and the verdict is the one that ``--fail-if`` names.
    """
    source = scan_inputs.find_source(config, context)
    for family in config.search.families:
        FAMILIES.get(family)
    if config.gate.junit is not None:
        check_file(config.gate.junit, "--junit")
    suspect = scan_inputs.open_suspect(config, source, context)
    pairs = scan_inputs.open_pairs(config, source, context)
    classes = scan_inputs.class_names(config, pairs)
    device = make_accelerator(config.device, config.search.precision).device
    suspect.to(device).eval().requires_grad_(False)
    label = re.sub(r"^\d+-", "", source.name) if source else "checkpoint"
    if pairs is None:
        return _scan_without_images(config, context, suspect, source, classes, label)
    reference = scan_inputs.open_reference(config, suspect, source, context)
    canvas = inputs.canvas_of(suspect, None)
    bad = pairs.bad_rows(config.max_bad)
    images = scan_inputs.read_images(config, pairs, canvas, bad)
    with context.begin(config, label, source=source) as folder:
        scans = [_scan_model("suspect", suspect, images, classes, config, context)]
        if reference is not None:
            other = reference[1].to(device).eval().requires_grad_(False)
            scans.append(_scan_model(reference[0], other, images, classes, config, context))
        verdict = _verdict(config, scans)
        record = CanvasRecord(size=canvas.size, mode=canvas.mode, interpolation=canvas.interpolation)
        main = write_triggers(config, context, folder, source, scans, images.held_out, classes, record)
        finished = folder.finish(
            parents=[source] if source else [],
            metrics=_metrics(verdict, scans),
            warnings=context.console.warnings,
            details=ScanDetails(
                trigger=main.trigger.to_dict(),
                target=classes[main.nearest[0]],
                canvas=record,
                **_verdict_details(verdict),
                found=[each.to_dict(classes) for each in scans[0].found.values()],
                reference=_reference_details(scans, classes),
                library=_library_details(scans, classes),
                images=len(images.search),
                held_out=len(images.held_out),
                fingerprint=pairs.fingerprint,
                bad=bad.summary(),
            ),
            device=str(device),
        )
    return _conclude(config, context, finished, verdict, scans, classes)


def _scan_model(
    name: str,
    model: ClipModel,
    images: scan_inputs.ScanImages,
    classes: list[str],
    config: ScanConfig,
    context: Context,
) -> Scanned:
    """All stages of one model."""
    chosen = config.search
    settings = SearchSettings(
        steps=chosen.steps,
        batch=chosen.batch_size,
        lr=chosen.lr,
        share=chosen.goal,
        seed=config.seed,
        autocast=AUTOCAST[chosen.precision],
    )
    scan = ModelScan(
        model=model,
        texts=_texts(model, classes, config),
        images=images.search,
        held_out=images.held_out,
        settings=settings,
        restarts=chosen.restarts,
        keep=Cache(context.runs / inputs.CACHE / "scans").get,
        facts={"version": __version__, "model": model_digest(model), "images": images.digest},
    )
    library = scan.library() if chosen.library else []
    found = {}
    for family in chosen.families:
        with context.console.progress(
            f"Search {name}: {family}", total=chosen.restarts * chosen.steps
        ) as bar:
            found[family] = scan.find(family, bar.update)
    return Scanned(name=name, found=found, library=library)


def _texts(model: ClipModel, classes: list[str], config: ScanConfig) -> Tensor:
    return class_embeddings(model, classes, scan_inputs.templates(config)).float()


def _scan_without_images(
    config: ScanConfig,
    context: Context,
    suspect: ClipModel,
    source: Run | None,
    classes: list[str],
    label: str,
) -> Run:
    """The maximum-margin test, where there are no clean images."""
    if len(classes) < 3:
        raise ConfigError(
            f"{len(classes)} classes are too few for a test without images, which needs at least 3."
        )
    context.console.warn(
        "No clean images: only the maximum-margin test is run, which finds fewer backdoors. Give --data PAIRS."
    )
    chosen = config.search
    settings = MarginSettings(starts=chosen.margin_starts, steps=chosen.margin_steps, seed=config.seed)
    with context.begin(config, label, source=source) as folder:
        with context.console.progress("Maximum margins", total=len(classes)) as bar:
            values = maximum_margins(suspect, _texts(suspect, classes, config), settings, bar.update)
        p = margin_test(values)
        verdict = decide(None, margin=p, thresholds=_thresholds(config))
        largest = sorted(zip(values, classes, strict=True), reverse=True)[:10]
        finished = folder.finish(
            parents=[source] if source else [],
            metrics={"margin_p": p, "margin_largest": largest[0][0]},
            warnings=context.console.warnings,
            details=ScanDetails(
                **_verdict_details(verdict),
                margins={"p": p, "largest": [[name, value] for value, name in largest]},
            ),
            device=str(suspect.device),
        )
    return _conclude(config, context, finished, verdict, [], classes)


def _thresholds(config: ScanConfig) -> Thresholds:
    t = config.thresholds
    return Thresholds(backdoored=t.backdoored, clean=t.clean, library=t.library, margin=t.margin)


def _verdict(config: ScanConfig, scans: list[Scanned]) -> ScanVerdict:
    evidence = [
        {name: Evidence(each.size, each.asr, each.reached) for name, each in scan.found.items()}
        for scan in scans
    ]
    score = score_of(*evidence) if len(evidence) == 2 else None
    return decide(score, library=_library_excess(scans), thresholds=_thresholds(config))


def _library_excess(scans: list[Scanned]) -> tuple[str, float] | None:
    """The known trigger with the largest excess over the reference; None without a reference."""
    if len(scans) < 2 or not scans[0].library:
        return None
    others = {each["name"]: each["share"] for each in scans[1].library}
    return max(
        ((each["name"], each["share"] - others[each["name"]]) for each in scans[0].library),
        key=lambda pair: pair[1],
    )


def _metrics(verdict: ScanVerdict, scans: list[Scanned]) -> dict[str, Any]:
    flat: dict[str, Any] = {} if verdict.score is None else {"score": verdict.score}
    excess = _library_excess(scans)
    if excess is not None:
        flat["library_excess"] = excess[1]
    for prefix, scan in zip(("", "reference_"), scans, strict=False):
        for name, each in scan.found.items():
            flat |= {f"{prefix}{name}_size": each.size, f"{prefix}{name}_asr": each.asr}
            if each.asr_count:
                low, high = each.asr_interval
                flat |= {f"{prefix}{name}_asr_low": low, f"{prefix}{name}_asr_high": high}
    return flat


def _verdict_details(verdict: ScanVerdict) -> dict[str, Any]:
    return {"verdict": verdict.word, "score": verdict.score, "reason": verdict.reason, "rule": verdict.rule}


def _reference_details(scans: list[Scanned], classes: list[str]) -> dict[str, Any] | None:
    if len(scans) < 2:
        return None
    return {"name": scans[1].name, "found": [each.to_dict(classes) for each in scans[1].found.values()]}


def _library_details(scans: list[Scanned], classes: list[str]) -> list[Any] | None:
    """The known triggers, that which concentrates the most first."""
    if not scans[0].library:
        return None
    others = {each["name"]: each["share"] for scan in scans[1:] for each in scan.library}
    rows = [
        {**each, "target": classes[each["target"]], "reference": others.get(each["name"])}
        for each in scans[0].library
    ]
    return sorted(rows, key=lambda row: -row["share"])


def _conclude(
    config: ScanConfig,
    context: Context,
    finished: Run,
    verdict: ScanVerdict,
    scans: list[Scanned],
    classes: list[str],
) -> Run:
    """Show the result, then tell of the gate."""
    show_scan(context.console, finished, {scan.name: scan.found for scan in scans}, classes)
    if config.gate.fail_if is not None:
        gate = VerdictGate(config.gate.fail_if, verdict)
        tell_gates([gate], config.gate.junit, config.gate.annotations, context, finished)
    return finished
