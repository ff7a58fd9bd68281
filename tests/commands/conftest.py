"""The whole chain once, for all tests of the commands."""

from __future__ import annotations

import pytest
from command_lines import EVAL, MODEL, TRAIN, Shell, write_data

METHODS = ("ft", "ssl", "cleanclip", "cleanerclip", "par")


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """``poison``, ``finetune-attack``, ``augment``, ``defend`` by every method, and an evaluation of each."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CLIPDEFEND_RUNS", "RANK", "COLUMNS", "NO_COLOR"):
            patch.delenv(name, raising=False)
        shell = Shell(tmp_path_factory.mktemp("chain dir"))
        write_data(shell.folder)
        made = shell.made
        poison = ("--data", "pairs.csv", "--image-size", 32, "--count", 20, "--templates", "simple")
        made["poison"] = shell("poison", *poison)
        made["attack"] = shell("finetune-attack", *MODEL, *EVAL, *TRAIN)
        made["augment"] = shell("augment")
        for method in METHODS:
            made[method] = shell(
                "defend",
                "--method",
                method,
                "--n-aug",
                20,
                *EVAL,
                *TRAIN,
                "--from",
                "002-finetune-attack-badnet",
            )
        made["evaluate"] = shell("evaluate", *EVAL, "--workers", 0)
    return shell
