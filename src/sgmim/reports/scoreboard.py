"""Who scored best, by how much, and how sure that is."""

from collections.abc import Mapping
from html import escape
from math import floor, isfinite, log10
from statistics import median_low

from sgmim.confidence import Estimate
from sgmim.reports import dots, page
from sgmim.reports.boards import Board
from sgmim.reports.page import Html
from sgmim.reports.trials import is_better, rising

MINUS = "\N{MINUS SIGN}"
Column = Mapping[str, Estimate]  # of one metric, by arm


def verdict(board: Board) -> Html:
    """The headline of a trial in words."""
    metric = board.metrics[0]
    column, digits = board.column(metric), decimals(board.column(metric))
    best, others = next(iter(column)), list(column)[1:]
    said = f"<b>{escape(board.title)}</b>, {escape(direction(metric))}: "
    first = f"<b>{escape(best)}</b> {_mean(column[best], digits)}"
    if metric not in rising():
        return Html(f"{said}{first}; whether more is better is not known.")
    if not others:
        return Html(f"{said}{first}; there is nothing to compare it with.")
    parts = [f"{said}{first} has the best mean"]
    if best != board.baseline:
        parts.append(_against(board, metric, best, digits))
    rivals = board.rivals(metric)
    if not rivals:
        parts.append("it is told apart from every other arm")
    elif len(rivals) == len(others) and column[best].count < 2:
        parts.append("a single seed says nothing of chance")
    elif len(rivals) == len(others):
        parts.append("it is told apart from no other arm: nothing more can be said")
    else:
        parts.append(f"not told apart from it: {escape(', '.join(rivals))}")
    return Html("; ".join(part for part in parts if part) + ".")


def _against(board: Board, metric: str, arm: str, digits: int) -> str:
    found = board.difference(metric, arm, board.baseline)
    if found is None:
        return f"no seed in common with {escape(board.baseline)}"
    told = f"{signed(found.mean, digits)} against {escape(board.baseline)}"
    if found.count < 2:
        return f"{told}, of a single seed in common"
    return f"{told} ({interval(found, digits, signed)}, {found.count} seeds in common)"


def drawn(board: Board) -> list[str]:
    """All of a trial: the headline drawn, every score, and how these were made."""
    first, *rest = board.metrics
    protocols = dict.fromkeys(s.protocol for scores in board.arms.values() for s in scores)
    how = [f"{name} {value}" for name, value in board.trial.how if name != "name"]
    parts = [
        page.heading(board.title, 3),
        page.paragraph(f"Protocol: {'; '.join(filter(None, protocols)) or 'not named'}.", True),
        plot(board, first),
        page.heading("Every score", 4),
        scores_table(board),
        page.folded(f"Differences to {board.baseline}, seed by seed", differences_table(board)),
    ]
    if rest:
        more = "".join(page.heading(direction(m), 4) + plot(board, m) for m in rest)
        parts.append(page.folded("The other scores, drawn", more))
    parts.append(page.folded("How the scores were made", page.bullets(how)))
    return parts


def plot(board: Board, metric: str) -> str:
    """Dots and intervals of one metric, and of its differences to the baseline."""
    column = board.column(metric)
    digits, base = decimals(column), board.baseline
    apart = {arm: board.difference(metric, arm, base) for arm in column if arm != base}
    known = [found for found in apart.values() if found]
    axis = dots.axis_of(list(column.values()))
    other = dots.axis_of(known, also=(0.0,)) if known else None
    rows = []
    for arm, found in column.items():
        color, between = board.colors[arm], apart.get(arm)
        row: list[str] = [page.drawn_as(color, arm), _mean(found, digits)]
        row.append(dots.strip(found, axis, color))
        if other:
            row += _compared(board, metric, arm, between, digits)
            row.append(dots.strip(between, other, color, zero=0.0) if between else "")
        rows.append(row)
    foot = ["", "", dots.scale(axis, metric)]
    foot += ["", dots.scale(other, f"{metric}, difference")] if other else []
    heads = ["arm", direction(metric), Html("<span class=unseen>drawn</span>")]
    heads += [f"difference to {base}", Html("<span class=unseen>drawn</span>")] if other else []
    return page.table(heads, [*rows, foot], kind="dots", named=f"{board.title}: {metric}")


def _compared(
    board: Board, metric: str, arm: str, between: Estimate | None, digits: int
) -> list[str]:
    if arm == board.baseline:
        return ["the baseline"]
    if between is None:
        return ["no seed in common"]
    word = {True: "better", False: "worse", None: ""}[is_better(metric, between)]
    said = f" <b class={word}>{word}</b>" * bool(word)
    apart = _small(interval(between, digits, signed))
    return [Html(f"{signed(between.mean, digits)}{said} {apart}")]


def scores_table(board: Board) -> str:
    """Arms by metrics: mean, spread and interval."""
    metrics = board.metrics
    columns = {metric: board.column(metric) for metric in metrics}
    digits = {metric: decimals(column) for metric, column in columns.items()}
    arms, best = list(columns[metrics[0]]), []
    arms += [arm for arm in board.arms if arm not in arms]
    rows = []
    for place, arm in enumerate(arms):
        row: list[str] = [arm, str(len({score.seeds for score in board.arms[arm]}))]
        for number, metric in enumerate(metrics, 2):
            found = columns[metric].get(arm)
            row.append(_mean(found, digits[metric], below=True) if found else "-")
            best += [(place, number)] if board.best(metric) == arm else []
        rows.append(row)
    heads = ["arm", "seeds", *(_arrow(metric) for metric in metrics)]
    return page.table(heads, rows, best, kind="grid", named=f"{board.title}: every score")


def differences_table(board: Board) -> str:
    """Arms by metrics: how far above the baseline, seed by seed."""
    metrics = board.metrics
    digits = {metric: decimals(board.column(metric)) for metric in metrics}
    rows = []
    for arm in board.column(metrics[0]):
        if arm == board.baseline:
            continue
        row = [arm]
        for metric in metrics:
            between = board.difference(metric, arm, board.baseline)
            row += _compared(board, metric, arm, between, digits[metric])
        rows.append(row)
    heads = ["arm", *(_arrow(metric) for metric in metrics)]
    return page.table(heads, rows, kind="grid", named=f"{board.title}: differences")


def decimals(column: Column) -> int:
    """Places after the point, so that most spreads have two figures; means of one seed, four."""
    spreads = [found.spread for found in column.values() if found.spread > 0]
    size = median_low(spreads) if spreads else 10 ** (floor(_order(column)) - 2)
    return int(min(6, max(0, 1 - floor(log10(size)))))


def _order(column: Column) -> float:
    sizes = [abs(found.mean) for found in column.values() if found.mean]
    return log10(max(sizes)) if sizes else 0.0


def direction(metric: str) -> str:
    """A metric and which way is up."""
    told = {True: " (more is better)", False: " (less is better)", None: ""}
    return metric + told[rising().get(metric)]


def _arrow(metric: str) -> Html:
    if (more := rising().get(metric)) is None:
        return Html(escape(metric))
    arrow, words = ("↑", "more is better") if more else ("↓", "less is better")
    sign = f'<span title="{words}" role=img aria-label="{words}">{arrow}</span>'
    return Html(f"{escape(metric)} {sign}")


def _mean(found: Estimate, digits: int, below: bool = False) -> Html:
    spread = f" ± {found.spread:.{digits}f}" if found.count > 1 else ""
    between = f"{'<br>' if below else ' '}{_small(interval(found, digits))}"
    return Html(f"{plain(found.mean, digits)}{spread}{between if found.count > 1 else ''}")


def plain(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".replace("-", MINUS)


def signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", MINUS)


def interval(found: Estimate, digits: int, told=plain) -> str:
    """The ends of an interval; nothing of a single seed, which has none."""
    if not isfinite(found.low):
        return "one seed"
    return f"{told(found.low, digits)} to {told(found.high, digits)}"


def _small(text: str) -> str:
    return f"<small>{text}</small>"
