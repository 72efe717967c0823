"""The page of several runs: which pre-training is better, by how much, how sure that is, what it
cost, in what they differ, and how each is run again."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape

from sgmim.errors import FileError
from sgmim.reports import analyses, arm_curves, costs, differences, lineage, page, scoreboard
from sgmim.reports.again import commands
from sgmim.reports.comparison import Comparison
from sgmim.reports.lineage import Link
from sgmim.reports.report import captioned

WIDEST = 760  # pixels of a sheet of pictures, of which there is one for each arm
NOTE = (
    "Mean ± standard deviation over seeds, and the interval that holds the mean with 95 % "
    "confidence if scores are spread normally (Student's t). Arms are told apart by their "
    "differences over the seeds that they have in common, and only where the interval of these "
    "leaves out zero. Of many intervals one in twenty misses by chance; nothing is corrected for "
    "that. The best of a column is marked only where it is told apart from every other arm."
)


def of_runs(words: Sequence[str], baseline: str | None = None) -> tuple[str, list[str]]:
    """The page of the runs in some folders, given as RUN or NAME=RUN; and a line for each thing
    that is wrong with these folders, which it tells as well.

    Raises:
        FileError: none of the folders holds a run.
        ConfigurationError: there is no arm of the baseline's name.
    """
    found = lineage.find(words)
    if not found.links:
        raise FileError(f"there is no run to compare: {'; '.join(found.wrong)}")
    compared = Comparison(found, baseline)
    return page_of(compared), list(dict.fromkeys(compared.wrong))


def page_of(compared: Comparison) -> str:
    """The page."""
    names = [arm.name for arm in compared.arms]
    sections = {
        "In short": _short(compared),
        "Arms": _arms(compared),
        "Scores": _scores(compared),
        "Analyses": _analyses(compared),
        "Costs": _costs(compared),
        "Differences": _differences(compared),
        "Curves": [page.legend(names), *_curves(compared)],
        "Pictures": _pictures(compared),
        "Run it again": commands(compared.arms),
    }
    sections = {title: parts for title, parts in sections.items() if parts}
    count = Counter(link for arm in compared.arms for link in arm.links)
    title = f"{len(names)} arms, {len(count)} runs" if len(names) > 1 else f"{len(count)} runs"
    parts = [_contents(list(sections)), *_wrong(compared)]  # when all has been read
    for name, inside in sections.items():
        parts += [f'<section id="{_anchor(name)}">', page.heading(name), *inside, "</section>"]
    return page.page(title, parts, wide=True, script=True)


def _contents(titles: Sequence[str]) -> str:
    links = "".join(f'<a href="#{_anchor(title)}">{escape(title)}</a>' for title in titles)
    return f'<nav aria-label="contents">{links}</nav>'


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _wrong(compared: Comparison) -> list[str]:
    told = list(dict.fromkeys(compared.wrong))
    if not told:
        return []
    inside = page.bullets(told)
    said = f"{len(told)} thing{'s' * (len(told) > 1)} to know of the folders"
    return [f"<details class=wrong open><summary>{said}</summary>{inside}</details>"]


def _short(compared: Comparison) -> list[str]:
    if not compared.boards:
        said = "No run has a score: 'sgmim finetune', with data to test on, gives it one."
        return [page.paragraph(said)]
    return [
        page.bullets([scoreboard.verdict(board) for board in compared.boards], "verdicts"),
        page.paragraph(NOTE, faint=True),
    ]


def _arms(compared: Comparison) -> list[str]:
    rows = []
    for place, arm in enumerate(compared.arms):
        chain = dict.fromkeys(" → ".join(link.what for link in tip.chain) for tip in arm.tips)
        seeds = dict.fromkeys(str(tip.run.config.get("seed", "-")) for tip in arm.tips)
        states = Counter(link.run.status.word for link in arm.links)
        told = ", ".join(f"{count} {word}" for word, count in states.items())
        name = page.drawn_as(place, arm.name)
        base = "baseline" if arm.name == compared.base else ""
        rows.append([name, "; ".join(chain), ", ".join(seeds), told, base])
    heads = ["arm", "chain", "seeds", "runs", ""]
    return [page.table(heads, rows, kind="grid", named="arms")]


def _scores(compared: Comparison) -> list[str]:
    return [part for board in compared.boards for part in scoreboard.drawn(board)]


def _analyses(compared: Comparison) -> list[str]:
    found = [
        (color, arm, compared.stage(link), look)
        for color, arm in enumerate(compared.arms)
        for link in arm.links
        for look in analyses.looks_of(link, compared.wrong)
    ]
    return analyses.sections(found)


def _costs(compared: Comparison) -> list[str]:
    parts = []
    for stage, arms in compared.stages.items():
        parts += [page.heading(stage, 3), costs.table(stage, arms)]
    said = (
        "Means of the runs of an arm. Start to end is from the first start, pauses included; "
        "stepping is what the lines of the log add up to; images/s are those of stepping. What ran "
        "beside it on the same machine is not known."
    )
    links = list(dict.fromkeys(link for arm in compared.arms for link in arm.links))
    return [*parts, page.paragraph(said, faint=True), differences.environments(links)]


def _differences(compared: Comparison) -> list[str]:
    parts = []
    for stage, arms in compared.stages.items():
        parts += [page.heading(stage, 3), *differences.tables(arms)]
    return parts


def _curves(compared: Comparison) -> list[str]:
    parts = []
    for stage, arms in compared.stages.items():
        places = {arm.name: place for place, arm in enumerate(compared.arms)}
        members = [(places[arm.name], arm.name, link) for arm, links in arms for link in links]
        parts += [page.heading(stage, 3), page.group("charts", arm_curves.charts(members))]
    return parts


def _pictures(compared: Comparison) -> list[str]:
    """The last sheet of one run of each arm."""
    parts = []
    for stage, arms in compared.stages.items():
        first = [(arm.name, next((k for k in links if k.run.sheets), None)) for arm, links in arms]
        with ThreadPoolExecutor() as pool:  # to make a picture small takes a tenth of a second
            shown = [*pool.map(_sheet, [(name, link) for name, link in first if link])]
        if shown:
            parts += [page.heading(stage, 3), page.group("sheets", shown)]
    return parts


def _sheet(member: tuple[str, Link]) -> str:
    name, link = member
    sheet = link.run.sheets[-1]
    told = captioned(f"{name}, seed {link.run.config.get('seed')}", sheet)
    return page.smaller_picture(sheet, told, WIDEST)
