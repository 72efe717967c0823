"""The page of several runs: which pre-training is better, by how much, how sure that is, what it
cost, in what they differ, and how each is run again."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from html import escape
from math import inf

from sgmim.errors import unknown
from sgmim.reports import analyses, costs, differences, page, scoreboard
from sgmim.reports.again import commands
from sgmim.reports.arms import NOTHING, Arm, arms_of
from sgmim.reports.curves import Curve, chart
from sgmim.reports.lineage import Found, Link
from sgmim.reports.page import Html
from sgmim.reports.report import CHARTS, captioned
from sgmim.reports.scoreboard import Board
from sgmim.reports.trials import rising, scores_of, trial_of

PRETRAINING = "pre-training"
WIDEST = 760  # pixels of a sheet of pictures, of which there is one for each arm
NOTE = (
    "Mean ± standard deviation over seeds, and the interval that holds the mean with 95 % "
    "confidence if scores are spread normally (Student's t). Arms are told apart by their "
    "differences over the seeds that they have in common, and only where the interval of these "
    "leaves out zero. Of many intervals one in twenty misses by chance; nothing is corrected for "
    "that. The best of a column is marked only where it is told apart from every other arm."
)


@dataclass
class Comparison:
    """Arms, the stages of their chains, and what is known of them."""

    found: Found
    baseline: str | None = None

    @cached_property
    def arms(self) -> list[Arm]:
        """The best first, by the headline of the trial that most were scored in."""
        arms = arms_of(self.found.links)
        boards = scoreboard.boards(self._scores(arms), arms[0].name)
        if not boards or (more := rising().get(metric := boards[0].metrics[0])) is None:
            return arms
        means = {arm: each.mean for arm, each in boards[0].column(metric).items()}
        return sorted(
            arms, key=lambda arm: (-1 if more else 1) * means.get(arm.name, -inf if more else inf)
        )

    @cached_property
    def base(self) -> str:
        """The arm that others are told against: the one asked for, no pre-training, or the first
        that was given.

        Raises:
            ConfigurationError: there is no such arm.
        """
        names = [arm.name for arm in self.arms]
        if self.baseline is not None and self.baseline not in names:
            raise unknown("arm", self.baseline, names)
        given = arms_of(self.found.links)[0].name
        return self.baseline or (NOTHING if NOTHING in names else given)

    @cached_property
    def boards(self) -> list[Board]:
        return scoreboard.boards(self._scores(self.arms), self.base)

    @cached_property
    def stages(self) -> dict[str, list[tuple[Arm, list[Link]]]]:
        """The runs of every arm, by what they are for: pre-training first."""
        found: dict[str, dict[str, tuple[Arm, list[Link]]]] = {PRETRAINING: {}}
        for arm in self.arms:
            for link in arm.links:
                stage = found.setdefault(self.stage(link), {})
                stage.setdefault(arm.name, (arm, []))[1].append(link)
        return {stage: list(arms.values()) for stage, arms in found.items() if arms}

    def stage(self, link: Link) -> str:
        is_start = any(other.before is link for other in self.found.links)
        if is_start or link.run.command == "pretrain":
            return PRETRAINING
        return self._titles[id(link)]

    @cached_property
    def _titles(self) -> dict[int, str]:
        tuned = [link for link in self.found.links if link.run.command == "finetune"]
        trials = {id(link): trial_of(link) for link in tuned}
        every = list(dict.fromkeys(trials.values()))
        names = dict(zip(every, scoreboard.distinct(every), strict=True))
        return {link: names[trial] for link, trial in trials.items()}

    def _scores(self, arms: Sequence[Arm]) -> dict[str, list[scoreboard.Score]]:
        return {
            arm.name: [score for link in arm.links for score in scores_of(link, self._wrong)]
            for arm in arms
        }

    @cached_property
    def _wrong(self) -> list[str]:
        return []

    @property
    def wrong(self) -> list[str]:
        """All that could not be read, a line each."""
        return list(dict.fromkeys([*self.found.wrong, *self._wrong]))


def of_runs(compared: Comparison) -> str:
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
    parts = [_contents(list(sections)), *_wrong(compared)]
    for name, inside in sections.items():
        parts += [f'<section id="{_anchor(name)}">', page.heading(name), *inside, "</section>"]
    return page.page(title, parts, wide=True, script=True)


def _contents(titles: Sequence[str]) -> str:
    links = "".join(f'<a href="#{_anchor(title)}">{escape(title)}</a>' for title in titles)
    return f'<nav aria-label="contents">{links}</nav>'


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _wrong(compared: Comparison) -> list[str]:
    told = compared.wrong
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
        name = Html(page.swatch(place) + escape(arm.name))
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
        for look in analyses.looks_of(link, compared._wrong)
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
        parts += [page.heading(stage, 3), page.group("charts", charts(members))]
    return parts


def charts(members: Sequence[tuple[int, str, Link]]) -> list[str]:
    """A chart for every quantity that any of the runs of a stage has; losses of each method by
    themselves: those of another are another quantity."""
    methods = list(dict.fromkeys(link.what for _, _, link in members))
    drawn = []
    for method in methods:
        own = [member for member in members if member[2].what == method]
        losses = dict.fromkeys(
            name for _, _, link in own for name in link.run.quantities if name in link.run.losses
        )
        unit = method if len(methods) > 1 else ""
        drawn += [_chart(loss, (loss, unit, "auto"), own) for loss in losses]
    rest = dict.fromkeys(
        name
        for _, _, link in members
        for name in link.run.quantities
        if name not in link.run.losses and (name != "replaced" or link.run.last.get(name))
    )
    return drawn + [_chart(name, CHARTS.get(name, (name, "", "auto")), members) for name in rest]


def _chart(column: str, told: tuple, members: Sequence[tuple[int, str, Link]]) -> str:
    title, unit, scale = told
    many = Counter(name for _, name, _ in members)
    curves = [
        Curve(
            _label(name, link, many[name]),
            link.run["step"],
            link.run[column],
            color,
            many[name] > 1,
        )
        for color, name, link in members
        if column in link.run.columns
    ]
    return chart(title, unit, curves, scale=scale)


def _label(name: str, link: Link, many: int) -> str:
    return f"{name}, seed {link.run.config.get('seed')}" if many > 1 else name


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
