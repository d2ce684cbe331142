"""The router's rooms behind one door: what a message wants, which models may take it, which larger ones stand above."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from agents.events import Turn
from base.errors import BackendError, RelayError, RoutingError, SetupError
from base.settings import Settings
from router import choose
from router.backends import Backends
from router.call import Health, estimate
from router.catalog import Catalog, CatalogFile
from router.detect import Detector
from router.examples import SHIPPED as EXAMPLES
from router.examples import load_examples
from router.fit import fit
from router.head import Embed, Head, load_head
from router.intents import Intent, Rules, detect, flagged

log = logging.getLogger("relay.routing")


def _head(path: Path | None) -> Head | None:
    try:
        return load_head(path) if path else load_head()
    except RelayError as error:
        if path is None or path.is_file():
            log.warning("%s", error)
        return None


class Router:
    """One for a process. A turn reads the catalog once, by `current()`, and hands that snapshot in."""

    def __init__(
        self,
        settings: Settings,
        catalogs: CatalogFile,
        rules: Rules,
        backends: Backends,
        embedder: Callable[[], Embed | None] = lambda: None,
    ) -> None:
        self.settings, self.catalogs, self.rules, self.backends = settings, catalogs, rules, backends
        self.health = Health()
        self._embedder = embedder
        own, shipped = _head(settings.home / "head.json"), _head(None)
        self.detector = Detector(rules, own if own and own.mark == rules.mark else shipped, embedder)
        self._refit: threading.Thread | None = None
        self._tried: set[str] = set()

    def current(self) -> Catalog:
        """The newest good catalog. When it has gained an intent that has examples, a new head is fitted aside."""
        catalog = self.catalogs.current()
        gained = {c for entry in catalog.models.values() for c in entry.capabilities} - self.detector.names - self._tried
        if gained and self._own.is_file():
            self._tried |= gained
            self._refit_aside(gained)
        return catalog

    @property
    def _own(self) -> Path:
        """The user's own examples."""
        return self.settings.home / "examples.jsonl"

    def intent(self, text: str, earlier: Sequence[str] = ()) -> Intent:
        """What the message wants; `earlier` are the user's messages before it. Blocks for one embedding: call it in a thread."""
        return self.detector.detect(text, earlier)

    def by_rules(self, text: str) -> Intent:
        """What the rules alone say."""
        return detect(text, self.rules)

    def fit(self, out: Path | None = None) -> Head:
        """Fit the head from the shipped and the user's own examples, use it, and keep it. Raises SetupError without an embedder."""
        embedder = self._embedder()
        if embedder is None:
            raise SetupError("The embedder is not on this machine, so nothing can be fitted.", "Run 'relay up' once.")
        examples = load_examples((EXAMPLES, self._own) if self._own.is_file() else (EXAMPLES,))
        head = fit(examples, self.rules, embedder)
        head.save(out or self.settings.home / "head.json")
        self.detector.adopt(head)
        return head

    def _refit_aside(self, gained: set[str]) -> None:
        """Fit in a thread, when the user's examples speak of a gained intent; until it is done the old head decides."""

        def work() -> None:
            try:
                if gained & {example.label for example in load_examples((self._own,))}:
                    self.fit()
            except RelayError as error:
                log.warning("The routing head was not fitted anew. %s", error)

        self._refit = threading.Thread(target=work, name="relay-refit", daemon=True)
        self._refit.start()

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

    async def scale(self, catalog: Catalog, model: str, sample: str) -> float:
        """The model's own tokens for each estimated one in texts like `sample`; 1 where nobody here can count. ~1 ms."""
        entry = catalog.models[model]
        backend = self.backends.of(catalog, entry)
        if not sample or not backend.is_loaded(entry):
            return 1.0
        try:
            counted = await backend.count(entry, [{"role": "user", "content": sample}])
        except BackendError:
            return 1.0
        return max(0.5, min(4.0, counted / estimate(sample))) if counted else 1.0

    def weighty(self, turn: Turn) -> tuple[str, ...]:
        """Reasons to refine that the message itself gives."""
        most = self.settings.long_message
        reasons = ["you asked for it"] if turn.effort == "refine" else []
        if len(turn.text) > most:
            reasons.append(f"the message is long ({len(turn.text)} characters, over {most})")
        return (*reasons, *(f"the message is about {name}" for name in flagged(turn.text, self.rules)))
