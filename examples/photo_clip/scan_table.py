"""The scans of ``scans.sh`` as a Markdown table: python examples/photo_clip/scan_table.py OUT."""

from __future__ import annotations

import sys
from pathlib import Path

from clipdefend.runs import Run

KINDS = ("patch", "additive", "blend")


def describe(name: str, scan: Run) -> str:
    """The attack, its poisoned pairs and ASR@1 of a victim; the name of a clean model."""
    victim = scan.find_ancestor("finetune-attack")
    if victim is None:
        return f"{name} |"
    poison = victim.ancestor("poison")
    details = poison.manifest["details"]
    count = f"{details['poisoned']:,} of {details['rows']:,}"
    return f"{poison.config['attack']['name']}, {count} | {100 * victim.metrics['asr@1']:.1f}"


def main(folder: Path) -> None:
    scans = {
        path.parent.name.removeprefix("scan-"): Run.open(path.parent)
        for path in sorted(folder.glob("scan-*/manifest.yaml"))
    }
    print(f"| model | ASR@1 | {' | '.join(KINDS)} | score | suspected target | seconds |")
    print("|---|---:|---:|---:|---:|---:|---|---:|")
    for name, scan in scans.items():
        found = scan.metrics
        cells = [
            f"{found[f'reference_{kind}_size'] / found[f'{kind}_size']:.2f} / {100 * found[f'{kind}_asr']:.0f}"
            for kind in KINDS
        ]
        target, seconds = scan.manifest["details"]["target"], scan.manifest["seconds"]
        print(
            f"| {describe(name, scan)} | {' | '.join(cells)} | {found['score']:.2f} | {target} | {seconds:.0f} |"
        )
    found = next(iter(scans.values())).metrics
    shares = (f"{100 * found[f'reference_{kind}_asr']:.0f}" for kind in KINDS)
    print(f"\nThe reference's triggers send {', '.join(shares)} % of the images to one class.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
