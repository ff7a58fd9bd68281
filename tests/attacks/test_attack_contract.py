"""The contract of every registered trigger."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
import torch
import yaml
from torch import Tensor

from clipdefend import draws
from clipdefend.attacks import ATTACKS
from clipdefend.attacks.trigger import TENSOR_FILE, Trigger
from clipdefend.draws import permutation
from clipdefend.errors import ConfigError, DataError, RunError

SIZE = 40
PER_IMAGE = ("per-image", "random")
"""Choices of a parameter that stand for a draw for each image."""


def photos(count: int = 6, height: int = SIZE, width: int = SIZE) -> Tensor:
    """Smooth, coloured images with 256 grey levels, as decoded photos have."""
    rows = torch.linspace(0, 3, height)[:, None]
    columns = torch.linspace(0, 4, width)
    waves = [0.5 + 0.45 * torch.sin(rows * (1 + n % 3) + columns * (1 + n % 2) + n) for n in range(3 * count)]
    return torch.stack(waves).reshape(count, 3, height, width).mul(255).round().div(255)


def choices(name: str) -> dict[str, tuple[object, ...]]:
    """Parameters of an attack that take one of some words, and the words."""
    hints = get_type_hints(ATTACKS.get(name))
    return {key: get_args(hint) for key, hint in hints.items() if get_origin(hint) is Literal}


def variants() -> list[tuple[str, dict[str, object]]]:
    """Every attack with its defaults, and with draws for each image where it has them."""
    found: list[tuple[str, dict[str, object]]] = [(name, {}) for name in ATTACKS.names()]
    for name in ATTACKS.names():
        own: dict[str, object] = {
            key: word for key, words in choices(name).items() for word in PER_IMAGE if word in words
        }
        if own:
            found.append((name, own))
    return found


every_variant = pytest.mark.parametrize(("name", "params"), variants())
every_attack = pytest.mark.parametrize("name", ATTACKS.names())


@every_variant
def test_same_seed_gives_same_bytes_on_any_number_of_threads(name: str, params: dict[str, object]) -> None:
    first = Trigger.create(name, params, size=SIZE, seed=3)(photos(), range(6))
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        second = Trigger.create(name, params, size=SIZE, seed=3)(photos(), range(6))
    finally:
        torch.set_num_threads(threads)
    unbound = ATTACKS.build(name, params).apply(photos(), range(6), 3)
    assert torch.equal(first, second)
    assert torch.equal(first, unbound)


@every_variant
def test_another_seed_changes_what_is_drawn_and_nothing_else(
    name: str, params: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    draw_seed = draws.draw_seed

    def watched(seed: int, *keys: draws.Key) -> int:
        drawn.append(seed)
        return draw_seed(seed, *keys)

    monkeypatch.setattr(draws, "draw_seed", watched)
    first = Trigger.create(name, params, size=SIZE, seed=3)(photos(), range(6))
    second = Trigger.create(name, params, size=SIZE, seed=4)(photos(), range(6))
    assert set(drawn) in (set(), {3, 4})
    assert torch.equal(first, second) == (not drawn)


@every_variant
@pytest.mark.parametrize("method", [Trigger.__call__, Trigger.cross])
def test_an_image_does_not_depend_on_its_batch(
    name: str, params: dict[str, object], method: Callable[[Trigger, Tensor, Tensor], Tensor]
) -> None:
    trigger, images, ids = Trigger.create(name, params, size=SIZE, seed=1), photos(), torch.arange(6) * 7
    whole = method(trigger, images, ids)
    order = torch.from_numpy(permutation(6, 5, "order"))
    assert torch.equal(method(trigger, images[order], ids[order]), whole[order])
    parts = [method(trigger, images[n : n + 1], ids[n : n + 1]) for n in range(6)]
    assert torch.equal(torch.cat(parts), whole)


@every_variant
def test_result_is_a_png_image_that_differs_from_its_unchanged_input(
    name: str, params: dict[str, object]
) -> None:
    images = photos()
    before = images.clone()
    stamped = Trigger.create(name, params, size=SIZE, seed=1)(images, range(6))
    assert torch.equal(images, before)
    assert stamped.shape == images.shape
    assert stamped.dtype == images.dtype
    as_bytes = stamped.mul(255).round().to(torch.uint8)
    assert torch.equal(as_bytes.to(torch.float32).div(255), stamped)
    assert ((stamped != images).flatten(1).sum(dim=1) > 0).all()


@every_variant
def test_pure_black_and_white_stay_in_range(name: str, params: dict[str, object]) -> None:
    extremes = torch.stack([torch.zeros(3, SIZE, SIZE), torch.ones(3, SIZE, SIZE)])
    stamped = Trigger.create(name, params, size=SIZE, seed=2)(extremes, [0, 1])
    assert float(stamped.min()) >= 0
    assert float(stamped.max()) <= 1


@pytest.mark.parametrize(
    "name", [name for name in ATTACKS.names() if "per-image" in choices(name).get("sampling", ())]
)
def test_draws_for_single_images_follow_their_ids(name: str) -> None:
    same = photos(1).expand(2, -1, -1, -1)
    fixed = Trigger.create(name, {}, size=SIZE, seed=1)(same, [4, 5])
    assert torch.equal(fixed[0], fixed[1])
    own = Trigger.create(name, {"sampling": "per-image"}, size=SIZE, seed=1)(same, [4, 5])
    assert not torch.equal(own[0], own[1])


@every_variant
@pytest.mark.parametrize("shape", [(24, 40), (41, 33)])
def test_oblong_images_carry_the_trigger_too(
    name: str, params: dict[str, object], shape: tuple[int, int]
) -> None:
    images = photos(2, *shape)
    stamped = ATTACKS.build(name, params).apply(images, [0, 1], 1)
    assert stamped.shape == images.shape
    assert not torch.equal(stamped, images)


@every_attack
@pytest.mark.parametrize("size", [16, 63, 224, 336])
def test_every_canvas_size_is_stamped(name: str, size: int) -> None:
    images = photos(1, size, size)
    stamped = Trigger.create(name, {}, size=size, seed=1)(images, [0])
    assert not torch.equal(stamped, images)


@every_attack
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_floating_types_give_the_same_grey_levels(name: str, dtype: torch.dtype) -> None:
    trigger = Trigger.create(name, {}, size=SIZE, seed=1)
    expected = trigger(photos(), range(6)).mul(255).round()
    stamped = trigger(photos().to(dtype), range(6))
    assert stamped.dtype == dtype
    assert (stamped.float().mul(255).round() - expected).abs().max() <= 1


@every_variant
def test_parameters_round_trip_through_yaml(name: str, params: dict[str, object], tmp_path: Path) -> None:
    trigger = Trigger.create(name, params, size=SIZE, seed=9)
    trigger.save(tmp_path)
    record = yaml.safe_load(yaml.safe_dump(trigger.to_dict()))
    loaded = Trigger.load(tmp_path, record)
    assert loaded.attack == trigger.attack
    assert loaded.to_dict() == trigger.to_dict()
    assert {name: tensor.dtype for name, tensor in loaded.tensors.items()} == dict.fromkeys(
        trigger.tensors, torch.float32
    )
    assert torch.equal(loaded(photos(), range(6)), trigger(photos(), range(6)))
    assert torch.equal(loaded.cross(photos(), range(6)), trigger.cross(photos(), range(6)))
    assert [file.name for file in tmp_path.iterdir()] == [TENSOR_FILE]


@every_attack
def test_unknown_parameter_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"attack '{name}' has no parameter 'colour_of_sky'"):
        Trigger.create(name, {"colour_of_sky": 1}, size=SIZE, seed=0)


@every_attack
def test_every_parameter_refuses_values_of_another_kind(name: str) -> None:
    attack = ATTACKS.build(name)
    for field in dataclasses.fields(attack):  # type: ignore[arg-type]
        value = getattr(attack, field.name)
        wrong: list[object] = [5, True]
        if isinstance(value, bool):
            wrong = ["", "many", 5]
        elif isinstance(value, int | float):
            wrong = ["", "many", -1, float("nan"), True]
        for given in wrong:
            with pytest.raises(ConfigError, match=rf"^attack '{name}': .*\b{field.name} is "):
                ATTACKS.build(name, {field.name: given})


@every_attack
def test_documentation_names_its_source(name: str) -> None:
    assert "Reference:" in (ATTACKS.get(name).__doc__ or "")


@pytest.mark.parametrize(
    ("images", "ids", "said"),
    [
        (torch.zeros(3, 8, 8), [0], "shape"),
        (torch.zeros(1, 4, 8, 8), [0], "shape"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), [0], "uint8"),
        (torch.full((1, 3, 8, 8), 1.5), [0], "from 1.5 to 1.5"),
        (torch.full((1, 3, 8, 8), -0.5), [0], "from -0.5"),
        (torch.full((1, 3, 8, 8), float("nan")), [0], "nan"),
        (torch.zeros(2, 3, 8, 8), [0], "1 ids for 2 images"),
    ],
)
def test_wrong_images_are_the_users_mistake(images: Tensor, ids: list[int], said: str) -> None:
    with pytest.raises(DataError, match=said):
        ATTACKS.build("blended").apply(images, ids, 0)


def test_an_empty_batch_stays_empty() -> None:
    assert ATTACKS.build("blended").apply(torch.zeros(0, 3, 8, 8), [], 0).shape == (0, 3, 8, 8)


def test_a_trigger_refuses_another_canvas() -> None:
    with pytest.raises(DataError, match="canvas of 32 pixels"):
        Trigger.create("blended", size=32, seed=0)(photos(1), [0])


def test_missing_damaged_and_foreign_tensors_are_named(tmp_path: Path) -> None:
    trigger = Trigger.create("blended", size=16, seed=0)
    record = trigger.to_dict()
    with pytest.raises(RunError, match="is missing"):
        Trigger.load(tmp_path, record)
    (tmp_path / TENSOR_FILE).write_bytes(b"\x10\0\0\0\0\0\0\0 not a header")
    with pytest.raises(RunError, match="is damaged"):
        Trigger.load(tmp_path, record)
    Trigger.create("blended", size=8, seed=0).save(tmp_path)
    with pytest.raises(RunError, match=r"holds .*8, 8.* names .*16, 16"):
        Trigger.load(tmp_path, record)
    with pytest.raises(RunError, match="lacks seed, tensors"):
        Trigger.load(tmp_path, {key: record[key] for key in ("name", "params", "size")})
