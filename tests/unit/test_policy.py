"""Policies and budgets: who goes first, who is too dear or too slow, and what a day's tokens mean."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from agents.events import StepDone
from agents.spending import Spending
from base.errors import RoutingError, SettingsError
from base.settings import load_settings
from router.catalog import Catalog, CatalogFile
from router.choose import escalate, route
from router.policy import Policy, Speed


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return CatalogFile(tmp_path).current()


@pytest.mark.parametrize(
    ("kind", "intent", "first"),
    [
        ("balanced", "general", "phi-4-mini"),
        ("fast", "general", "phi-4-mini"),
        ("fast", "code", "deepseek-coder-1.3b"),
        ("best", "code", "gpt-oss-20b"),
        ("best", "general", "gpt-oss-20b"),
    ],
)
def test_a_policy_says_who_goes_first_among_those_that_can(catalog: Catalog, kind: str, intent: str, first: str) -> None:
    chosen = route(catalog, intent, {}, policy=Policy(kind))  # type: ignore[arg-type]
    assert chosen.model == first and chosen.candidates[-1].starter
    assert ("the best is wanted" in chosen.reason) == (kind == "best")


def test_what_is_too_dear_or_too_slow_is_passed_over_with_its_figures(catalog: Catalog) -> None:
    dear = route(catalog, "general", {}, policy=Policy("best", most_cost=0.0002), need=100)
    assert dear.model == "phi-4-mini" and dear.passed_over[0].model == "gpt-oss-20b"
    assert dear.passed_over[0].reason == "too dear: about $0.000440, and $0.000200 is allowed"
    slow = Policy(most_s=10, speeds={"phi-4-mini": Speed(900, 8)})
    chosen = route(catalog, "general", {}, policy=slow)
    assert chosen.model != "phi-4-mini" and "too slow: about 32 s, and 10 s is allowed" in chosen.passed_over[0].reason
    assert route(catalog, "general", {}, "phi-4-mini", policy=slow).model == "phi-4-mini", "the user's own choice is never too slow"
    with pytest.raises(RoutingError, match="too dear"):
        escalate(catalog, route(catalog, "code", {"gpt-oss-20b": "away"}), {}, policy=Policy(most_cost=0.00001))


def step(tokens: int, model: str = "small", rate: float = 20.0) -> StepDone:
    return StepDone("answer", "answer", model, "here", 0, 100.0, 1000.0, 10, tokens - 10, rate, 0.0, "provider")


def test_a_day_of_tokens_is_read_back_and_ends_at_midnight(tmp_path: Path) -> None:
    days = iter([date(2026, 1, 1)] * 4 + [date(2026, 1, 2)] * 9)
    lines = [json.dumps({"type": "StepDone", "tokens_in": 30, "tokens_out": 5}), '{"type": "StepDone", torn', '{"type": "Answered"}', "[]"]
    (tmp_path / "2026-01-01.jsonl").write_text("\n".join(lines))
    spending = Spending(tmp_path, lambda: next(days))
    assert spending.tokens == 35
    spending.see(step(65))
    assert spending.tokens == 100
    assert spending.tokens == 0, "a new day"


def test_a_spent_day_leaves_the_smallest_model_alone(catalog: Catalog) -> None:
    spent = route(catalog, "general", {}, policy=Policy("best", spent="today's 10 tokens are spent"))
    assert spent.model == "phi-4-mini"


def test_speeds_follow_what_was_measured(tmp_path: Path) -> None:
    spending = Spending(tmp_path)
    spending.see(step(100, rate=10))
    spending.see(step(100, rate=20))
    assert spending.speeds["small"].tokens_per_s == pytest.approx(13.0) and spending.speeds["small"].first_ms == 100
    spending.see(step(12, rate=500))
    assert spending.speeds["small"].tokens_per_s == pytest.approx(13.0), "two tokens tell nothing"


@pytest.mark.parametrize("given", [{"RELAY_POLICY": "cheap"}, {"RELAY_BUDGET_S": "-1"}, {"RELAY_BUDGET_TOKENS": "many"}])
def test_odd_policies_are_said(given: dict[str, str]) -> None:
    with pytest.raises(SettingsError):
        load_settings({"RELAY_HOME": "/nonexistent", **given})
