"""The knowledge page's words, and who may change what."""

from __future__ import annotations

import pytest

from rag.report import Report
from ui.shelf import changeable, index, name_of, size, told, verdict


def test_of_what_several_share_nobody_may_change_anything_on_the_page() -> None:
    assert changeable(("shared", "user:ann", "group:sales", "demo", "chat:1")) == ("user:ann", "chat:1")


def test_one_person_alone_keeps_all_but_the_demo() -> None:
    assert changeable(("shared", "user:local", "demo", "chat:1")) == ("shared", "user:local", "chat:1")


def test_nobody_may_change_nothing() -> None:
    assert changeable(()) == () == changeable(("shared", "demo"))


@pytest.mark.parametrize(
    ("figures", "sentence"),
    [
        ((0.31, 0.5, 0, 9), "Relay would say the documents do not tell: confidence 0.31, 0.50 is asked for."),
        ((0.93, 0.5, 3, 9), "Relay would use these 3 passages: confidence 0.93, 0.50 is asked for."),
        ((0.93, 0.5, 1, 9), "Relay would use this passage: confidence 0.93, 0.50 is asked for."),
        ((0.0, 0.5, 0, 0), "Nothing was found: there are no documents here yet."),
    ],
)
def test_a_verdict_is_a_sentence(figures: tuple[float, float, int, int], sentence: str) -> None:
    assert verdict(*figures) == sentence


def test_reports_states_and_sizes_in_words() -> None:
    assert told(Report(added=2, changed=1)) == "2 documents added, 1 document changed."
    assert told(Report(unchanged=4)) == "Nothing has changed."
    troubles = (("a", "a.md is empty. Add a file with text in it."), ("b", "b"), ("c", "c"))
    assert told(Report(failed=troubles)) == "a.md is empty. Add a file with text in it. 2 more files could not be read; the list says why."
    assert index("rebuilding 43 %") == "The index is being rebuilt, 43 %. Searching works meanwhile."
    assert index("waiting: The disk is full.") == "The index cannot be written now: The disk is full."
    assert [size(number) for number in (1, 999, 1_500, 34_000, 5_800_000, 2e9)] == [
        "1 byte",
        "999 bytes",
        "1.5 kB",
        "34 kB",
        "5.8 MB",
        "2.0 GB",
    ]
    assert [name_of(scope) for scope in ("shared", "user:ann", "group:sales", "chat:1")] == [
        *("Shared documents", "Your documents", "Group sales", "This chat")
    ]
