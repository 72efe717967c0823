"""Several runs as arms: what they were scored, and which run is for what."""

from dataclasses import dataclass, field
from functools import cached_property

from sgmim.errors import unknown
from sgmim.reports.arms import NOTHING, Arm, arms_of
from sgmim.reports.boards import Board, boards, distinct
from sgmim.reports.lineage import Found, Link
from sgmim.reports.trials import Score, scores_of, trial_of

PRETRAINING = "pre-training"


@dataclass
class Comparison:
    """Arms, the stages of their chains, and what is known of them."""

    found: Found
    baseline: str | None = None

    wrong: list[str] = field(default_factory=list)  # what could not be read, a line each

    def __post_init__(self):
        self.given = arms_of(self.found.links)
        self.wrong += self.found.wrong
        self.scores = {arm.name: self._scores_of(arm) for arm in self.given}

    def _scores_of(self, arm: Arm) -> list[Score]:
        """Of its encoders and of what came of them; not of what a run began from, if that was
        fine-tuned itself."""
        links = [k for k in arm.links if k in arm.tips or k.run.command == "pretrain"]
        return [score for link in links for score in scores_of(link, self.wrong)]

    @cached_property
    def arms(self) -> list[Arm]:
        """The best first, by the headline of the trial that most were scored in."""
        first = next(iter(boards(self.scores, self.base)), None)
        ranks = list(first.column(first.metrics[0])) if first else []
        return sorted(
            self.given, key=lambda arm: ranks.index(arm.name) if arm.name in ranks else len(ranks)
        )

    @cached_property
    def base(self) -> str:
        """The arm that others are told against: the one asked for, no pre-training, or the first
        given that was scored.

        Raises:
            ConfigurationError: there is no such arm.
        """
        names = [arm.name for arm in self.given]
        if self.baseline is not None and self.baseline not in names:
            raise unknown("arm", self.baseline, names)
        scored = [name for name, scores in self.scores.items() if scores]
        return self.baseline or (NOTHING if NOTHING in names else (scored or names)[0])

    @cached_property
    def boards(self) -> list[Board]:
        scores = {arm.name: self.scores[arm.name] for arm in self.arms}
        return boards(scores, self.base)

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
        names = dict(zip(every, distinct(every), strict=True))
        return {link: names[trial] for link, trial in trials.items()}
