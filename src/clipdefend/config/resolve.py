"""Resolves a configuration: dataclass < preset < file < flags < ``--set``."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from clipdefend.config.coerce import coerce
from clipdefend.config.fields import Leaf, leaves
from clipdefend.config.presets import TIED, WORLD, component_values, preset_values
from clipdefend.config.run_options import RunConfig
from clipdefend.config.suggest import siblings, suggest
from clipdefend.config.yamlfile import YamlError, parse_yaml, read_yaml
from clipdefend.errors import ConfigError

C = TypeVar("C", bound=RunConfig)
MAX_FILE_BYTES = 1_000_000


@dataclass(frozen=True)
class _Assignment:
    """A value for a leaf, or for the key ``inside`` of a leaf that is a free mapping."""

    leaf: Leaf
    inside: tuple[str, ...]
    value: Any
    where: str


Layer = list[_Assignment]


def load_config(
    cls: type[C],
    *,
    preset: str | None = None,
    file: Path | str | None = None,
    flags: Mapping[str, object] | None = None,
    sets: Sequence[str] = (),
    recorded: Mapping[str, Any] | None = None,
    inherited_data: str | None = None,
    source_given: bool = False,
) -> C:
    """Resolve a command's configuration.

    Args:
        cls: the configuration of a command.
        preset: name of the preset; otherwise as the file or a flag says, otherwise chosen by the data.
        file: YAML file of nested (or dotted) keys.
        flags: dotted path -> value of each flag that was given; None values count as not given.
        sets: ``key.sub=value`` texts.
        recorded: a configuration that ``to_dict`` once gave, in place of a file: to repeat or resume a run.
        inherited_data: the data of the input run, which chooses the preset where no data is given.
        source_given: the input run was named, so that it counts beside a ``checkpoint`` too, whose weights then
            replace the run's and nothing else.

    Raises:
        ConfigError: an unknown key, or a value that does not fit; it names where it was given.
    """
    layers = [_from_mapping(cls, recorded or {}, "the recorded configuration: ")]
    if file is not None:
        layers.append(_from_file(cls, Path(file)))
    layers.append(_from_flags(cls, {"preset": preset}))
    layers.append(_from_flags(cls, flags or {}))
    layers.append(_from_sets(cls, sets))
    given = {item.leaf.path: item.value for layer in layers for item in layer}
    if any(given.get(path) for path in cls.stand_ins) and not source_given:  # for an input run
        inherited_data = None
    builtin = _is_builtin(cls, given, inherited_data)
    chosen = given.get("preset") or ("quick" if builtin else "paper")
    layers.insert(0, _from_preset(cls, chosen, layers, builtin))
    return _build(cls, layers)


def _is_builtin(cls: type[C], given: Mapping[str, Any], inherited: str | None) -> bool:
    """Whether the run is in the built-in world."""
    data = given.get(cls.data_key) or getattr(cls(), cls.data_key, None) or inherited
    if data is None and "model.name" in cls.stand_ins and given.get("model.name") == "tiny":
        data = "builtin"  # the world that this model was trained on
    return data is not None and str(data).split(":")[0] == "builtin"


def _from_preset(cls: type[C], preset: str, layers: Sequence[Layer], builtin: bool) -> Layer:
    given = {item.leaf.path: item.value for layer in layers for item in layer}
    components = dict(_components(cls, layers))
    plain = {path: given.get(path, leaf.default) for path, leaf in leaves(cls).items()}
    world = {WORLD: "builtin"} if builtin else {}
    values = {
        path: value
        for path, value in preset_values(preset, cls.command, plain | components | world).items()
        if value == "none" or TIED.get(path) not in given
    }
    for path, name in components.items():
        values[path] = {"name": name, **component_values(preset, cls.command, path, name)}
    return _from_mapping(cls, {"preset": preset, **values}, f"preset {preset}: ")


def _components(cls: type[C], layers: Sequence[Layer]) -> Iterator[tuple[str, str]]:
    """Free mappings that name a component, each with the name that the layers settle on."""
    for path, leaf in leaves(cls).items():
        if leaf.is_mapping and "name" in leaf.default:
            items = [[item for item in layer if item.leaf.path == path] for layer in layers]
            settled = leaf.default
            for layer in items:
                settled = _merge_free(settled, layer)
            if isinstance(settled["name"], str):
                yield path, settled["name"]


def _from_file(cls: type[C], path: Path) -> Layer:
    try:
        document = read_yaml(path, MAX_FILE_BYTES)
    except YamlError as fault:
        raise ConfigError(f"--config {path} {fault}.") from None
    except OSError as error:
        raise ConfigError(f"--config {path} cannot be read: {error.strerror}.") from None
    if document is None:
        return []
    if isinstance(document, dict) and isinstance(document.get("config"), dict) and "schema" in document:
        return _from_manifest(cls, document, path)
    if not isinstance(document, dict):
        raise ConfigError(f"--config {path} contains no keys; write lines such as 'seed: 1'.")
    return _from_mapping(cls, document, f"{path}: ")


def _from_manifest(cls: type[C], manifest: Mapping[str, Any], path: Path) -> Layer:
    """The recorded configuration of a run that is to be repeated."""
    if manifest.get("command") != cls.command:
        raise ConfigError(f"--config {path} is of a {manifest.get('command')} run, not of {cls.command}.")
    items = _from_mapping(cls, manifest["config"], f"{path}: ")
    return [item for item in items if item.leaf.path != "train.resume"]


def _from_flags(cls: type[C], flags: Mapping[str, object]) -> Layer:
    layer: Layer = []
    for path, value in flags.items():
        if value is not None:
            leaf = leaves(cls)[path]
            layer.extend(_assignments(cls, leaf, (), value, leaf.spec.flags[0] if leaf.spec.flags else path))
    return layer


def _from_sets(cls: type[C], sets: Sequence[str]) -> Layer:
    layer: Layer = []
    for text in sets:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {text!r} is not KEY=VALUE, as in --set train.lr=1e-4.")
        layer.extend(_assign(cls, key.strip(), value, lambda path: f"--set {path}", typed=True))
    return layer


def _from_mapping(cls: type[C], mapping: Mapping[Any, Any], origin: str) -> Layer:
    layer: Layer = []
    for key, value in mapping.items():
        if not isinstance(key, str):
            raise ConfigError(f"{origin}key {key!r} is not a string; keys are names such as seed.")
        layer.extend(_assign(cls, key, value, lambda path: f"{origin}{path}"))
    return layer


def _assign(
    cls: type[C], path: str, value: Any, where: Callable[[str], str], *, typed: bool = False
) -> Iterator[_Assignment]:
    """Yield the assignments of one key; ``typed``: the value is text from the command line."""
    known = leaves(cls)
    parts = tuple(path.split("."))
    for length in range(1, len(parts) + 1):
        leaf = known.get(".".join(parts[:length]))
        if leaf is not None and (length == len(parts) or leaf.is_mapping):
            inside = parts[length:]
            if typed and leaf.is_mapping and "name" not in (leaf.default if not inside else {}):
                value = _typed(value, where(path))
            yield from _assignments(cls, leaf, inside, value, where(path))
            return
    if any(other.startswith(f"{path}.") for other in known):
        if not isinstance(value, dict):
            raise ConfigError(f"{where(path)} is a group; set one of its keys: {siblings(known, path)}.")
        for key, nested in value.items():
            yield from _assign(cls, f"{path}.{key}", nested, where)
        return
    raise ConfigError(f"{where(path)} is not a key of {cls.command}.{suggest(known, path)}")


def _assignments(
    cls: type[C], leaf: Leaf, inside: tuple[str, ...], value: Any, where: str
) -> Iterator[_Assignment]:
    """Yield the assignment of a value; that of a flag which writes into a free mapping goes there."""
    assignment = _assignment(leaf, inside, value, where)
    if leaf.spec.writes is None:
        yield assignment
    elif assignment.value is not None:
        mapping, _, key = leaf.spec.writes.partition(".")
        yield _Assignment(leaves(cls)[mapping], (key,), assignment.value, where)


def _assignment(leaf: Leaf, inside: tuple[str, ...], value: Any, where: str) -> _Assignment:
    if not leaf.is_mapping:
        converted = coerce(value, leaf.annotation, where)
        leaf.check(converted, where)
        return _Assignment(leaf, (), converted, where)
    if not all(inside) and inside:
        raise ConfigError(f"{where} has an empty part; write it as in {leaf.path}.name.")
    if not inside and isinstance(value, str) and "name" in leaf.default:
        value = {"name": value}
    if not inside:
        value = coerce(value, leaf.annotation, where)
    return _Assignment(leaf, inside, value, where)


def _typed(text: str, where: str) -> Any:
    """Read a value for a free mapping as YAML does, and 1e-5 as the number that YAML 1.1 misses."""
    try:
        value = parse_yaml(text)
    except YamlError as fault:
        raise ConfigError(f"{where}: {text!r} {fault}.") from None
    if isinstance(value, str):
        try:
            return float(value) if value.strip(".+-")[:1].isdigit() else value
        except ValueError:
            return value
    return value


def _build(cls: type[C], layers: Sequence[Layer]) -> C:
    values: dict[str, Any] = {path: copy.deepcopy(leaf.default) for path, leaf in leaves(cls).items()}
    for layer in layers:
        _apply_exclusive(cls, values, layer)
        for path in dict.fromkeys(item.leaf.path for item in layer):
            items = [item for item in layer if item.leaf.path == path]
            if items[0].leaf.is_mapping:
                values[path] = _merge_free(values[path], items)
            else:
                values[path] = items[-1].value
    arguments: dict[str, Any] = {}
    for path, value in values.items():
        if leaves(cls)[path].spec.writes is not None:
            continue
        section, dot, name = path.rpartition(".")
        (arguments.setdefault(section, {}) if dot else arguments)[name] = value
    default = cls()
    for name in {path.split(".")[0] for path in values if "." in path}:
        arguments[name] = type(getattr(default, name))(**arguments[name])
    return cls(**arguments)


def _apply_exclusive(cls: type[C], values: dict[str, Any], layer: Layer) -> None:
    """Of fields that exclude each other, the one that a layer sets clears the others of lower layers."""
    chosen = {
        item.leaf.path: item for item in layer if item.leaf.path in cls.exclusive and item.value is not None
    }
    if len(chosen) > 1:
        given = " and ".join(f"{item.where} {item.value!r}" for item in chosen.values())
        raise ConfigError(f"{given} cannot be combined; give one of them.")
    if chosen:
        values.update(dict.fromkeys(cls.exclusive, None))


def _merge_free(base: dict[str, Any], items: Layer) -> dict[str, Any]:
    """Merge one layer into a free mapping; a change of its ``name`` drops the old name's parameters."""
    patch: dict[str, Any] = {}
    for item in items:
        deeper = item.value
        for key in reversed(item.inside):
            deeper = {key: deeper}
        patch = _merged(patch, deeper)
    if "name" in patch and patch["name"] != base.get("name"):
        base = {}
    return _merged(base, patch)


def _merged(base: dict[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in patch.items():
        old = result.get(key)
        result[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result
