"""Markdown from a model or a document to Markdown in which nothing acts: no image, no link but to the hosts that the user allowed.

Pure. An address that is not allowed stays readable, as code. What is rewritten: links, images and their definitions,
addresses that the page would link by itself, HTML, directives; fenced and inline code stay as they are.

The page's parser (micromark with GFM and directives) must see code where this file sees it, or a text could hide a link in
what only looks like code here. So HTML, definitions and directives are taken out of what is written, block structure comes
from a CommonMark parser without them, and a backtick that does not pair within its line is escaped.
"""

from __future__ import annotations

import html
import re
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.token import Token

SHOWN = 300
"""Characters of an address that are shown; a picture in a data: address has thousands."""
_CITE = (
    r"(?P<cite>\[\\\[\d{1,3}\\\]\]\(#relay-cite-[0-9a-f]{1,32}-\d{1,3}\)"
    r"|\[\?\]\(#relay-unsupported(?: \"[A-Za-z .,']*\")?\))"
)
_LINK = (
    r"(?P<link>!?\[(?P<label>(?:[^\[\]\\\n]|\\.)*)\]"
    r"\([ \t]*(?P<to><[^<>\n]*>|(?:[^\s()<>\\]|\\[!-~]|\([^\s()<>]*\))*)(?:[ \t]+(?:\"[^\"\n]*\"|'[^'\n]*'|\([^()\n]*\)))?[ \t]*\))"
)
_URL = r"(?P<url><?(?:(?:https?|ftp)\\?:\\?/\\?/|(?<![A-Za-z0-9])www\\?\.(?=\S))(?:[^\s<>`|\]\[\\]|\\[^\s<>`|\]\[])*>?)"
_MAIL = r"(?P<mail>(?<![-.\w+])[-.\w+]+\\?@[-\w]+(?:\\?\.[-\w]+)+)"
_REST = (
    r"(?P<escaped>\\[!-/:-@\[-`{-~])|(?P<slash>\\(?=.))|(?P<bracket>\](?=[(:]))|(?P<tag><(?=[A-Za-z/!?\[]))|(?P<name>:(?=[A-Za-z]))|(?P<entity>&#?\w+;)"
    r"|(?P<bang>!(?=!*\[|<?(?:https?|ftp|www)))"
)
_ACTIVE = re.compile("|".join((_CITE, _LINK, _URL, _MAIL, _REST)), re.IGNORECASE)
_MAY = re.compile(r"\](?=[(:])|<(?=[A-Za-z/!?])|:(?=[A-Za-z])|&[#\w]|:\\?/|www|@", re.IGNORECASE)
"""Without one of these there is nothing to take out."""
_TICKS = re.compile(r"`+")
_DELIMITER_ROW = re.compile(r"^(?=.*\|)(?=.*-)[\s:|\->*+\d.)]+$", re.MULTILINE)
_TRAIL = re.compile(r"[>.,;:!?'\")}*_~]+$")
_JOINS = tuple("<&]!\\:#")
_WEB = re.compile(r"https?://([A-Za-z0-9.-]+)(?::\d{1,5})?(?:[/?#][A-Za-z0-9\-._~:/?#@!$&'()*+,;=%\[\]]*)?", re.IGNORECASE)


def safe(text: str, hosts: frozenset[str] = frozenset()) -> str:
    """The text with nothing in it that acts. Links to `hosts` (lower case) stay links; they are opened by a click only."""
    if not _MAY.search(text):
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    code = _fenced(text)
    table = bool(_DELIMITER_ROW.search(text))
    return "\n".join(line if at in code else _line(line, hosts, table) for at, line in enumerate(lines))


def allowed(address: str, hosts: frozenset[str]) -> bool:
    """Whether it is a plain web address of one of the hosts. What browsers read differently (\\, user names) is none."""
    match = _WEB.fullmatch(address)
    return bool(match and match[1].lower().rstrip(".") in hosts)


class Streamed:
    """A text on its way to the page: `add` what comes, send what it gives."""

    def __init__(self, hosts: frozenset[str], text: str = "") -> None:
        self._hosts = hosts
        self._text = text
        self._sent = safe(text, hosts)

    def add(self, token: str, anew: bool = False) -> tuple[str, bool]:
        """(what to send, whether it takes the place of all that was sent). A beginning may mean something else than the whole."""
        self._text = token if anew else self._text + token
        now, before = safe(self._text, self._hosts), self._sent
        self._sent = now
        if not anew and now.startswith(before):
            return now[len(before) :], False
        return now, True


@cache
def _blocks() -> MarkdownIt:
    # Without HTML and definitions: neither is left in what is written.
    return MarkdownIt("commonmark", {"html": False}).disable("reference")


def _fenced(text: str) -> set[int]:
    """Numbers of the lines of fenced code. Indented code is not trusted: the parsers differ on where it begins."""
    if "```" not in text and "~~~" not in text:
        return set()
    parser, tokens = _blocks(), list[Token]()
    parser.block.parse(text.replace("\0", "\ufffd"), parser, {}, tokens)
    return {line for token in tokens if token.type == "fence" and token.map for line in range(*token.map)}


def _line(line: str, hosts: frozenset[str], table: bool) -> str:
    """One line outside of fenced code: its inline code stays, the rest is made harmless."""
    out = ""
    for part, is_code in _parts(line, table):
        done = part if is_code else _harmless(part, hosts)
        # Two runs of backticks must not become one.
        out += f" {done}" if out.endswith("`") and done.startswith("`") else done
    return out


def _parts(line: str, table: bool) -> list[tuple[str, bool]]:
    """(text, whether it is inline code). A run of backticks pairs with the next one of its length; others are escaped."""
    runs = [match.span() for match in _TICKS.finditer(line)]
    parts, text, at = list[tuple[str, bool]](), "", 0
    while at < len(line):
        if line[at] != "`":
            size = 2 if line[at] == "\\" else 1
            text, at = text + line[at : at + size], at + size
            continue
        size = len(line) - at - len(line[at:].lstrip("`"))
        end = next((end for start, end in runs if start >= at + size and end - start == size), 0)
        if not end or (table and "|" in line[at:end]):
            # A table's cells end at |, also within backticks: there this is no code.
            text, at = text + "\\`" * size, at + size
        else:
            parts += [(text, False), (line[at:end], True)]
            text, at = "", end
    return [*parts, (text, False)]


def _harmless(text: str, hosts: frozenset[str]) -> str:
    done, at = list[str](), 0
    while match := _ACTIVE.search(text, at):
        written, end = _replaced(match, hosts)
        done += [text[at : match.start()], written]
        at = end
    return "".join((*done, text[at:]))


def _replaced(match: re.Match[str], hosts: frozenset[str]) -> tuple[str, int]:
    """(what is written for it, where to go on)"""
    found, end = match[0], match.end()
    if match["cite"] or match["escaped"]:
        return found, end
    if match["link"]:
        before = match.string[max(0, match.start() - 1) : match.start()]
        return _link(match["label"], _plain(match["to"].strip("<>")), hosts, before), end
    if match["url"]:
        written, length = _url(found, hosts)
        return written, match.start() + length
    if match["mail"]:
        return _shown(found), end
    if match["entity"]:
        # Only those that could spell an address.
        character = html.unescape(found)
        return (f"\\{found}" if re.fullmatch(r"[!-~]", character) and character not in "&<>\"'" else found), end
    # A lone backslash must not escape what is written behind it.
    return (f"{found}\\" if match["bracket"] else f"\\{found}"), end


def _link(label: str, address: str, hosts: frozenset[str], before: str) -> str:
    """`[label](address)`, as a link when it may be one, else as words with their address."""
    words = _harmless(label.strip(), frozenset())
    if allowed(address, hosts):
        return f"[{words or 'link'}]({_target(address)})"
    if not words:
        return _shown(address)
    if before in _JOINS or not words[0].isalpha():
        # Without its brackets the label could begin something with what stands before it, or begin a block.
        return f"[{words}]\\({_shown(address)})"
    return words if not address or words == address else f"{words} ({_shown(address)})"


def _url(found: str, hosts: frozenset[str]) -> tuple[str, int]:
    """An address that the page would make a link of by itself: (what is written for it, how much of what was found it is)."""
    whole = found.startswith("<") and found.endswith(">")
    lead = "\\<" if found.startswith("<") and not whole else ""
    kept = found.strip("<>") if whole else _TRAIL.sub("", found.lstrip("<"))
    address = _plain(kept)
    to = f"http://{address}" if address.lower().startswith("www") else address
    body = f"[{_harmless_label(address)}]({_target(to)})" if allowed(to, hosts) else _shown(address)
    return lead + body, len(found) if whole else len(kept) + (1 if lead else 0)


def _harmless_label(address: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|~:&!])", r"\\\1", address)


def _target(address: str) -> str:
    return f"<{address.replace('&', '&amp;')}>"


def _plain(text: str) -> str:
    """What Markdown reads: without backslashes before punctuation, with entities resolved."""
    text = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text)
    return re.sub(r"&#?\w+;", lambda match: html.unescape(match[0]), text)


def _shown(address: str) -> str:
    """The address as code, so that nothing makes a link of it."""
    address = " ".join(_plain(address).split()).replace("|", "%7C")
    if len(address) > SHOWN:
        address = f"{address[:SHOWN]}…"
    if not address:
        return ""
    longest = max((len(run) for run in re.findall(r"`+", address)), default=0)
    fence, pad = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{pad}{address}{pad}{fence}"
