"""The router's rooms behind one door: what a message wants, which models may take it, which larger ones stand above."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from agents.corrections import Corrections, Effect, Remembering, Trial
from agents.events import Turn
from agents.spending import Spending
from base.errors import BackendError, RelayError, RoutingError, SetupError
from base.settings import Settings
from router import choose
from router.backends import Backends
from router.call import estimate
from router.catalog import Catalog, CatalogFile, Entry
from router.detect import Detector
from router.examples import SHIPPED as EXAMPLES
from router.examples import Example, load_examples
from router.fit import fit
from router.head import Embed, Head, load_head
from router.health import Health
from router.intents import Intent, Rules, detect, flagged
from router.policy import Kind, Policy

OWN_WEIGHT = 6.0
"""Of an example of the user's own, against 1 of a shipped one."""
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
        self.health, self.spending = Health(), Spending(settings.traces)
        self.corrections = Corrections(settings.home)
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

    def pinned(self, intent: str) -> Intent:
        """What the user says that a message is. Raises RoutingError for an intent that nobody knows."""
        if intent not in self.detector.names:
            raise RoutingError(f"There is no intent '{intent}'.", f"Known: {', '.join(sorted(self.detector.names))}.")
        return Intent(intent, 1.0, "", "pinned")

    def intent(self, text: str, earlier: Sequence[str] = ()) -> Intent:
        """What the message wants; `earlier` are the user's messages before it. Blocks for one embedding: call it in a thread."""
        return self.detector.detect(text, earlier)

    def by_rules(self, text: str) -> Intent:
        """What the rules alone say."""
        return detect(text, self.rules)

    def fit(self, out: Path | None = None) -> Head:
        """Fit the head from the shipped and the user's own examples, use it, and keep it. Raises SetupError without an embedder."""
        return self._keep(self._fitted(self._embed(), ()), out)

    def trial(self) -> Trial:
        """What the user's corrections would change. Changes nothing; blocks."""
        corrections, embed = self.corrections.all(), Remembering(self._embed())
        before = self._fitted(embed, ())
        after = self._fitted(embed, corrections) if corrections else before
        detectors = [Detector(self.rules, head, lambda: embed) for head in (before, after)]
        found = [[detector.detect(one.text).name for detector in detectors] for one in corrections]
        effects = tuple(Effect(one.text, one.label, *pair) for one, pair in zip(corrections, found, strict=True))
        return Trial(before, after, effects, corrections)

    def take(self, trial: Trial, out: Path | None = None) -> Head:
        """Use and keep the head with the corrections, which become examples of the user's own."""
        if trial.corrections:
            self.corrections.take(self._own, trial.corrections)
        return self._keep(trial.after, out)

    def _keep(self, head: Head, out: Path | None) -> Head:
        head.save(out or self.settings.home / "head.json")
        self.detector.adopt(head)
        return head

    def _embed(self) -> Embed:
        embedder = self._embedder()
        if embedder is None:
            raise SetupError("The embedder is not on this machine, so nothing can be fitted.", "Run 'relay up' once.")
        return embedder

    def _fitted(self, embed: Embed, more: Sequence[Example]) -> Head:
        """The user's own examples and corrections weigh more than the shipped ones: they know their words best."""
        shipped = load_examples((EXAMPLES,))
        own = (*(load_examples((self._own,)) if self._own.is_file() else ()), *more)
        first = 1 + shipped[-1].group
        mine = (replace(one, group=first + at, weight=OWN_WEIGHT) for at, one in enumerate(own))
        return fit((*shipped, *mine), self.rules, embed)

    def correct(self, text: str, intent: str) -> None:
        """Keep the user's word that `text` was an `intent`. Raises RoutingError for one that nobody knows."""
        self.corrections.add(text, self.pinned(intent).name)

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
        blocked, need, policy = self.backends.blocked(catalog), estimate(text), self.policy()
        try:
            return choose.route(catalog, intent, {**self.health.blocked(), **blocked}, pinned, need, policy)
        except RoutingError:
            return choose.route(catalog, intent, blocked, pinned, need, policy)

    def policy(self) -> Policy:
        """What the settings want, with what was spent and measured so far."""
        s, spent = self.settings, ""
        if 0 < s.budget_tokens <= self.spending.tokens:
            spent = f"today's {s.budget_tokens:,} tokens are spent"
        return Policy(cast(Kind, s.policy), s.budget_cost, s.budget_s, spent, self.spending.speeds)

    def large(self, catalog: Catalog, route: choose.Route, text: str) -> tuple[choose.Route | None, str]:
        """The route upward, or why there is none."""
        policy = self.policy()
        if policy.spent:
            return None, f"No refinement: {policy.spent}."
        blocked = {**self.health.blocked(), **self.backends.blocked(catalog)}
        try:
            return choose.escalate(catalog, route, blocked, estimate(text), policy), ""
        except RoutingError as error:
            return None, f"No larger model is ready, so the draft stands. {error.what}"

    def dearest(self) -> Entry | None:
        """The large model that answers are compared with: the dearest that declares it, whether it is on the machine or not."""
        large = [entry for entry in self.catalogs.current().models.values() if not set(choose.LARGE).isdisjoint(entry.capabilities)]
        return max(large, key=lambda entry: entry.price.of(1000, 1000), default=None)

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
