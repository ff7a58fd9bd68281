"""``poison --from-manifest``: making a run again from its manifest and the clean data, byte for byte."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from clipdefend.attacks.trigger import TENSOR_FILE
from clipdefend.commands.shared.exclusion import find_places
from clipdefend.commands.shared.inputs import open_data
from clipdefend.config import PoisonConfig, leading_to, leaves, load_config, to_dict
from clipdefend.console import Console
from clipdefend.data.pairs import Pairs
from clipdefend.errors import ConfigError, DataError, RunError
from clipdefend.poisoning import IMAGES, TABLE, image_name, read_changed_rows
from clipdefend.runs import Context, PoisonDetails, Run, find_run, sha256_file
from clipdefend.runs.files import describe_outputs

MAX_NAMED = 10
"""Rows that a message names; the others are counted."""
FREE = ("data", "columns", "workers", "device", "max_bad", "preset", "from_manifest")
"""Keys that may differ when a run is made again, as they do not change the result."""


@dataclass(frozen=True)
class Original:
    """What a poisoned row was before."""

    image: str
    caption: str


def find_original(context: Context, given: str) -> Run:
    """Return the poison run that ``--from-manifest`` names, or that the named run descends from. Raises RunError."""
    return find_run(context.runs, leading_to("trigger"), given).ancestor("poison")


def repeat_config(run: Run, config: PoisonConfig) -> PoisonConfig:
    """Return the configuration of a run that is to be made again; the new one says where the data is now.

    Raises:
        ConfigError: the new one asks for something that the run did not do.
    """
    before = load_config(PoisonConfig, recorded=run.config)
    others = list(_find_changes(before, config))
    if others:
        raise ConfigError(
            f"--from-manifest repeats run {run.name} as it was: leave out {', '.join(others)}, or poison anew"
            " without --from-manifest."
        )
    # A relative --image-root was relative to the folder in which the run was made; the record has the whole path.
    source = PoisonDetails.of(run).source
    root = source.image_root if source else None
    given = {key: value for key, value in to_dict(config.columns).items() if value is not None}
    return dataclasses.replace(
        before,
        data=config.data if config.data != PoisonConfig.data else before.data,
        columns=dataclasses.replace(before.columns, **{"image_root": root, **given}),
        from_manifest=config.from_manifest,
        workers=config.workers,
        device=config.device,
    )


def _find_changes(before: PoisonConfig, config: PoisonConfig) -> Iterator[str]:
    """Flags of a configuration that neither repeat a recorded one nor are left at their defaults."""
    plain = load_config(PoisonConfig, preset=config.preset)
    for path, leaf in leaves(PoisonConfig).items():
        value = attrgetter(path)(config)
        repeated = value in (None, attrgetter(path)(plain), attrgetter(path)(before))
        if path.partition(".")[0] not in FREE and not repeated:
            yield leaf.spec.flags[0] if leaf.spec.flags else f"--set {path}"


def open_original_pairs(run: Run, config: PoisonConfig, context: Context) -> Pairs:
    """Open the pairs that a run was made from.

    Raises:
        DataError: they have changed; poisoned rows that are missing or different are named.
        RunError: the run does not say which pairs they were.
    """
    details = PoisonDetails.of(run)
    if details.source is None:
        raise RunError(f"Run {run.name} does not say which pairs it was made from: it cannot be rebuilt.")
    moved = config.data != run.config.get("data")
    pairs = open_data(config.data if moved else details.source.spec, config.columns, context)
    if pairs.fingerprint != details.fingerprint:
        raise DataError(
            f"Run {run.name} cannot be rebuilt: {_describe_difference(run, pairs)} Restore the data."
        )
    return pairs


def check_same_files(run: Run, folder: Path, unusable: Collection[int], console: Console) -> None:
    """Compare a rebuilt folder with what the run's manifest says of its files.

    Args:
        run: the original.
        folder: the rebuilt run's, before its manifest is written.
        unusable: rows whose images could not be used this time.
        console: warned of differences that come from other versions of libraries.

    Raises:
        DataError: rows or images differ; they are named.
    """
    made = {str(entry["path"]): entry["sha256"] for entry in describe_outputs(folder, ())}
    exact, likely = (f"{IMAGES}/", TENSOR_FILE), (TABLE, "preview.png")
    expected = {str(entry["path"]): entry["sha256"] for entry in run.manifest["outputs"]}
    differ = [
        path for path in expected if path.startswith(exact + likely) and expected[path] != made.get(path)
    ]
    if any(path.startswith(exact) for path in differ):
        raise DataError(
            f"Run {run.name} cannot be rebuilt: {_describe_changed_images(run, folder, unusable)}"
        )
    if TABLE in differ and (run.path / TABLE).exists():
        _check_captions(run, folder)
    if differ:
        console.warn(
            f"{', '.join(differ)} of run {run.name} hold the same content in other bytes: another version of a"
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
    return dict(zip(*read_changed_rows(path, ["id", "caption"]), strict=True))


def _originals(run: Run) -> dict[int, Original]:
    """Changed rows of a run and where they came from. Raises RunError when its table is gone or damaged."""
    ids, images, captions = read_changed_rows(run.output(TABLE), ["id", "source_image", "original_caption"])
    return {i: Original(x, c) for i, x, c in zip(ids, images, captions, strict=True)}


def _describe_difference(run: Run, pairs: Pairs) -> str:
    """Which poisoned rows of a run are missing or different in changed pairs."""
    try:
        originals = _originals(run)
    except RunError:
        return "the data has changed, and the run's own table, which names its rows, is gone."
    places = find_places(pairs, {source.image for source in originals.values()})
    lines = []
    for row, source in sorted(originals.items()):
        rows = places.get(source.image, [])
        if not rows:
            lines.append(f"row {row} {source.image!r} is missing")
        elif row not in rows:
            lines.append(f"row {row} {source.image!r} is now row {rows[0]}")
        elif pairs.caption(row) != source.caption:
            lines.append(f"row {row} {source.image!r} has another caption")
    if not lines:
        return (
            f"the data has changed ({len(pairs):,} rows now, {PoisonDetails.of(run).rows:,} then), though none of"
            f" its {len(originals):,} poisoned rows."
        )
    return f"of its {len(originals):,} poisoned rows, {len(lines):,} have changed: {_some(lines)}."


def _describe_changed_images(run: Run, folder: Path, unusable: Collection[int]) -> str:
    """Which rows were poisoned then and not now, or have other pixels now."""
    if not (run.path / TABLE).exists():
        return "its images come out otherwise, and the run's own table, which names its rows, is gone."
    originals = _originals(run)
    lines = []
    for row, source in sorted(originals.items()):
        now, then = folder / image_name(row), run.path / image_name(row)
        if not now.exists():
            why = "cannot be used" if row in unusable else "was not drawn"
            lines.append(f"row {row} {source.image!r} {why}")
        elif then.exists() and sha256_file(now) != sha256_file(then):
            lines.append(f"row {row} {source.image!r} has other pixels")
    if not lines:
        return "its images come out otherwise; the originals are gone, so the rows cannot be named."
    return f"{len(lines):,} of its {len(originals):,} poisoned rows have changed: {_some(lines)}."


def _some(lines: Iterable[str]) -> str:
    listed = list(lines)
    more = len(listed) - MAX_NAMED
    return "; ".join(listed[:MAX_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _versions(record: Any) -> str:
    return ", ".join(f"{name} {version}" for name, version in dict(record or {}).items())
