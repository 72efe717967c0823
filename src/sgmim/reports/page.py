"""A page that needs nothing beside it: text, tables and pictures in one file, light and dark."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from html import escape
from importlib.resources import files
from io import BytesIO
from pathlib import Path

from PIL import Image

COLORS = 8  # that curves have, in page.css
WIDEST = 1300  # pixels of a picture that is made smaller for its page


def page(title: str, parts: Iterable[str], *, wide: bool = False, script: bool = False) -> str:
    """The whole page; a part is what the functions below give."""
    body = "\n".join(parts)
    run = f"<script>{_asset('page.js')}</script>\n" if script else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'  # or a server would be asked for one
        f"<style>{_asset('page.css')}</style></head>\n"
        f"<body{' class=wide' if wide else ''}><h1>{escape(title)}</h1>\n{body}\n{run}"
        "</body></html>\n"
    )


def heading(text: str) -> str:
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str, faint: bool = False) -> str:
    return f"<p{' class=faint' if faint else ''}>{escape(text)}</p>"


def code(text: str) -> str:
    return f"<pre><code>{escape(text)}</code></pre>"


def folded(summary: str, inside: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{inside}</details>"


def section(title: str, inside: str) -> str:
    return f"<section>{heading(title)}{inside}</section>"


def group(kind: str, parts: Iterable[str]) -> str:
    """Parts that page.css lays out together: "charts", "pictures", "album"."""
    return f'<div class="{kind}">{"".join(parts)}</div>'


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], best: Iterable[tuple[int, int]] = ()
) -> str:
    """Rows of text below their columns' names; `best` are (row, column) to be set off."""
    marked = set(best)
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    lines = [
        "<tr>"
        + "".join(
            f"<td{' class=best' if (r, c) in marked else ''}>{escape(cell)}</td>"
            for c, cell in enumerate(row)
        )
        + "</tr>"
        for r, row in enumerate(rows)
    ]
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def tiles(facts: Iterable[tuple[str, str, str]]) -> str:
    """A few numbers to see at once: (name, value, what else there is to say of it)."""
    cells = (
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(more)}</small></dd></div>"
        for name, value, more in facts
    )
    return f"<dl class=tiles>{''.join(cells)}</dl>"


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and what there is to say of them; the latter is HTML."""
    lines = (f"<dt>{escape(name)}</dt><dd>{value}</dd>" for name, value in pairs)
    return f"<dl class=facts>{''.join(lines)}</dl>"


def moment(seconds: float, ago: bool = False) -> str:
    """A point in time, seconds since 1970; the page's script tells it in the reader's zone."""
    then = datetime.fromtimestamp(seconds, UTC)
    kind = " class=ago" if ago else ""
    return f'<time{kind} datetime="{then:%Y-%m-%dT%H:%M:%SZ}">{then:%Y-%m-%d %H:%M} UTC</time>'


def legend(names: Sequence[str]) -> str:
    """Names in the colors of curves, in their order."""
    items = (
        f"<li class=c{place % COLORS}>● <span>{escape(name)}</span></li>"
        for place, name in enumerate(names)
    )
    return f"<ul class=legend>{''.join(items)}</ul>"


def picture(path: Path, caption: str) -> str:
    """A PNG, kept in the page itself."""
    return _figure("png", path.read_bytes(), caption)


def smaller_picture(path: Path, caption: str) -> str:
    """A picture of at most `WIDEST` pixels across, kept in the page itself in few bytes."""
    return _figure("webp", _shrunk(path, path.stat().st_mtime_ns), caption)


def _figure(kind: str, data: bytes, caption: str) -> str:
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/{kind};base64,'
        f'{b64encode(data).decode()}"><figcaption>{escape(caption)}</figcaption></figure>'
    )


@lru_cache(maxsize=16)
def _shrunk(path: Path, written: int) -> bytes:
    """Its bytes as WebP; `written` tells one picture from another of the same name."""
    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((WIDEST, 4 * WIDEST))
    kept = BytesIO()
    small.save(kept, "WEBP", quality=82, method=3)
    return kept.getvalue()


def _asset(name: str) -> str:
    return (files("sgmim.reports") / name).read_text(encoding="utf-8")
