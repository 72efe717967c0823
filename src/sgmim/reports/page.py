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


class Html(str):
    """Text that is HTML already."""


def written(text: str) -> str:
    """Text as it stands in a page."""
    return text if isinstance(text, Html) else escape(text)


def heading(text: str, level: int = 2) -> str:
    return f"<h{level}>{escape(text)}</h{level}>"


def paragraph(text: str, faint: bool = False) -> str:
    return f"<p{' class=faint' if faint else ''}>{written(text)}</p>"


def bullets(texts: Iterable[str], kind: str = "") -> str:
    """A list; `kind` is how page.css lays it out."""
    items = "".join(f"<li>{written(text)}</li>" for text in texts)
    return f"<ul{f' class={kind}' * bool(kind)}>{items}</ul>"


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
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    best: Iterable[tuple[int, int]] = (),
    *,
    kind: str = "",
    named: str = "",
) -> str:
    """Rows below their columns' names; `best` are (row, column) to be set off.

    One that is `named` has rows that are called by their first cell, and scrolls by itself.
    """
    marked = set(best)
    head = "".join(f"<th{' scope=col' * bool(named)}>{written(name)}</th>" for name in columns)
    lines = [
        "<tr>"
        + "".join(
            _cell(cell, (r, c) in marked, is_name=bool(named) and c == 0)
            for c, cell in enumerate(row)
        )
        + "</tr>"
        for r, row in enumerate(rows)
    ]
    kind = f' class="{kind}"' * bool(kind)
    made = f"<table{kind}><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return scrolled(made, named) if named else made


def scrolled(inside: str, name: str) -> str:
    """What may be wider than the page, to be reached by keyboard as well."""
    return f'<div class=scroll tabindex=0 role=region aria-label="{escape(name)}">{inside}</div>'


def _cell(text: str, is_best: bool, is_name: bool) -> str:
    if is_name:
        return f"<th scope=row>{written(text)}</th>"
    return f"<td{' class=best' if is_best else ''}>{written(text)}</td>"


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


def tone(place: int) -> str:
    """The class of a color; where there are no more, lines are broken instead."""
    return f"c{place % COLORS}" + f" d{place // COLORS}" * (place >= COLORS)


def swatch(place: int) -> Html:
    """A bit of the line that something is drawn with."""
    line = "<path d='M1 5h22'/>"
    return Html(
        f'<svg class="swatch {tone(place)}" viewBox="0 0 24 10" aria-hidden=true>{line}</svg>'
    )


def drawn_as(place: int, name: str) -> Html:
    """A name beside the line that it is drawn with."""
    return Html(f"<span class=named>{swatch(place)}<span>{escape(name)}</span></span>")


def legend(names: Sequence[str]) -> str:
    """Names beside the lines of curves, in their order; the page's script hides and shows them."""
    items = (
        f"<li><button type=button aria-pressed=true data-place={place}>{swatch(place)}"
        f"{escape(name)}</button></li>"
        for place, name in enumerate(names)
    )
    return f"<ul class=legend>{''.join(items)}</ul>"


def picture(path: Path, caption: str) -> str:
    """A PNG, kept in the page itself."""
    return _figure("png", path.read_bytes(), caption)


def smaller_picture(path: Path, caption: str, widest: int = WIDEST) -> str:
    """A picture of at most so many pixels across, kept in the page itself in few bytes."""
    try:
        return _figure("webp", _shrunk(path, path.stat().st_mtime_ns, widest), caption)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return paragraph(f"{caption}: the picture {path.name} cannot be read", faint=True)


def _figure(kind: str, data: bytes, caption: str) -> str:
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/{kind};base64,'
        f'{b64encode(data).decode()}"><figcaption>{escape(caption)}</figcaption></figure>'
    )


@lru_cache(maxsize=16)
def _shrunk(path: Path, modified: int, widest: int) -> bytes:
    """Its bytes as WebP; `modified` tells one picture from another of the same name."""
    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((widest, 4 * widest))
    kept = BytesIO()
    small.save(kept, "WEBP", quality=82, method=3)
    return kept.getvalue()


def _asset(name: str) -> str:
    return (files("sgmim.reports") / name).read_text(encoding="utf-8")
