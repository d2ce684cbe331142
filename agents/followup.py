"""Makes a follow-up whole from the conversation before it is searched for: "and for part-timers?" says nothing by itself.

Pure, and without a model: what the earlier questions were about is put before the follow-up, in their own words, so that
both the meaning and the words of the search know it. Knows English, Indonesian and French openings; no document, no store.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.words import content

WHO = (
    "why|why not|when|where|who|whom|to whom|how|how much|how many|how long|how often|which|what|is|are|was|can|do|does|did|may|should|will"
)
JOINS = re.compile(
    r"^\W*(?:(?:and|but|or|also|then|so|what about|how about|same for|et|mais|ou|aussi"
    r"|dan|tapi|tetapi|atau|juga|lalu|bagaimana dengan|kalau)\b"
    rf"(?! (?:{WHO})\b)|(?:what if|and if|et si|bagaimana kalau)\b)",
    re.I,
)
"""How a message begins that only puts something new in the place of something old."""
POINTS = re.compile(
    r"\b(?:it|its|they|them|their|theirs|he|him|his|she|her|hers|the same|such|which one|which ones|that one|this one"
    r"|(?:that|this|these|those)(?! (?:week|month|year|morning|evening|afternoon|summer|winter|spring|autumn|quarter|time|way"
    r"|monday|tuesday|wednesday|thursday|friday|saturday|sunday)\b)"
    r"|il|elle|ils|elles|lui|leur|leurs|cela|ça|celui|celle|ceux|celles"
    r"|itu|ini|tersebut|mereka|dia|ia)\b"
    r"|-(?:ci|là)\b|\b\w{4,}nya\b|\bones?\W*$|\bcan one\b",
    re.I,
)
"""Words that point at something said before."""
CONJUNCTION = re.compile(
    r"\b(?:that|this|it)\s+(?:is|are|was|were|has|have|will|would|can|the|a|an|my|our|your|I|we|you)\b"
    r"|\b(?:is|was|will|does) it (?:be )?(?:possible|necessary|allowed|ok|okay|required|true|mandatory|safe)\b",
    re.I,
)
"""… unless they only join clauses of the same message ("leave that I do not use") or stand for nothing ("is it possible to")."""
ABOUT_ANSWER = re.compile(
    r"^\W*(?:(?:thanks?|thank you|ok(?:ay)?|great|good|nice|perfect|cool|yes|no|hello|hi|merci|terima kasih)\b(?:\W+\w+){0,4}\W*$"
    r"|(?:translate|rewrite|rephrase|shorten|summari[sz]e|expand|traduis|traduisez|résume|reformule|terjemahkan|ringkas)\b"
    r"|(?:explain|make|put|say|turn|write) (?:it|that|this)\b)|\b(?:thanks|thank you|merci|terima kasih)\W*$",
    re.I,
)
"""What is said of the answer before, not asked of the documents."""
FEW = 2
"""Words up to which a message is only the beginning of a question: "To whom?", "How much?"."""
SHORT = 5
"""Content words above which a message stands alone, whatever it points at."""
MOST = 300
"""Characters of a query that is put together."""


def leans(text: str) -> bool:
    """Whether a message cannot be understood without those before it."""
    told = len(content(text))
    if ABOUT_ANSWER.search(text) or told > SHORT or len(text) > MOST or "\n" in text.strip():
        return False
    points = POINTS.search(CONJUNCTION.sub(" ", text)) is not None
    return bool(JOINS.match(text)) or points or told == 0 or (len(text.split()) <= FEW and text.strip().endswith("?"))


def whole(text: str, earlier: Sequence[str]) -> str:
    """The query to search for: `text` itself when it stands alone, else with what the `earlier` questions were about before it.

    A chain of follow-ups goes back to the question it began with.
    """
    if not text.strip() or not earlier or not leans(text):
        return text
    return joined(text, earlier)


def joined(text: str, earlier: Sequence[str]) -> str:
    """`text` after the newest earlier question that stands alone; of what came between, the last counts."""
    chain: list[str] = []
    for question in reversed(earlier):
        if ABOUT_ANSWER.search(question):
            continue
        chain.insert(0, question)
        if not leans(question):
            break
    parts = [_bare(question) for question in (chain[:1] + chain[1:][-1:])]
    query = ", ".join([part for part in parts if part] + [_continued(text.strip())])
    return query if len(query) <= MOST else f"{parts[0][: MOST // 2]}, {text.strip()}"[:MOST]


def _bare(question: str) -> str:
    """An earlier question as a beginning: one line, without its mark at the end."""
    return " ".join(question.split()).rstrip(" ?.!…")


def _continued(text: str) -> str:
    """In the middle of a sentence a first word has no capital, unless it is a name or I."""
    return text[0].lower() + text[1:] if re.match(r"[A-ZÀ-Ý][a-zà-ÿ]+\b", text) else text
