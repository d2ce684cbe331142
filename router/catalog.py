"""Which models there are: names, places, capabilities, priority, price, limits. Read from YAML, checked on load.

Knows nothing of health or of messages. A snapshot (`Catalog`) never changes; `CatalogFile` reloads when a file does,
and keeps the last good one, with the error, when the new one is broken.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, get_origin, get_type_hints
from urllib.parse import urlsplit

from base.errors import SettingsError
from base.yamls import Located, read_mapping

SHIPPED = Path(__file__).with_name("catalog.yaml")
FOUNDRY = "foundry"
"""The place that means: in Relay's own process."""


def is_address(text: str) -> bool:
    """Whether it is an http address with a host."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere that speaks the OpenAI API. `kind`: foundry (in process), endpoint, or fake."""

    name: str
    kind: str = "endpoint"
    base_url: str = ""
    base_url_env: str = ""
    """An environment variable that holds the address, in place of `base_url`."""
    key_env: str = ""
    """An environment variable that holds the key."""
    deployments: Mapping[str, str] = field(default_factory=dict)
    """Azure AI Foundry: catalog alias → deployment name."""

    @property
    def url(self) -> str:
        """Where it answers, with /v1 added to a bare address; '' when not configured or not an address."""
        raw = (os.environ.get(self.base_url_env, "") if self.base_url_env else self.base_url).strip().rstrip("/")
        if not is_address(raw):
            return ""
        return f"{raw}/v1" if urlsplit(raw).path in ("", "/") else raw

    @property
    def local(self) -> bool:
        """Whether it runs on this machine."""
        return self.kind != "endpoint" or urlsplit(self.url).hostname in ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one model is allowed: requests at once and waiting, seconds of silence and in all."""

    concurrent: int = 1
    waiting: int = 8
    connect_s: float = 5.0
    first_token_s: float = 60.0
    between_s: float = 20.0
    total_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Price:
    """Notional dollars per 1,000 tokens."""

    input: float = 0.0
    output: float = 0.0

    def of(self, tokens_in: int, tokens_out: int) -> float:
        """For so many tokens."""
        return tokens_in / 1000 * self.input + tokens_out / 1000 * self.output


@dataclass(frozen=True, slots=True)
class Entry:
    """A model. `aliases` are the names to try at its place; `path` is an ONNX folder of one's own."""

    name: str
    place: str
    capabilities: tuple[str, ...]
    priority: int
    size_gb: float
    context: int
    licence: str
    price: Price = Price()
    limits: Limits = Limits()
    aliases: tuple[str, ...] = ()
    path: str = ""
    max_output: int = 1024
    temperature: float = 0.0
    starter: bool = False
    system: str = ""
    """The system prompt that this model answers best with; '' for Relay's own."""
    passage_tokens: int = 0
    """Tokens of passages that it still reads well; 0 for the setting of that name."""
    grounded: str = ""
    """The same for answering from passages."""
    about: str = ""


@dataclass(frozen=True, slots=True)
class Catalog:
    """One snapshot: every turn uses a single one."""

    models: Mapping[str, Entry]
    places: Mapping[str, Place]

    def place(self, entry: Entry) -> Place:
        """Where the model runs. FOUNDRY_LOCAL_ENDPOINT moves the default place to a Foundry Local service elsewhere."""
        place = self.places[entry.place]
        if place.kind == FOUNDRY and not entry.path and not entry.starter and os.environ.get("FOUNDRY_LOCAL_ENDPOINT", "").strip():
            return Place("foundry-service", base_url_env="FOUNDRY_LOCAL_ENDPOINT", deployments=place.deployments)
        return place


def read_catalog(path: Path, over: Catalog | None = None) -> Catalog:
    """Read and check a catalog file; `over` is the one it adds to. Raises SettingsError that names the line."""
    written = read_mapping(path)
    places = dict(over.places) if over else {}
    models = dict(over.models) if over else {}
    for key, section in written.items():
        where = f"{path.name}, line {key.line}"
        if key not in ("places", "models") or not isinstance(section, dict):
            raise SettingsError(f"{where}: expected 'places:' or 'models:' with names under it, found '{key}'.", _REMEDY)
    for name, body in written.get(Located("places", 0), {}).items():
        places[str(name)] = _build(Place, name, body, path.name)
    for name, body in written.get(Located("models", 0), {}).items():
        entry = _build(Entry, name, body, path.name)
        if entry.place not in places:
            raise SettingsError(
                f"{path.name}, line {name.line}: '{name}' runs at '{entry.place}', which is no place.", f"Known: {', '.join(places)}."
            )
        models[str(name)] = entry
    if not models:
        raise SettingsError(f"{path.name} names no model.", _REMEDY)
    return Catalog(MappingProxyType(models), MappingProxyType(places))


_REMEDY = "Correct the file; until then the last good catalog is used."
_LEAST = {"concurrent": 1, "context": 128, "max_output": 16, "connect_s": 0.1, "first_token_s": 0.1, "between_s": 0.1, "total_s": 0.1}
"""Numbers under which a model could never answer."""
_NESTED: dict[str, type] = {"limits": Limits, "price": Price}
_CHOICES = {"kind": ("foundry", "endpoint", "fake")}
T = TypeVar("T", Place, Entry, Limits, Price)


def _build(cls: type[T], name: Located | str, body: Any, file: str) -> T:
    """A `cls` from a YAML mapping: known keys only, right types, nothing missing."""
    line = getattr(name, "line", 0)
    if not isinstance(body, dict):
        raise SettingsError(f"{file}, line {line}: '{name}' should hold 'key: value' lines.", _REMEDY)
    kinds = get_type_hints(cls)
    values: dict[str, Any] = {"name": str(name)} if "name" in kinds else {}
    for key, value in body.items():
        where = f"{file}, line {key.line}"
        if key not in kinds or key == "name":
            raise SettingsError(f"{where}: unknown key '{key}' in '{name}'.", f"Known: {', '.join(k for k in kinds if k != 'name')}.")
        values[str(key)] = _build(_NESTED[key], key, value, file) if key in _NESTED else _value(key, value, kinds[key], where)
    missing = [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING and f.name not in values]
    if missing:
        raise SettingsError(f"{file}, line {line}: '{name}' lacks {', '.join(missing)}.", _REMEDY)
    return cls(**values)


def _value(key: str, value: Any, kind: Any, where: str) -> Any:
    """One plain value of the kind that the field declares."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind == tuple[str, ...] and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if get_origin(kind) is Mapping and isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
        return MappingProxyType({str(k): v for k, v in value.items()})
    if not isinstance(kind, type) or type(value) is not kind:
        raise SettingsError(f"{where}: '{key}' should be {_SPOKEN.get(kind, 'a mapping of words')}, and is {str(value)[:40]!r}.", _REMEDY)
    least = _LEAST.get(key, 0)
    if isinstance(value, int | float) and not isinstance(value, bool) and not least <= value < 1e9:
        raise SettingsError(f"{where}: '{key}' should be a number of {least:g} or more, and is {value}.", _REMEDY)
    if key == "base_url" and not is_address(str(value)):
        raise SettingsError(f"{where}: '{key}' should be an address such as http://127.0.0.1:8080, and is {str(value)[:60]!r}.", _REMEDY)
    if value not in _CHOICES.get(key, (value,)):
        raise SettingsError(f"{where}: '{key}' should be one of {', '.join(_CHOICES[key])}, and is {str(value)[:40]!r}.", _REMEDY)
    return value


_SPOKEN: dict[Any, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false", tuple[str, ...]: "a list of words"}


class CatalogFile:
    """The shipped catalog, or the user's own in its place, and additions from the data home. Reloads when a file changes."""

    def __init__(self, home: Path, instead: str = "") -> None:
        self._files = (Path(instead).expanduser() if instead else SHIPPED, home / "catalog.yaml")
        self._seen: tuple[object, ...] = ()
        self._good: Catalog | None = None
        self.error: SettingsError | None = None
        """Why the newest file is not in use; None when it is."""

    def current(self) -> Catalog:
        """The newest good snapshot. Raises SettingsError only when there never was one."""
        seen = tuple(_stamp(path) for path in self._files)
        if seen != self._seen:
            self._seen = seen
            self._reload()
        if self._good is None:
            raise self.error or SettingsError("The catalog cannot be read.", _REMEDY)
        return self._good

    def _reload(self) -> None:
        try:
            catalog = read_catalog(self._files[0])
            if self._files[1].is_file():
                catalog = read_catalog(self._files[1], over=catalog)
            self._good, self.error = catalog, None
        except SettingsError as error:
            self.error = error
            if self._good is None and self._files[0] == SHIPPED:
                self._good = read_catalog(SHIPPED)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size
