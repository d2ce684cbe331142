"""What carries an answer: its claims against passages, by words, numbers, negations, quotes and meaning."""

import pytest

from rag.retrieve import Passage
from rag.support import claims, declines, judge, quoted

TEXT = (
    "Only people on flexible work schedules can earn and use credit hours. You can earn up to 24 credit hours. "
    "The hours will roll over from one pay period to the next, and they never expire.\n"
    "1. Open the channel\n2. Take a screenshot\n3. Scroll up\n"
    "Taxi receipts are needed above 1,000 dollars. A tip counts as part of the fare."
)
PASSAGE = Passage("7", "Credit hours", "d", "Flexible schedules", None, None, TEXT, 0, len(TEXT))
ASKED = "How do credit hours work?"

CARRIED = [
    "You can earn up to 24 credit hours.",
    "Credit hours roll over to the next pay period and never expire.",
    "1. Take a screenshot",
    "- Scroll up",
    "Receipts are needed for taxis above 1000 dollars.",
    "The tip counts as a part of the fare.",
    'The rule says "and they never expire", which is generous.',
]
NOT_CARRIED = [
    "You can earn up to 42 credit hours.",
    "Credit hours are a type of financial product that can be used to pay for goods and services.",
    "Credit hours are paid out with your salary every month.",
    "Taxi receipts are not needed.",
    "Birth certificate",
    "The answer is no.",
    'The rule says "credit hours are paid out in cash", so they are paid out on flexible work schedules.',
]


@pytest.mark.parametrize("claim", CARRIED)
def test_what_the_passage_says_is_carried(claim: str) -> None:
    (found,) = judge(claim, [PASSAGE], ASKED).claims
    assert found.n == 1 and found.quote in TEXT and found.score >= 0.6


@pytest.mark.parametrize("claim", NOT_CARRIED)
def test_what_the_passage_does_not_say_is_not(claim: str) -> None:
    grounding = judge(claim, [PASSAGE], ASKED)
    assert (grounding.supported, grounding.share) == (0, 0.0) and len(grounding.claims) == 1


def test_meaning_carries_without_shared_words_but_never_against_a_number() -> None:
    said = "Nobody loses them with time. Nobody loses all 99 of them."
    alike = [[(0.93, 2)], [(0.93, 2)]]
    first, second = judge(said, [PASSAGE], ASKED, alike).claims
    assert first.n == 1 and first.quote.startswith("The hours will roll over") and second.n == 0
    assert judge(said, [PASSAGE], ASKED).supported == 0


def test_an_answer_is_taken_apart_into_what_it_tells() -> None:
    answer = (
        "Here is what I found:\n\n# Credit hours\n\n1. You can earn 24 hours. [1] They never expire [2].\n"
        "- Is that enough?\n```\nx[1] = 24\n```\n[2] Tips count. The passages do not say who pays."
    )
    found = claims(answer)
    assert [(claim.text, claim.marks) for claim in found] == [
        ("You can earn 24 hours.", (1,)),
        ("They never expire.", (2,)),
        ("Tips count.", (2,)),
    ]
    assert all(answer[claim.start : claim.end].strip() for claim in found)
    assert claims("") == claims("   \n") == claims("```\ncode\n```") == ()


@pytest.mark.parametrize(
    ("answer", "says_nothing"),
    [
        ("The documents do not say.", True),
        ("I don't know.", True),
        ("Le texte ne précise pas cela.", True),
        ("Tidak ada informasi tentang itu.", True),
        ("The documents do not say who pays. Taxis are paid by the agency.", False),
        ("You have 25 days.", False),
        ("", False),
    ],
)
def test_saying_that_one_does_not_know(answer: str, says_nothing: bool) -> None:
    assert declines(answer) is says_nothing


def test_a_quote_must_stand_in_a_passage_word_for_word() -> None:
    assert quoted('"You can earn up to 24 credit hours."', [PASSAGE]) == (1, "You can earn up to 24 credit hours.")
    assert quoted("Sure!\n> you can EARN up to  24 credit hours", [PASSAGE]) == (1, "you can EARN up to  24 credit hours")
    for reply in ("none", "None.", "", "You can earn up to 25 credit hours.", "24", "Only people can use credit hours"):
        assert quoted(reply, [PASSAGE]) is None
