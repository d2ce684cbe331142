"""The router by stages, with the real embedder and the shipped head: right on fresh wordings, cautious, and never without an answer."""

import json
import time
from pathlib import Path

import pytest

from agents.assistant import open_router
from agents.routing import Router
from base.settings import Settings
from router.detect import Detector
from router.examples import load_examples
from router.head import load_head
from router.intents import load_rules

RULES = load_rules()


@pytest.fixture
def router(home: Path, prepared_models: Path) -> Router:
    return open_router(Settings(home, models_dir=str(prepared_models)))


def test_the_shipped_head_belongs_to_the_shipped_rules() -> None:
    """A pattern changed without a new fit would silently leave the rules alone."""
    head = load_head()
    assert head.mark == RULES.mark, "run relay eval routing --fit --out router/head.json"
    assert head.metrics["cross_validated"]["macro_f1"] > 0.85
    assert set(head.labels) == {example.label for example in load_examples()}


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("Sort these animals into predators and prey: fox, rabbit, owl, mouse", "classification"),
        ("quick way to dedupe an array in js?", "code"),
        ("The kiln is repaired. Firing resumes on Monday. Rent goes up in July.\n\nGive me the short version of that", "summarize"),
        ("Why do programmers prefer dark mode?", "general"),
        ("How are wines classified in Bordeaux?", "general"),
        ("How should I structure the abstract of my thesis?", "general"),
        ("Kenapa langit berwarna biru?", "general"),
        ("move my 3pm to Friday", "general"),
    ],
)
def test_fresh_wordings_find_their_intent(router: Router, text: str, intent: str) -> None:
    found = router.intent(text)
    assert found.name == intent and 0 < found.confidence <= 1 and found.runner_up != found.name


def test_a_follow_up_stays_with_the_answer_before(router: Router) -> None:
    asked = "Write a Python function that reverses a string"
    assert router.intent("now in Rust", [asked]).name == "code"
    assert router.intent("and in Go?", [asked, "now in Rust"]).name == "code", "traced back over follow-ups"
    assert router.intent("and in French?", ["What is the capital of Chile?"]).name == "general"
    assert router.intent("thanks, that helped", [asked]).name == "general"
    assert router.intent("now summarize this text: the cat sat", [asked]).name == "summarize", "an own request wins"


def test_the_users_command_wins(router: Router) -> None:
    found = router.intent("/code hello there")
    assert (found.name, found.confidence, found.evidence) == ("code", 1.0, ("/code",))
    assert router.intent("/etc/passwd is a file, what for?").evidence != ("/etc",)


def test_rules_alone_answer_where_no_embedder_is(home: Path) -> None:
    router = open_router(Settings(home, models_dir=str(home / "none")))
    assert router.intent("Refactor this function").name == "code"
    assert router.intent("Good morning").stage == "default"


def test_a_head_of_other_rules_is_not_asked(router: Router, tmp_path: Path) -> None:
    other = tmp_path / "intents.yaml"
    other.write_text("intents:\n  code:\n    - {pattern: 'zebra', weight: 0.7}\n", encoding="utf-8")
    assert Detector(load_rules(other), load_head()).head is None


def test_a_gained_intent_with_examples_is_learned_aside(router: Router, home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True)
    places = ("Lyon", "Oslo", "Bern", "Kyoto", "Lima", "Quito", "Porto", "Turin")
    rows = [
        {"label": "weather", "text": f"weather forecast for {place}, will it rain {day}?"} for place in places for day in ("today", "later")
    ]
    (home / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    entry = "{about: x, place: foundry, capabilities: [weather], priority: 1, size_gb: 1, context: 4096, licence: MIT}"
    (home / "catalog.yaml").write_text(f"models:\n  rainy: {entry}\n", encoding="utf-8")
    router.current()
    assert router.intent("Good morning").name == "general", "the old head decides meanwhile"
    deadline = time.monotonic() + 90
    while "weather" not in router.detector.names and time.monotonic() < deadline:
        time.sleep(0.2)
    assert router.intent("weather forecast for Vienna, will it rain tomorrow?").name == "weather"
    assert open_router(router.settings).detector.names == router.detector.names, "kept for the next start"
