"""``clipdefend merge``: weights between two models, at the share that keeps accuracy without the backdoor."""

from __future__ import annotations

import re

from clipdefend.commands.finetune_attack.prepare_attack import NOTE
from clipdefend.commands.merge.merge_inputs import open_benchmark, open_models, open_pairs, read_images
from clipdefend.commands.merge.merged_shares import Figures, MergedShares
from clipdefend.commands.merge.share_choice import Candidate, Choice, choose_share
from clipdefend.commands.merge.share_table import show_shares
from clipdefend.commands.shared import inputs
from clipdefend.config import MergeConfig
from clipdefend.models.norm_statistics import batch_norms
from clipdefend.models.save import save_model
from clipdefend.runs import MERGED, CanvasRecord, Context, MergeDetails, Run, RunDir
from clipdefend.training.devices import make_accelerator


def run(config: MergeConfig, context: Context) -> Run:
    """Make a merged model."""
    models = open_models(config, context)
    source = models.source
    attack = inputs.find_attack(source)
    pairs = open_pairs(config, source, context)
    canvas = inputs.canvas_of(models.first, attack)
    benchmark, victim = open_benchmark(config, canvas, source, attack, context)
    bad = pairs.bad_rows(config.max_bad)
    images = read_images(config, pairs, canvas, bad, norms=bool(batch_norms(models.first.clip)))
    shares = MergedShares.open(config, models, images, pairs, canvas, benchmark)
    device = make_accelerator(config.device).device
    shares.model.to(device)
    label = re.sub(r"^\d+-", "", source.name) if source else "checkpoint"
    with context.begin(config, label, source=source) as folder:
        measured = _measure(config, shares, folder, context)
        choice = _choose(config, shares.accuracy, measured, context)
        share = choice.candidate.share
        figures, used = shares.finish(share, measured[share])
        # At its end it may be the victim itself, whose warning goes with it.
        own = source if config.checkpoint is None else None
        end = {1.0: own, 0.0: models.other_run}.get(share)
        victim_note = NOTE if end is not None and end.command == "finetune-attack" else None
        save_model(shares.model, folder.path / "model", note=victim_note)
        finished = folder.finish(
            parents=[source] if source else [],
            uses={MERGED: models.other_run},
            metrics={"share": share, **figures, **victim},
            warnings=context.console.warnings,
            details=MergeDetails(
                fingerprint=pairs.fingerprint,
                share=share,
                other=models.other_name,
                chosen=len(measured) > 1,
                bound=choice.bound,
                accuracy=shares.accuracy,
                shares=[{"share": each, **found} for each, found in measured.items()],
                norm_images=used,
                canvas=CanvasRecord(size=canvas.size, mode=canvas.mode, interpolation=canvas.interpolation),
                attack=attack.trigger.name if attack else None,
                bad=bad.summary(),
            ),
            device=str(device),
        )
    show_shares(context.console, measured, choice, shares.accuracy)
    return finished


def _measure(
    config: MergeConfig, shares: MergedShares, folder: RunDir, context: Context
) -> dict[float, Figures]:
    """Measure every share; each is a line of ``metrics.jsonl``."""
    measured = {}
    with context.console.progress("Merge", total=shares.units * len(config.shares)) as bar:
        for share in config.shares:
            measured[share] = shares.measure(share, bar.update)
            folder.log({"event": "share", "share": share, **measured[share]})
    return measured


def _choose(config: MergeConfig, accuracy: str, measured: dict[float, Figures], context: Context) -> Choice:
    """Choose a share by accuracy and proxy alone, and warn where none is within the bound."""
    candidates = [
        Candidate(share=share, accuracy=found[accuracy], proxy=found["proxy_asr"])
        for share, found in measured.items()
    ]
    choice = choose_share(candidates, config.proxy.at_most)
    if not choice.allowed:
        context.console.warn(
            f"No share has a proxy ASR of at most {choice.bound:g} (--proxy-at-most); the smallest,"
            f" {choice.candidate.proxy:.3f}, is that of share {choice.candidate.share:g}."
        )
    return choice
