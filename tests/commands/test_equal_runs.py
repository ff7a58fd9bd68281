"""Equal seeds give equal bytes of every file that a manifest hashes, times and paths aside."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from command_lines import EVAL, MODEL, TRAIN, Shell, write_data

TIMES = ("second", "samples_per", "wait")  # parts of names of figures that depend on the clock


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
        elif path.is_file():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
            found[entry["path"]] = entry["sha256"]
        else:
            found[entry["path"]] = entry["sha256"]
    return found


def facts(run: Path) -> dict[str, Any]:
    """The manifest without times and places, and without the digests of parents, which hold theirs."""
    manifest = yaml.safe_load((run / "manifest.yaml").read_text())
    parents = [parent["command"] for parent in manifest["parents"]]
    left_out = ("start", "end", "seconds", "parents", "outputs")
    plain = {key: value for key, value in manifest.items() if key not in left_out}
    # Poisoned pairs are known by the manifest of their run.
    plain["details"]["fingerprint"] = str(plain["details"].get("fingerprint")).partition("+")[0]
    text = json.dumps({**timeless(plain), "parents": parents})
    found: dict[str, Any] = json.loads(text.replace(str(run.parents[1]), "PLACE"))
    return found


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The runs of ``chain`` once more, in another folder."""
    shell = Shell(tmp_path_factory.mktemp("again"))
    write_data(shell.folder)
    poison = ("--data", "pairs.csv", "--image-size", 32, "--count", 20, "--templates", "simple")
    made = {"poison": shell("poison", *poison)}
    made["attack"] = shell("finetune-attack", *MODEL, *EVAL, *TRAIN)
    made["augment"] = shell("augment")
    source = ("--from", "002-finetune-attack-badnet")
    for method in ("cleanerclip", "par"):
        made[method] = shell("defend", "--method", method, "--n-aug", 20, *EVAL, *TRAIN, *source)
    made["evaluate"] = shell("evaluate", *EVAL, "--workers", 0)
    return {name: shell.folder / outcome.folder for name, outcome in made.items()}


@pytest.mark.parametrize("name", ["poison", "attack", "augment", "cleanerclip", "par", "evaluate"])
def test_a_second_run_has_the_same_bytes(name: str, chain: Shell, again: dict[str, Path]) -> None:
    first, second = chain.folder / chain.made[name].folder, again[name]
    assert files(second) == files(first)
    assert facts(second) == facts(first)
    if name in ("attack", "cleanerclip", "par"):
        assert "model/open_clip_model.safetensors" in files(first)
