"""Keyword search against the plainest possible one: both ways of filtering, changes, and scopes of every name."""

import random
from pathlib import Path

from rag.keywords import Keywords, Row

SCOPES = ["shared", "chat:1", "chat:12", "user:Ö/x y", '"quoted"', "", *(f"user:{number}" for number in range(150))]
WORDS = [f"{first}{second}o" for first in "bdfgklmnprtv" for second in ("al", "er", "im", "ot", "un")]


def made(number: int, dice: random.Random) -> Row:
    # Some words are everywhere, some nearly nowhere.
    text = " ".join(WORDS[min(59, int(dice.paretovariate(0.7)) - 1)] for _ in range(8))
    return Row(number, dice.choice([*SCOPES[:6] * 20, *SCOPES[6:]]), "Heading", text)


def check(index: Keywords, rows: dict[int, Row], dice: random.Random) -> None:
    for _ in range(60):
        wanted = dice.sample(WORDS, dice.randint(1, 4))
        allowed = dice.choice([[dice.choice(SCOPES)], dice.sample(SCOPES, 5), SCOPES[:6], SCOPES, ["nobody"]])
        found = index.find(" ".join(wanted), allowed, 10_000)
        matching = {row.id for row in rows.values() if row.scope in allowed and set(wanted) & set(row.text.split())}
        assert {id for id, _ in found} == matching, (wanted, allowed)
        assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


def test_it_finds_what_holds_the_words_in_the_scopes_through_changes(tmp_path: Path) -> None:
    # No word is left out. A filter of few scopes is part of the match, one of many stands beside it.
    index = Keywords(tmp_path, most_matches=10**9)
    dice, rows = random.Random(3), dict[int, Row]()
    for start in (0, 500):
        fresh = [made(number, dice) for number in range(start, start + 700)]
        index.add(fresh)
        rows.update((row.id, row) for row in fresh)
        gone = dice.sample(sorted(rows), 150)
        index.delete([*gone, 10**6])
        for id in gone:
            del rows[id]
        assert index.ids() == set(rows)
        check(index, rows, dice)
    index.close()


def test_the_rarest_word_finds_its_passage_among_common_ones(tmp_path: Path) -> None:
    index = Keywords(tmp_path, most_matches=100, common=300)
    everywhere = " ".join(WORDS[:40])
    assert index.find("zebra", ["shared"], 5) == []
    index.add([Row(number, SCOPES[number % 6], "", everywhere) for number in range(2400)])
    assert index.find("zebra", ["shared"], 5) == []
    index.add([Row(5000, "shared", "", f"{everywhere} zebra"), Row(5001, "chat:1", "", f"{everywhere} zebra")])
    for scopes in (["shared"], SCOPES, SCOPES[:6]):
        found = [id for id, _ in index.find(f"{everywhere} zebra", scopes, 5)]
        assert found and set(found) <= {5000, 5001} and (5001 in found) == (len(scopes) > 1)
    # A query of common words alone is answered too, by the rarest.
    assert len(index.find(everywhere, ["shared"], 5)) == 5
    index.close()
