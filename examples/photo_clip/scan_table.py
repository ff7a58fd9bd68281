"""The scans of ``scans.sh`` as a Markdown table: python examples/photo_clip/scan_table.py OUT."""

from __future__ import annotations

import sys
from pathlib import Path

from clipdefend.runs import Run

KINDS = ("patch", "additive", "blend")


def main(folder: Path) -> None:
    scans = {
        path.parent.name.removeprefix("scan-"): Run.open(path.parent)
        for path in sorted(folder.glob("scan-*/manifest.yaml"))
    }
    print(f"| model | {' | '.join(KINDS)} | score | suspected target | seconds |")
    print("|---|---:|---:|---:|---:|---|---:|")
    for name, scan in scans.items():
        found = scan.metrics
        cells = [
            f"{found[f'reference_{kind}_size'] / found[f'{kind}_size']:.2f} / {100 * found[f'{kind}_asr']:.0f}"
            for kind in KINDS
        ]
        target, seconds = scan.manifest["details"]["target"], scan.manifest["seconds"]
        print(f"| {name} | {' | '.join(cells)} | {found['score']:.2f} | {target} | {seconds:.0f} |")
    found = next(iter(scans.values())).metrics
    shares = (f"{100 * found[f'reference_{kind}_asr']:.0f}" for kind in KINDS)
    print(f"\nThe reference's triggers send {', '.join(shares)} % of the images to one class.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
