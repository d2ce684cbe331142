"""YAML from people: safe, bounded, with the line of every key. Knows no schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from base.errors import SettingsError

MAX_BYTES = 256 * 1024
MAX_NODES = 20_000
MAX_DEPTH = 12


class Located(str):
    """A mapping's key that remembers the line it was written on."""

    __slots__ = ("line",)
    line: int

    def __new__(cls, text: str, line: int) -> Located:
        key = super().__new__(cls, text)
        key.line = line
        return key


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses aliases, duplicate keys and bombs, and locates keys."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.depth = 0
        self.nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.nodes += 1
        self.depth += 1
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not allowed", problem_mark=mark)
        if self.depth > MAX_DEPTH or self.nodes > MAX_NODES:
            raise yaml.MarkedYAMLError(problem="too large or too deeply nested", problem_mark=mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(problem=f"the key {str(key)[:40]!r} should be a word", problem_mark=key_node.start_mark)
            if key in mapping:
                raise yaml.MarkedYAMLError(problem=f"the key '{key[:40]}' stands twice", problem_mark=key_node.start_mark)
            mapping[Located(key, line)] = self.construct_object(value_node, deep=True)
        return mapping


def _construct_map(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    return loader.construct_mapping(node)


_Loader.add_constructor("tag:yaml.org,2002:map", _construct_map)


def parse_mapping(text: str, name: str) -> dict[Located, Any]:
    """The mapping that `text` holds. Raises SettingsError that names the line."""
    remedy = "Correct the file."
    if len(text.encode()) > MAX_BYTES:
        raise SettingsError(f"{name} is larger than {MAX_BYTES // 1024} KB.", remedy)
    try:
        loaded = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise SettingsError(f"{name}, line {line}: {error.problem}.", remedy) from None
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        raise SettingsError(f"{name}: {str(error).splitlines()[0][:120]}.", remedy) from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise SettingsError(f"{name}, line 1: expected 'key: value' lines.", remedy)
    return loaded


def read_mapping(path: Path) -> dict[Located, Any]:
    """Like `parse_mapping`, from a file."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SettingsError(f"{path.name} is larger than {MAX_BYTES // 1024} KB.", "Correct the file.")
        return parse_mapping(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path.name} cannot be read ({type(error).__name__}).", "Check that it is a UTF-8 text file.") from None
