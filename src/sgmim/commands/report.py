"""Make the page of a run, or of several to compare, from what is in their folders.

    sgmim report RUN [RUN ...] [--out FILE]

The page of one run is RUN/report.html, as the run itself writes it; of several, comparison.html.
"""

from collections.abc import Sequence
from pathlib import Path

from sgmim.errors import FileError
from sgmim.files import write_text
from sgmim.options import Parser
from sgmim.reports import comparison, report
from sgmim.reports.history import History


def main(arguments: Sequence[str]) -> None:
    parser = Parser("report", "Make the page of a run, or of several to compare.")
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs, also of killed ones")
    parser.add_argument(
        "--out", type=Path | None, default=None, help="the file; by default RUN/report.html"
    )
    config = parser.read(arguments)
    runs = [opened(folder) for folder in config.runs]
    one = len(runs) == 1
    out = config.out or (runs[0].folder / report.REPORT if one else Path("comparison.html"))
    write_text(out, report.of_run(runs[0]) if one else comparison.of_runs(runs))
    print(out)


def opened(folder: Path) -> History:
    """What the run in a folder has told of itself.

    Raises:
        FileError: there is no run.
    """
    if not (folder / "log.jsonl").is_file() and not (folder / "config.yaml").is_file():
        raise FileError(f"{folder} holds no run: config.yaml and log.jsonl are expected")
    return History(folder).update()
