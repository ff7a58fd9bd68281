"""``clipdefend augment``: factual and counterfactual sub-captions of clean captions."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clipdefend.augment.subcaptions import SubCaption, SubCaptioner
from clipdefend.commands.shared import inputs
from clipdefend.commands.shared.subcaption_source import TABLE, make_captioner
from clipdefend.config import AugmentConfig
from clipdefend.data.pairs import Pairs
from clipdefend.draws import permutation, text_random
from clipdefend.errors import ConfigError, DataError
from clipdefend.runs import AugmentDetails, Context, Run, newest_runs

BATCH = 2048
EXAMPLES = 10
REASONS = {
    "without_noun": "have no noun and no sub-caption",
    "without_counterfactual": "have a noun, but nothing that subcaptions.operations could replace",
}
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        *((name, pa.string()) for name in ("caption", "factual", "counterfactual")),
        *((name, pa.string()) for name in ("operation", "replaced", "replacement")),
    ]
)


def run(config: AugmentConfig, context: Context) -> Run:
    """Make an augment run."""
    parent, pairs = _pairs(config, context)
    pairs.bad_rows(config.max_bad)  # no image is read: what was skipped at opening is all there is to count
    captioner = make_captioner(config.subcaptions, pairs)
    with context.begin(config, config.subcaptions.source, source=parent) as folder:
        counts, examples, without = _write(config, context, pairs, captioner, folder.path / TABLE)
        context.console.table("Sub-captions", ["caption", "factual", "counterfactual", "operation"], examples)
        made = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        context.console.info(f"Operations: {made or 'none'}")
        for reason, found in without.items():
            if found["count"]:
                context.console.warn(
                    f"{found['count']} captions {REASONS[reason]}, such as {found['examples'][0]!r}."
                )
        if not counts:
            raise DataError(f"No caption of {pairs.spec} has a sub-caption: are they English?")
        return folder.finish(
            parents=[parent] if parent else [],
            warnings=context.console.warnings,
            metrics={"captions": config_size(config, pairs), "subcaptions": sum(counts.values())},
            details=AugmentDetails(
                fingerprint=pairs.fingerprint,
                source=inputs.describe_source(pairs, config.columns),
                operations=dict(counts),
                **without,
            ),
        )


def config_size(config: AugmentConfig, pairs: Pairs) -> int:
    """Captions to draw from, at most those that there are."""
    return len(pairs) if config.n == "all" else min(int(config.n), len(pairs))


def _pairs(config: AugmentConfig, context: Context) -> tuple[Run | None, Pairs]:
    """The clean pairs: named by a flag, else those of the input run, else the built-in ones."""
    if config.data is not None and context.source is not None:
        raise ConfigError(f"--data {config.data!r} and the run {context.source!r} both name pairs; give one.")
    if config.data is not None:
        return None, inputs.open_data(config.data, config.columns, context)
    if context.source is not None:
        parent = context.input(config)
        return parent, inputs.recorded_pairs(parent, context)
    newest = next(newest_runs(context.runs, config.sources), None)
    if newest is not None:
        context.console.info(f"Input: {newest.path} (the newest {newest.command} run under {context.runs})")
        return newest, inputs.recorded_pairs(newest, context)
    return None, inputs.open_data("builtin", config.columns, context)


def _batches(config: AugmentConfig, pairs: Pairs) -> Iterator[tuple[list[int], list[str]]]:
    """Rows in ascending order with their captions."""
    size = config_size(config, pairs)
    if size == len(pairs):
        for start, captions in pairs.iter_captions(BATCH):
            yield list(range(start, start + len(captions))), captions
        return
    drawn = np.sort(permutation(len(pairs), config.seed, "augment")[:size])
    for start in range(0, size, BATCH):
        rows = [int(row) for row in drawn[start : start + BATCH]]
        yield rows, pairs.captions(rows)


def _write(
    config: AugmentConfig, context: Context, pairs: Pairs, captioner: SubCaptioner, path: Path
) -> tuple[Counter[str], list[tuple[str, str, str, str]], dict[str, Any]]:
    """Write the table; returns operations with their counts, examples, and captions that gave nothing, by reason."""
    counts: Counter[str] = Counter()
    examples: list[tuple[str, str, str, str]] = []
    without: dict[str, Any] = {reason: {"count": 0, "examples": []} for reason in REASONS}
    partial = path.with_name(path.name + ".tmp")
    size = config_size(config, pairs)
    with pq.ParquetWriter(partial, SCHEMA) as writer, context.console.progress("Augment", total=size) as bar:
        for rows, captions in _batches(config, pairs):
            made: list[tuple[int, str, SubCaption]] = []
            for row, caption, parsed in zip(rows, captions, captioner.parse(captions), strict=True):
                drawn = captioner.draw(parsed, text_random(config.seed, "augment", row))
                made += [(row, caption, each) for each in drawn]
                if not drawn:
                    missing = without["without_noun" if parsed.key is None else "without_counterfactual"]
                    missing["count"] += 1
                    missing["examples"] += [caption[:200]] if len(missing["examples"]) < EXAMPLES else []
            counts.update(each.operation for _, _, each in made)
            examples += [(c, s.factual, s.counterfactual, s.operation) for _, c, s in made][
                : EXAMPLES - len(examples)
            ]
            writer.write_table(_table(made))
            bar.update(len(rows))
    os.replace(partial, path)
    return counts, examples, without


def _table(made: list[tuple[int, str, SubCaption]]) -> pa.Table:
    columns = {
        "id": [row for row, _, _ in made],
        "caption": [caption for _, caption, _ in made],
        **{name: [getattr(each, name) for _, _, each in made] for name in SCHEMA.names[2:]},
    }
    return pa.Table.from_pydict(columns, schema=SCHEMA)
