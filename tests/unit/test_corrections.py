"""Corrections: kept as labels, shown before they are taken, and then learned. With the real embedder and head."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from agents.assistant import open_router
from agents.routing import Router
from base.errors import RoutingError
from base.settings import Settings
from cli import eval_routing

ASKED = "Is the zorble of {this} gadget ripe on Thursday?"


@pytest.fixture
def router(ready_home: Path, prepared_models: Path) -> Router:
    return open_router(Settings(ready_home, models_dir=str(prepared_models)))


def command(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    eval_routing.arguments(parser)
    assert eval_routing.run(parser.parse_args([*words, "--json"])) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_correction_is_shown_first_and_then_learned(router: Router, ready_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert router.intent(ASKED).name == "general"
    router.correct(ASKED, "general")
    for number in range(6):
        router.correct(ASKED.replace("gadget", f"gadget {number}"), "code")
    router.correct(ASKED, "code")
    assert (ready_home / "corrections.jsonl").stat().st_mode & 0o077 == 0, "a user's words are theirs alone"
    said = command(capsys, "--from-corrections")["corrections"]
    assert len(said["changes"]) == 7, "the last word on a message counts"
    assert {(one["label"], one["now"], one["after"]) for one in said["changes"]} == {("code", "general", "code")}
    assert said["before"]["macro_f1"] > 0.85 and abs(said["after"]["macro_f1"] - said["before"]["macro_f1"]) < 0.02
    assert router.intent(ASKED).name == "general" and (ready_home / "corrections.jsonl").is_file(), "nothing was taken yet"
    command(capsys, "--from-corrections", "--fit")
    assert not (ready_home / "corrections.jsonl").exists()
    later = open_router(router.settings)
    assert later.intent(ASKED.replace("gadget", "gadget 9")).name == "code", "learned, and kept for the next start"


def test_an_unknown_intent_is_no_correction(router: Router, ready_home: Path) -> None:
    with pytest.raises(RoutingError, match="There is no intent 'poetry'"):
        router.correct("Write a sonnet", "poetry")
    assert not (ready_home / "corrections.jsonl").exists()
