"""The router's rooms behind one door: what a message wants, which models may take it, which larger ones stand above."""

from __future__ import annotations

from agents.events import Turn
from base.errors import RoutingError
from base.settings import Settings
from router import choose
from router.backends import Backends
from router.call import Health, estimate
from router.catalog import Catalog, CatalogFile
from router.intents import Intent, Rules, detect, flagged


class Router:
    """One for a process. A turn reads the catalog once, by `current()`, and hands that snapshot in."""

    def __init__(self, settings: Settings, catalogs: CatalogFile, rules: Rules, backends: Backends) -> None:
        self.settings, self.catalogs, self.rules, self.backends = settings, catalogs, rules, backends
        self.health = Health()

    def current(self) -> Catalog:
        """The newest good catalog."""
        return self.catalogs.current()

    def intent(self, text: str) -> Intent:
        """What the message wants."""
        return detect(text, self.rules)

    def route(self, catalog: Catalog, intent: str, text: str, model: str = "auto") -> choose.Route:
        """The route, resting models passed over; when only resting ones are left, they are tried all the same."""
        pinned = "" if model == "auto" else model
        if pinned and pinned not in catalog.models:
            raise RoutingError(f"There is no model '{pinned}' in the catalog.", f"Known: auto, {', '.join(catalog.models)}.")
        blocked, need = self.backends.blocked(catalog), estimate(text)
        try:
            return choose.route(catalog, intent, {**self.health.blocked(), **blocked}, pinned, need)
        except RoutingError:
            return choose.route(catalog, intent, blocked, pinned, need)

    def large(self, catalog: Catalog, route: choose.Route, text: str) -> tuple[choose.Route | None, str]:
        """The route upward, or why there is none."""
        blocked = {**self.health.blocked(), **self.backends.blocked(catalog)}
        try:
            return choose.escalate(catalog, route, blocked, estimate(text)), ""
        except RoutingError as error:
            return None, f"No larger model is ready, so the draft stands. {error.what}"

    def weighty(self, turn: Turn) -> tuple[str, ...]:
        """Reasons to refine that the message itself gives."""
        most = self.settings.long_message
        reasons = ["you asked for it"] if turn.effort == "refine" else []
        if len(turn.text) > most:
            reasons.append(f"the message is long ({len(turn.text)} characters, over {most})")
        return (*reasons, *(f"the message is about {name}" for name in flagged(turn.text, self.rules)))
