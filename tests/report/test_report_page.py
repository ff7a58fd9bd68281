"""The written report: whole, self-contained, the same each time, and safe against names of any kind."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from clipdefend.errors import RunError
from clipdefend.evaluation.setting import EvaluationSetting
from clipdefend.report.collect import collect
from clipdefend.report.escape import csv_cell, escape_latex, escape_markdown, slug, tidy
from clipdefend.report.formats import to_latex
from clipdefend.report.measurements import Setting
from clipdefend.report.rows import Row, Table
from clipdefend.report.write import Report, arrange_runs, write_report
from report_runs import Lab, shares, watched

HOSTILE = (
    """x"><script>alert(1)</script><img src=http://evil.example/a.png onerror='a()'>|$\\input{/etc/passwd}`"""
)
VOID = {"meta", "img", "source", "br"}


class Page(HTMLParser):
    """Tags, attributes and texts of a page; checks that tags are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.tags: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def runs(folder: Path, target: str = "banana", attack: str = "badnet", plots: bool = True) -> None:
    """A victim and two defences that differ in one weight; without records there is nothing to plot but that."""
    lab = Lab(folder)
    victim = lab.victim(lab.poison(attack, target), shares(ba1=0.9, asr1=0.95))
    records = [watched(0.9, 0.95, 0.5, 0.0), watched(0.85, 0.5, 0.4, 0.2), watched(0.8, 0.3, 0.45, 0.3)]
    for weight in (1.0, 2.0) if plots else (1.0,):
        epochs = records if plots else ()
        lab.defend(victim, "cleanclip", records[-1], epochs=epochs, terms={"ssl": {"weight": weight}})


def written(folder: Path, out: Path) -> Report:
    return write_report(arrange_runs(collect([folder])), out)


def parsed(report: Report) -> Page:
    page = Page()
    page.feed(report.file.read_text(encoding="utf-8"))
    page.close()
    assert not page.open
    return page


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    folder = tmp_path_factory.mktemp("plain")
    runs(folder / "runs")
    return folder, written(folder / "runs", folder / "report")


@pytest.mark.slow
def test_the_same_runs_give_the_same_bytes(plain: tuple[Path, Report]) -> None:
    folder, report = plain
    again = written(folder / "runs", folder / "again")
    names = sorted(
        path.relative_to(folder / "report") for path in (folder / "report").rglob("*") if path.is_file()
    )
    assert sorted(map(str, names)) == report.manifest["files"] == sorted(again.manifest["files"])
    for name in names:
        assert (folder / "report" / name).read_bytes() == (folder / "again" / name).read_bytes(), name


def test_the_page_is_whole_and_loads_nothing(plain: tuple[Path, Report]) -> None:
    page = parsed(plain[1])
    for tag, name, value in page.attributes:
        if name in ("src", "srcset"):
            assert value.startswith("data:image/")
        if name == "href":
            assert value.startswith("#")
        assert name not in ("onclick", "onload", "onerror"), tag
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    assert "url(" not in plain[1].file.read_text()
    assert ("meta", "name", "viewport") in page.attributes
    policy = next(value for _, name, value in page.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_pictures_have_texts_and_links_have_ends(plain: tuple[Path, Report]) -> None:
    page = parsed(plain[1])
    alts = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    # Scatter, curves, ablation, what a defender sees, and the trigger.
    assert len(alts) == page.tags.count("img") == page.tags.count("figcaption") == 5
    assert all(alts)
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value[1:] for _, name, value in page.attributes if name == "href"} <= set(ids)
    assert page.tags.count("h1") == 1
    assert all(("th", "scope", kind) in page.attributes for kind in ("row", "col"))


def test_every_number_has_its_lineage(plain: tuple[Path, Report]) -> None:
    text = " ".join(" ".join(parsed(plain[1]).texts).split())
    assert (
        "clipdefend defend --config runs/003-defend-cleanclip/manifest.yaml"
        " --from runs/002-finetune-attack-v --runs runs"
    ) in text
    assert "SHA-256 of the manifest" in text
    record = json.loads((plain[1].file.parent / "report.json").read_text())
    assert record["runs"][2]["parents"] == ["002-finetune-attack-v"]
    assert "torch" in record["runs"][2]["versions"]


def test_the_tables_beside_the_page(plain: tuple[Path, Report]) -> None:
    folder = plain[1].file.parent
    lines = list(csv.DictReader((folder / "table.csv").open(newline="")))
    first = next(line for line in lines if line["defence"] == "cleanclip (ssl.weight=1)")
    assert (first["k"], float(first["ba"]), float(first["asr"]), first["n_triggered"]) == (
        "1",
        0.8,
        0.3,
        "190",
    )
    assert "| badnet | none | 1 | 90.0 [85.1, 93.4] | 95.0 [" in (folder / "table.md").read_text()
    assert r"\textbf{80.0 [73.9, 85.0]}" in (folder / "table.tex").read_text()


def test_a_name_in_brackets_is_no_option_of_the_rule_above_it() -> None:
    setting = Setting(EvaluationSetting(data="builtin", protocol="all", n_clean=1))
    row = Row(attack="[2pt] x", defence="none", base="none", members=(), figures={})
    lines = to_latex([Table(setting=setting, ks=(1,), rows=(row,))]).splitlines()
    assert lines[lines.index(r"\midrule") + 1] == r"{[}2pt] x & none & - & - \\"


def test_stopping_rules_are_judged(plain: tuple[Path, Report]) -> None:
    stopping = plain[1].manifest["stopping"]
    # BA - ASR: -0.05, 0.35, 0.5; the loss is lowest after epoch 1, and 2 points allow the victim alone.
    means = {rule["name"]: rule["mean"] for rule in stopping["rules"]}
    assert means == {"last": "0.0", "loss": "15.0", "budget": "55.0", "drift": "55.0"}


def test_names_never_become_markup(tmp_path: Path) -> None:
    runs(tmp_path / "runs", target=HOSTILE, attack=HOSTILE)
    report = written(tmp_path / "runs", tmp_path / "report")
    page = parsed(report)
    assert "script" not in page.tags
    assert {name for _, name, _ in page.attributes} & {"onerror", "onload"} == set()
    assert any("<script>alert(1)</script>" in text for text in page.texts)
    assert "\\input" not in (tmp_path / "report" / "table.tex").read_text()
    assert "<script>" not in (tmp_path / "report" / "table.md").read_text()
    for path in (tmp_path / "report" / "plots").iterdir():
        assert re.fullmatch(r"[a-z0-9-]+\.(svg|png)", path.name)
        assert b"<script" not in path.read_bytes()


def test_texts_of_other_formats() -> None:
    assert tidy("a\x1b[31m\nb\u202ec") == "a\\x1b[31m b\\u202ec"
    assert tidy("x" * 200) == "x" * 119 + "…"
    assert escape_markdown("# a|b_c <i>") == r"\# a\|b\_c &lt;i&gt;"
    assert escape_latex("50% $x_1$ \\a") == r"50\% \$x\_1\$ \textbackslash{}a"
    assert [csv_cell(text) for text in ("=1+1", "@x", "ft")] == ["'=1+1", "'@x", "ft"]
    assert slug("../../etc/Pass wd") == "etc-pass-wd"
    assert slug("..") == "unnamed"


def test_plots_of_names_that_are_cut_alike_are_all_written(tmp_path: Path) -> None:
    long = "x" * 80
    for attack in (f"{long}1", f"{long}2"):
        runs(tmp_path / "runs", attack=attack)
    report = written(tmp_path / "runs", tmp_path / "report")
    names = [name for name in report.manifest["files"] if name.startswith("plots/") and name.endswith(".png")]
    assert len(names) == parsed(report).tags.count("img") == 10
    assert sum(name.endswith("-2.png") for name in names) == 5


def test_a_report_is_replaced_and_other_files_are_not(tmp_path: Path) -> None:
    runs(tmp_path / "runs", plots=False)
    out = tmp_path / "report"
    report = written(tmp_path / "runs", out)
    (out / "plots" / "old.svg").write_text("old")
    (out / "notes.txt").write_text("mine")
    record = json.loads((out / "report.json").read_text())
    record["files"] += ["plots/old.svg", "notes.txt", "../runs/001-poison-badnet/manifest.yaml"]
    (out / "report.json").write_text(json.dumps(record))
    assert written(tmp_path / "runs", out).manifest == report.manifest
    assert not (out / "plots" / "old.svg").exists()
    assert (out / "notes.txt").exists()
    assert (tmp_path / "runs" / "001-poison-badnet" / "manifest.yaml").exists()
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("x")
    with pytest.raises(RunError, match=r"is not empty and holds no report"):
        written(tmp_path / "runs", other)


def test_runs_without_figures_make_a_report_too(tmp_path: Path) -> None:
    Lab(tmp_path / "runs").poison()
    report = written(tmp_path / "runs", tmp_path / "report")
    assert "No run of these has figures of accuracy" in report.file.read_text()
    with pytest.raises(RunError, match=r"No finished run in"):
        collect([tmp_path / "report"])
    with pytest.raises(RunError, match=r"does not exist"):
        collect([tmp_path / "nowhere"])


def test_a_preview_that_is_no_picture_is_left_out(tmp_path: Path) -> None:
    Lab(tmp_path / "runs").poison(preview=b"<svg onload=alert(1)>")
    report = written(tmp_path / "runs", tmp_path / "report")
    assert "img" not in parsed(report).tags
    assert report.manifest["faults"] == [
        {"name": "001-poison-badnet", "reason": "no trigger preview: the file is not a PNG image"}
    ]
