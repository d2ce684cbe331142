"""The values of a spreadsheet as people read them: dates, shares, money. Knows number formats, no file and no library."""

from __future__ import annotations

import datetime
import re

FIGURES = re.compile(r"[#0?][#0?,]*(?:\.([0#?]+))?")
SYMBOL = re.compile(r"\[\$([^\]-]{1,5})[^\]]*\]|([$€£¥])")
SKIPPED = re.compile(r'\[[^$][^\]]*\]|\\.|_.|\*.|"[^"]*"')
MOST_DECIMALS = 10


def shown(value: object, pattern: str = "General") -> str:
    """The text of a cell with the number format `pattern`; "" for none."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, datetime.datetime):
        return str(value.date()) if value.time() == datetime.time() else value.isoformat(" ", "minutes" if not value.second else "seconds")
    if isinstance(value, datetime.timedelta):
        return _span(value)
    if isinstance(value, datetime.time):
        return value.isoformat("minutes" if not value.second else "seconds")
    return _number(value, pattern) if isinstance(value, int | float) else str(value)


def _span(value: datetime.timedelta) -> str:
    minutes, seconds = divmod(int(abs(value).total_seconds()), 60)
    text = f"{minutes // 60}:{minutes % 60:02}" + (f":{seconds:02}" if seconds else "")
    return f"-{text}" if value < datetime.timedelta() else text


def _number(value: float, pattern: str) -> str:
    """With the decimals, thousands, % and currency of its format; formats beyond these leave it as it is."""
    section = pattern.split(";")[0]
    symbol = next((found[1] or found[2] for found in SYMBOL.finditer(section)), "").strip()
    bare = SKIPPED.sub("", SYMBOL.sub("", section)).strip()
    share = bare.endswith("%")
    figures = FIGURES.fullmatch(bare.rstrip("% "))
    if figures is None or bare.rstrip("% ").endswith(","):
        return _plain(value)
    decimals = min(len(figures[1] or ""), MOST_DECIMALS)
    text = f"{value * 100 if share else value:{',' if ',' in figures[0] else ''}.{decimals}f}"
    if share:
        return f"{text}%"
    if not symbol:
        return text
    return text[: value < 0] + symbol + text[value < 0 :] if section.find(symbol) < section.find("0") else f"{text} {symbol}"


def _plain(value: float) -> str:
    """Whole numbers without a point, others with the 15 digits that a spreadsheet keeps."""
    return str(value) if isinstance(value, int) and abs(value) < 10**15 else f"{value:.15g}"
