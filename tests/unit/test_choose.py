"""Capability first, then the lowest priority number; what cannot be used is passed over with its reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from base.errors import RoutingError
from router.catalog import Catalog, CatalogFile
from router.choose import ABSENT, escalate, route

REAL = ("phi-4-mini", "deepseek-coder-1.3b", "qwen2.5-coder", "qwen2.5-0.5b", "gpt-oss-20b")


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return CatalogFile(tmp_path).current()


@pytest.mark.parametrize(
    ("intent", "first"),
    [
        ("code", "deepseek-coder-1.3b"),
        ("summarize", "phi-4-mini"),
        ("classification", "qwen2.5-0.5b"),
        ("general", "phi-4-mini"),
        ("poetry", "phi-4-mini"),
    ],
)
def test_the_model_that_declares_it_goes_first_and_a_general_one_takes_the_rest(catalog: Catalog, intent: str, first: str) -> None:
    chosen = route(catalog, intent, {})
    assert chosen.model == first
    assert chosen.candidates[-1].starter, "a starter is the last resort"
    assert ("no model declares poetry" in chosen.reason) == (intent == "poetry")


def test_a_missing_model_is_passed_over_and_the_starter_says_whom_it_stands_for(catalog: Catalog) -> None:
    chosen = route(catalog, "general", dict.fromkeys(REAL, ABSENT))
    assert chosen.model == "smollm2-starter"
    assert [(c.model, c.reason) for c in chosen.passed_over] == [("phi-4-mini", ABSENT)]
    assert chosen.notice == "phi-4-mini is not on this machine: smollm2-starter (starter) answers."


def test_a_pinned_model_goes_first_but_the_others_stand_behind_it(catalog: Catalog) -> None:
    chosen = route(catalog, "code", {}, pinned="gpt-oss-20b")
    assert (chosen.model, chosen.reason) == ("gpt-oss-20b", "you chose it")
    assert chosen.candidates[1].model == "deepseek-coder-1.3b"


def test_a_message_too_long_for_a_model_passes_it_over_and_says_so(catalog: Catalog) -> None:
    blocked = dict.fromkeys(("phi-4-mini",), ABSENT)
    with pytest.raises(RoutingError, match="smollm2-starter: reads 1,536 tokens, and the message needs about 9,"):
        route(catalog, "general", blocked, need=9_000)


def test_escalation_goes_upward_only(catalog: Catalog) -> None:
    assert escalate(catalog, route(catalog, "general", {}), {}).model == "gpt-oss-20b"
    starter = route(catalog, "general", dict.fromkeys(REAL, ABSENT))
    assert escalate(catalog, starter, dict.fromkeys(REAL, ABSENT)).model == "smollm2-starter-large"
    with pytest.raises(RoutingError, match="gpt-oss-20b: not on this machine"):
        escalate(catalog, route(catalog, "general", {}), {"gpt-oss-20b": ABSENT})
    with pytest.raises(RoutingError, match="No model is larger"):
        escalate(catalog, route(catalog, "general", {}, pinned="gpt-oss-20b"), {})


def test_a_chosen_model_that_cannot_be_used_is_never_swapped_silently(catalog: Catalog) -> None:
    chosen = route(catalog, "general", {"gpt-oss-20b": ABSENT}, pinned="gpt-oss-20b")
    assert chosen.notice == "gpt-oss-20b is not on this machine: phi-4-mini answers."
    starter = route(catalog, "general", dict.fromkeys(REAL, ABSENT), pinned="smollm2-starter")
    assert starter.notice == "", "whoever chose a starter knows"
