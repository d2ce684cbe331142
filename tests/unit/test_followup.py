"""Follow-ups: which messages lean on those before them, and what is searched for instead."""

import json
from pathlib import Path

import pytest

from agents.followup import MOST, leans, whole

LEAVE = "How many weeks of paid parental leave may an employee take?"
LEANING = [
    ("and for part-timers?", "How many weeks of paid parental leave may an employee take, and for part-timers?"),
    ("When do I have to ask for it?", "How many weeks of paid parental leave may an employee take, when do I have to ask for it?"),
    ("Why?", "How many weeks of paid parental leave may an employee take, why?"),
    ("NASA's too?", "How many weeks of paid parental leave may an employee take, NASA's too?"),
    ("et pour un temps partiel ?", "How many weeks of paid parental leave may an employee take, et pour un temps partiel ?"),
    ("bagaimana dengan cuti sakit?", "How many weeks of paid parental leave may an employee take, bagaimana dengan cuti sakit?"),
]


@pytest.mark.parametrize(("asked", "query"), LEANING)
def test_a_follow_up_is_searched_for_with_what_it_goes_on_from(asked: str, query: str) -> None:
    assert whole(asked, [LEAVE]) == query
    assert whole(asked, []) == asked, "there is nothing to lean on"


ALONE = [
    "How do I turn off Slack notifications?",
    "Is there a limit on taxi rides?",
    "What happens to annual leave that I do not use?",
    "What is the difference between competitive and excepted service, and why does it matter?",
    "Thanks!",
    "ok thank you",
    "thanks, that helps",
    "That's great, thanks",
    "Who is the CEO?",
    "When is payday?",
    "Is there any parking?",
    "What is a one-time password?",
    "Can I take leave this Friday?",
    "And where do I park my bike?",
    "Is it possible to work abroad?",
    "Combien de jours en été ?",
    "Translate it into French",
    "Make that shorter.",
    "",
    "Please fix this:\nx = 1",
]


@pytest.mark.parametrize("asked", ALONE)
def test_what_stands_alone_or_speaks_of_the_answer_stays_as_it_is(asked: str) -> None:
    assert whole(asked, [LEAVE]) == asked


def test_a_chain_goes_back_to_the_question_it_began_with_and_stays_short() -> None:
    chain = ["Who painted it?", LEAVE, "And for part-timers?", "Does it need a form?"]
    assert whole("Which one?", chain) == f"{LEAVE[:-1]}, Does it need a form, which one?"
    assert whole("And for part-timers?", [LEAVE, "Thanks!", "Translate that into French"]) == f"{LEAVE[:-1]}, and for part-timers?"
    assert whole("And then?", [LEAVE, *["And for her?"] * 40]).startswith(LEAVE[:-1])
    assert len(whole("And then?", ["word " * 200])) <= MOST


def test_most_of_the_bench_is_seen_for_what_it_is() -> None:
    file = Path(__file__).resolve().parents[1] / "bench" / "followups.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    seen = [leans(row["asked"]) == (row["asked"] != row["whole"]) for row in rows]
    assert sum(seen) >= 0.9 * len(rows) > 30
