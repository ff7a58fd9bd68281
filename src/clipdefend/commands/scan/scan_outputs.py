"""What a scan writes and shows: each found trigger as an attack with a picture, tables and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor

from clipdefend.attacks.preview import write_preview
from clipdefend.commands.shared.found_triggers import TRIGGERS
from clipdefend.config import ScanConfig
from clipdefend.console import Console
from clipdefend.inversion.model_scan import FoundTrigger
from clipdefend.inversion.scan_verdict import ScanVerdict
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
    main = max(found.values(), key=lambda each: (each.asr, -each.size))
    _write_trigger(folder, main, images)
    return main


def _write_trigger(folder: RunDir, found: FoundTrigger, images: Tensor) -> dict[str, float]:
    """The trigger's tensors and its preview; returns PSNR and SSIM."""
    found.trigger.save(folder.path)
    shown = images[:8]
    return write_preview(
        folder.path / PREVIEW, shown, found.trigger(shown, range(len(shown))), found.trigger.describe()
    )


def show_scan(
    console: Console,
    verdict: ScanVerdict,
    scans: Mapping[str, Mapping[str, FoundTrigger]],
    classes: Sequence[str],
) -> None:
    """Show a table of the triggers of every scanned model, then the verdict and its rule."""
    rows = [
        [
            f"{family}, {name}",
            f"{each.size:.4g}{'' if each.reached else ' (goal not reached)'}",
            each.unit,
            f"{each.collapse:.3f} ({each.clean_collapse:.3f} clean)",
            f"{100 * each.asr:.1f}",
            ", ".join(classes[index] for index in each.nearest),
        ]
        for family in next(iter(scans.values()), {})
        for name, found in scans.items()
        for each in [found[family]]
    ]
    if rows:
        heads = ["trigger", "size", "unit", "mean cosine", "ASR %", "nearest classes"]
        console.table("Smallest triggers, measured on held-out images", heads, rows, text=True)
    console.info(f"Rule: {verdict.rule}.")
    console.info(f"Verdict: {verdict.word}: {verdict.reason}.")
