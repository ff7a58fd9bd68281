"""The rows of the table: what is averaged, what is told apart, what is best, what is swept."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from clipdefend.report.collect import collect, read_epochs
from clipdefend.report.formats import column_keys, describe_table, to_csv
from clipdefend.report.illustrations import curves, read_histories
from clipdefend.report.measurements import find_measurements
from clipdefend.report.recipe import label
from clipdefend.report.rows import Row, Table, build_tables, describe_condition
from clipdefend.report.sweeps import find_sweeps
from clipdefend.runs import newest_runs
from report_runs import Lab, shares, spoil


def table_of(folder: Path) -> Table:
    found, _ = find_measurements(collect([folder]))
    (table,) = build_tables(found)
    return table


def by_name(table: Table) -> dict[tuple[str, str], Row]:
    return {(row.attack, row.defence): row for row in table.rows}


def make_runs(folder: Path, seeds: tuple[float, ...] = (0.80, 0.84)) -> None:
    """One attack, a run of cleanclip for each seed and one of ft."""
    for seed, ba in enumerate(seeds):
        lab = Lab(folder / str(seed), seed)
        victim = lab.victim(lab.poison(), shares(ba1=0.9, asr1=0.95), floor=shares(ba1=0.92, asr1=0.01))
        lab.defend(victim, "cleanclip", shares(ba1=ba, asr1=0.2))
        if seed == 0:
            lab.defend(victim, "ft", shares(ba1=0.88, asr1=0.5))


def test_seeds_are_averaged_and_the_floor_has_a_row(tmp_path: Path) -> None:
    make_runs(tmp_path)
    rows = by_name(table_of(tmp_path))
    assert [name for _, name in rows] == ["clean model", "none", "ft", "cleanclip"]
    figure = rows["badnet", "cleanclip"].figures["ba@1"]
    # 0.80 and 0.84: mean 0.82, sample deviation 0.04 / sqrt 2.
    assert figure.value == pytest.approx(0.82)
    assert figure.sd == pytest.approx(0.0282843, abs=1e-6)
    assert figure.text() == "82.0 ± 2.8"
    assert rows["badnet", "ft"].figures["ba@1"].text() == "88.0 [82.8, 91.8]"
    assert rows["badnet", "clean model"].figures["asr@1"].value == 0.01


def test_runs_that_left_rows_out_have_a_row_of_their_own(tmp_path: Path) -> None:
    """The run that flagged the rows has another name in each seed's folder, which makes no difference."""
    for seed in (0, 1):
        lab = Lab(tmp_path / str(seed), seed)
        victim = lab.victim(lab.poison(), shares(ba1=0.9, asr1=0.95))
        lab.defend(victim, "ft", shares(ba1=0.88, asr1=0.5))
        lab.defend(victim, "ft", shares(ba1=0.88, asr1=0.1), exclude_manifest=f"runs/00{seed}-filter-dao")
    figures = {name: row.figures["asr@1"] for (_, name), row in by_name(table_of(tmp_path)).items()}
    defended = {name: (figure.value, figure.seeds) for name, figure in figures.items() if "ft" in name}
    assert sorted(defended.values()) == [(0.1, 2), (0.5, 2)]


def test_a_condition_is_what_a_defender_does_not_choose(tmp_path: Path) -> None:
    """Rates are a defender's choice; poisoned pairs that were overlooked are not."""
    lab = Lab(tmp_path)
    victim = lab.victim(lab.poison(), shares(ba1=0.9, asr1=0.95))
    for kept, rate in ((0, 1e-3), (0, 1e-4), (5, 1e-3)):
        settings: dict[str, Any] = {"keep_poison": kept, "train.lr": rate}
        lab.defend(victim, "ft", shares(ba1=0.8, asr1=0.5), **settings)
    lab.defend(victim, "cleanclip", shares(ba1=0.8, asr1=0.5))
    table = table_of(tmp_path)
    found = [describe_condition(row, table) for row in table.rows if row.base == "ft"]
    assert sorted(found) == ["keep_poison=0", "keep_poison=0", "keep_poison=5"]
    (other,) = [row for row in table.rows if row.base == "cleanclip"]
    assert describe_condition(other, table) == ""


def test_best_is_the_highest_accuracy_and_the_lowest_asr_of_the_defences(tmp_path: Path) -> None:
    make_runs(tmp_path)
    rows = by_name(table_of(tmp_path))
    assert rows["badnet", "ft"].best == {"ba@1"}
    assert rows["badnet", "cleanclip"].best == {"asr@1"}
    assert not rows["badnet", "none"].best
    assert not rows["badnet", "clean model"].best


def test_an_evaluation_counts_before_the_trainings_own_figures(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    victim = lab.victim(lab.poison(), shares(ba1=0.9, asr1=0.95))
    defended = lab.defend(victim, "ft", shares(ba1=0.5, asr1=0.5))
    lab.evaluate(defended, shares(ba1=0.6, asr1=0.4))
    assert by_name(table_of(tmp_path))["badnet", "ft"].figures["ba@1"].value == 0.6


def test_a_repeated_run_is_not_a_second_seed(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    victim = lab.victim(lab.poison(), shares(ba1=0.9, asr1=0.95))
    for ba in (0.7, 0.8):
        lab.defend(victim, "ft", shares(ba1=ba, asr1=0.5))
    found, notes = find_measurements(collect([tmp_path]))
    assert len(found) == 2
    assert notes[0].startswith("1 runs repeat the settings and seeds of a newer one")
    assert by_name(table_of(tmp_path))["badnet", "ft"].seeds == 1


def test_other_settings_are_other_rows_with_what_differs_in_their_names(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    for alpha in (0.1, 0.2):
        victim = lab.victim(lab.poison("blended", alpha=alpha), shares(ba1=0.9, asr1=0.95))
        for weight in (1.0, 4.0):
            values = shares(ba1=0.8, asr1=0.2)
            lab.defend(victim, "cleanclip", values, terms={"ssl": {"weight": weight}}, workers=int(weight))
        lab.defend(victim, "cleanclip", values, terms={"par": {"weight": 1.0}})
    names = {name for name in by_name(table_of(tmp_path)) if name[0] == "blended (alpha=0.1)"}
    defences = {"none", "cleanclip (ssl.weight=1)", "cleanclip (ssl.weight=4)", "cleanclip+par"}
    assert names == {("blended (alpha=0.1)", each) for each in defences}


def test_another_evaluation_is_another_table(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    victim = lab.victim(lab.poison(), shares(ba1=0.9, asr1=0.95))
    lab.evaluate(victim, shares(ba1=0.8, asr1=0.9), **{"eval.asr_protocol": "all"})
    found, _ = find_measurements(collect([tmp_path]))
    protocols = [str(table.setting.shared.protocol) for table in build_tables(found)]
    assert sorted(protocols) == ["all", "exclude-target"]


def test_another_geometry_is_another_table_and_the_titles_say_so(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    victim = lab.victim(
        lab.poison(canvas="crop"), shares(ba1=0.9, asr1=0.95), floor=shares(ba1=0.92, ra1=0.5)
    )
    lab.evaluate(victim, shares(ba1=0.7, asr1=0.1), canvas="squash")
    first, second = build_tables(find_measurements(collect([tmp_path]))[0])
    assert [row.defence for row in first.rows] == ["clean model", "none"]
    assert [row.defence for row in second.rows] == ["none"]  # the floor was measured with the other geometry
    base = "builtin, 200 clean images, ASR without the target's own images"
    assert (first.setting.title, second.setting.title) == (f"{base}, canvas crop", f"{base}, canvas squash")


def test_titles_of_settings_that_differ_otherwise_stay_as_they_are(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    victim = lab.victim(lab.poison(), shares(ba1=0.9, asr1=0.95))
    lab.evaluate(victim, shares(ba1=0.8, asr1=0.9), **{"eval.asr_protocol": "all"})
    titles = {table.setting.title for table in build_tables(find_measurements(collect([tmp_path]))[0])}
    assert titles == {
        "builtin, 200 clean images, ASR without the target's own images",
        "builtin, 200 clean images, ASR over all images",
    }


def test_another_target_is_another_attack(tmp_path: Path) -> None:
    """Its ASR neither replaces that of the model's own target nor is the best of it, nor has its floor."""
    lab = Lab(tmp_path)
    victim = lab.victim(
        lab.poison(), shares(ba1=0.9, asr1=0.95, ra1=0.1), floor=shares(ba1=0.92, asr1=0.01, ra1=0.5)
    )
    defended = lab.defend(victim, "ft", shares(ba1=0.8, asr1=0.2, ra1=0.4))
    lab.evaluate(defended, shares(ba1=0.8, asr1=0.0, ra1=0.4), target="dog")
    rows = by_name(table_of(tmp_path))
    assert {name: row.figures["asr@1"].value for name, row in rows.items()} == {
        ("badnet (target=banana)", "clean model"): 0.01,
        ("badnet (target=banana)", "none"): 0.95,
        ("badnet (target=banana)", "ft"): 0.2,
        ("badnet (target=dog)", "ft"): 0.0,
    }
    assert "recovery@1" not in rows["badnet (target=dog)", "ft"].figures


def test_recovery_is_relative_to_the_clean_model_of_the_attack(tmp_path: Path) -> None:
    for seed, ra in enumerate((0.4, 0.3)):
        lab = Lab(tmp_path / str(seed), seed)
        floor = shares(ba1=0.92, asr1=0.01, ra1=0.5)
        victim = lab.victim(lab.poison(), shares(ba1=0.9, asr1=0.95, ra1=0.1), floor=floor)
        lab.defend(victim, "ft", shares(ba1=0.8, asr1=0.2, ra1=ra))
        lab.defend(victim, "cleanclip", shares(ba1=0.8, asr1=0.2, ra1=0.6))
    table = table_of(tmp_path)
    rows = by_name(table)
    figure = rows["badnet", "ft"].figures["recovery@1"]
    # 0.4 / 0.5 and 0.3 / 0.5: mean 0.7, sample deviation 0.2 / sqrt 2.
    assert figure.value == pytest.approx(0.7)
    assert figure.sd == pytest.approx(0.141421, abs=1e-6)
    assert figure.low is None
    assert figure.text() == "70.0 ± 14.1"
    assert "recovery@1" in rows["badnet", "cleanclip"].best
    assert column_keys(table) == ["ba@1", "asr@1", "ra@1", "recovery@1"]
    lines = list(csv.DictReader(io.StringIO(to_csv([table]))))
    found = {line["defence"]: (line["recovery"], line["recovery_sd"]) for line in lines}
    assert float(found["ft"][0]) == pytest.approx(0.7)
    assert found["clean model"] == ("", "")


def test_recovery_of_one_model_has_no_interval_and_may_be_above_1(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    victim = lab.victim(lab.poison(), shares(ba1=0.9, asr1=0.95, ra1=0.1), floor=shares(ba1=0.92, ra1=0.2))
    lab.defend(victim, "ft", shares(ba1=0.8, asr1=0.2, ra1=0.5))
    assert by_name(table_of(tmp_path))["badnet", "ft"].figures["recovery@1"].text() == "250.0"


def test_without_a_clean_model_there_is_no_column_of_recovery(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.victim(lab.poison(), shares(ba1=0.9, asr1=0.95, ra1=0.1))
    assert column_keys(table_of(tmp_path)) == ["ba@1", "asr@1", "ra@1"]


def test_epochs_measured_otherwise_do_not_stand_in_one_plot(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    victim = lab.victim(lab.poison(), shares(ba1=0.9, asr1=0.95))
    records = [shares(ba1=0.9, asr1=0.95), shares(ba1=0.8, asr1=0.2)]
    lab.defend(victim, "ft", records[1], epochs=records)
    simple: dict[str, Any] = {"eval.templates": "simple"}
    lab.defend(victim, "cleanclip", records[1], epochs=records, **simple)
    found = read_histories(build_tables(find_measurements(collect([tmp_path]))[0])).tracks
    assert [[track.name for track in tracks] for tracks in found.values()] == [["ft"], ["cleanclip"]]
    evaluated = lab.evaluate(
        lab.defend(victim, "par", records[1], epochs=records), records[1], canvas="squash"
    )
    assert evaluated.config["canvas"] == "squash"
    names = [
        track.name
        for tracks in read_histories(build_tables(find_measurements(collect([tmp_path]))[0])).tracks.values()
        for track in tracks
    ]
    assert sorted(names) == ["cleanclip", "ft", "par"]  # par once, in its own table


def test_another_trigger_on_a_model_is_another_row(tmp_path: Path) -> None:
    """Its figures neither replace those of the model's own attack nor pass for a victim of the other one."""
    lab = Lab(tmp_path)
    badnet, blended = lab.poison(), lab.poison("blended")
    defended = [
        lab.defend(lab.victim(poison, shares(ba1=0.9, asr1=0.95)), "ft", shares(ba1=0.8, asr1=asr))
        for poison, asr in ((badnet, 0.2), (blended, 0.4))
    ]
    lab.evaluate(defended[0], shares(ba1=0.8, asr1=0.3), badnet)
    lab.evaluate(defended[0], shares(ba1=0.8, asr1=0.6), blended)
    asr = {
        name[0]: row.figures["asr@1"].value
        for name, row in by_name(table_of(tmp_path)).items()
        if "ft" in name
    }
    assert asr == {"badnet": 0.3, "blended": 0.4, "blended, model of badnet": 0.6}


def test_epochs_belong_to_the_attack_that_a_model_was_trained_on(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    badnet, wanet = lab.poison(), lab.poison("wanet")
    victim = lab.victim(wanet, shares(ba1=0.9, asr1=0.95))
    records = [shares(ba1=0.9, asr1=0.95), shares(ba1=0.8, asr1=0.2)]
    defended = lab.defend(victim, "ft", records[1], epochs=records)
    lab.evaluate(defended, shares(ba1=0.8, asr1=0.0), badnet)
    lab.evaluate(defended, shares(ba1=0.7, asr1=0.1), wanet, checkpoint="other.pt")
    (track,) = read_histories([table_of(tmp_path)]).tracks.pop("wanet")
    assert (track.name, len(track.runs)) == ("ft", 1)
    assert not read_histories([table_of(tmp_path)]).tracks.keys() - {"wanet"}


def test_epochs_of_a_quick_subset_are_all_of_it(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    victim = lab.victim(lab.poison(), shares(ba1=0.9, asr1=0.95))
    quick = [{**shares(ba1=ba, asr1=0.5), "n_clean": 50, "n_triggered": 47} for ba in (0.8, 0.7, 0.6)]
    full = [{**shares(ba1=0.9, asr1=0.9), **{f"quick_{k}": v for k, v in each.items()}} for each in quick]
    run = lab.defend(victim, "ft", shares(ba1=0.9, asr1=0.9), epochs=[full[0], quick[1], full[2]])
    records, _ = read_epochs(run)
    assert [record.values["ba@1"] for record in records] == [0.8, 0.7, 0.6]
    assert {record.values["n_clean"] for record in records} == {50}
    (shown,) = curves(read_histories([table_of(tmp_path)]))
    assert "after each epoch, on 50 clean and 47 triggered images; epoch 0" in shown.caption


def test_names_say_as_much_as_tells_them_apart(tmp_path: Path) -> None:
    """Of settings that vary together the one that people look for first; the page lists the others."""
    lab = Lab(tmp_path)
    other: dict[str, Any] = {"train.batch_size": 32, "train.beta1": 0.8, "train.lr": 1e-3, "train.wd": 0.0}
    for settings in ({}, other, {**other, "train.wd": 0.2}):
        victim = lab.victim(lab.poison(), shares(ba1=0.9, asr1=0.95))
        lab.defend(victim, "ft", shares(ba1=0.8, asr1=0.2), **settings)
    rows = by_name(table_of(tmp_path))
    assert {name: row.further for (_, name), row in rows.items()} == {
        "none": (),
        "ft (lr=4.5e-06, wd=0.1)": ("batch_size=64", "beta1=0.9"),
        "ft (lr=0.001, wd=0)": ("batch_size=32", "beta1=0.8"),
        "ft (lr=0.001, wd=0.2)": ("batch_size=32", "beta1=0.8"),
    }


def test_names_never_collide_however_much_differs(tmp_path: Path) -> None:
    """Five settings that vary on their own need five names; one that follows from them needs none."""
    lab = Lab(tmp_path)
    victim = lab.victim(lab.poison(), shares(ba1=0.9, asr1=0.95))
    changes: list[dict[str, Any]] = [
        {"train.lr": 1e-3},
        {"train.wd": 0.3},
        {"train.beta1": 0.8},
        {"train.beta2": 0.9},
        {"train.epochs": 9, "train.warmup": 7},
    ]
    for settings in ({}, *changes):
        lab.defend(victim, "ft", shares(ba1=0.8, asr1=0.2), **settings)
    rows = table_of(tmp_path).rows
    names = [row.defence for row in rows]
    assert len(set(names)) == len(names) == 7
    assert sum("lr=0.001, epochs=" in name and "warmup" not in name for name in names) == 1
    (row,) = [row for row in rows if "epochs=9" in row.defence]
    assert row.further == ("warmup=7",)


def test_settings_of_one_short_name_say_what_they_are_of() -> None:
    keys = ["poison.attack.alpha", "attack.trained_on.attack.alpha", "attack.train.lr"]
    own = dict(zip(keys, (0.1, 0.2, 1e-3), strict=True))
    assert label("blended", own, keys) == "blended (poison.alpha=0.1, attack.alpha=0.2, lr=0.001)"


def test_counts_of_images_ascend(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    for attack, count in (("badnet", 10), ("blended", 17)):
        lab.victim(lab.poison(attack), {**shares(ba1=0.9, asr1=0.5), "n_triggered": count})
    assert "; 10 to 17 triggered images." in describe_table(table_of(tmp_path))


def test_checkpoints_of_one_file_name_are_told_apart(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    poison = lab.poison()
    for asr, path in ((0.1, "released/model.pt"), (0.9, "new/model.pt"), (0.5, "old/new/model.pt")):
        lab.evaluate(None, shares(ba1=0.8, asr1=asr), poison, checkpoint=path)
    found = {name: row.figures["asr@1"].value for (_, name), row in by_name(table_of(tmp_path)).items()}
    assert found == {
        "checkpoint released/model.pt": 0.1,
        "checkpoint new/model.pt (checkpoint=new/model.pt)": 0.9,
        "checkpoint new/model.pt (checkpoint=old/new/model.pt)": 0.5,
    }


def test_settings_varied_one_at_a_time_are_sweeps(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    victim = lab.victim(lab.poison(), shares(ba1=0.9, asr1=0.95))
    for weight in (10.0, 1.0, 2.0):
        lab.defend(victim, "cleanerclip", shares(ba1=0.8, asr1=0.2), terms={"fc": {"weight": weight}})
    lab.defend(victim, "cleanerclip", shares(ba1=0.8, asr1=0.1), n_aug=3000)
    lab.defend(victim, "ft", shares(ba1=0.8, asr1=0.2), n_aug=3000)
    found = {sweep.name: sweep for sweep in find_sweeps(table_of(tmp_path))}
    assert {name: [value for value, _ in sweep.points] for name, sweep in found.items()} == {
        "n_aug": [1000, 3000],
        "fc.weight": [1.0, 2.0, 10.0],
    }
    assert found["fc.weight"].is_numeric


def test_broken_and_unfinished_runs_are_named(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    poison = lab.poison()
    victim = lab.victim(poison, shares(ba1=0.9, asr1=0.95))
    lab.defend(victim, "ft", shares(ba1=0.8, asr1=0.2))
    (tmp_path / "004-defend-x").mkdir()
    (tmp_path / "004-defend-x" / "unfinished.yaml").write_text("{}")
    (tmp_path / "005-defend-y").mkdir()
    (tmp_path / "005-defend-y" / "manifest.yaml").write_text("schema: [")
    spoil(poison, seed=9)
    found = collect([tmp_path])
    reasons = {fault.name: fault.reason for fault in found.faults}
    assert reasons["004-defend-x"] == "is unfinished: continue it with --resume, or delete it."
    assert "not valid YAML" in reasons["005-defend-y"]
    assert "is missing, damaged or changed" in reasons[victim.name]
    assert len(found.runs) == 3
    assert by_name(table_of(tmp_path))["no known attack", "ft"].seeds == 1


def test_a_run_with_damaged_details_is_named_and_left_out(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    poison = lab.poison()
    spoil(poison, details={**poison.details, "target": 5})
    victim = lab.victim(poison, shares(ba1=0.9, asr1=0.95))
    found = collect([tmp_path])
    (fault,) = [fault for fault in found.faults if fault.name == poison.name]
    assert "details.target is 5, not a text" in fault.reason
    assert [run.name for run in found.runs] == [victim.name]


def test_ancestors_come_by_themselves(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    victim = lab.victim(lab.poison(), shares(ba1=0.9, asr1=0.95))
    defended = lab.defend(victim, "ft", shares(ba1=0.8, asr1=0.2))
    found = collect([defended.file])
    assert [run.command for run in found.runs] == ["poison", "finetune-attack", "defend"]
    assert {row.defence for row in table_of(defended.path).rows} == {"none", "ft"}


def test_records_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    victim = lab.victim(lab.poison(), shares(ba1=0.9, asr1=0.95))
    run = lab.defend(victim, "ft", shares(ba1=0.8), epochs=[shares(ba1=0.9), shares(ba1=0.8)])
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"event": "epoch", "epoch": 2, "ba@1": NaN, "x": 1}\nnonsense\n[1]\n{"event": "epoch"}\n')
        huge = "1" + "0" * 400  # no floating-point number is as large
        file.write(
            f'{{"event": "epoch", "epoch": {huge}}}\n{{"event": "epoch", "epoch": 2, "x": 1, "y": {huge}}}\n'
        )
    records, faults = read_epochs(run)
    assert [epoch.number for epoch in records] == [0, 1, 2]
    assert records[2].values == {"x": 1}
    assert faults[0].reason == "4 lines of metrics.jsonl cannot be read."


def test_runs_behind_links_are_found_and_hidden_ones_are_not(tmp_path: Path) -> None:
    """As ``--from`` and ``--resume latest`` find them."""
    lab = Lab(tmp_path / "disk")
    victim = lab.victim(lab.poison(), shares(ba1=0.9, asr1=0.95))
    (tmp_path / "runs" / ".hidden").mkdir(parents=True)
    victim.path.rename(tmp_path / "disk" / "victim")
    (tmp_path / "runs" / "victim").symlink_to(tmp_path / "disk" / "victim")
    (tmp_path / "runs" / "again").symlink_to(tmp_path / "runs")
    (tmp_path / "runs" / ".hidden" / "poison").symlink_to(tmp_path / "disk" / "001-poison-badnet")
    found = collect([tmp_path / "runs"])
    assert [run.command for run in found.runs if run.sha256 == victim.sha256] == ["finetune-attack"]
    assert [run.name for run in newest_runs(tmp_path / "runs", ("finetune-attack", "poison"))] == ["victim"]
