"""Reads and writes YAML. Input is untrusted: size, depth, aliases and repeated keys are checked."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import yaml

MAX_DEPTH = 32
LARGEST_INTEGER = 2**64 - 1
TAGS = "tag:yaml.org,2002:"
TOO_DEEP = f"is nested deeper than {MAX_DEPTH} levels"


class YamlError(Exception):
    """A document is unacceptable; the message says why, without the document's name."""


def read_yaml(path: Path, limit: int) -> Any:
    """Read one document of at most ``limit`` bytes.

    Raises:
        YamlError: it is too large, not UTF-8 or not acceptable YAML.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise YamlError(f"is larger than {limit // 1000} kB")
    return parse_yaml(data)


def parse_yaml(data: bytes | str) -> Any:
    """Parse one document with the safe loader; aliases, deep nesting and repeated keys are refused."""
    import yaml

    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
        _scan(text)
        return yaml.load(text, Loader=_loader())
    except UnicodeDecodeError:
        raise YamlError("is not UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        if "nesting depth" in (
            error.problem or ""
        ):  # libyaml's own limit, which it may meet while it reads ahead
            raise YamlError(TOO_DEEP) from None
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise YamlError(f"is not valid YAML: {line}{error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise YamlError(f"is not valid YAML: {' '.join(str(error).split())}") from None


def dump_yaml(value: Any) -> str:
    """Write plain data (dicts, lists, texts, numbers) in the order given."""
    import yaml

    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110)
    return text


def _scan(text: str) -> None:
    """Refuse aliases and deep nesting from the events alone, before anything is built."""
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent):
            raise YamlError("uses a YAML alias, which is not allowed here")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise YamlError(TOO_DEEP)


@lru_cache
def _loader() -> Any:
    """The safe loader, faster where libyaml is there; what JSON does not have, and repeated keys, are errors."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    def refuse(node: yaml.Node, problem: str) -> NoReturn:
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)

    def mapping(loader: Any, node: yaml.MappingNode) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                refuse(key, "a key is a list or a mapping")
            if key.value in seen:
                refuse(key, f"key {key.value!r} appears twice")
            seen.add(key.value)
        built: dict[Any, Any] = loader.construct_mapping(node, deep=True)
        return built

    def integer(loader: Any, node: yaml.ScalarNode) -> int:
        value: int = loader.construct_yaml_int(node)
        if abs(value) > LARGEST_INTEGER:
            refuse(node, "a number has more than 64 bits")
        return value

    def unknown(loader: Any, node: yaml.Node) -> NoReturn:
        refuse(node, f"{node.tag.removeprefix(TAGS)} values have no meaning here")

    loader = type("StrictLoader", (base,), {})
    # Dates are texts, as in JSON.
    loader.yaml_implicit_resolvers = {  # type: ignore[attr-defined]
        first: [(tag, pattern) for tag, pattern in found if tag != f"{TAGS}timestamp"]
        for first, found in base.yaml_implicit_resolvers.items()
    }
    construct: Callable[..., Any] = loader.add_constructor  # type: ignore[attr-defined]
    construct(f"{TAGS}map", mapping)
    construct(f"{TAGS}int", integer)
    for name in ("binary", "omap", "pairs", "set", "timestamp"):
        construct(f"{TAGS}{name}", unknown)
    return loader
