"""Scans in a report: the verdict, the suspect's triggers against the reference's, and each trigger enlarged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clipdefend.errors import RunError
from clipdefend.intervals import wilson_interval
from clipdefend.report.collect import Fault, RunCollection
from clipdefend.report.escape import percent, slug, tidy
from clipdefend.report.illustrations import Plot, Preview, read_png
from clipdefend.report.style import Picture, Theme, draw_picture, shorten
from clipdefend.runs import Run, ScanDetails

TRIGGERS = "triggers"
MOST_IMAGES = 10**9
"""Larger counts are damage."""
SUSPECT, REFERENCE = "#D55E00", "#0072B2"


@dataclass
class ScanIllustrations:
    """All pictures of a report's scans.

    Attributes:
        plots: one for each scan that searched: sizes and ASR beside the reference's.
        triggers: one picture for each found trigger.
        notes: the verdict of scans that have no picture, since they had no images.
        faults: pictures that are missing or damaged.
    """

    plots: list[Plot] = field(default_factory=list)
    triggers: list[Preview] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def illustrate_scans(collection: RunCollection) -> ScanIllustrations:
    """Draw the scans of a report; the folder of a single trigger is part of its scan."""
    shown = ScanIllustrations()
    for run in collection.runs:
        if run.command != "scan":
            continue
        details = ScanDetails.of(run)
        if details.verdict is None:
            continue
        place = collection.place(run)
        verdict = f"Verdict: {tidy(details.verdict)}."
        reason = tidy(str(details.reason), 300)
        found = _entries(details.found)
        if not found:
            shown.notes.append(f"Scan {tidy(place, 300)}. {verdict} Reason: {reason}.")
            continue
        reference = _entries((details.reference or {}).get("found"))
        shown.plots.append(_plot(place, details, verdict, found, reference))
        for family in found:
            try:
                shown.triggers.append(_trigger(place, run, family, found[family]))
            except (RunError, OSError) as error:
                shown.faults.append(Fault(run.name, f"no picture of {family}: {tidy(str(error), 300)}"))
    return shown


def _entries(found: Any) -> dict[str, dict[str, Any]]:
    """Family -> its recorded figures; what is damaged is left out."""
    listed = found if isinstance(found, list) else []
    return {
        tidy(str(each["family"])): dict(each)
        for each in listed
        if isinstance(each, Mapping)
        and isinstance(each.get("family"), str)
        and all(isinstance(each.get(key), int | float) for key in ("size", "asr"))
    }


def _plot(
    place: str,
    details: ScanDetails,
    verdict: str,
    found: Mapping[str, Mapping[str, Any]],
    reference: Mapping[str, Mapping[str, Any]],
) -> Plot:
    suspects = ", ".join(f"{family} “{tidy(_target(each))}” {_asr(each)}" for family, each in found.items())
    name = tidy(str((details.reference or {}).get("name", "")), 60)
    against = f" Reference: {name}." if reference else " There was no reference model."
    score = f" Score: {details.score:.2f}." if isinstance(details.score, float) else ""
    caption = (
        f"{tidy(place, 300)}: {tidy(str(details.reason), 300)}.{score}{against} Suspected targets, with the share of"
        f" held-out images that go there and its 95 % Wilson interval: {suspects}."
        f" Rule: {tidy(str(details.rule), 600)}."
    )
    alt = f"Sizes and success of the triggers found in {tidy(place, 300)}, beside those of the reference."
    return Plot("scan-sizes", caption, alt, _draw(found, reference), lead=verdict, whole=True)


def _draw(found: Mapping[str, Mapping[str, Any]], reference: Mapping[str, Mapping[str, Any]]) -> Picture:
    """Size relative to the reference's (alone: as it is) and ASR, by family."""
    families = list(found)

    def draw(figure: Any, theme: Theme) -> None:
        left, right = figure.subplots(1, 2)
        places = list(range(len(families)))
        groups: list[tuple[str, Mapping[str, Mapping[str, Any]], str, float]] = [
            ("suspect", found, SUSPECT, -0.2),
            ("reference", reference, REFERENCE, 0.2),
        ]
        for name, entries, colour, shift in groups:
            shown = [(x, entries[f]) for x, f in zip(places, families, strict=True) if f in entries]
            if not shown:
                continue
            at = [x + shift for x, _ in shown]
            shares = [100 * each["asr"] for _, each in shown]
            spans = [
                [abs(100 * bound - share) for bound in _interval(each)]
                for share, (_, each) in zip(shares, shown, strict=True)
            ]
            right.barh(
                *(at, shares, 0.36),
                xerr=list(zip(*spans, strict=True)),
                color=colour,
                label=name,
                error_kw={"ecolor": theme.ink, "elinewidth": 0.8, "capsize": 2},
            )
            left.barh(at, [max(each["size"], 1e-6) for _, each in shown], 0.36, color=colour, label=name)
            for y, (_, each) in zip(at, shown, strict=True):
                text = f" {each['size']:.3g}{'' if each.get('reached') else ', goal not reached'}"
                left.text(max(each["size"], 1e-6), y, text, va="center", fontsize=7.5)
        left.set_xscale("log")
        left.xaxis.set_major_formatter(lambda value, _: f"{value:g}")  # the default one is mathematics
        left.minorticks_off()
        low, high = left.get_xlim()
        left.set_xlim(low, high * 12)  # room for the figures
        for axes, title in ((left, "size of the smallest trigger"), (right, "ASR on held-out images, %")):
            axes.set_yticks(places, [shorten(family) for family in families])
            axes.invert_yaxis()
            axes.set_title(title)
            axes.grid(visible=False, axis="y")
        right.set_xlim(0, 100)
        right.legend(loc="lower right")

    return draw_picture(draw, 8.6, 0.9 + 0.55 * len(families))


def _trigger(place: str, run: Run, family: str, entry: Mapping[str, Any]) -> Preview:
    png = read_png(run, f"{TRIGGERS}/{family}/trigger.png")
    unit = tidy(str(entry.get("unit")))
    caption = (
        f"{family} of {tidy(place, 300)}: {unit} {entry['size']:.3g}, {_asr(entry)} of held-out images to"
        f" “{tidy(_target(entry))}”. As an attack: {tidy(place, 300)}/{TRIGGERS}/{family}."
    )
    alt = (
        f"The found trigger ({family}) on a grey board and on an image, its change, and how the search went."
    )
    return Preview(f"scan-{slug(family)}", caption, alt, png, whole=True)


def _asr(entry: Mapping[str, Any]) -> str:
    """The ASR in percent, with its 95 % Wilson interval."""
    low, high = _interval(entry)
    return f"{percent(entry['asr'])} % [{percent(low)}, {percent(high)}]"


def _interval(entry: Mapping[str, Any]) -> tuple[float, float]:
    """The interval of the ASR; all of 0 to 1 where the number of images is unknown."""
    count = entry.get("asr_count")
    if not isinstance(count, int) or not 0 < count < MOST_IMAGES or not 0 <= entry["asr"] <= 1:
        return 0.0, 1.0
    return wilson_interval(round(entry["asr"] * count), count)


def _target(entry: Mapping[str, Any]) -> str:
    nearest = entry.get("nearest")
    return str(nearest[0]) if isinstance(nearest, list) and nearest else "unknown"
