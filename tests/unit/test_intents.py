"""The rules: the seeds' words are heard, everyday messages stay general, and the evidence is the words that decided."""

from __future__ import annotations

from pathlib import Path

import pytest

from base.errors import SettingsError
from router.intents import detect, flagged, load_rules

RULES = load_rules()


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("Refactor this function to be readable:\ndef f(a): return a+1", "code"),
        ("Fix the bug in my code", "code"),
        ("Write a Python script that renames files", "code"),
        ("Optimise this loop for speed", "code"),
        ("```\nx = 1\n```\nwhy does this fail", "code"),
        ("Traceback (most recent call last):\n  File 'a.py'\nKeyError: 'x'", "code"),
        ("Summarize this text: the cat sat on the mat", "summarize"),
        ("TL;DR of the following minutes", "summarize"),
        ("Write an abstract for this paper", "summarize"),
        ("Ringkas teks ini: kucing itu duduk", "summarize"),
        ("Résume ce texte : le chat est assis", "summarize"),
        ("Classify this ticket as bug, feature or question: it crashes", "classification"),
        ("Which category does this review belong to?", "classification"),
        ("Is this review positive or negative? I loved it", "classification"),
        ("Hello! How are you today?", "general"),
        ("What is our policy on parental leave?", "general"),
        ("What is the dress code for the summer party?", "general"),
        ("Can you label the jars in the kitchen for me, or is that someone else's job?", "general"),
        ("How do I resume my career after a break?", "general"),
        ("", "general"),
    ],
)
def test_messages_find_their_intent(text: str, intent: str) -> None:
    assert detect(text, RULES).name == intent


def test_evidence_confidence_and_runner_up_are_told() -> None:
    found = detect("Summarize what this function does", RULES)
    assert (found.name, found.runner_up, found.stage) == ("summarize", "code", "rules")
    assert "Summarize" in found.evidence and 0.5 < found.confidence < 0.9, "two intents speak, so neither is sure"
    assert detect("Hello", RULES).stage == "default"


def test_the_request_after_a_long_paste_is_read() -> None:
    assert detect("lorem ipsum dolor " * 5_000 + "\n\nSummarize this.", RULES).name == "summarize"


def test_flags() -> None:
    assert flagged("Is this a Security or GDPR problem? Optimize it.", RULES) == ("security", "compliance", "optimise")
    assert flagged("Good morning", RULES) == ()


def test_a_broken_rule_file_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "intents.yaml"
    path.write_text("intents:\n  code:\n    - {pattern: '(', weight: 1}\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"line 2: not a regular expression"):
        load_rules(path)
