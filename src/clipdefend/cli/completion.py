"""What a shell completes: choices, names of components, models and data, run folders, keys of ``--set``."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import typer

from clipdefend.cli.invocation import DOCTOR, DOCTOR_COMMANDS, default_runs
from clipdefend.config import COMMANDS, Leaf, leaves
from clipdefend.config.coerce import choices
from clipdefend.config.kinds import leading_to

Completer = Callable[[typer.Context, str], list[str]]
Words = Callable[[typer.Context], Iterable[str]]

MANIFEST_HEAD = 400
"""Bytes at the start of a manifest that hold its command."""


def completer(leaf: Leaf) -> Completer | None:
    """The function that completes a flag's value, or None where the shell's own file names are right."""
    if leaf.path in _WORDS:
        return _complete(_WORDS[leaf.path], several="," in leaf.metavar)
    if leaf.metavar == "RUN":
        return run_completer(*_KINDS.get(leaf.path, ()))
    words = [str(choice) for choice in choices(leaf.annotation)]
    if leaf.metavar == "DATA":
        words = ["builtin"]
    return _complete(lambda _: words) if words else None


def run_completer(*kinds: str) -> Completer:
    """Completes finished runs of some kinds; without any, of the kinds that the command reads."""

    def runs(context: typer.Context) -> Iterable[str]:
        command = _command(context)
        return _finished(_folder(context), kinds or COMMANDS[command].sources)

    return _complete(runs)


def _complete(words: Words, *, several: bool = False) -> Completer:
    """Complete one of some words, or the last of several with commas between them."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        before = incomplete[: incomplete.rfind(",") + 1] if several else ""
        return [f"{before}{word}" for word in words(ctx) if f"{before}{word}".startswith(incomplete)]

    return complete


def _command(context: typer.Context) -> str:
    name = context.info_name or ""
    return context.params.get("command") or DOCTOR_COMMANDS[0] if name == DOCTOR else name


def _folder(context: typer.Context) -> Path:
    return Path(context.params.get("runs") or default_runs())


def _finished(folder: Path, kinds: tuple[str, ...]) -> Iterator[str]:
    """Paths of run folders with a manifest, and those of a scan's triggers after the scan; no kinds: of any."""
    for file in sorted(folder.glob("[!.]*/manifest.yaml")):
        lines = _head(file)
        if not kinds or any(f"command: {kind}" in lines for kind in kinds):
            yield str(file.parent)
            if "command: scan" in lines and kinds == _KINDS["attack_from"]:  # each is a run folder of its own
                yield from map(
                    str, sorted(path.parent for path in file.parent.glob("triggers/*/manifest.yaml"))
                )


def _unfinished(context: typer.Context) -> Iterator[str]:
    yield "latest"
    for file in sorted(_folder(context).glob("[!.]*/unfinished.yaml")):
        if f"command: {_command(context)}" in _head(file):
            yield str(file.parent)


def _head(file: Path) -> list[str]:
    try:
        with file.open("rb") as stream:
            return stream.read(MANIFEST_HEAD).decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def _attacks(_: typer.Context) -> list[str]:
    from clipdefend.attacks import ATTACKS

    return ATTACKS.names()


def _families(_: typer.Context) -> list[str]:
    from clipdefend.inversion import FAMILIES

    return FAMILIES.names()


def _methods(_: typer.Context) -> list[str]:
    from clipdefend.defences import DEFENCES
    from clipdefend.objectives import METHODS

    return [*METHODS, *DEFENCES.names()]


def _scores(_: typer.Context) -> list[str]:
    from clipdefend.detection import PAIR_SCORES

    return PAIR_SCORES.names()


def _detectors(_: typer.Context) -> list[str]:
    from clipdefend.detection import INPUT_SCORES

    return INPUT_SCORES.names()


def _models(_: typer.Context) -> list[str]:
    """The models of clipdefend and those of open_clip, by its files, since its import takes seconds."""
    spec = importlib.util.find_spec("open_clip")
    places = spec.submodule_search_locations if spec is not None else None
    files = [file for place in places or () for file in Path(place, "model_configs").glob("*.json")]
    return ["tiny", "auto", *sorted(file.stem for file in files), "local-dir:", "hf-hub:"]


def _keys(context: typer.Context) -> list[str]:
    return [f"{path}=" for path in leaves(COMMANDS[_command(context)])]


def _these(*words: str) -> Words:
    return lambda _: words


_WORDS: dict[str, Words] = {
    "attack": _attacks,
    "method": _methods,
    "search.families": _families,
    "candidates": _methods,
    "canaries.attacks": _attacks,
    "scores": _scores,
    "detect.scores": _detectors,
    "model.name": _models,
    "for_model": _models,
    "surrogate.name": _models,
    "model.pretrained": _these("openai", "none"),
    "surrogate.pretrained": _these("openai", "none"),
    "templates": _these("imagenet", "simple", "builtin"),
    "eval.templates": _these("imagenet", "simple", "builtin"),
    "device": _these("auto", "cpu", "cuda"),
    "train.device": _these("auto", "cpu", "cuda"),
    "train.report_to": _these("none", "tensorboard", "wandb"),
    "train.resume": _unfinished,
    "sets": _keys,
}

# What a flag of metavar RUN names, where it is not the command's input.
_KINDS: dict[str, tuple[str, ...]] = {
    "attack_from": leading_to("trigger"),
    "exclude_manifest": ("poison",),  # the commonest of those that flag rows
    "from_manifest": ("poison",),
    "trigger_from": ("poison",),
    "augment_from": ("augment",),
    "triggers": ("scan",),
    "gates.against": ("evaluate",),
}
