"""``clipdefend report``: tables, plots and one page about any number of runs."""

from __future__ import annotations

from pathlib import Path

from clipdefend.commands.report.embeddings import embed_models
from clipdefend.config import ReportConfig
from clipdefend.report.collect import collect
from clipdefend.report.write import Report, arrange_runs, check_place, write_report
from clipdefend.runs import Context
from clipdefend.runs.find import locate

OUT = Path("report")
"""Folder of a report without ``--out``."""


def run(config: ReportConfig, context: Context) -> Report:
    """Write a report on the runs that were given, by default all under ``--runs``.

    Raises:
        RunError: there is no finished run, or the report's folder contains other files.
    """
    out = context.out or OUT
    check_place(out)
    given = [locate(context.runs, path) for path in context.inputs] or [context.runs]
    collection = collect(given)
    for fault in collection.faults:
        context.console.warn(f"{fault.name}: {fault.reason}")
    arranged = arrange_runs(collection)
    rows = sum(len(table.rows) for table in arranged.tables)
    context.console.info(f"{len(collection.runs)} runs, {rows} rows")
    embedded = [] if config.embedding == "none" else embed_models(arranged, config, context)
    return write_report(
        arranged,
        out,
        embedded=embedded,
        method="tsne" if config.embedding == "tsne" else "pca",
        seed=config.seed,
        budget=config.ba_budget,
        asr_limit=config.asr_limit,
    )
