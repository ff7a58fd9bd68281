"""``clipdefend filter``: how suspicious each image-caption pair is, and which to leave out of training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clipdefend.commands.filter.contact_sheet import write_sheet
from clipdefend.commands.filter.judged_pairs import Judged, draw_rows, open_judged, open_reference
from clipdefend.commands.filter.judging import Judging, Spool, build_scores
from clipdefend.commands.filter.outcome import Outcome, conclude
from clipdefend.commands.shared import inputs
from clipdefend.config import FilterConfig
from clipdefend.data.pairs import Pairs
from clipdefend.detection.pair_score import PairScore
from clipdefend.distributed import collectives, launch
from clipdefend.errors import ConfigError, DataError
from clipdefend.evaluation.cache import Cache
from clipdefend.evaluation.encoding import Reading
from clipdefend.evaluation.pair_embeddings import PairEmbeddings
from clipdefend.models.clip import ClipModel
from clipdefend.report.filters import SHEET
from clipdefend.runs import CanvasRecord, Context, FilterDetails, Run
from clipdefend.training.devices import make_accelerator
from clipdefend.typed_path import typed_path

EMBEDDINGS = "embeddings"
SAMPLE = 65_536
"""Pairs whose covariance lorex takes, at most."""
TRUSTED = 16_384
"""Trusted pairs that are embedded, at most."""
LEAST_RATIO = 1.5
"""Ratio of lorex's two largest eigenvalues below which no direction stands out."""


def run(config: FilterConfig, context: Context) -> Run:
    """Make a filter run.

    Raises:
        ConfigError: a score that is not known, or one that lacks what it needs.
        DataError: fewer pairs than neighbours, or pairs that are all alike.
    """
    scores = build_scores(config.scores, config.neighbours)
    _check_needs(config, scores)
    judged = open_judged(config, context)
    if len(judged.pairs) <= config.neighbours:
        raise DataError(
            f"{judged.pairs.spec} has {len(judged.pairs):,} pairs, too few for {config.neighbours} neighbours of each:"
            " give more pairs, or lower --neighbours."
        )
    clean = open_reference(config, judged, context)
    trusted = inputs.open_data(config.trusted, config.columns, context) if config.trusted else None
    device = make_accelerator(config.device).device
    with context.begin(config, next(iter(scores)), source=judged.source) as folder:
        for model in (judged.model, clean):
            if model is not None:
                model.to(device).eval()
        cache = Cache(_embeddings_folder(config, context, folder.path))
        judging = _judging(config, context, judged, scores, clean, trusted, cache)
        everything = [each for each in (judging.suspect, judging.clean, judging.trusted) if each is not None]
        _embed(context, everything)
        spool = Spool(folder.path / ".scores", judging.suspect.count)
        facts = judging.judge(spool)
        made: list[Outcome] = []

        def finish_scores() -> None:
            made.append(conclude(config, [*scores], spool, judged.truth, folder.path))
            _picture(context, judged, [*scores], made[0], folder.path)
            spool.remove()

        launch.current().from_main(finish_scores)
        if not config.keep_embeddings:
            for each in everything:
                each.remove()
            collectives.all_gather_object(None)
            launch.current().from_main(lambda: _remove(cache.folder))
        _warn(context, facts["scores"])
        outcome = made[0] if made else Outcome()
        finished = folder.finish(
            parents=[judged.source] if judged.source else [],
            metrics=outcome.metrics,
            warnings=context.console.warnings,
            details=_describe(config, judged, judging, facts, outcome),
            device=str(device),
        )
    _show(context, finished, [*scores])
    return finished


def _check_needs(config: FilterConfig, scores: Mapping[str, PairScore]) -> None:
    """Raise ConfigError where a flag is missing that a score needs, or one is given that none looks at."""
    for name, score in scores.items():
        if score.needs_trusted and config.trusted is None:
            raise ConfigError(
                f"{name} needs pairs that are known to be clean: give them with --trusted DATA, or leave {name} out."
            )
    if config.trusted is not None and not any(score.needs_trusted for score in scores.values()):
        raise ConfigError(
            "--trusted is for lorex, which --scores does not name: add it, or leave --trusted out."
        )
    if config.reference is not None and "clipscore" not in scores:
        raise ConfigError(
            "--reference is for clipscore, which --scores does not name: add it, or leave --reference out."
        )


def _embeddings_folder(config: FilterConfig, context: Context, run: Path) -> Path:
    if config.keep_embeddings:
        return context.runs / inputs.CACHE / EMBEDDINGS
    return run / f".{EMBEDDINGS}"


def _remove(folder: Path) -> None:
    if folder.is_dir():
        folder.rmdir()


def _judging(
    config: FilterConfig,
    context: Context,
    judged: Judged,
    scores: Mapping[str, PairScore],
    clean: ClipModel | None,
    trusted: Pairs | None,
    cache: Cache,
) -> Judging:
    """Everything that is to be embedded, with nothing embedded yet."""
    texts = any(score.needs_text for score in scores.values())
    sampled = any(score.needs_trusted for score in scores.values())
    wanted = max(config.pool, SAMPLE if sampled else 0)

    def embeddings(model: ClipModel, pairs: Pairs, rows: Any, texts: bool) -> PairEmbeddings:
        return PairEmbeddings(
            model=model,
            pairs=pairs,
            rows=rows,
            reading=Reading(canvas=judged.canvas, batch_size=config.batch_size, workers=config.workers),
            cache=cache,
            texts=texts,
            bad=pairs.bad_rows(config.max_bad),
        )

    def draw(pairs: Pairs, count: int) -> Any:
        rows = launch.current().from_main(lambda: draw_rows(pairs, config.seed, count).tolist())
        return np.array(rows, np.int64)

    everything = range(len(judged.pairs))
    return Judging(
        scores=scores,
        suspect=embeddings(judged.model, judged.pairs, everything, texts),
        clean=embeddings(clean, judged.pairs, everything, True) if clean is not None else None,
        trusted=embeddings(judged.model, trusted, np.sort(draw(trusted, TRUSTED)), False)
        if trusted
        else None,
        drawn=draw(judged.pairs, wanted),
        references=config.pool,
        scale=float(judged.model.clip.logit_scale.exp().clamp(max=100).detach()),
    )


def _embed(context: Context, everything: list[PairEmbeddings]) -> None:
    for embeddings, label in zip(everything, ("Embed", "Embed more", "Embed more"), strict=False):
        total = sum(min(embeddings.size, len(embeddings.rows) - n * embeddings.size) for n in embeddings.own)
        with context.console.progress(label, total=total) as bar:
            embeddings.make(bar.update)


def _picture(context: Context, judged: Judged, names: list[str], outcome: Outcome, folder: Path) -> None:
    """Draw the contact sheet and show the first lines of it."""
    if not outcome.suspects:
        return
    title = f"The most suspicious of {outcome.metrics['n_rows']:,} pairs by {names[0]}"
    write_sheet(folder / SHEET, judged.pairs, outcome.suspects, judged.canvas, title)
    lines = [
        (f"{each.row}", f"{each.score:.4g}", "yes" if each.flagged else "no", judged.pairs.caption(each.row))
        for each in outcome.suspects[:8]
    ]
    context.console.table(title, ("row", names[0], "flagged", "caption"), lines, text=True)
    context.console.info(f"See them: {folder / SHEET}")


def _warn(context: Context, facts: Mapping[str, Mapping[str, float]]) -> None:
    ratio = facts.get("lorex", {}).get("ratio")
    if ratio is not None and ratio < LEAST_RATIO:
        context.console.warn(
            f"lorex: the largest eigenvalue is only {ratio:.2f} times the next, so no direction stands out. Use"
            " another score."
        )


def _describe(
    config: FilterConfig, judged: Judged, judging: Judging, facts: Mapping[str, Any], outcome: Outcome
) -> FilterDetails:
    canvas = judged.canvas
    return FilterDetails(
        fingerprint=judged.pairs.fingerprint,
        source=inputs.describe_source(judged.pairs, config.columns),
        scores=facts["scores"],
        decided_by=next(iter(judging.scores)),
        limit=outcome.limit,
        references=facts["references"],
        truth=judged.truth.run.name if judged.truth else None,
        canvas=CanvasRecord(size=canvas.size, mode=canvas.mode, interpolation=canvas.interpolation),
        processes=collectives.world(),
        bad=judging.suspect.bad.summary(),
    )


def _show(context: Context, finished: Run, names: list[str]) -> None:
    """Say how many rows are flagged, and show the figures where the truth is known."""
    metrics = finished.metrics
    context.console.info(
        f"{metrics['n_flagged']:,} of {metrics['n_rows']:,} pairs flagged: leave them out with --exclude-manifest"
        f" {typed_path(finished.path)}"
    )
    if "n_poisoned" not in metrics:
        return
    rows = []
    for name in names:
        cells = []
        for figure in ("auroc", "ap", "recall"):
            # Where all pairs are poisoned, nothing can be told apart.
            value, low, high = (metrics.get(f"{name}_{figure}{end}") for end in ("", "_low", "_high"))
            cells.append("-" if value is None else f"{value:.3f} [{low:.3f}, {high:.3f}]")
        rows.append((name, *cells))
    share = metrics["n_flagged"] / metrics["n_rows"]
    title = f"{metrics['n_poisoned']:,} are poisoned; recall among the {100 * share:.3g} % with the largest scores"
    context.console.table(title, ("score", "AUROC", "average precision", "recall"), rows)
