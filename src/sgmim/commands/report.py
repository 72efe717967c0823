"""Make the page of a run, or of several to compare, from what is in their folders.

    sgmim report RUN [NAME=RUN ...] [--baseline NAME] [--out FILE]

The page of one run is RUN/report.html, as the run itself writes it; of several, comparison.html.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from sgmim.errors import FileError
from sgmim.files import write_text
from sgmim.options import Parser
from sgmim.reports import comparison, lineage, report
from sgmim.reports.history import History

COMPARISON = Path("comparison.html")


def main(arguments: Sequence[str]) -> None:
    parser = Parser("report", "Make the page of a run, or of several to compare.")
    parser.add_argument(
        "runs", type=str, nargs="+",
        help="folders of runs, also of killed ones; NAME=RUN says what its arm is called",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path | None, default=None,
        help="the file; by default RUN/report.html, or comparison.html of several",
    )  # fmt: skip
    parser.add_argument(
        "--baseline", type=str | None, default=None,
        help="the arm that others are told against; by default the one without pre-training, or "
        "the first",
    )  # fmt: skip
    config = parser.read(arguments)
    if len(config.runs) == 1 and config.baseline is None:
        folder = lineage.named(config.runs[0])[1]
        page, out = report.of_run(opened(folder)), folder / report.REPORT
    else:
        page, out = compared(config.runs, config.baseline), COMPARISON
    write_text(config.out or out, page)
    print(config.out or out)


def opened(folder: Path) -> History:
    """What the run in a folder has told of itself.

    Raises:
        FileError: there is no run.
    """
    if not (folder / "log.jsonl").is_file() and not (folder / "config.yaml").is_file():
        raise FileError(f"{folder} holds no run: config.yaml and log.jsonl are expected")
    return History(folder).update()


def compared(words: Sequence[str], baseline: str | None) -> str:
    """The page of several runs; what is wrong with their folders is said in a line each.

    Raises:
        FileError: none of the folders holds a run.
        ConfigurationError: there is no arm of the baseline's name.
    """
    found = lineage.find(words)
    if not found.links:
        raise FileError(f"there is no run to compare: {'; '.join(found.wrong)}")
    comparing = comparison.Comparison(found, baseline)
    page = comparison.of_runs(comparing)
    for line in comparing.wrong:
        print(line, file=sys.stderr)
    return page
