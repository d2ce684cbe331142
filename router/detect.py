"""What a message wants, stage by stage: the user's command, sure rules, the fitted head, else general.

Knows the rules, the head and an embedder that is handed in; without one, or before it is prepared, the rules decide
alone. 'None of these' is general: a specialist takes a message only from the head's threshold on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from router.head import Embed, Head, signals, view
from router.intents import GENERAL, Heard, Intent, Rules, command, detect, following, hear

CERTAIN = 0.9
"""The confidence from which the rules decide without asking the head."""
OWN = 0.75
"""The confidence from which a follow-up's own words outweigh what it follows."""
BACK = 6
"""How many earlier messages a follow-up is traced back over."""


class Detector:
    """One for a process. `embedder` gives the embedder, or None as long as it is not there; it is asked at every need."""

    def __init__(self, rules: Rules, head: Head | None = None, embedder: Callable[[], Embed | None] = lambda: None) -> None:
        self.rules = rules
        self._head = head if head and head.mark == rules.mark else None
        self._embedder = embedder

    @property
    def head(self) -> Head | None:
        """The head in use; None when there is none that fits the rules."""
        return self._head

    def adopt(self, head: Head) -> None:
        """Use a head that was fitted just now."""
        self._head = head if head.mark == self.rules.mark else self._head

    @property
    def names(self) -> set[str]:
        """Every intent that can be found."""
        return {GENERAL, *(rule.intent for rule in self.rules.rules), *(self._head.labels if self._head else ())}

    def detect(self, text: str, earlier: Sequence[str] = ()) -> Intent:
        """The intent of `text`; `earlier` are the user's messages before it, oldest first. Blocks for one embedding."""
        if commanded := command(text, self.names):
            return commanded
        return self._follow(text, earlier) or self._judge(text)

    def _follow(self, text: str, earlier: Sequence[str]) -> Intent | None:
        """The intent of the message that `text` goes on from, when that was a specialist's."""
        words = following(text, self.rules) if earlier else ""
        if not words:
            return None
        own = detect(text, self.rules)
        before = next((m for m in reversed(earlier[-BACK:]) if not following(m, self.rules)), "")
        found = command(before, self.names) or self._judge(before)
        if found.name == GENERAL or (own.name not in (GENERAL, found.name) and own.confidence >= OWN):
            return None
        return Intent(found.name, round(min(found.confidence, 0.9), 3), GENERAL, "rules", (words, "goes on from the message before"))

    def _judge(self, text: str) -> Intent:
        """A message that stands for itself."""
        heard = hear(text, self.rules)
        ruled = detect(text, self.rules, heard)
        if (ruled.stage == "rules" and ruled.confidence >= CERTAIN) or not text.strip():
            return ruled
        embedder = self._embedder() if self._head else None
        if self._head is None or embedder is None or embedder.name != self._head.embedder:
            return ruled
        return self._ask(self._head, embedder, text, heard)

    def _ask(self, head: Head, embedder: Embed, text: str, heard: Heard) -> Intent:
        vector = embedder.embed([view(text)])[0]
        chances = head.probabilities(vector, signals(text, heard, self.rules))
        first, second = sorted(chances, key=lambda name: -chances[name])[:2]
        words = [w for rule, w in zip(self.rules.rules, heard.words, strict=True) if w and rule.intent == first]
        evidence = (*dict.fromkeys(words), *(f"“{example}”" for example in head.nearest(vector)))
        if first != GENERAL and chances[first] < head.threshold:
            return Intent(GENERAL, round(chances[GENERAL], 3), first, "default", evidence)
        return Intent(first, round(chances[first], 3), second, "head", evidence)
