"""The tables that ``evaluate`` ends with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipdefend.evaluation.flat_metrics import recovery, select_prefix
from clipdefend.evaluation.setting import IMAGES, EvaluationSetting, describe_differences, find_trigger_run
from clipdefend.runs import Context, EvaluateDetails, Run

UNITS = "% with 95 % Wilson intervals"


def show_results(context: Context, finished: Run, source: Run | None, setting: EvaluationSetting) -> None:
    """Show what an evaluation measured: extra measurements, then a table of the model beside those before it.

    Args:
        context: for people.
        finished: the evaluation.
        source: the run whose model it is, or whose checkpoint was replaced; None for a bare checkpoint.
        setting: of the evaluation; only figures that are comparable stand beside the model's.
    """
    measured = finished.metrics
    _show_extras(context, finished)
    if "n_clean" not in measured:
        return
    columns = [(name, values) for name, values in _columns(context, finished, source, setting) if values]
    keys = [key for key in measured if "_" not in key]  # those of other measurements have a prefix
    counts = f"{measured['n_clean']} clean images"
    if "n_triggered" in measured:
        details = EvaluateDetails.of(finished)
        counts += f", {measured['n_triggered']} triggered ({details.attack} for {details.target!r})"
    rows = [[key.upper(), *(_cell(values, key) for _, values in columns)] for key in keys]
    context.console.table(f"{counts}; {UNITS}", ["", *(name for name, _ in columns)], rows)


def _show_extras(context: Context, finished: Run) -> None:
    """Show a table of the linear probe and one of retrieval, where they were measured."""
    measured, details = finished.metrics, EvaluateDetails.of(finished)
    titles = {}
    if details.probe is not None:
        training = details.probe["training"]
        kind = f"logistic regression, C = {training['C']:.3g}" if "C" in training else "a layer by AdamW"
        counts = f"{measured['probe_n_clean']} clean images"
        if "probe_n_triggered" in measured:
            counts += f", {measured['probe_n_triggered']} triggered"
        titles["probe_"] = f"Linear probe on {details.probe['data']}, {kind}: {counts}"
    if details.retrieval is not None:
        counts = f"{measured['n_retrieval_images']} images, {measured['n_retrieval_captions']} captions"
        if "n_retrieval_triggered" in measured:
            counts += f", {measured['n_retrieval_triggered']} triggered images without the target's"
        titles["retrieval_"] = f"Retrieval: {counts}"
    if details.detect is not None:
        counts = f"{measured['n_detect_clean']} clean, {measured['n_detect_triggered']} triggered images"
        keys = [f"detect_{name}_auroc" for name in details.detect["detectors"]]
        lines = [
            (key.removeprefix("detect_").removesuffix("_auroc"), _interval(measured, key)) for key in keys
        ]
        title = f"Detection: {counts}; with 95 % bootstrap intervals"
        context.console.table(title, ["", "AUROC"], lines)
    for prefix, title in titles.items():
        keys = [key for key in measured if key.startswith(prefix) and f"{key}_low" in measured]
        rows = [[key.removeprefix(prefix).replace("_", " ").upper(), _cell(measured, key)] for key in keys]
        context.console.table(f"{title}; {UNITS}", ["", "this model"], rows)


def _columns(
    context: Context, finished: Run, source: Run | None, setting: EvaluationSetting
) -> list[tuple[str, dict[str, Any]]]:
    """Return the names and comparable metrics of the clean model, the victim and the model itself."""
    metrics = finished.metrics
    found = [("clean", select_prefix(metrics, "floor_"))]
    name = "victim" if source else "model"
    if source is not None and source.command in ("defend", "merge", "clean"):
        theirs = EvaluationSetting.of(source, find_trigger_run(source))
        victim = select_prefix(source.metrics, "victim_")
        found.append(("victim", setting.comparable(theirs, victim)))
        if "ba@1" in victim:
            _tell_differences(context, setting.differences(theirs, attack=True))
        name = str(source.config.get("method", source.command))
    if finished.config.get("checkpoint") is not None:  # in place of the run's own weights
        name = "checkpoint"
    clean = dict(found[0][1])
    return [(each, {**values, **recovery(values, clean)}) for each, values in (*found, (name, metrics))]


def _tell_differences(context: Context, differences: Mapping[str, Any]) -> None:
    """Say which figures of the victim are left out, and why."""
    if not differences:
        return
    what = "figures" if differences.keys() & IMAGES.keys() else "ASR and RA"
    context.console.info(
        f"The victim's {what} are not shown: they were measured with {describe_differences(differences)}."
    )


def _interval(values: Mapping[str, Any], key: str) -> str:
    return f"{values[key]:.3f} [{values[f'{key}_low']:.3f}, {values[f'{key}_high']:.3f}]"


def _cell(values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        return "-"
    if key == "lift":
        error = values.get("lift_se")
        return f"{values[key]:.3f}" + (f" ± {error:.3f}" if error is not None else "")
    share = f"{100 * values[key]:.1f}"
    if f"{key}_low" not in values:
        return share
    return f"{share} [{100 * values[f'{key}_low']:.1f}, {100 * values[f'{key}_high']:.1f}]"
