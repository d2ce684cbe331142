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
    found = [claim for claim in claims(answer) if not claim.declines]
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
        ("", True),
        ("Dental care is not covered.", False),
        ("No, meals are not provided.", False),
        ("You must give no information to the press.", False),
    ],
)
def test_saying_that_one_does_not_know(answer: str, says_nothing: bool) -> None:
    assert declines(answer) is says_nothing


def test_a_quote_must_stand_in_a_passage_word_for_word() -> None:
    assert quoted('"You can earn up to 24 credit hours."', [PASSAGE]) == (1, "You can earn up to 24 credit hours.")
    assert quoted("Sure!\n> you can EARN up to  24 credit hours", [PASSAGE]) == (1, "you can EARN up to  24 credit hours")
    for reply in ("none", "None.", "", "You can earn up to 25 credit hours.", "24", "Only people can use credit hours"):
        assert quoted(reply, [PASSAGE]) is None


def carried(answer: str, *texts: str, asked: str = "", heading: str = "") -> int:
    passages = [Passage(str(n), "Handbook", "d", heading, None, None, text, 0, len(text)) for n, text in enumerate(texts)]
    return judge(answer, passages, asked).supported


CONTRADICTED = [
    ("Smoking is allowed in the building.", "Smoking is not allowed in the building.", "Is smoking allowed in the building?"),
    (
        "Yes, contractors are eligible for sick leave.",
        "Contractors are not eligible for sick leave.",
        "Are contractors eligible for sick leave?",
    ),
    ("The office is open on public holidays.", "The office is never open on public holidays.", ""),
    ("Employees may carry over 20 days.", "Employees get 20 days. Employees may carry over 5 days.", ""),
    ("The fee is 20 euros.", "Employees get 20 days. The fee is 50 euros.", ""),
    ("Sick leave is 20 days.", "Annual leave | 20\nSick leave | 10", "How long is sick leave?"),
]


@pytest.mark.parametrize(("answer", "text", "asked"), CONTRADICTED)
def test_what_contradicts_the_documents_is_not_carried(answer: str, text: str, asked: str) -> None:
    assert carried(answer, text, asked=asked) == 0


SAME = [
    (
        "Annual leave is 20 days [1] and sick leave is 10 days [2].",
        ("Annual leave is 20 days a year.", "Sick leave is 10 days a year."),
        "",
    ),
    ("After 7 years you get 25 days of leave.", ("Everybody gets 25 days of leave after some years.",), "What do I get after 7 years?"),
    ("The fee is 5000 dollars.", ("The fee is $5,000.00 dollars for everybody.",), ""),
    ("It is 50 percent of the fee.", ("A refund is 50% of the fee.",), "How much is refunded?"),
    ("You get twenty days of leave.", ("Everybody gets 20 days of leave.",), ""),
    ("Work begins at 9 AM on each Monday.", ("Work begins at 9:00 AM on each Monday.",), ""),
    ("No, dental care is not covered by the plan [1].", ("Dental care is not covered by the plan.",), "Is dental care covered?"),
    ("You may carry over 5 days of leave.", ("You may carry over 5 days of leave, but not more.",), ""),
]


@pytest.mark.parametrize(("answer", "texts", "asked"), SAME)
def test_the_same_in_another_form_is_carried(answer: str, texts: tuple[str, ...], asked: str) -> None:
    assert carried(answer, *texts, asked=asked) == 1


def test_a_number_of_the_heading_counts_as_said() -> None:
    assert carried("In 2024 the office is closed on Friday.", "The office is closed on Friday in this year.", heading="2024") == 1


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("有給休暇は年間20日です。", "年度の休暇について。\n有給休暇は年間20日です。"),
        ("CEO: Maria Lopez", "People\nCEO: Maria Lopez\nCFO: Jan Smit"),
        ('Passage 1: "The office opens at nine in the morning."', "The office opens at nine in the morning. It closes at five."),
        ("(Handbook) The office opens at nine in the morning.", "The office opens at nine in the morning."),
    ],
)
def test_quotes_are_found_in_what_models_write_around_them(reply: str, text: str) -> None:
    assert quoted(reply, [Passage("1", "Handbook", "d", "", None, None, text, 0, len(text))]) is not None
