"""A page that needs nothing beside it: text, tables and pictures in one file, light and dark."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --faint: #666; --paper: #fff; --line: #ddd;
        --best: #0a6b3d; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --faint: #a0a0a0; --paper: #161616; --line: #3a3a3a; --best: #5fd39a; } }
body { margin: 0 auto; max-width: 62rem; padding: 1rem; background: var(--paper);
       color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { line-height: 1.2; } p { max-width: 44rem; } .faint { color: var(--faint); }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { padding: .3rem .9rem .3rem 0; text-align: left; border-bottom: 1px solid var(--line); }
td { font-variant-numeric: tabular-nums; } td + td { white-space: nowrap; }
.best { color: var(--best); font-weight: 600; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
figure { margin: 1rem 0; } figcaption { color: var(--faint); }
pre { overflow-x: auto; padding: .7rem; border: 1px solid var(--line); border-radius: 4px; }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """The whole page; a part is what the functions below give."""
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title>"
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n{body}\n</body></html>\n"
    )


def heading(text: str) -> str:
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str, faint: bool = False) -> str:
    return f"<p{' class=faint' if faint else ''}>{escape(text)}</p>"


def code(text: str) -> str:
    return f"<pre><code>{escape(text)}</code></pre>"


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


def picture(path: Path, caption: str) -> str:
    """A PNG, kept in the page itself."""
    data = b64encode(path.read_bytes()).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
