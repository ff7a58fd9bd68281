"""``clipdefend study`` on small data: grids by hand, and a study stopped, resumed and reported."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from clipdefend.errors import ConfigError
from clipdefend.study import carry_out
from clipdefend.study.choice import Candidate, choose
from clipdefend.study.grid import check_changes, held_out_nodes, labels, reported_nodes
from clipdefend.study.study_file import read_study
from command_lines import Shell, write_data
from in_process import InProcess

EXAMPLES = Path(__file__).parents[2] / "examples" / "studies"
SMALL = {
    "seeds": [1],
    "steps": {
        "poison": {"data": "pairs.csv", "image_size": 32, "count": 20, "templates": "simple", "workers": 0},
        "finetune-attack": {
            "model.name": "small.json",
            "model.pretrained": "none",
            "eval.data": "eval",
            "eval.templates": "simple",
            "train.batch_size": 16,
            "train.epochs": 1,
            "workers": 0,
        },
    },
}


def study_file(folder: Path, **changes: object) -> Path:
    path = folder / "grid.yaml"
    path.write_text(json.dumps({**SMALL, **changes}))  # JSON is YAML
    return path


def test_equal_steps_are_one_run(tmp_path: Path) -> None:
    steps = {
        "poison": {"attack": ["badnet", "sig"]},
        "finetune-attack": {"train.lr": {"log": [1e-4, 1e-2, 3]}},
    }
    study = read_study(study_file(tmp_path, seeds=[1, 2], steps=steps))
    nodes = reported_nodes(study, None)
    assert len({node.name for node in nodes}) == len(nodes) == 2 * (2 + 2 * 3)
    assert [n.settings["train.lr"] for n in nodes if n.command == "finetune-attack"][:3] == [1e-4, 1e-3, 1e-2]
    # Workers change no result, and the default value is the same run as none.
    again = {"poison": {"attack": ["badnet", "badnet"], "workers": 0}}
    names = {
        n.name for n in reported_nodes(read_study(study_file(tmp_path, seeds=[1, 2], steps=again)), None)
    }
    assert len(names) == 2
    assert names < {node.name for node in nodes}


def test_pairs_are_filtered_by_models_unless_a_checkpoint_is_given(tmp_path: Path) -> None:
    steps = {"poison": {"data": "pairs.csv"}, "finetune-attack": None, "filter": None}
    for block, sources in (
        (None, ["finetune-attack"]),
        ({"checkpoint": "m.pt"}, ["finetune-attack", "poison"]),
    ):
        study = read_study(study_file(tmp_path, seeds=[1], steps={**steps, "filter": block}))
        found = [
            node.source.command
            for node in reported_nodes(study, None)
            if node.command == "filter" and node.source
        ]
        assert sorted(found) == sources


def test_plan_names_only_the_settings_that_differ(tmp_path: Path) -> None:
    steps = {
        "poison": [{"attack": "badnet", "attack.pixels": 8, "count": 20}, {"attack": "sig", "count": 20}],
        "finetune-attack": {"train.lr": [1e-4, 1e-3], "train.epochs": 2},
    }
    found = labels(reported_nodes(read_study(study_file(tmp_path, seeds=[1, 2], steps=steps)), None))
    assert found[:2] == ["attack badnet, attack.pixels 8, seed 1", "attack sig, seed 1"]
    assert found[2] == "attack badnet, attack.pixels 8, seed 1, train.lr 0.0001"
    assert found[-1] == "attack sig, seed 2, train.lr 0.001"
    assert len(set(found)) == len(found)


def test_plan_counts_what_follows_the_choice(tmp_path: Path) -> None:
    """Two attacks, three methods, one of four rates, two seeds: as many as are planned later."""
    out = Shell(tmp_path)("study", "plan", EXAMPLES / "small-grid.yaml", "--no-measure").out
    assert "42 runs, 0 finished, 42 to make" in out
    assert (
        "12 runs of seeds 1, 2 follow once the held-out runs have chosen train.lr: about 0 s, and 12 of"
        in out
    )


def test_a_choice_on_some_of_the_attacks(tmp_path: Path) -> None:
    choice = {"seeds": [1], "held_out": [9], "choose": ["train.lr"]}
    steps = {
        "poison": {"attack": ["badnet", "sig", "wanet"]},
        "finetune-attack": None,
        "augment": {"data": "pairs.csv"},
        "defend": {"train.lr": [1e-4, 1e-3]},
    }
    where = {"attack": ["badnet", "wanet"]}
    study = read_study(study_file(tmp_path, **choice, held_out_where=where, steps=steps))
    found = held_out_nodes(study)
    assert Counter(node.command for node in found) == {
        "poison": 2,
        "finetune-attack": 2,
        "augment": 1,
        "defend": 4,
    }
    assert {node.poison.settings["attack"] for node in found if node.command == "defend"} == {
        "badnet",
        "wanet",
    }
    assert len([node for node in reported_nodes(study, None) if node.command == "finetune-attack"]) == 3
    for wrong, words in (
        ({"attack": "badnat"}, "held_out_where {attack: badnat} holds for no attack"),
        ({"atack": "badnet"}, "held_out_where: 'atack' is not a key"),
        ({}, "held_out_where takes conditions"),
    ):
        with pytest.raises(ConfigError, match=words):
            check_changes(read_study(study_file(tmp_path, **choice, held_out_where=wrong, steps=steps)))
    other = {"where": {"attack": "sig"}, "train.epochs": 4}  # for which no held-out run can choose
    lacking = {**steps, "defend": [steps["defend"], other]}
    study = read_study(study_file(tmp_path, **choice, held_out_where=where, steps=lacking))
    with pytest.raises(ConfigError, match=r"train.lr cannot be chosen for defences with .*train.epochs"):
        check_changes(study)
    with pytest.raises(ConfigError, match="held_out_where needs held_out"):
        read_study(study_file(tmp_path, seeds=[1], held_out_where=where))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sedes": [1]}, "Did you mean 'seeds'"),
        ({"steps": {"poison": {"atack": "sig"}}}, "Did you mean 'attack'"),
        (
            {"steps": {"poison": {"count": {"range": [1, 9000, 9000]}, "attack": ["sig", "badnet"]}}},
            "18,000 runs",
        ),
        ({"steps": {"finetune-attack": None}}, "no 'poison'"),
        ({"held_out": [1], "choose": ["train.lr"]}, "must not be in seeds"),
    ],
)
def test_what_does_not_fit(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        reported_nodes(read_study(study_file(tmp_path, **changes)), None)


def held_out(ba: float, asr: float, **more: float) -> dict[str, float]:
    return {"ba@1": ba, "asr@1": asr, **{f"{name}@1": value for name, value in more.items()}}


def test_rules_by_hand() -> None:
    high = Candidate({"train.lr": 1}, (held_out(0.9, 0.5), held_out(0.8, 0.3)))  # 0.85 - 0.40
    low = Candidate({"train.lr": 2}, (held_out(0.6, 0.05),) * 2)  # 0.60 - 0.05
    lucky = Candidate({"train.lr": 3}, (held_out(0.9, 0.0),))  # its other run failed
    for rule in ("ba-asr", "value"):  # the same where no recovery is known
        assert choose([high, low, lucky], rule) is low
    assert choose([high, low, lucky], "asr<=0.4") is high
    assert choose([high, low], "asr<=0.01") is low
    assert choose([], "ba-asr") is None
    assert choose([Candidate({"train.lr": 4}, ())], "ba-asr") is None  # none of its runs was measured
    same = Candidate({"train.lr": 5}, low.measured)
    for rule in ("value", "ba-asr", "asr<=0.1", "asr<=0.01"):
        assert choose([low, same], rule) is low


def test_a_model_that_takes_triggered_images_for_yet_another_class_is_not_the_best() -> None:
    # By ASR alone the first is clean: 0.50 - 0.00 against 0.55 - 0.10.
    elsewhere = Candidate({"train.lr": 1}, (held_out(0.50, 0.00, recovery=0.1),))  # 0.60
    clean = Candidate({"train.lr": 2}, (held_out(0.55, 0.10, recovery=0.9),))  # 1.35
    beyond = Candidate({"train.lr": 3}, (held_out(0.44, 0.05, recovery=1.5),))  # 1.39, as 1.5 counts as 1
    assert choose([elsewhere, clean], "ba-asr") is elsewhere
    unknown = Candidate({}, (held_out(0.5, 0.25, recovery=0.5), held_out(0.7, 0.75)))
    assert unknown.figures == pytest.approx({"ba@1": 0.6, "asr@1": 0.5})  # no recovery rather than one of 0
    assert beyond.figures == {"ba@1": 0.44, "asr@1": 0.05, "recovery@1": 1.5}
    assert choose([elsewhere, clean], "value") is clean
    assert choose([clean, beyond], "value") is beyond
    half = Candidate({}, (held_out(0.44, 0.05, recovery=1.5), held_out(0.44, 0.05, recovery=0.5)))
    twice = Candidate({}, clean.measured * 2)
    # The runs' values are averaged, 1.14, not their recoveries, which would give 1.39.
    assert choose([half, twice], "value") is twice


def test_made_once_resumed_and_a_failure_passed_over(tmp_path: Path) -> None:
    pytest.importorskip("dask")
    write_data(tmp_path)
    shell = Shell(tmp_path)
    steps = json.loads(json.dumps(SMALL["steps"]))
    evaluation = {"eval.data": "eval", "eval.topk": {"value": [1, 3]}, "eval.templates": "simple"}
    steps["finetune-attack"].update(evaluation)
    steps["evaluate"] = {**evaluation, "workers": 0}
    steps["poison"]["target"] = ["banana", "no such class"]
    study_file(tmp_path, steps=steps)
    found = shell("study", "run", "grid.yaml", "--jobs", 2)
    assert found.code == 2
    assert "1 failed" in found.err
    assert "1 skipped" in found.err
    made = {p.parent.name: p.stat().st_mtime_ns for p in tmp_path.glob("studies/grid/*/manifest.yaml")}
    assert sorted(name[:6] for name in made) == ["evalua", "finetu", "poison", "poison"]
    shell("study", "run", "grid.yaml")
    again = {p.parent.name: p.stat().st_mtime_ns for p in tmp_path.glob("studies/grid/*/manifest.yaml")}
    assert again == made
    assert "4 finished, 2 to make" in shell("study", "plan", "grid.yaml").out
    report = shell("study", "report", "grid.yaml")
    assert report.code == 0, report.err
    assert "2 of 6 runs are missing from this report" in report.err
    table = (tmp_path / "studies/grid/report/table.csv").read_text()
    assert table.count("badnet,") == 2  # k = 1 and 3


def test_a_choice_needs_held_out_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carry_out, "_servers", InProcess())
    write_data(tmp_path)
    shell = Shell(tmp_path)
    steps = json.loads(json.dumps(SMALL["steps"]))
    evaluation = {"eval.data": "eval", "eval.topk": {"value": [1]}, "eval.templates": "simple"}
    steps["finetune-attack"].update(evaluation)
    defence = {
        **evaluation,
        "train.lr": [1e-3, 2e-3],
        "train.batch_size": 16,
        "train.epochs": 1,
        "workers": 0,
    }
    lost = {**defence, "method": "ssl", "data": "nowhere.csv"}
    choice = {"held_out": [9], "choose": ["train.lr"]}
    study_file(tmp_path, **choice, steps={**steps, "defend": lost})
    found = shell("study", "run", "grid.yaml")
    assert found.code == 2
    assert "error: Nothing can be chosen: of 4 held-out runs 2 failed" in found.err
    victims = list(tmp_path.glob("studies/grid/finetune-attack-*"))
    assert len(victims) == 1  # none of the reported seeds
    study_file(tmp_path, **choice, steps={**steps, "defend": [lost, {**defence, "method": "ft"}]})
    found = shell("study", "run", "grid.yaml")
    assert found.code == 2
    assert "warning: The choice lacks runs: of 6 held-out runs 2 failed" in found.err
    assert 'warning: Nothing could be chosen for {"data": "nowhere.csv"' in found.err
    made = [path.parent.name for path in tmp_path.glob("studies/grid/*/manifest.yaml")]
    assert sum(name.startswith("finetune-attack") for name in made) == 2
    assert sum(name.startswith("defend") for name in made) == 3  # two held-out rates, and the better of them


def test_nothing_is_made_from_a_victim_that_is_not_accepted(tmp_path: Path) -> None:
    pytest.importorskip("dask")
    write_data(tmp_path)
    shell = Shell(tmp_path)
    steps = json.loads(json.dumps(SMALL["steps"]))
    evaluation = {"eval.data": "eval", "eval.topk": {"value": [1, 3]}, "eval.templates": "simple"}
    steps["finetune-attack"] |= {**evaluation, "accept": "ba@1>=1"}
    steps["evaluate"] = {**evaluation, "workers": 0}
    study_file(tmp_path, steps=steps)
    for _ in range(2):  # the victim is finished, and stays rejected
        done = shell("study", "run", "grid.yaml")
        assert done.code == 2
        assert "1 failed" in done.err
        assert "1 skipped" in done.err
    plan = shell("study", "plan", "grid.yaml", "--no-measure").out
    assert "3 runs, 1 finished, 1 to make, 1 rejected by accept: about" in plan
    assert not list(tmp_path.glob("studies/grid/evaluate*/manifest.yaml"))


def test_an_interruption_says_that_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_data(tmp_path)
    study_file(tmp_path)

    def interrupt(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("clipdefend.commands.shared.made_runs.run_graph", interrupt)
    found = Shell(tmp_path)("study", "run", "grid.yaml")
    assert found.code == 130
    assert "what is finished is kept in studies/grid; the same command makes the rest." in found.err


@pytest.mark.parametrize("name", ["small-grid", "photos", "cleanerclip-table-1"])
def test_examples_give_every_defence_the_same_budget(name: str) -> None:
    """What differs between the defences of an example is the method, its terms and the rate that is chosen.

    Some have more rates than those of all, where their best was at an end.
    """
    study = read_study(EXAMPLES / f"{name}.yaml")
    defences = [node.settings for node in held_out_nodes(study) if node.command == "defend"]
    budgets = {
        json.dumps(
            {k: v for k, v in each.items() if k not in ("method", "terms", "train.lr")}, sort_keys=True
        )
        for each in defences
    }
    assert len(budgets) == 1
    rates: dict[str, set[object]] = {}
    for each in defences:
        rates.setdefault(f"{each['method']} {each.get('terms')}", set()).add(each["train.lr"])
    assert len(set.intersection(*rates.values())) >= 3
