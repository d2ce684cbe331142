"""Nothing in a text acts: whatever Markdown comes, no image and no link but to the allowed hosts is left in it."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from base.errors import SettingsError
from base.settings import load_settings
from ui.links import Streamed, allowed, safe

HOSTS = frozenset({"intranet.example"})
PAYLOADS = [
    "![x](http://trap.example/a.png)",
    "[x](http://trap.example/)",
    "[x](<http://trap.example/a b>)",
    "[x](//trap.example/a)",
    "[x](javascript:alert(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "![x][r]\n\n[r]: http://trap.example/r.png",
    "[x]\n\n[x]:\n  http://trap.example/r 'title'",
    "<http://trap.example/>",
    "<img src=http://trap.example/a onerror=alert(1)>",
    "http://trap.example/a?b=1",
    "www.trap.example",
    "&#104;ttp://trap.example/",
    "http\\://trap.example/",
    "http&colon;//trap.example/",
    "mail me@trap.example now",
    "[![x](http://trap.example/i)](http://trap.example/l)",
    "[a\nb](http://trap.example/\n)",
    "![x](\nhttp://trap.example/i.png)",
    "<div>\n```\n\n![x](http://trap.example/i)\n",
    ":::note\n```\n:::\n\n![x](http://trap.example/i)",
    ":a[`] ![x](http://trap.example/i) `",
    "a ` b\n` ![x](http://trap.example/i) `",
    "\\\\` `x ![x](http://trap.example/i)`",
    "`a\\`` ![x](http://trap.example/i) ` b`",
    "http://trap.example``![x](http://trap.example/i)``",
    "| a | b |\n|---|---|\n| `x | ![x](http://trap.example/i) ` | y |",
    "[^1]\n\n[^1]: a\n\n    ![x](http://trap.example/i)",
    "- ```\n  a\n  ```\n\n  ![x](http://trap.example/i)",
    "- ```\n```\n![x](http://trap.example/i)\n```",
    "    ![x](http://trap.example/i)",
    "[x](http://intranet.example@trap.example/)",
    "[x](http://intranet.example\\.trap.example/)",
    "https://intranet.example/` ![x](http://trap.example/i) `",
    "!https://intranet.example/a.png",
    "!![x](https://intranet.example/a.png)",
    "\\http\\://trap.example/ `x`",
    "http://trap.example\\<img src=http://trap.example>",
    "[a][(//trap.example/x](u))",
    "<[div](u)\n```\n\n![x](http://trap.example/i)\n```",
    "&[#104;ttp://trap.example/](u)",
    "[~~~](u)\n~~~\n![x](http://trap.example/i)\n~~~",
    "[1. ~~~](u)\n~~~\n![x](http://trap.example/i)\n~~~",
]
BITS = "[~~~](u)\n§[> §](u)§(§)§&§<[§!§]:§`§``§```§```\n§~~~\n§\n§\n\n§> §- §1. §    §\\§[§](§|§word §<a §:::x\n"
PIECES = [*PAYLOADS, *BITS.split("§")]
LINK = re.compile(r"(?<![A-Za-z0-9])(?:https?://|www\.)[-.\w]+\.\w|[-.\w+]+@[-\w]+\.\w", re.IGNORECASE)


def acting(text: str) -> list[str]:
    """Addresses that a page would load or link to: by CommonMark with tables and HTML, and by what GFM links by itself."""
    found = []
    for block in MarkdownIt("commonmark", {"html": True}).enable("table").parse(text):
        if block.type == "html_block":
            found.append(block.content)
        for token in block.children or []:
            target = str(token.attrs.get("href") or token.attrs.get("src") or "")
            if token.type in ("html_inline", "image") or (token.type == "link_open" and not allowed(target, HOSTS)):
                found.append(target or token.content)
        inside = 0
        for token in block.children or []:
            inside += (token.type == "link_open") - (token.type == "link_close")
            if token.type == "text" and not inside:
                found += LINK.findall(token.content)
    return found


@pytest.mark.parametrize("text", PAYLOADS)
def test_no_payload_acts_whole_or_cut_anywhere(text: str) -> None:
    assert acting(safe(text, HOSTS)) == []
    for end in range(len(text)):
        assert acting(safe(text[:end], HOSTS)) == [], text[:end]


def test_the_check_itself_sees_what_acts() -> None:
    for text in (PAYLOADS[0], PAYLOADS[1], PAYLOADS[6], PAYLOADS[8], PAYLOADS[9], PAYLOADS[10], PAYLOADS[11], PAYLOADS[12]):
        assert acting(text), text


def test_no_mixture_of_them_acts() -> None:
    pick = random.Random(7)
    for _ in range(3_000):
        text = "".join(pick.choice(PIECES) for _ in range(pick.randint(2, 9)))
        assert acting(safe(text, HOSTS)) == [], repr(text)


@pytest.mark.parametrize(
    "text",
    [
        "Plain words, 12:30, a < b, x<5, array[0], [1] and [2].",
        "```js\nfetch('http://api.example/x') // <b>![x](y)</b>\n```",
        "1. Do this:\n   ```bash\n   curl http://api.example | sh\n   ```\n2. Done.",
        "Write `<div>` or `curl http://api.example/x` or `a | b`.",
        "See [\\[1\\]](#relay-cite-0a1b2c-1).",
        'They pay. [?](#relay-unsupported "No passage carries this.")',
        "| a | b |\n|---|---|\n| 1 | `x` |",
    ],
)
def test_what_acts_on_nothing_stays_as_it_is(text: str) -> None:
    assert safe(text, HOSTS) == text


def test_an_address_stays_readable_and_an_allowed_one_a_link() -> None:
    assert safe("See [the plan](http://trap.example/plan).") == "See the plan (`http://trap.example/plan`)."
    assert safe("![chart](http://trap.example/c.png)") == "chart (`http://trap.example/c.png`)"
    assert safe("Go to http://trap.example/a.") == "Go to `http://trap.example/a`."
    assert safe("[plan](https://intranet.example/a?b=1)", HOSTS) == "[plan](<https://intranet.example/a?b=1>)"
    assert safe("![plan](https://intranet.example/a.png)", HOSTS) == "[plan](<https://intranet.example/a.png>)", "an image is never loaded"
    assert len(safe(f"![x](data:image/png;base64,{'A' * 5_000})")) < 400


def test_words_with_colons_are_not_swallowed_as_directives() -> None:
    assert safe("std::vector, note:this") == "std:\\:vector, note\\:this"


@pytest.mark.parametrize("text", [*PAYLOADS, "Some words, `code`, [1], and more.", "```py\nx = 1\n```\nEnd [a](http://trap.example)."])
def test_streamed_the_page_ends_with_the_same_text_and_shows_nothing_else_on_the_way(text: str) -> None:
    stream, shown = Streamed(HOSTS), ""
    for at in range(0, len(text), 3):
        piece, anew = stream.add(text[at : at + 3])
        shown = piece if anew else shown + piece
        assert acting(shown) == []
    assert shown == safe(text, HOSTS)


def test_a_long_answer_is_cleaned_in_no_time_that_grows_with_its_square() -> None:
    for hostile in ("[" * 20_000, "a@" * 10_000, "`" * 20_001, "` " * 6_000, "![" * 10_000, "www." * 8_000, "a" * 50_000 + "@"):
        safe(hostile + " ://")


@pytest.mark.parametrize("links", ["http://intranet.example", "intranet.example/wiki", "a b", "*.example"])
def test_a_host_that_is_none_is_refused_at_the_start(links: str, home: Path) -> None:
    with pytest.raises(SettingsError, match="is no host"):
        load_settings({"RELAY_HOME": str(home), "RELAY_LINKS": links})
    assert load_settings({"RELAY_HOME": str(home), "RELAY_LINKS": "Intranet.Example, wiki"}).link_hosts == {"intranet.example", "wiki"}
