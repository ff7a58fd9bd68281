"""What a scan writes and shows: each found trigger as an attack with a picture, tables and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from torch import Tensor

from clipdefend.attacks.preview import write_preview
from clipdefend.commands.shared.found_triggers import TRIGGERS
from clipdefend.config import ScanConfig
from clipdefend.console import Console
from clipdefend.inversion.model_scan import FoundTrigger
from clipdefend.inversion.scan_verdict import CLEAN
from clipdefend.runs import CanvasRecord, Context, Run, RunDir, ScanDetails

PREVIEW = "preview.png"
PICTURE = "trigger.png"


class _Scanned(Protocol):
    @property
    def found(self) -> dict[str, FoundTrigger]: ...


def write_triggers(
    config: ScanConfig,
    context: Context,
    folder: RunDir,
    source: Run | None,
    scans: Sequence[_Scanned],
    images: Tensor,
    classes: Sequence[str],
    canvas: CanvasRecord,
) -> FoundTrigger:
    """Write the suspect's triggers.

    Each is a run folder of its own, ``triggers/FAMILY``, that ``evaluate --attack-from`` takes; the one with the
    highest ASR is also the trigger of the scan itself.

    Args:
        config, context: of the command.
        folder: of the scan.
        source: its input run.
        scans: of the suspect and, where there is one, of the reference.
        images: held-out ones in [0, 1], shape (n, 3, h, w).
        classes: names.
        canvas: geometry of the images.

    Returns:
        The trigger of the scan itself.
    """
    from clipdefend.commands.scan.scan_pictures import draw_trigger

    found = scans[0].found
    for family, each in found.items():
        target = classes[each.nearest[0]]
        place = folder.path / TRIGGERS / family
        with RunDir.begin(context.runs, config, family, out=place, source=source) as own:
            title = f"{family}: {each.unit} {each.size:.4g}, {100 * each.asr:.0f} % of held-out images to {target!r}"
            other = scans[1].found.get(family) if len(scans) > 1 else None
            draw_trigger(own.path / PICTURE, each, images, title, other)
            figures = _write_trigger(own, each, images)
            own.finish(
                parents=[source] if source else [],
                metrics={"size": each.size, "asr": each.asr, "collapse": each.collapse, **figures},
                details=ScanDetails(
                    trigger=each.trigger.to_dict(),
                    target=target,
                    canvas=canvas,
                    found=[each.to_dict(classes)],
                    held_out=len(images),
                ),
            )
    main = main_trigger(found)
    _write_trigger(folder, main, images)
    return main


def main_trigger(found: Mapping[str, FoundTrigger]) -> FoundTrigger:
    """Return the trigger with the highest ASR, the smallest of equal ones: the trigger of the scan itself."""
    return max(found.values(), key=lambda each: (each.asr, -each.size))


def _write_trigger(folder: RunDir, found: FoundTrigger, images: Tensor) -> dict[str, float]:
    """The trigger's tensors and its preview; returns PSNR and SSIM."""
    found.trigger.save(folder.path)
    shown = images[:8]
    return write_preview(
        folder.path / PREVIEW, shown, found.trigger(shown, range(len(shown))), found.trigger.describe()
    )


def show_scan(
    console: Console,
    finished: Run,
    scans: Mapping[str, Mapping[str, FoundTrigger]],
    classes: Sequence[str],
) -> None:
    """Show a table of the triggers of every scanned model, the suspected target, and the verdict with its rule.

    Args:
        console: for people.
        finished: the scan.
        scans: name of the model -> family -> its trigger, the suspect first.
        classes: names.
    """
    rows = [
        [
            f"{family}, {name}",
            f"{each.size:.4g}{'' if each.reached else ' (goal not reached)'}",
            each.unit,
            f"{each.collapse:.3f} ({each.clean_collapse:.3f} clean)",
            _asr(each),
            ", ".join(classes[index] for index in each.nearest),
        ]
        for family in next(iter(scans.values()), {})
        for name, found in scans.items()
        for each in [found[family]]
    ]
    if rows:
        heads = ["trigger", "size", "unit", "mean cosine", "ASR %", "nearest classes"]
        title = "Smallest triggers, measured on held-out images, with 95 % Wilson intervals"
        console.table(title, heads, rows, text=True)
    details = ScanDetails.of(finished)
    for line in _conclusion(finished, details, next(iter(scans.values()), {}), classes):
        console.info(line)
    console.info(f"Verdict: {details.verdict}: {details.reason}.")


def _conclusion(
    finished: Run, details: ScanDetails, found: Mapping[str, FoundTrigger], classes: Sequence[str]
) -> Iterator[str]:
    """The lines between table and verdict."""
    if details.library:
        best = max(details.library, key=lambda each: each["share"] - (each["reference"] or 0))
        beside = "" if best["reference"] is None else f"; in the reference {100 * best['reference']:.1f} %"
        yield (
            f"Known triggers: of {len(details.library)}, {best['name']} stands out the most, with"
            f" {100 * best['share']:.1f} % of the images to {best['target']!r}{beside}."
        )
    if found:
        yield _suspected(main_trigger(found), classes, details.verdict == CLEAN)
        yield f"Each trigger is saved as an attack, with a picture, in {finished.path / TRIGGERS}."
    if details.score is not None:
        yield f"Score: {details.score:.2f}; about 1 for a model like the reference."
    yield f"Rule: {details.rule}."


def _suspected(main: FoundTrigger, classes: Sequence[str], clean: bool) -> str:
    """Where the images go; a clean model's triggers lead somewhere, too."""
    name = f"{'Nearest class' if clean else 'Suspected target'}: {classes[main.nearest[0]]!r}"
    if not main.asr_count:
        return f"{name}, to which all held-out images go even without a trigger."
    also = "; a clean model has one too" if clean else ""
    share = f"{_asr(main, ' %')} of {main.asr_count} held-out images"
    return f"{name}, where the {main.family} trigger sends {share}{also}."


def _asr(found: FoundTrigger, sign: str = "") -> str:
    """Its ASR in percent, with the interval."""
    if not found.asr_count:
        return "-"
    low, high = (100 * bound for bound in found.asr_interval)
    return f"{100 * found.asr:.1f}{sign} [{low:.1f}, {high:.1f}]"
