"""Text formats to documents: Markdown, plain text, HTML, source code. Knows bytes and names, never a path or a limit."""

from __future__ import annotations

import ast
import codecs
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from base.errors import Unreadable
from rag.document import LONGEST_HEADING, SEEN, Block, Builder, Document, check_size, clean
from rag.unfit import content

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token
    from markdown_it.utils import EnvType

FRONT_MATTER = re.compile(r"\A---\n(.*?)\n(?:---|\.\.\.)\n", re.S)
CHARSET = re.compile(rb"""<meta[^>]{0,200}charset=["']?([A-Za-z0-9_.:-]{2,30})""", re.I)
DEFINITION = re.compile(
    r"^(?:export |public |private |protected |static |async |pub(?:\(\w+\))? |default |abstract |final )*"
    r"(?:def|class|function|fn|func|interface|struct|enum|trait|impl|module|type|CREATE (?:TABLE|VIEW|FUNCTION))"
    r"\s+([\w$]+(?:(?:\.|::)[\w$]+)*)",
    re.M,
)
NO_CHARSETS = ("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem")
"""What Python decodes too, and no page is in; some take the square of the length for it."""
WIDER = {"iso8859-1": "cp1252", "ascii": "cp1252"}
"""What browsers read instead."""
INVISIBLE = ["script", "style", "nav", "noscript", "template", "svg", "iframe", "footer", "form", "head"]
BLOCKS = "p div section article main aside header li ul ol dl dt dd tr table blockquote pre h1 h2 h3 h4 h5 h6 body figure figcaption"
BLOCK_TAGS = frozenset(BLOCKS.split())
LONGEST_MARKED = 20_000
"""Characters of a paragraph in which marks are looked for: brackets and stars that close nothing take the square of their number."""
LONGEST_PYTHON = 2_000_000
"""Characters of a source file that is taken apart by its grammar; a larger one is data."""
GIVES = {"-text": "", "td": " | ", "th": " | ", "br": "\n"}
"""Nodes that add to a line, and what; text adds itself."""


def decode(data: bytes, name: str) -> str:
    """UTF-8 (or UTF-16 with its mark) to text. Raises Unreadable for anything else."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    known = content(data)[0]
    if (known and known != "a web page") or (encoding == "utf-8-sig" and b"\0" in data[:8192]):
        said = f"{name} is not a text file but {known}." if known and known != "a web page" else f"{name} is not a text file."
        raise Unreadable(said, "Give it the ending that tells what it is, such as .pdf or .docx.")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise Unreadable(f"{name} is not in UTF-8.", "Save it as UTF-8 in your editor, and add it again.") from None


def parse_text(data: bytes, name: str, stem: str) -> Document:
    """Paragraphs between blank lines."""
    builder = Builder("txt", title=stem)
    for paragraph in re.split(r"\n\s*\n", clean(decode(data, name))):
        builder.add(paragraph)
    return builder.done(stem)


def parse_markdown(data: bytes, name: str, stem: str) -> Document:
    """CommonMark with tables as plain text: links keep their words, images their description."""
    from markdown_it import MarkdownIt

    text = clean(decode(data, name))
    builder = Builder("md")
    if front := FRONT_MATTER.match(text):
        if title := re.search(r"^title:\s*[\"']?(.+?)[\"']?\s*$", front[1], re.M):
            builder.title = title[1][:LONGEST_HEADING]
        text = text[front.end() :]
    # The words are looked at one paragraph at a time, by _inline: together they take many times the memory.
    markdown = MarkdownIt("commonmark").enable(["table", "strikethrough"]).disable("inline")
    shared: EnvType = {}
    _walk(markdown.parse(text, shared), builder, lambda token: _inline(token, markdown, shared))
    return builder.done(stem)


def _walk(tokens: Sequence[Token], builder: Builder, inline: Callable[[Token], str]) -> None:
    """Markdown tokens into blocks. Lists and rows are kept line by line, so that a passage may end between them."""
    marker, tight, level, cell = "", False, 0, False
    row: list[str] = []
    for token in tokens:
        kind = token.type
        if kind == "list_item_open":
            marker = f"{token.info}{token.markup} " if token.info else "- "
        elif kind in ("bullet_list_close", "ordered_list_close"):
            tight = False
        elif kind == "heading_open":
            level = int(token.tag[1:])
        elif kind == "heading_close":
            level = 0
        elif kind in ("th_open", "td_open", "th_close", "td_close"):
            cell = kind.endswith("open")
        elif kind == "tr_open":
            row = []
        elif kind == "tr_close":
            builder.add(" | ".join(row), tight=True)
        elif kind in ("fence", "code_block"):
            builder.add(token.content, "code")
        elif kind == "html_block":
            _html_inside(token.content, builder)
        elif kind == "inline":
            text = inline(token)
            if level:
                builder.heading(text, level)
            elif cell:
                row.append(" ".join(text.split()))
            else:
                builder.add(marker + text, tight=bool(marker) and tight)
                marker, tight = "", bool(marker)


def _inline(token: Token, markdown: MarkdownIt, shared: EnvType) -> str:
    """The words of an inline token, one line per source line joined by spaces."""
    if len(token.content) > LONGEST_MARKED:
        return token.content
    words = []
    children: list[Token] = []
    markdown.inline.parse(token.content, markdown, shared, children)
    for child in children:
        if child.type in ("text", "text_special", "code_inline"):
            words.append(child.content)
        elif child.type == "image":
            words.append(f"[image: {child.content}]" if child.content else "")
        elif child.type == "softbreak":
            words.append(" ")
        elif child.type == "hardbreak":
            words.append("\n")
    return "".join(words)


def _html_inside(source: str, builder: Builder) -> None:
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(source)
    tree.strip_tags(INVISIBLE)
    builder.add(" ".join((tree.body.text(separator=" ") if tree.body else "").split()))


def parse_html(data: bytes, name: str, stem: str) -> Document:
    """The visible words of a page; scripts, styles, navigation and footers are dropped."""
    declared = CHARSET.search(data[:4096])
    if declared is None or data[:3] == b"\xef\xbb\xbf" or content(data)[0] not in ("", "a web page"):
        return html_document(decode(data, name), stem)
    try:
        # What a page declares in letters of one byte it is not in letters of two.
        encoding = codecs.lookup(declared[1].decode("ascii")).name
        source = decode(data, name) if encoding.startswith(("utf", *NO_CHARSETS)) else data.decode(WIDER.get(encoding, encoding))
    except (LookupError, UnicodeError):
        source = decode(data, name)
    return html_document(source, stem)


def html_document(source: str, stem: str) -> Document:
    """A page whose letters are known."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(clean(source))
    title = tree.css_first("title")
    builder = Builder("html", title=" ".join(clean(title.text()).split())[:LONGEST_HEADING] if title else "")
    tree.strip_tags(INVISIBLE)
    if tree.body is not None:
        for tag, text in _html_blocks(tree.body):
            if re.fullmatch("h[1-6]", tag):
                builder.heading(text, int(tag[1]))
            elif tag == "pre":
                builder.add(text, "code")
            else:
                flat = " ".join(text.split())
                builder.add(f"- {flat}" if tag == "li" and flat else flat.strip("| "), tight=tag in ("li", "tr"))
    return builder.done(stem)


def _html_blocks(body: Any) -> Iterator[tuple[str, str]]:
    """(tag, text) of every run of text under one block element, in order. No recursion: pages nest thousands deep."""
    owner: Any = None
    words: list[str] = []
    known: dict[int, Any] = {}
    for node in body.traverse(include_text=True):
        if node.tag not in GIVES:
            continue
        block = _block(node.parent, known)
        if owner is None or block.mem_id != owner.mem_id:
            if owner is not None:
                yield owner.tag, "".join(words)
            owner, words = block, []
        words.append(GIVES[node.tag] or node.text(deep=False))
    if owner is not None:
        yield owner.tag, "".join(words)


def _block(node: Any, known: dict[int, Any]) -> Any:
    """The block element around a node. What was climbed once is kept: the way up may be a hundred thousand steps long."""
    climbed = []
    while node.mem_id not in known and node.tag not in BLOCK_TAGS and node.parent is not None:
        climbed.append(node.mem_id)
        node = node.parent
    node = known.get(node.mem_id, node)
    known.update(dict.fromkeys(climbed, node))
    return node


def parse_code(data: bytes, name: str, stem: str) -> Document:
    """The file as it is, a block for each function or class where that is cheap, else for each paragraph."""
    text = "\n".join(line.rstrip() for line in clean(decode(data, name)).split("\n"))
    starts = _python_starts(text) if name.endswith(".py") and len(text) < LONGEST_PYTHON else _paragraph_starts(text)
    lines = text.split("\n")
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line) + 1)
    blocks = []
    edges = sorted({0, *starts, len(lines)})
    for first, last in pairwise(edges):
        while last > first and not lines[last - 1].strip():
            last -= 1
        while first < last and not lines[first].strip():
            first += 1
        if first < last and SEEN.search("".join(lines[first:last])):
            start, end = offsets[first], offsets[last] - 1
            named = DEFINITION.search(text, start, end)
            heading = (named[1][:LONGEST_HEADING],) if named else ()
            blocks.append(Block(text[start:end], start, end, heading, "code", None, (first + 1, last)))
            check_size(len(text), len(blocks))
    return Document(name, "code", text, tuple(blocks))


def _python_starts(text: str) -> list[int]:
    """Zero-based lines on which a top-level statement that matters begins, decorators included."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return _paragraph_starts(text)
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    starts = []
    for node in body:
        if isinstance(node, kinds):
            starts += [min([node.lineno, *(d.lineno for d in node.decorator_list)]) - 1, node.end_lineno or node.lineno]
    return starts


def _paragraph_starts(text: str) -> list[int]:
    lines = text.split("\n")
    return [i for i, line in enumerate(lines) if line[:1].strip() and i > 0 and not lines[i - 1].strip()]
