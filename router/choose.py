"""Which model takes a message: capability first, then the lowest priority number. Pure: values in, a Route out.

Knows no clock, no network, no backend: what cannot be used now is handed in as `blocked`, each with its reason.
A blocked model is *passed over* here; that is no fallback (a fallback answers a call that was made and failed).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from base.errors import RoutingError
from router.catalog import Catalog, Entry
from router.intents import GENERAL
from router.policy import Policy

LARGE = ("refine", "deep")
"""Capabilities that make a model a target of escalation."""

BALANCED = Policy()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model and why it may take the message, or why it was passed over."""

    model: str
    backend: str
    reason: str
    starter: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """Candidates in the order in which they are tried; `passed_over` would have come earlier or could not be used."""

    intent: str
    candidates: tuple[Candidate, ...]
    passed_over: tuple[Candidate, ...] = ()
    notice: str = ""
    """A sentence for the page when a starter stands in for a real model."""

    @property
    def model(self) -> str:
        """The first choice."""
        return self.candidates[0].model

    @property
    def reason(self) -> str:
        """Why the first choice."""
        return self.candidates[0].reason


def route(catalog: Catalog, intent: str, blocked: Mapping[str, str], pinned: str = "", need: int = 0, policy: Policy = BALANCED) -> Route:
    """Order the models for `intent`. `need` is a lower bound on the prompt's tokens; `pinned` goes first when usable.

    Hard limits come first (on the machine, healthy, context, budget), then capability, then what the policy prefers.

    Raises RoutingError when nothing can take the message.
    """
    ranked = _ranked(catalog, intent, pinned, policy)
    return _sift(catalog, intent, ranked, blocked, need, policy, pinned)


def escalate(catalog: Catalog, chosen: Route, blocked: Mapping[str, str], need: int = 0, policy: Policy = BALANCED) -> Route:
    """The larger models for one step, upward from the route's first choice. Raises RoutingError when there is none."""
    small = catalog.models[chosen.model]
    ranked = [
        (entry, f"declares {next(c for c in LARGE if c in entry.capabilities)}, {entry.size_gb:g} GB against {small.size_gb:g}")
        for entry in sorted(catalog.models.values(), key=_order)
        if entry.size_gb > small.size_gb and not set(LARGE).isdisjoint(entry.capabilities)
    ]
    if not ranked:
        raise RoutingError(f"No model is larger than {small.name}, so its draft stands.", "Add one that declares 'refine' to the catalog.")
    return _sift(catalog, chosen.intent, ranked, blocked, need, policy)


def _order(entry: Entry, policy: Policy = BALANCED) -> tuple[float, ...]:
    """Starters last, then what the policy prefers."""
    return (entry.starter, *policy.key(entry))


def _ranked(catalog: Catalog, intent: str, pinned: str, policy: Policy) -> list[tuple[Entry, str]]:
    """Every model that could take the intent with its reason: pinned, declared, general, starters.

    Where the best is wanted, a large model needs to declare nothing else.
    """
    entries = sorted(catalog.models.values(), key=lambda entry: _order(entry, policy))
    declared = any(intent in entry.capabilities for entry in entries)
    ranked: list[tuple[int, Entry, str]] = []
    for entry in entries:
        if entry.name == pinned:
            ranked.append((0, entry, "you chose it"))
        elif policy.kind == "best" and not policy.spent and not set(LARGE).isdisjoint(entry.capabilities):
            ranked.append((3 if entry.starter else 1, entry, f"the best is wanted, {entry.size_gb:g} GB"))
        elif intent in entry.capabilities:
            ranked.append((3 if entry.starter else 1, entry, f"declares {intent}, priority {entry.priority}"))
        elif GENERAL in entry.capabilities:
            why = f"declares {GENERAL}, priority {entry.priority}" + ("" if declared else f"; no model declares {intent}")
            ranked.append((3 if entry.starter else 2, entry, why))
    ranked.sort(key=lambda item: item[0])
    return [(entry, why) for _, entry, why in ranked]


def _sift(
    catalog: Catalog,
    intent: str,
    ranked: list[tuple[Entry, str]],
    blocked: Mapping[str, str],
    need: int,
    policy: Policy,
    pinned: str = "",
) -> Route:
    """Part the usable from the blocked, the too small and the too dear. What the user chose is never too dear."""
    usable: list[Candidate] = []
    passed: list[Candidate] = []
    for entry, why in ranked:
        against = blocked.get(entry.name) or _too_small(entry, need) or (policy.against(entry, need) if entry.name != pinned else "")
        place = catalog.place(entry).name
        (passed if against else usable).append(Candidate(entry.name, place, against or why, entry.starter))
    if not usable:
        listed = "; ".join(f"{c.model}: {c.reason}" for c in passed) or "the catalog declares none"
        raise RoutingError(
            f"No model can take this message ({listed}).", "Shorten the message, or run 'relay models' to see and add models."
        )
    return Route(intent, tuple(usable), tuple(passed), _notice(usable[0], passed, pinned))


def _too_small(entry: Entry, need: int) -> str:
    room = entry.context - min(256, entry.max_output)
    return f"reads {entry.context:,} tokens, and the message needs about {need + entry.context - room:,}" if need > room else ""


def _notice(first: Candidate, passed: list[Candidate], pinned: str) -> str:
    """'phi-4-mini is not on this machine: smollm2-starter (starter) answers'; said for a stand-in of a model the user chose, too."""
    if first.model == pinned:
        return ""
    wanted = next((c for c in passed if c.model == pinned), None)
    if wanted is None and first.starter:
        wanted = next((c for c in passed if not c.starter), None)
    if wanted is None:
        return ""
    stand_in = f"{first.model} (starter)" if first.starter else first.model
    return f"{wanted.model} {_CLAUSE.get(wanted.reason, f'is passed over ({wanted.reason})')}: {stand_in} answers."


ABSENT = "not on this machine"
_CLAUSE = {ABSENT: "is not on this machine"}
