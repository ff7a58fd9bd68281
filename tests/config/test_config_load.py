"""Which of several given values holds, and what a resolved configuration looks like."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_args

import pytest
import yaml

from clipdefend.canvas import RESAMPLING
from clipdefend.choices import Interpolation
from clipdefend.config import (
    COMMANDS,
    AugmentConfig,
    DefendConfig,
    EvaluateConfig,
    FinetuneAttackConfig,
    PoisonConfig,
    RunConfig,
    TrainConfig,
    leaves,
    load_config,
    preset_difference,
    to_dict,
    to_yaml,
)
from clipdefend.config.presets import PRESETS
from clipdefend.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "given.yaml"
    path.write_text(text)
    return path


def test_the_papers_numbers_are_the_defaults() -> None:
    attack = load_config(FinetuneAttackConfig)
    defence = load_config(DefendConfig)
    poison = load_config(PoisonConfig, flags={"data": "pairs.csv"})
    assert (poison.count, poison.rate, poison.image_size, poison.target) == (1500, None, 224, "banana")
    assert (attack.train.batch_size, attack.train.epochs, attack.train.lr) == (128, 5, 1e-5)
    assert (defence.train.batch_size, defence.train.epochs, defence.train.lr) == (64, 10, 4.5e-6)
    for train in (attack.train, defence.train):
        assert (train.warmup, train.wd, train.beta1, train.beta2, train.eps) == (
            10_000,
            0.1,
            0.9,
            0.999,
            1e-8,
        )
    assert defence.n_aug == 1000


@pytest.mark.parametrize("command", COMMANDS)
def test_every_configuration_is_frozen_and_keyword_only(command: str) -> None:
    config = COMMANDS[command]()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        COMMANDS[command]("paper")  # type: ignore[call-arg]


def test_each_layer_overrides_the_one_below(tmp_path: Path) -> None:
    file = write(tmp_path, "train: {lr: 1e-3, epochs: 7, warmup: 9}\n")
    below = load_config(DefendConfig, preset="quick")
    with_file = load_config(DefendConfig, preset="quick", file=file)
    with_flag = load_config(DefendConfig, preset="quick", file=file, flags={"train.epochs": "8"})
    with_set = load_config(
        DefendConfig, preset="quick", file=file, flags={"train.epochs": "8"}, sets=["train.epochs=9"]
    )
    assert below.train.epochs == PRESETS["quick"]["defend"]["train.epochs"]
    assert (with_file.train.epochs, with_file.train.lr, with_file.train.warmup) == (7, 1e-3, 9)
    assert (with_flag.train.epochs, with_flag.train.lr) == (8, 1e-3)
    assert (with_set.train.epochs, with_set.train.warmup) == (9, 9)


def test_the_preset_follows_the_data() -> None:
    assert load_config(PoisonConfig).preset == "quick"
    assert load_config(PoisonConfig, flags={"data": "builtin:pretrain"}).preset == "quick"
    assert load_config(PoisonConfig, flags={"data": "pairs.csv"}).preset == "paper"
    assert load_config(PoisonConfig, preset="paper").count == 1500
    assert load_config(FinetuneAttackConfig).preset == "paper"
    assert load_config(FinetuneAttackConfig, inherited_data="builtin").model.name == "tiny"
    assert load_config(DefendConfig, flags={"data": "x.csv"}, inherited_data="builtin").preset == "paper"
    assert load_config(DefendConfig, flags={"checkpoint": "x.pt"}, inherited_data="builtin").preset == "paper"
    assert load_config(EvaluateConfig, sets=["eval.data=builtin"]).preset == "quick"
    assert load_config(EvaluateConfig, inherited_data="builtin").eval.data == "builtin"


def test_a_preset_named_in_a_file_or_a_set_counts_as_given(tmp_path: Path) -> None:
    assert load_config(PoisonConfig, file=write(tmp_path, "preset: paper")).count == 1500
    assert load_config(PoisonConfig, sets=["preset=paper"]).count == 1500


def test_another_model_than_the_presets_does_not_take_its_weights() -> None:
    other = load_config(FinetuneAttackConfig, preset="quick", flags={"model.name": "RN50"})
    assert (other.model.name, other.model.pretrained) == ("RN50", None)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("preset", PRESETS)
def test_presets_hold_only_known_keys_and_proper_values(preset: str, command: str) -> None:
    config = load_config(COMMANDS[command], preset=preset)
    for path, value in PRESETS[preset].get(command, {}).items():
        assert path in leaves(COMMANDS[command])
        current: object = config
        for part in path.split("."):
            current = getattr(current, part)
        assert current == value


def test_the_difference_a_preset_makes_leaves_out_what_was_overridden() -> None:
    changed = preset_difference(load_config(PoisonConfig, flags={"count": "12"}))
    assert changed == {"image_size": 64, "templates": "builtin", "eval_data": "builtin"}
    assert preset_difference(load_config(PoisonConfig, preset="paper")) == {}


def test_a_preset_may_depend_on_what_is_chosen_and_flags_still_go_before_it() -> None:
    wanet = {"attack": "wanet"}
    assert load_config(PoisonConfig).count == 500
    assert load_config(PoisonConfig, flags=wanet).count == 2000
    assert load_config(PoisonConfig, flags={**wanet, "count": 7}).count == 7
    assert load_config(PoisonConfig, flags={**wanet, "rate": 0.5}).count is None
    assert load_config(PoisonConfig, flags=wanet, preset="paper").count == 1500
    assert preset_difference(load_config(PoisonConfig, flags=wanet))["count"] == 2000
    rates = {
        method: load_config(FinetuneAttackConfig, preset="pretrain", flags={"method": method}).train.lr
        for method in ("ft", "roclip", "safeclip")
    }
    assert rates == {"ft": 1e-3, "roclip": 5e-5, "safeclip": 5e-4}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_printed_can_be_read_again(command: str, tmp_path: Path) -> None:
    config = load_config(COMMANDS[command], preset="quick", sets=["seed=7", "workers=0", "max_bad=0.25"])
    again = load_config(COMMANDS[command], file=write(tmp_path, to_yaml(config)))
    assert again == config
    assert load_config(COMMANDS[command], recorded=to_dict(config)) == config


def test_a_manifest_repeats_its_run_without_resuming_it(tmp_path: Path) -> None:
    config = load_config(DefendConfig, sets=["train.lr=3e-4", "train.resume=latest"])
    manifest = {"schema": "clipdefend/run/1", "command": "defend", "config": to_dict(config)}
    again = load_config(DefendConfig, file=write(tmp_path, yaml.safe_dump(manifest)))
    assert again.train.lr == 3e-4
    assert again.train.resume is None
    with pytest.raises(ConfigError, match="is of a defend run, not of evaluate"):
        load_config(EvaluateConfig, file=tmp_path / "given.yaml")


def test_numbers_that_yaml_takes_for_texts_are_read_as_numbers(tmp_path: Path) -> None:
    assert isinstance(yaml.safe_load("1e-5"), str)
    config = load_config(FinetuneAttackConfig, file=write(tmp_path, "train:\n  lr: 1e-5\n  warmup: 1e3\n"))
    assert config.train.lr == 1e-5
    assert config.train.warmup == 1000
    assert isinstance(config.train.warmup, int)


def test_dotted_keys_in_a_file_are_nested_keys(tmp_path: Path) -> None:
    assert load_config(
        DefendConfig, file=write(tmp_path, "train.lr: 2\nterms.ssl.weight: 3\n")
    ) == load_config(DefendConfig, file=write(tmp_path, "train: {lr: 2}\nterms: {ssl: {weight: 3}}\n"))


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    assert load_config(DefendConfig, file=write(tmp_path, "# nothing\n")) == load_config(DefendConfig)


def test_attack_parameters_are_merged_and_typed(tmp_path: Path) -> None:
    file = write(tmp_path, "attack: {name: blended, alpha: 0.1, pattern: noise}\n")
    config = load_config(
        PoisonConfig, file=file, sets=["attack.alpha=.3", "attack.eps=1e-5", "attack.on=true"]
    )
    assert config.attack == {"name": "blended", "alpha": 0.3, "pattern": "noise", "eps": 1e-5, "on": True}


def test_another_attack_drops_the_parameters_of_the_one_below(tmp_path: Path) -> None:
    file = write(tmp_path, "attack: {name: badnet, pixels: 8}\n")
    same = load_config(PoisonConfig, file=file, flags={"attack": "badnet"})
    other = load_config(PoisonConfig, file=file, flags={"attack": "blended"}, sets=["attack.alpha=0.5"])
    assert same.attack == {"name": "badnet", "pixels": 8}
    assert other.attack == {"name": "blended", "alpha": 0.5}


def test_an_attack_by_name_alone_and_its_whole_mapping(tmp_path: Path) -> None:
    assert load_config(PoisonConfig, file=write(tmp_path, "attack: sig\n")).attack == {"name": "sig"}
    assert load_config(PoisonConfig, sets=["attack.name=sig", "attack.mode=add"]).attack == {
        "name": "sig",
        "mode": "add",
    }
    # Whatever the order within one layer, the parameters belong to the name set with them.
    assert load_config(PoisonConfig, sets=["attack.mode=add", "attack.name=sig"]).attack == {
        "name": "sig",
        "mode": "add",
    }


def test_values_that_are_names_stay_texts() -> None:
    config = load_config(PoisonConfig, flags={"data": "0012", "target": "5"}, sets=["attack.image=012.png"])
    assert (config.data, config.target, config.attack["image"]) == ("0012", "5", "012.png")


def test_terms_are_merged_per_term() -> None:
    config = load_config(
        DefendConfig, sets=["terms.ssl.weight=2", "terms.ssl.scale=3", "terms.fc={weight: 0}"]
    )
    assert config.terms == {"ssl": {"weight": 2, "scale": 3}, "fc": {"weight": 0}}


def test_rate_and_count_replace_one_another_across_layers(tmp_path: Path) -> None:
    rated = load_config(PoisonConfig, flags={"rate": "0.1"})
    counted = load_config(PoisonConfig, file=write(tmp_path, "rate: 0.1"), flags={"count": "10"})
    assert (rated.count, rated.rate) == (None, 0.1)
    assert (counted.count, counted.rate) == (10, None)


def test_null_and_none_unset_an_optional_number_but_none_is_a_name_for_weights() -> None:
    config = load_config(
        FinetuneAttackConfig,
        flags={"train.grad_clip": "none", "model.pretrained": "none"},
        sets=["eval.data=null"],
    )
    assert (config.train.grad_clip, config.model.pretrained, config.eval.data) == (None, "none", None)


def test_several_values_at_once() -> None:
    assert load_config(EvaluateConfig, flags={"eval.topk": "10, 1,5,1"}).eval.topk == (1, 5, 10)
    assert load_config(AugmentConfig, flags={"n": "all"}).n == "all"
    assert load_config(AugmentConfig, flags={"n": "300"}).n == 300
    assert load_config(PoisonConfig, flags={"columns.delimiter": "\\t"}).columns.delimiter == "\t"


def test_flags_are_unique_within_a_command_and_the_agreed_ones_exist() -> None:
    agreed = {
        "poison": "attack data target count rate canvas csv-img-key csv-caption-key seed workers max-bad",
        "finetune-attack": "model pretrained eval-data batch-size epochs lr wd warmup precision accum-freq "
        "grad-checkpointing report-to resume",
        "augment": "data n lexicon source relations counterfactuals",
        "defend": "method n-aug data checkpoint augment-from eval-data lr batch-size epochs fc-schedule",
        "evaluate": "topk checkpoint attack-from eval-data max-asr min-ba batch-size clean-checkpoint target",
    }
    for command, names in agreed.items():
        flags = [flag for leaf in leaves(COMMANDS[command]).values() for flag in leaf.spec.flags]
        assert len(flags) == len(set(flags))
        assert {f"--{name}" for name in names.split()} <= set(flags)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_leaf_has_help_and_its_default_is_in_range(command: str) -> None:
    for leaf in leaves(COMMANDS[command]).values():
        assert leaf.spec.help.endswith((".", ")")), leaf.path
        leaf.check(leaf.default, leaf.path)
        assert leaf.group


def test_defaults_of_free_mappings_are_not_shared() -> None:
    first = load_config(DefendConfig, sets=["terms.ssl.weight=2"])
    second = load_config(DefendConfig)
    assert (first.terms, second.terms) == ({"ssl": {"weight": 2}}, {})


def test_a_configuration_made_in_python_is_checked_too() -> None:
    with pytest.raises(ConfigError, match=r"TrainConfig\.batch_size is 0; it must be at least 1"):
        TrainConfig(batch_size=0)
    with pytest.raises(ConfigError, match="give one"):
        PoisonConfig(rate=0.5)
    assert issubclass(PoisonConfig, RunConfig)


def test_every_interpolation_that_can_be_chosen_can_be_done() -> None:
    assert set(RESAMPLING) == set(get_args(Interpolation))


def test_pretraining_in_the_built_in_world() -> None:
    def victim(data: str, **flags: object) -> FinetuneAttackConfig:
        return load_config(FinetuneAttackConfig, preset="pretrain", inherited_data=data, flags=flags)

    built_in, other = victim("builtin:pretrain"), victim("cc3m.csv")
    assert (built_in.model.name, built_in.model.pretrained) == ("tiny", "none")
    assert (built_in.train.batch_size, built_in.train.lr, built_in.eval.data) == (128, 1e-3, "builtin")
    assert (other.model.name, other.train.batch_size, other.train.epochs) == ("RN50", 2048, 64)
    assert victim("builtin", **{"train.epochs": 3}).train.epochs == 3
    assert load_config(PoisonConfig, preset="pretrain").image_size == 64
    assert load_config(PoisonConfig, preset="pretrain", flags={"data": "a.csv"}).image_size == 224
