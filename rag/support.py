"""How much of an answer the passages carry: its sentences one by one, by words and by meaning. Pure; knows no model, no library.

A sentence is supported when a few sentences of a passage hold its words, say what it adds to the question, or mean the same;
never against a "not", and never with a number that stands elsewhere. What an answer puts in quotation marks
must stand in a passage, word for word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rag import figures
from rag.chunk import sentences
from rag.figures import ITEM
from rag.retrieve import Passage
from rag.words import content

SUPPORT = 0.6
"""Score from which a passage carries a claim."""
SHARED = 3
"""Content words that they must share, unless the claim stands there word for word."""
WINDOW = 3
"""Sentences in a row, at most, that may carry a claim together."""
NEW = 0.6
"""Weight of the words that the claim adds to the question; the rest is that of all its words. An echo supports nothing."""
ASKED = 0.3
"""Share of the question's words that must stand beside what a short answer adds."""
ALIKE = 0.8
"""Cosine from which a passage's sentence means the same."""
NEGATION = re.compile(r"\b(?:not|no|never|none|nor|cannot|neither)\b|n['’]t\b|\b(?:ne|pas|jamais|tidak|bukan|tanpa)\b|\bn['’](?=\w)", re.I)
CLAUSE = re.compile(r"[,;:()\n]|(?<=[.!?])\s|\b(?:and|et|dan|but|however|although|unless|except|while|mais|sauf|tetapi|kecuali)\b", re.I)
"""Where a "not" ends to count."""
BESIDE = 0.6
"""Share of the words beside a number that must stand beside it in the passage too."""
MOST = 40
"""Claims of one answer that are looked at."""
LEAST_QUOTE = 4
"""Words from which what stands in quotation marks is taken for a quote."""
FILLER = content("answer question correct yes no total only up take takes there")
"""What a short answer says around what it tells."""
CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.S)
MARK = re.compile(r"\[(\d{1,2})\](?![(:])")
MARKS = re.compile(r"(?:\s*\[\d{1,2}\](?![(:]))+")
PREFIX = re.compile(r"^\W*(?:passage \d+\s*:|the (?:sentence|quote|answer) is\s*:|\([^()]{1,120}\)|answer\s*:|quote\s*:)\s*", re.I)
QUOTED = re.compile(r"[\"“«„]([^\"“”«»„]{8,400})[\"”»“]")
SOURCES = r"(?:documents?|passages?|texts?|context|sources?|excerpts?|handbook|documents? provided)"
SAYS = r"(?:say|state|mention|specify|tell|contain|provide|include|describe|cover|give|address|answer|indicate|discuss)"
DECLINES = re.compile(
    rf"\b{SOURCES}\b.{{0,30}}\b(?:do|does|did)(?: not|n't|n’t)\s+(?:\w+\s+)?{SAYS}"
    r"|\b(?:not|never) (?:\w+ )?(?:said|told|stated|mentioned|specified|described|given|provided|covered|found|contained)"
    rf" (?:in|by) .{{0,20}}{SOURCES}"
    rf"|\bno (?:information|mention)\b.{{0,30}}(?:\b{SOURCES}\b|\babout\b|\bon\b|\bof\b)"
    r"|\bI (?:do not|don't|don’t|cannot|can't|can’t) (?:know|say|tell|find|answer)\b|\bunable to (?:answer|find)\b"
    r"|\b(?:texte|documents?|passages?)\b.{0,30}\bne (?:dit|disent|mentionne|précise)\w*|\btidak ada informasi\b"
    r"|\b(?:dokumen|teks)\b.{0,20}\btidak menyebut\w*",
    re.I,
)
"""An answer that says that it does not know tells nothing that needs support."""

Likeness = Sequence[Sequence[tuple[float, int]]]
"""For each claim and each passage: the cosine of the passage's closest sentence, and which it is; () where nobody measured."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence of an answer that tells something: `answer[start:end]`, and the numbers in [n] that it cites."""

    start: int
    end: int
    text: str
    """Without its marks."""
    marks: tuple[int, ...] = ()
    declines: bool = False
    """It says that the documents do not say: a claim only when a passage carries it after all."""


@dataclass(frozen=True, slots=True)
class Backed:
    """A claim and the passage that carries it best: number `n`, 0 for none."""

    start: int
    end: int
    n: int
    score: float
    """0 to 1"""
    quote: str = ""
    """The passage's sentence."""
    text: str = ""
    marks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Grounding:
    """An answer's claims, each with what carries it."""

    claims: tuple[Backed, ...]
    asked: str = ""
    """The question, which helps to tell what a short answer is about."""

    supported: int = 0
    """Claims that some passage carries."""
    share: float = 0.0
    """Of the claims, 0 to 1; 0 when there are none."""


def claims(answer: str) -> tuple[Claim, ...]:
    """The answer's sentences that tell something: no question, no heading, no code, no "I do not know"."""
    return tuple(claim for claim in _sentences(answer) if _tells(claim.text))[:MOST]


def cited_sentences(answer: str) -> tuple[Claim, ...]:
    """The answer's sentences that cite something, whatever they tell."""
    return tuple(claim for claim in _sentences(answer) if claim.marks)


def _sentences(answer: str) -> Iterator[Claim]:
    text = CODE.sub(lambda match: " " * len(match[0]), answer)
    for start, end in _with_marks(text):
        marks = tuple(int(mark) for mark in dict.fromkeys(MARK.findall(text[start:end])))
        told = " ".join(MARKS.sub("", text[start:end]).split())
        yield Claim(start, end, told, marks, DECLINES.search(told) is not None)


def declines(answer: str) -> bool:
    """Whether all that an answer says is that it does not know, or it says nothing at all."""
    said = claims(answer)
    return not answer.strip() or (bool(said) and all(claim.declines for claim in said))


def copied(answer: str, passages: Sequence[Passage]) -> bool:
    """Whether an answer of code alone stands in a passage."""
    bare = "\n".join(line for line in answer.splitlines() if not line.lstrip().startswith("```")).strip(" `\n")
    return bool(bare) and any(holds(passage.text, bare) for passage in passages)


def quoted(reply: str, passages: Sequence[Passage]) -> tuple[int, str] | None:
    """(number of the passage, the quote) when a model that was asked for a quote gave one that stands in a passage."""
    for line in reply.splitlines():
        bare = PREFIX.sub("", MARK.sub(" ", line))
        for words in (bare, *QUOTED.findall(bare)):
            words = words.strip(" \t\"'“”«»„*_>-")
            for n, passage in enumerate(passages, 1):
                if _is_quote(words, passage.text):
                    return n, words
    return None


def _is_quote(words: str, text: str) -> bool:
    """A few words stand anywhere; it takes more of them, or a whole sentence."""
    if len(words.split()) >= LEAST_QUOTE:
        return holds(text, words)
    whole = _words(words)
    return len(whole) >= 3 and any(_words(text[start:end]) == whole for start, end in sentences(text))


def _with_marks(text: str) -> list[tuple[int, int]]:
    """Spans of sentences; marks after a full stop belong to the sentence before them, on the same line."""
    spans: list[tuple[int, int]] = []
    for start, end in sentences(text):
        lead = MARKS.match(text, start, end)
        if lead and spans and "\n" not in text[spans[-1][1] : start]:
            spans[-1] = (spans[-1][0], lead.end())
            start = lead.end() + (len(text[lead.end() : end]) - len(text[lead.end() : end].lstrip()))
        if text[start:end].strip():
            spans.append((start, end))
    return spans


def _tells(text: str) -> bool:
    bare = ITEM.sub("", text).strip(" *_-•>|")
    return bool(content(bare)) and not bare.startswith("#") and not bare.endswith(("?", ":"))


def judge(answer: str, passages: Sequence[Passage], question: str = "", likeness: Likeness = ()) -> Grounding:
    """What carries each claim of the answer. `likeness` is measured for `claims(answer)` and these passages, in order."""
    out = []
    for at, claim in enumerate(claims(answer)):
        near = likeness[at] if at < len(likeness) else ()
        backed = _backed(claim, passages, question, near)
        if backed.n or not claim.declines:
            out.append(backed)
    held = sum(claim.n > 0 for claim in out)
    return Grounding(tuple(out), question, held, round(held / len(out), 4) if out else 0.0)


def _backed(claim: Claim, passages: Sequence[Passage], question: str, near: Sequence[tuple[float, int]]) -> Backed:
    """A passage that the claim cites goes before an equally good one."""
    best = Backed(claim.start, claim.end, 0, 0.0, "", claim.text, claim.marks)
    if not _quotes_match(claim.text, passages) or not _numbers_stand(claim.text, question, passages):
        return best
    for n, passage in enumerate(passages, 1):
        alike, sentence = near[n - 1] if n <= len(near) else (0.0, -1)
        score = carries(claim.text, question, passage, alike, sentence)
        if score >= SUPPORT and (score, n in claim.marks) > (best.score, best.n in claim.marks):
            words = best_sentence(f"{claim.text} {question}", passage.text)
            by_meaning = alike >= ALIKE and not content(claim.text) <= content(words)
            quote = (nth_sentence(passage.text, sentence) or words) if by_meaning else words
            best = Backed(claim.start, claim.end, n, round(score, 4), quote, claim.text, claim.marks)
    return best


def carries(claim: str, question: str, passage: Passage, alike: float = 0.0, sentence: int = -1) -> float:
    """0 to 1: how well a passage carries a claim by words or meaning; SUPPORT and up when it does."""
    if (len(claim.split()) > 1 and holds(passage.text, claim)) or any(holds(passage.text, quote) for quote in _quotes(claim)):
        return 1.0
    by_meaning = SUPPORT + (1 - SUPPORT) * (alike - ALIKE) / (1 - ALIKE) if alike >= ALIKE else 0.0
    if by_meaning and not _agree(claim, nth_sentence(passage.text, sentence) or best_sentence(claim, passage.text)):
        by_meaning = 0.0
    return max(by_words(claim, question, passage), answers(claim, question, passage.text), by_meaning)


def _agree(claim: str, sentence: str) -> bool:
    """Whether both say it, or both deny it: clause by clause of the claim, by the clause that shares most words with it."""
    clauses = [(content(part), bool(NEGATION.search(part))) for part in CLAUSE.split(sentence)]
    for part in CLAUSE.split(claim):
        wanted = content(part)
        if len(wanted) > 1:
            most = max(len(wanted & there) for there, _ in clauses)
            near = [denied for there, denied in clauses if len(wanted & there) == most]
            if most and bool(NEGATION.search(part)) not in near:
                return False
    return True


def _numbers_stand(claim: str, question: str, passages: Sequence[Passage]) -> bool:
    """Whether each number of the claim stands in one sentence or row with the words that are beside it in the claim.

    Those of the question and of the passages' names need not stand anywhere else.
    """
    told, given = figures.plain(claim), figures.numbers(figures.plain(question))
    held = [(figures.numbers(line), content(line)) for passage in passages for line in _lines(passage)]
    for passage in passages:
        given |= figures.numbers(figures.plain(passage.place))
    for value, beside in figures.near(told):
        words = frozenset(word for word in content(beside) if not word.isdigit()) - FILLER
        if value not in given and not any(value in values and len(words & there) >= BESIDE * len(words) for values, there in held):
            return False
    return True


def _lines(passage: Passage) -> Iterator[str]:
    """The passage's sentences, each with the names that it stands under."""
    for start, end in sentences(passage.text):
        yield f"{figures.plain(passage.text[start:end])} {passage.heading}"


def by_words(claim: str, question: str, passage: Passage) -> float:
    """Share of the claim's words in the best few sentences in a row; what it adds to the question weighs more.

    0 when the sentence that is closest denies what the claim says, or the other way. The names that the passage stands under
    count as said.
    """
    wanted, named = content(figures.plain(claim)), content(passage.place)
    new = wanted - content(figures.plain(question)) - FILLER
    spans = list(sentences(passage.text))
    best = 0.0
    for first in range(len(spans)):
        for last in range(first, min(first + WINDOW, len(spans))):
            text = passage.text[spans[first][0] : spans[last][1]]
            shared = wanted & (content(figures.plain(text)) | named)
            every = len(shared) / max(1, len(wanted))
            score = NEW * len(shared & new) / len(new) + (1 - NEW) * every if new else every
            if len(shared) >= SHARED and score > best and _agree(claim, text):
                best = score
    return best


def answers(sentence: str, question: str, text: str) -> float:
    """How sure one sentence of `text` says what a short answer adds to the question: all of it, beside words of the question.

    0 when the answer adds nothing, or no sentence holds it; else SUPPORT and up, by the share of the question's words.
    """
    asked = content(figures.plain(question))
    added = content(figures.plain(sentence)) - asked - FILLER
    lines = (text[start:end] for start, end in sentences(text))
    agreeing = (line for line in lines if bool(NEGATION.search(sentence)) <= bool(NEGATION.search(line)))
    holding = (asked & there for line in agreeing if added <= (there := content(figures.plain(line))))
    share = (
        max((len(shared) / len(asked) for shared in holding if len(shared) >= min(2, len(asked))), default=0.0) if added and asked else 0.0
    )
    return SUPPORT + (1 - SUPPORT) * share if share >= ASKED else 0.0


def best_sentence(sentence: str, text: str) -> str:
    """The sentence of `text` that shares most content words with `sentence` (Jaccard decides between equals)."""
    wanted = content(sentence)

    def rank(candidate: str) -> tuple[int, float]:
        words = content(candidate)
        return len(wanted & words), len(wanted & words) / max(1, len(wanted | words))

    return max((text[start:end] for start, end in sentences(text)), key=rank, default=text)


def nth_sentence(text: str, number: int) -> str:
    """A sentence by its place, from 0; '' for none."""
    spans = list(sentences(text))
    return text[slice(*spans[number])] if 0 <= number < len(spans) else ""


def _quotes_match(claim: str, passages: Sequence[Passage]) -> bool:
    """Whether everything that the claim quotes stands in a passage."""
    return all(any(holds(passage.text, quote) for passage in passages) for quote in _quotes(claim))


def _quotes(claim: str) -> list[str]:
    return [quote for quote in QUOTED.findall(claim) if len(quote.split()) >= LEAST_QUOTE]


def holds(text: str, quote: str) -> bool:
    """Whether `text` holds `quote` word for word; case, spaces and punctuation do not count, and "…" leaves words out."""
    words = f" {_words(text)} "
    parts = [_words(part) for part in re.split(r"\.\.\.|…|\[[^\]]*\]", quote)]
    return all(f" {part} " in words for part in parts if part)


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
