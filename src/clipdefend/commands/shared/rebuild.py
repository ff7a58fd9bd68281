"""Making a poison run again from its manifest and the clean data, and keeping clear of its rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clipdefend.attacks.trigger import TENSOR_FILE
from clipdefend.commands.shared.inputs import open_data
from clipdefend.config import PoisonConfig, leaves, load_config, to_dict
from clipdefend.console import Console
from clipdefend.data.pairs import Pairs
from clipdefend.errors import ConfigError, DataError, RunError
from clipdefend.poisoning import CROSS, IMAGES, POISONED, ROWS, TABLE, image_name
from clipdefend.runs import Context, Run, find_run, sha256_file
from clipdefend.runs.files import describe_outputs

NAMED = 10
"""So many rows are named; the others are counted."""
FREE = ("data", "columns", "workers", "device", "max_bad", "preset", "from_manifest")
"""Keys that may be other ones when a run is made again: they change no result."""


@dataclass(frozen=True)
class Source:
    """Where a poisoned row came from."""

    image: str
    caption: str


def find_poison(context: Context, given: str) -> Run:
    """The poison run that a flag names. Raises RunError."""
    kinds = ("poison", "finetune-attack", "defend", "evaluate")
    return find_run(context.runs, kinds, given).ancestor("poison")


def recorded(run: Run, config: PoisonConfig) -> PoisonConfig:
    """The configuration of a run that is to be made again; the new one says where the data is now.

    Raises:
        ConfigError: the new one asks for something else than the run did.
    """
    before = load_config(PoisonConfig, recorded=run.config)
    others = list(_other_wishes(before, config))
    if others:
        raise ConfigError(
            f"--from-manifest repeats run {run.name} as it was: leave out {', '.join(others)}, or poison anew"
            " without --from-manifest."
        )
    # A relative --image-root was one of the folder in which the run was made; its source has the whole path.
    root = dict(run.details.get("source") or {}).get("image_root")
    given = {key: value for key, value in to_dict(config.columns).items() if value is not None}
    return dataclasses.replace(
        before,
        data=config.data if config.data != PoisonConfig.data else before.data,
        columns=dataclasses.replace(before.columns, **{"image_root": root, **given}),
        from_manifest=config.from_manifest,
        workers=config.workers,
        device=config.device,
    )


def _other_wishes(before: PoisonConfig, config: PoisonConfig) -> Iterator[str]:
    """Flags of a configuration that neither repeat a recorded one nor are left at their defaults."""
    plain = load_config(PoisonConfig, preset=config.preset)
    for path, leaf in leaves(PoisonConfig).items():
        value = attrgetter(path)(config)
        repeated = value in (None, attrgetter(path)(plain), attrgetter(path)(before))
        if path.partition(".")[0] not in FREE and not repeated:
            yield leaf.spec.flags[0] if leaf.spec.flags else f"--set {path}"


def open_again(run: Run, config: PoisonConfig, context: Context) -> Pairs:
    """The pairs that a run was made from.

    Raises:
        DataError: they have changed; poisoned rows that are missing or different are named.
        RunError: the run does not say which pairs they were.
    """
    source = run.details.get("source")
    if not isinstance(source, dict) or not isinstance(source.get("spec"), str):
        raise RunError(f"Run {run.name} does not say which pairs it was made from: it cannot be rebuilt.")
    moved = config.data != run.config.get("data")
    pairs = open_data(config.data if moved else source["spec"], config.columns, context)
    if pairs.fingerprint != run.details.get("fingerprint"):
        raise DataError(f"Run {run.name} cannot be rebuilt: {_difference(run, pairs)} Restore the data.")
    return pairs


def check_same(run: Run, folder: Path, unusable: Collection[int], console: Console) -> None:
    """Compare a rebuilt folder with what the run's manifest says of its files.

    Args:
        run: the original.
        folder: the rebuilt run's, before its manifest is written.
        unusable: rows whose images could not be used this time.
        console: told of differences that only other versions of libraries make.

    Raises:
        DataError: other rows or other images; they are named.
    """
    made = {str(entry["path"]): entry["sha256"] for entry in describe_outputs(folder, ())}
    exact, likely = (f"{IMAGES}/", TENSOR_FILE), (TABLE, "preview.png")
    expected = {str(entry["path"]): entry["sha256"] for entry in run.manifest["outputs"]}
    differ = [
        path for path in expected if path.startswith(exact + likely) and expected[path] != made.get(path)
    ]
    if any(path.startswith(exact) for path in differ):
        raise DataError(f"Run {run.name} cannot be rebuilt: {_changed_images(run, folder, unusable)}")
    if TABLE in differ and (run.path / TABLE).exists():
        _check_captions(run, folder)
    if differ:
        console.warn(
            f"{', '.join(differ)} of run {run.name} hold the same in other bytes: another version of a"
            f" library wrote them (then {_versions(run.manifest.get('versions'))})."
        )


def _check_captions(run: Run, folder: Path) -> None:
    """Raise DataError naming the poisoned rows whose captions have changed, as those of a file of prompts can."""
    now, then = _captions(folder / TABLE), _captions(run.path / TABLE)
    lines = [
        f"row {row} has {now.get(row)!r}, not {then[row]!r}"
        for row in sorted(then)
        if now.get(row) != then[row]
    ]
    if lines:
        raise DataError(
            f"Run {run.name} cannot be rebuilt: {len(lines):,} of its {len(then):,} poisoned rows have another"
            f" caption: {_some(lines)}. Restore the prompts of --templates."
        )


def _captions(path: Path) -> dict[int, str]:
    """Changed rows of a run's table and their captions. Raises RunError when it is damaged."""
    return dict(zip(*_changed_rows(path, ["id", "caption"]), strict=True))


def excluded(context: Context, given: str, pairs: Pairs) -> NDArray[np.int64]:
    """Rows of pairs that a poison run changed, ascending.

    Rows are the same where the pairs are those of the run; in other pairs they are found by their images.
    """
    run = find_poison(context, given)
    sources = _sources(run)
    if pairs.fingerprint == run.details.get("fingerprint"):
        rows = np.array(sorted(sources), dtype=np.int64)
    else:
        found = _places(pairs, {source.image for source in sources.values()})
        rows = np.array(sorted(row for places in found.values() for row in places), dtype=np.int64)
    context.console.info(f"Without the {len(rows):,} rows that run {run.name} changed")
    if not len(rows):
        context.console.warn(
            f"None of the {len(sources):,} images that run {run.name} changed is among the pairs by its name:"
            " check that they are of the same source."
        )
    return rows


def _sources(run: Run) -> dict[int, Source]:
    """Changed rows of a run and where they came from. Raises RunError when its table is gone or damaged."""
    ids, images, captions = _changed_rows(run.output(TABLE), ["id", "source_image", "original_caption"])
    return {i: Source(x, c) for i, x, c in zip(ids, images, captions, strict=True)}


def _changed_rows(path: Path, columns: list[str]) -> list[list[Any]]:
    """Columns of a poison run's table, of the rows that it changed. Raises RunError when it is damaged."""
    try:
        table = pq.read_table(path, columns=columns, filters=[("role", "in", [POISONED, CROSS])])
    except (OSError, pa.ArrowException) as error:
        raise RunError(f"{path} cannot be read: {error!s:.160}.") from error
    return [table.column(name).to_pylist() for name in columns]


def _places(pairs: Pairs, images: set[str]) -> dict[str, list[int]]:
    """Image -> the rows that have it, for some images."""
    found: dict[str, list[int]] = {}
    for start in range(0, len(pairs), ROWS):
        refs = pairs.image_refs(start, min(start + ROWS, len(pairs)))
        for row, image in enumerate(refs, start):
            if image in images:
                found.setdefault(image, []).append(row)
    return found


def _difference(run: Run, pairs: Pairs) -> str:
    """Which poisoned rows of a run are missing or different in changed pairs."""
    try:
        sources = _sources(run)
    except RunError:
        return "the data has changed, and the run's own table, which names its rows, is gone."
    places = _places(pairs, {source.image for source in sources.values()})
    lines = []
    for row, source in sorted(sources.items()):
        rows = places.get(source.image, [])
        if not rows:
            lines.append(f"row {row} {source.image!r} is missing")
        elif row not in rows:
            lines.append(f"row {row} {source.image!r} is now row {rows[0]}")
        elif pairs.caption(row) != source.caption:
            lines.append(f"row {row} {source.image!r} has another caption")
    if not lines:
        return (
            f"the data has changed ({len(pairs):,} rows now, {run.details.get('rows'):,} then), though none of"
            f" its {len(sources):,} poisoned rows."
        )
    return f"of its {len(sources):,} poisoned rows, {len(lines):,} have changed: {_some(lines)}."


def _changed_images(run: Run, folder: Path, unusable: Collection[int]) -> str:
    """Which rows were poisoned then and not now, or have other pixels now."""
    if not (run.path / TABLE).exists():
        return "its images come out otherwise, and the run's own table, which names its rows, is gone."
    sources = _sources(run)
    lines = []
    for row, source in sorted(sources.items()):
        now, then = folder / image_name(row), run.path / image_name(row)
        if not now.exists():
            why = "cannot be used" if row in unusable else "was not drawn"
            lines.append(f"row {row} {source.image!r} {why}")
        elif then.exists() and sha256_file(now) != sha256_file(then):
            lines.append(f"row {row} {source.image!r} has other pixels")
    if not lines:
        return "its images come out otherwise; the originals are gone, so the rows cannot be named."
    return f"{len(lines):,} of its {len(sources):,} poisoned rows have changed: {_some(lines)}."


def _some(lines: Iterable[str]) -> str:
    listed = list(lines)
    more = len(listed) - NAMED
    return "; ".join(listed[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _versions(record: Any) -> str:
    return ", ".join(f"{name} {version}" for name, version in dict(record or {}).items())
