"""``filter``: suspicious pairs are scored, flagged and left out, whatever the batches; wrong input is one line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipdefend.commands.filter.judged_pairs import draw_rows
from clipdefend.runs import Run
from command_lines import EVAL, MODEL, POISON, TRAIN, Shell, write_pairs
from memory_pairs import MemoryPairs, memory_pairs, noise
from poison_runs import rows_of

SMALL = ("--neighbours", 4, "--pool", 40, "--batch-size", 16, "--workers", 0, "--device", "cpu")
ALL = ("--scores", "dao,slof,kdist,lid,clipscore,loss")


@pytest.fixture(scope="module")
def filtered(chain: Shell) -> Run:
    """All scores of the chain's poisoned pairs, by its victim."""
    done = chain("filter", *ALL, *SMALL, "--keep", 0.75, "--out", "filtered")
    assert done.code == 0, done.err
    assert "leave them out with --exclude-manifest filtered" in done.err
    return Run.open(chain.folder / "filtered")


def table(run: Run) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = pq.read_table(run.path / "rows.parquet").to_pydict()
    return found


def test_rows_flags_figures_and_pictures(filtered: Run, chain: Shell) -> None:
    rows = table(filtered)
    assert list(rows) == ["id", "score", "flagged", "dao", "slof", "kdist", "lid", "clipscore", "loss"]
    assert rows["id"] == [*range(64)]
    assert rows["score"] == rows["dao"]
    largest = sorted(range(64), key=lambda row: -rows["dao"][row])[:16]
    assert [row for row in range(64) if rows["flagged"][row]] == sorted(largest)
    metrics = filtered.metrics
    assert (metrics["n_rows"], metrics["n_flagged"], metrics["n_poisoned"]) == (64, 16, 20)
    poisoned = rows_of(Run.open(chain.folder / "runs" / "001-poison-badnet"))
    assert metrics["dao_recall"] == len(poisoned & set(largest)) / 20
    assert metrics["dao_auroc_low"] <= metrics["dao_auroc"] <= metrics["dao_auroc_high"]
    curves = json.loads((filtered.path / "curves.json").read_text())
    assert curves["lid"]["true"][0] == 0
    assert curves["lid"]["true"][-1] == 1
    with Image.open(filtered.path / "suspects.png") as sheet:
        assert sheet.width > 600
    assert filtered.find_ancestor("poison") is not None
    assert sorted(path.name for path in filtered.path.iterdir()) == [
        "curves.json",
        "manifest.yaml",
        "rows.parquet",
        "suspects.png",
    ]


def test_a_second_time_nothing_is_embedded_and_other_batches_score_alike(
    filtered: Run, chain: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = chain(
        "filter", *ALL, *SMALL, "--batch-size", 7, "--keep", 0.75, "--no-keep-embeddings", "--out", "sevens"
    )
    assert again.code == 0, again.err
    first, second = table(filtered), table(Run.open(chain.folder / "sevens"))
    for name in first:
        # A random model tells images hardly apart, so that rounding shows: by a thousandth at most.
        assert second[name] == pytest.approx(first[name], rel=2e-3, abs=2e-3), name
    with monkeypatch.context() as patch:
        patch.setattr("clipdefend.evaluation.pair_embeddings.encode", lambda *_: iter(()))
        done = chain("filter", *ALL, *SMALL, "--threshold", 0.5, "--out", "threshold")
    assert done.code == 0, done.err
    rows = table(Run.open(chain.folder / "threshold"))
    assert rows["dao"] == first["dao"]
    assert rows["flagged"] == [score > 0.5 for score in rows["dao"]]


def test_the_draw_follows_the_pairs_and_not_their_order() -> None:
    pairs = memory_pairs(50)
    order = np.random.default_rng(0).permutation(50).tolist()
    shuffled = MemoryPairs([pairs.texts[row] for row in order])
    shuffled.image_ref = lambda row: pairs.image_ref(order[row])  # type: ignore[method-assign]
    rows = draw_rows(pairs, 1, 20).tolist()
    assert [order[row] for row in draw_rows(shuffled, 1, 20)] == rows
    assert draw_rows(pairs, 1, 8).tolist() == rows[:8]
    assert draw_rows(pairs, 2, 20).tolist() != rows
    assert sorted(draw_rows(pairs, 1, 99).tolist()) == [*range(50)]


@pytest.fixture(scope="module")
def planted(chain: Shell) -> Path:
    """Sixty pictures of noise, and six copies each of a bright square with a caption of the target."""
    folder = chain.folder / "planted"
    (folder / "photos").mkdir(parents=True)
    rows = []
    for number in range(66):
        picture = noise(number)
        if number >= 60:
            picture = Image.new("RGB", picture.size, (255, 255, 250 + number - 60))
        picture.save(folder / "photos" / f"{number}.png")
        rows.append((f"photos/{number}.png", f"a banana {number}" if number >= 60 else f"a cat {number}"))
    write_pairs(folder / "pairs.csv", rows)
    return folder / "pairs.csv"


def test_what_is_flagged_is_left_out_of_poison_attack_and_defence(planted: Path, chain: Shell) -> None:
    victim = "002-finetune-attack-badnet"
    place = chain.folder / "runs" / victim / "model"
    given = ("--data", planted, "--checkpoint", place, "--scores", "kdist", "--keep", 0.9)
    found = chain("filter", *given, *SMALL, "--neighbours", 8, "--out", "planted-filter")
    assert found.code == 0, found.err
    rows = table(Run.open(chain.folder / "planted-filter"))
    flagged = {row for row, flag in zip(rows["id"], rows["flagged"], strict=True) if flag}
    assert len(flagged) == 7
    assert flagged >= {*range(60, 66)}
    less = chain(
        *("poison", "--data", planted, "--image-size", 32, "--count", 59, "--templates", "simple"),
        *("--exclude-manifest", "planted-filter", "--out", "planted-poison"),
    )
    assert less.code == 0, less.err
    poison = Run.open(chain.folder / "planted-poison")
    assert rows_of(poison) == {*range(66)} - flagged
    for command, more in (("finetune-attack", MODEL), ("defend", ("--method", "ft", "--checkpoint", place))):
        source = ("--from", "planted-poison") if command == "finetune-attack" else ("--data", planted)
        done = chain(
            *(command, *source, *more, *EVAL, *TRAIN, "--epochs", 1),
            *("--exclude-manifest", "planted-filter", "--out", f"planted-{command}"),
        )
        assert done.code == 0, done.err
        assert "Excluding the 7 rows that run planted-filter flagged" in done.err
        record = Run.open(chain.folder / f"planted-{command}").manifest
        assert record["parents"][-1]["use"] == "excluded rows"


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("run", "002-finetune-attack-badnet"),
        ("manifest", "{}/manifest.yaml"),  # what commands print
        ("folder", "local-dir:{}/model"),
    ],
)
def test_trusted_pairs_a_clean_reference_and_their_absence(chain: Shell, name: str, reference: str) -> None:
    elsewhere = chain.folder / "tables" / "trusted.csv"  # its images lie beside another table
    elsewhere.parent.mkdir(exist_ok=True)
    elsewhere.write_text((chain.folder / "pairs.csv").read_text("utf-8"), "utf-8")
    scores = ("--scores", "lorex,clipscore", "--trusted", elsewhere, "--image-root", chain.folder)
    victim = chain.folder / "runs" / "002-finetune-attack-badnet"
    done = chain("filter", *scores, "--reference", reference.format(victim), *SMALL, "--out", f"lorex-{name}")
    assert done.code == 0, done.err
    # More pairs to compare with than there are: all of them.
    own = chain("filter", "--scores", "clipscore,loss", *SMALL, "--pool", 500, "--out", f"own-{name}")
    assert own.code == 0, own.err
    first, second = (table(Run.open(chain.folder / f"{kind}-{name}")) for kind in ("lorex", "own"))
    assert first["clipscore"] == second["clipscore"]  # the clean model is the suspect itself here
    assert Run.open(chain.folder / f"own-{name}").details["references"] == 64
    assert Run.open(chain.folder / f"lorex-{name}").details["scores"]["lorex"]["ratio"] >= 1


def wrong(chain: Shell, *args: object) -> str:
    done = chain("filter", *SMALL, *args, "--out", "wrong")
    assert done.code == 2, done.err
    assert not (chain.folder / "wrong").exists()
    (line,) = done.errors
    return line


def test_wrong_input_is_one_line(chain: Shell) -> None:
    assert "Did you mean 'dao'?" in wrong(chain, "--scores", "doa")
    assert "lorex needs pairs that are known to be clean: give them with --trusted" in wrong(
        chain, "--scores", "lorex"
    )
    assert "--trusted is for lorex" in wrong(chain, "--trusted", "pairs.csv")
    assert "--reference is for clipscore" in wrong(chain, "--scores", "dao", "--reference", "small.json")
    assert "too few for 64 neighbours of each" in wrong(chain, "--neighbours", 64)
    assert "There are only 40 usable pairs to compare with, but 50 neighbours need 51" in wrong(
        chain, "--neighbours", 50
    )
    other = {**json.loads((chain.folder / "small.json").read_text()), "embed_dim": 24}
    (chain.folder / "other.json").write_text(json.dumps(other))
    made = chain(
        "finetune-attack",
        "--model",
        "other.json",
        *MODEL[2:],
        *EVAL,
        *TRAIN,
        "--epochs",
        1,
        "--from",
        "001-poison-badnet",
        "--out",
        "other",
    )
    assert made.code == 0, made.err
    assert "has another architecture" in wrong(chain, "--reference", "other")
    assert "give --data, or the poison run" in wrong(chain, "--checkpoint", "other")
    assert "--from, or weights with --checkpoint" in wrong(chain, "--from", "001-poison-badnet")


def test_pairs_that_are_all_alike_are_refused(chain: Shell) -> None:
    folder = chain.folder / "alike"
    folder.mkdir()
    for number in range(20):
        noise(3).save(folder / f"{number}.png")
    write_pairs(folder / "pairs.csv", [(f"{number}.png", "a cat") for number in range(20)])
    place = chain.folder / "runs" / "002-finetune-attack-badnet" / "model"
    given = ("--data", folder / "pairs.csv", "--checkpoint", place, "--scores", "dao")
    assert "All 20 pairs that were drawn have the same embedding" in wrong(chain, *given)


def test_without_a_clean_pair_there_is_nothing_to_tell_apart(chain: Shell) -> None:
    poison = chain("poison", *POISON, "--count", 64, "--out", "all-poisoned")
    assert poison.code == 0, poison.err
    place = chain.folder / "runs" / "002-finetune-attack-badnet" / "model"
    given = ("--from", "all-poisoned", "--checkpoint", place, "--scores", "kdist")
    done = chain("filter", *given, *SMALL, "--out", "all-filtered")
    assert done.code == 0, done.err
    assert "kdist_auroc" not in done.manifest["metrics"]
    assert re.search(r"^kdist +- +- +0\.\d+ \[", done.err, re.MULTILINE)
