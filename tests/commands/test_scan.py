"""``scan`` from the command line: files, the found triggers in other commands, gates and wrong input."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from clipdefend.runs import Run
from command_lines import EVAL, MODEL, POISON, TRAIN, Outcome, Shell, write_data

SEARCH = ("--families", "patch,warp", "--restarts", 1, "--steps", 4, "--images", 16, "--held-out", 16)
COMMON = ("--workers", 0, "--device", "cpu", "--class-names", "names.txt")
VICTIM = ("--from", "002-finetune-attack-badnet")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A victim, and a scan of it beside a clean model of its architecture."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CLIPDEFEND_RUNS", "GITHUB_ACTIONS"):
            patch.delenv(name, raising=False)
        shell = Shell(tmp_path_factory.mktemp("scans"))
        write_data(shell.folder)
        (shell.folder / "names.txt").write_text("banana\ncat\nhouse\nfish\n")
        shell.made["poison"] = shell("poison", *POISON)
        shell.made["attack"] = shell("finetune-attack", *MODEL, *EVAL, *TRAIN, "--epochs", 1)
        clean = (
            "--method",
            "ft",
            "--checkpoint",
            "runs/002-finetune-attack-badnet/model",
            "--data",
            "pairs.csv",
        )
        shell.made["clean"] = shell("defend", *clean, *TRAIN, "--epochs", 1, "--out", "clean")
        shell.made["scan"] = scan(shell, "--reference", "clean")
    return shell


def scan(shell: Shell, *more: object) -> Outcome:
    return shell("scan", *VICTIM, *SEARCH, *COMMON, *more)


def test_a_scan_records_both_models_and_writes_every_trigger(shell: Shell) -> None:
    with shell.inside():
        done = shell.made["scan"]
        details = done.manifest["details"]
        assert details["verdict"] in ("backdoored", "clean", "cannot tell")
        assert [each["family"] for each in details["found"]] == ["patch", "warp"]
        assert [each["family"] for each in details["reference"]["found"]] == ["patch", "warp"]
        for each in details["found"]:
            assert len(each["nearest"]) == 3
            assert len(each["curve"]) == 2
            folder = done.folder / "triggers" / each["family"]
            assert {"trigger.png", "preview.png", "trigger.safetensors"} <= {
                path.name for path in folder.iterdir()
            }
            single = yaml.safe_load((folder / "manifest.yaml").read_text())
            assert single["details"]["target"] == each["nearest"][0]
        best = max(details["found"], key=lambda each: (each["asr"], -each["size"]))
        assert details["target"] == best["nearest"][0]
        known = len(details["library"])
    assert f"Suspected target: {details['target']!r}, " in done.err
    assert f"Known triggers: of {known}, " in done.err
    assert f"{done.folder / 'triggers'}." in done.err
    assert "Rule: backdoored if the score is at least" in done.err
    assert f"Verdict: {details['verdict']}: " in done.err


def test_the_same_seed_gives_the_same_bytes(shell: Shell, tmp_path: Path) -> None:
    """With other runs there is nothing kept from the search before."""
    outcomes = []
    for place in ("a", "b"):
        done = shell("scan", *SEARCH, *COMMON, "--from", "runs/002-finetune-attack-badnet", "--reference", "clean",
                     "--runs", tmp_path / place)  # fmt: skip
        assert done.code == 0, done.err
        with shell.inside():
            outcomes.append((done.folder / "trigger.safetensors").read_bytes())
            outcomes.append(yaml.safe_dump(done.manifest["metrics"]).encode())
    assert outcomes[:2] == outcomes[2:]


@pytest.mark.parametrize("trigger", ["", "/triggers/patch", "/triggers/warp"])
def test_found_triggers_are_attacks_of_evaluate(shell: Shell, tmp_path: Path, trigger: str) -> None:
    with shell.inside():
        folder = f"{shell.made['scan'].folder}{trigger}"
        target = yaml.safe_load((shell.folder / folder / "manifest.yaml").read_text())["details"]["target"]
    out = tmp_path / "out"
    given = ("--attack-from", folder, "--target", "cat", "--workers", 0, "--out", out)
    done = shell("evaluate", *VICTIM, *EVAL, *given)
    assert done.code == 0, done.err
    manifest = yaml.safe_load((out / "manifest.yaml").read_text())
    assert "asr@1" in manifest["metrics"]
    assert manifest["details"]["attack"] in ("masked-pattern", "wanet")
    assert target in ("banana", "cat", "house", "fish")
    # What the victim was measured with is another trigger.
    assert "ASR@1                                  -" not in done.err


def test_a_found_trigger_can_be_planted(shell: Shell, tmp_path: Path) -> None:
    with shell.inside():
        folder = shell.made["scan"].folder / "triggers" / "patch"
    given = ("--attack", "masked-pattern", "--trigger-from", folder, "--out", tmp_path / "out")
    done = shell("poison", *POISON, "--workers", 0, *given)
    assert done.code == 0, done.err
    found, planted = (place / "trigger.safetensors" for place in (shell.folder / folder, tmp_path / "out"))
    assert found.read_bytes() == planted.read_bytes()


def test_unlearn_starts_from_the_triggers_of_a_scan(shell: Shell, tmp_path: Path) -> None:
    with shell.inside():
        scanned = shell.made["scan"].folder
    small = ("--set", "defence.members=1")
    given = (*VICTIM, "--method", "unlearn", *TRAIN, "--epochs", 1, *small, "--out", tmp_path / "cleaned")
    done = shell("defend", *given, "--triggers", scanned)
    assert done.code == 0, done.err
    manifest = yaml.safe_load((tmp_path / "cleaned" / "manifest.yaml").read_text())
    triggers = manifest["details"]["defence"]["triggers"]
    assert [each["name"] for each in triggers] == ["masked-pattern", "wanet"]
    attacked = Run.open(tmp_path / "cleaned").trigger_run()
    assert attacked is not None
    assert attacked.command == "poison"  # the scan's triggers are not what the model is attacked with
    assert [(each["command"], each.get("use")) for each in manifest["parents"]] == [
        ("finetune-attack", None),
        ("scan", "triggers to unlearn"),
    ]


def test_a_report_shows_the_scan_and_what_its_trigger_does(shell: Shell, tmp_path: Path) -> None:
    with shell.inside():
        scanned = shell.made["scan"].folder
    given = ("--attack-from", scanned / "triggers" / "warp", "--workers", 0, "--out", tmp_path / "measured")
    assert shell("evaluate", *VICTIM, *EVAL, *given).code == 0
    runs = (scanned, tmp_path / "measured")
    done = shell("report", *runs, "--out", tmp_path / "report", "--embedding", "none")
    assert done.code == 0, done.err
    assert "found wanet, model of badnet" in (tmp_path / "report" / "table.md").read_text()
    page = (tmp_path / "report" / "index.html").read_text()
    with shell.inside():
        verdict = shell.made["scan"].manifest["details"]["verdict"]
    assert f"<b>Verdict: {verdict}.</b>" in page
    assert "95 % Wilson interval: patch" in page
    assert page.index('id="scans"') > page.index('id="table"')  # there are figures of accuracy
    names = {path.name for path in (tmp_path / "report" / "plots").iterdir()}
    assert {"scan-sizes.svg", "scan-patch.png", "scan-warp.png"} <= {n.replace("-1.", ".") for n in names}


@pytest.mark.parametrize(
    ("bound", "gate", "code"),
    [(0, "backdoored", 3), (1, "backdoored", 0), (1, "not-clean", 3)],
    ids=["backdoored", "unknown", "unknown-is-not-clean"],
)
def test_the_gate_judges_the_verdict_and_the_result_stands(
    shell: Shell, tmp_path: Path, bound: float, gate: str, code: int
) -> None:
    """Noise images collapse by nothing, so that only the bound of the known triggers decides."""
    told = ("--fail-if", gate, "--junit", tmp_path / "gate.xml", "--annotations", "github")
    done = scan(shell, "--reference", "local-dir:clean/model", "--set", f"thresholds.library={bound}", *told)
    assert done.code == code, done.err
    with shell.inside():
        manifest = yaml.safe_load((shell.folder / done.out.strip()).read_text())
    assert manifest["details"]["verdict"] == ("backdoored" if bound == 0 else "cannot tell")
    (suite,) = ElementTree.parse(tmp_path / "gate.xml").getroot()
    assert suite.get("name") == f"clipdefend scan {Path(done.out.strip()).parent.name}"
    assert suite.get("failures") == ("1" if code else "0")
    assert ("::error title=clipdefend gate verdict is" in done.err) == (code == 3)


def test_without_images_the_margins_are_tested(shell: Shell, tmp_path: Path) -> None:
    model = (
        "--checkpoint",
        "runs/002-finetune-attack-badnet/model/open_clip_model.safetensors",
        "--model",
        "small.json",
    )
    quick = ("--set", "search.margin_steps=2", "--set", "search.margin_starts=1")
    done = shell("scan", *model, *quick, *COMMON, "--runs", tmp_path)
    assert done.code == 0, done.err
    with shell.inside():
        manifest = done.manifest
    assert 0 <= manifest["metrics"]["margin_p"] <= 1
    assert len(manifest["details"]["margins"]["largest"]) == 4
    refused = shell("evaluate", *VICTIM, *EVAL, "--attack-from", done.folder)
    assert refused.code == 2
    assert "was made without images and found no trigger: scan with --data." in refused.err


def test_without_a_reference_it_cannot_tell(shell: Shell) -> None:
    done = scan(shell, "--reference", "none")
    with shell.inside():
        details = done.manifest["details"]
    assert details["verdict"] == "cannot tell"
    assert "no --reference model" in details["reason"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--reference", "clean", "--families", "patch,wrap"), "Unknown family 'wrap'. Did you mean 'warp'?"),
        (("--families", ""), "--families is empty. Give it a value, or leave it out."),
        (("--reference", "nowhere"), "Pretrained weights 'nowhere' not found"),
        (
            ("--reference", "clean", "--junit", "x.xml"),
            "--junit has nothing to report without a gate: give --fail-if.",
        ),
        (("--clean-up-to", 3), "--clean-up-to 3 is above --backdoored-from"),
        (
            ("--reference", "clean", "--data", "few.csv"),
            "10 usable images are too few for a scan, which needs at least 32",
        ),
        (("--reference", "clean", "--data", "alike.csv"), "All 32 images that were drawn are identical"),
        (("--reference", "wide"), "Reference wide has another architecture than the suspect"),
    ],
)
def test_wrong_input_is_one_line(shell: Shell, flags: tuple[str, ...], said: str) -> None:
    lines = (shell.folder / "pairs.csv").read_text().splitlines()
    (shell.folder / "few.csv").write_text("\n".join(lines[:11]))
    (shell.folder / "alike.csv").write_text("\n".join([lines[0], *[lines[1]] * 40]))
    if flags[-1] == "wide" and not (shell.folder / "wide").exists():
        wide_model(shell.folder / "wide")
    before = shell.runs()
    done = scan(shell, *flags)
    assert done.code == 2, done.err
    assert len(done.errors) == 1
    assert said in done.errors[0]
    assert shell.runs() == before


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--method", "unlearn", "--triggers", "002-finetune-attack-badnet"), "'scan' is needed here"),
        (("--method", "unlearn", "--triggers", "nowhere"), "Run 'nowhere' does not exist"),
        (
            ("--method", "ft", "--triggers", "003-scan-finetune-attack-badnet"),
            "--triggers is of --method unlearn, not of ft",
        ),
    ],
)
def test_wrong_triggers_are_one_line(shell: Shell, flags: tuple[str, ...], said: str) -> None:
    before = shell.runs()
    done = shell("defend", *VICTIM, *TRAIN, *flags)
    assert done.code == 2, done.err
    assert len(done.errors) == 1
    assert said in done.errors[0]
    assert shell.runs() == before


def wide_model(folder: Path) -> None:
    from clipdefend.models.builder import build_model
    from clipdefend.models.save import save_model
    from small_clip import small_architecture

    save_model(build_model(small_architecture(vision={"width": 12}), seed=0), folder)
