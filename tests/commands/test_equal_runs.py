"""Equal seeds give equal bytes of every file that a manifest hashes, times and paths aside."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from clipdefend.attacks import ATTACKS
from clipdefend.defences import DEFENCES
from clipdefend.objectives import METHODS
from command_lines import EVAL, MODEL, POISON, TRAIN, Shell, write_data
from small_clip import SMALL

TIMES = ("second", "samples_per", "wait")  # parts of names of figures that depend on the clock

OWN = {
    "deep-clustering": ("--set", "defence.clusters=4"),
    "safeclip": ("--set", "defence.in_modal_epochs=1", "--epochs", 3),
}
# Trained triggers, as small as they can be. As in every training run, another number of threads may round otherwise.
FEW = ("attack.images=16", "attack.epochs=1", "attack.batch=8")
LEARNED = {
    "badclip": (*FEW, "surrogate.name=small.json", "surrogate.pretrained=none"),
    "ssba": (*FEW, "attack.bits=4", "attack.width=4", "attack.decoder_width=4", "attack.ramp=2"),
}


VIT = {**SMALL, "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}}


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: timeless(each) for key, each in value.items() if not any(word in key for word in TIMES)}
    return [timeless(each) for each in value] if isinstance(value, list) else value


def files(run: Path) -> dict[str, Any]:
    """Digest of each file that the manifest hashes; the log as records without times."""
    manifest = yaml.safe_load((run / "manifest.yaml").read_text())
    found: dict[str, Any] = {}
    for entry in manifest["outputs"]:
        path = run / entry["path"]
        if path.name == "metrics.jsonl":
            found[path.name] = [timeless(json.loads(line)) for line in path.read_text().splitlines()]
        elif path.name == "README.md":  # a model card names the manifests behind it, which hold times
            found[entry["path"]] = re.sub(r"`[0-9a-f]{16}`", "DIGEST", path.read_text())
        elif path.is_file():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
            found[entry["path"]] = entry["sha256"]
        else:
            found[entry["path"]] = entry["sha256"]
    return found


def untimed(text: str) -> str:
    """A text without dates, durations and digests."""
    return re.sub(r"\b[0-9a-f]{12,64}\b|\d{4}-\d\d-\d\d[ T][\d:.+]*Z?|\b[\d,.]+ s\b", "…", text)


def facts(run: Path, place: Path) -> dict[str, Any]:
    """The manifest without times, places and workers, and without the digests of parents, which hold theirs."""
    manifest = yaml.safe_load((run / "manifest.yaml").read_text())
    parents = [parent["command"] for parent in manifest["parents"]]
    left_out = ("start", "end", "seconds", "parents", "outputs")
    plain = {key: value for key, value in manifest.items() if key not in left_out}
    plain["config"] = {key: value for key, value in plain["config"].items() if key != "workers"}
    # Poisoned pairs are known by the manifest of their run.
    plain["details"]["fingerprint"] = str(plain["details"].get("fingerprint")).partition("+")[0]
    text = json.dumps({**timeless(plain), "parents": parents})
    found: dict[str, Any] = json.loads(text.replace(str(place), "PLACE"))
    return found


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The runs of ``chain`` once more, in another folder."""
    shell = Shell(tmp_path_factory.mktemp("again"))
    write_data(shell.folder)
    made = {"poison": shell("poison", *POISON)}
    made["attack"] = shell("finetune-attack", *MODEL, *EVAL, *TRAIN)
    made["augment"] = shell("augment")
    source = ("--from", "002-finetune-attack-badnet")
    for method in ("cleanerclip", "par"):
        made[method] = shell("defend", "--method", method, "--n-aug", 20, *EVAL, *TRAIN, *source)
    made["evaluate"] = shell("evaluate", *EVAL, "--workers", 0)
    return {name: shell.folder / outcome.folder for name, outcome in made.items()}


def every_command(folder: Path, workers: int) -> Shell:
    """One run of each command that ``chain`` has none of, and of each registered attack and defence.

    Args:
        folder: where everything lies.
        workers: processes that read the images from which triggers are trained.
    """
    shell = Shell(folder)
    write_data(shell.folder)
    for attack in ATTACKS.names():
        learned = LEARNED.get(attack, ())
        sets = [part for setting in learned for part in ("--set", setting)]
        flags = (*sets, "--device", "cpu", "--workers", workers if learned else 0)
        shell.made[attack] = shell("poison", "--attack", attack, *POISON, *flags, "--out", attack)
    train = (*TRAIN, "--epochs", 1, "--batch-size", 32, "--eval-every", 0)
    shell.made["victim"] = shell("finetune-attack", "badnet", *MODEL, *train, "--out", "victim")
    for method in (*METHODS, *DEFENCES.names()):
        own = OWN.get(method, ())
        line = ("defend", "victim", "--method", method, "--n-aug", 8, *train, *own)
        shell.made[method] = shell(*line, "--out", f"defended/{method}")
    shell.made["augment"] = shell("augment", "--data", "pairs.csv", "--n", 12, "--out", "augment")
    measured = (
        "evaluate",
        "victim",
        *EVAL,
        "--workers",
        0,
        "--linear-probe",
        "eval",
        "--retrieval",
        "pairs.csv",
    )
    shell.made["evaluate"] = shell(*measured, "--out", "evaluate")
    for format in ("open_clip", "state-dict"):
        shell.made[format] = shell("export", "victim", "--format", format, "--out", f"exported/{format}")
    # The layout of transformers has no ResNet.
    (shell.folder / "vit.json").write_text(json.dumps(VIT))
    line = ("finetune-attack", "badnet", "--model", "vit.json", "--pretrained", "none", *train)
    shell.made["vit"] = shell(*line, "--out", "vit")
    shell.made["transformers"] = shell("export", "vit", "--format", "transformers", "--out", "exported/hub")
    return shell


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shell, Shell]]:
    first, second = (every_command(tmp_path_factory.mktemp("twice"), workers) for workers in (0, 1))
    yield first, second
    for shell in (first, second):
        shutil.rmtree(shell.folder)  # a model of each method


@pytest.mark.slow
def test_every_command_attack_and_method_gives_the_same_bytes(twice: tuple[Shell, Shell]) -> None:
    first, second = twice
    failed = {name: done.err for name, done in first.made.items() if done.code}
    assert not failed
    for name, done in first.made.items():
        one, two = first.folder / done.folder, second.folder / second.made[name].folder
        assert files(one) == files(two), name
        assert facts(one, first.folder) == facts(two, second.folder), name
        assert files(one) or name == "evaluate", name


@pytest.mark.slow
def test_reports_of_equal_runs_are_the_same(twice: tuple[Shell, Shell]) -> None:
    """Tables and pictures to the byte, page and ``report.json`` but for times and the digests of what holds times."""
    contents, written = [], []
    for shell in twice:
        done = shell("report", "evaluate", "--maps", 0, "--out", "report")
        assert done.code == 0, done.err
        shown = [
            path
            for path in sorted((shell.folder / "report").rglob("*.*"))
            if path.suffix not in (".html", ".json")
        ]
        contents.append({path.name: path.read_bytes() for path in shown})
        report = shell.folder / "report"
        data = timeless(json.loads((report / "report.json").read_text()))
        texts = ((report / "index.html").read_text(), json.dumps(data))
        written.append([untimed(text.replace(shell.folder.name, "PLACE")) for text in texts])
    assert contents[0] == contents[1]
    assert written[0] == written[1]
    assert "BA@1" in written[0][0]
    assert len(contents[0]["table.csv"].splitlines()) > 1
    assert {"table.csv", "frontier.csv"} <= contents[0].keys()


@pytest.mark.parametrize("name", ["poison", "attack", "augment", "cleanerclip", "par", "evaluate"])
def test_a_second_run_has_the_same_bytes(name: str, chain: Shell, again: dict[str, Path]) -> None:
    first, second = chain.folder / chain.made[name].folder, again[name]
    assert files(second) == files(first)
    assert facts(second, second.parents[1]) == facts(first, first.parents[1])
    if name in ("attack", "cleanerclip", "par"):
        assert "model/open_clip_model.safetensors" in files(first)
