"""Make a table of a paper again, at a scale that fits, beside the numbers that were published.

    sgmim reproduce table6 [--scale tiny|small|full] [--seeds N] [--folder reproduction] [--dry_run]
    sgmim reproduce table1 --scale full --data.imagenet ... --data.depth ... --data.kitti ...

Without a name it lists the tables. What is done stays, for other tables, too: the same command goes
on where it was stopped. FOLDER/TABLE_SCALE.html shows the table with all that differs from the
paper; the same is there as .md and as .json.
"""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from sgmim import costs
from sgmim.chains import SMALL, Runner
from sgmim.errors import FileError
from sgmim.files import write_text
from sgmim.options import Parser
from sgmim.reports import paper_table
from sgmim.reproduction import Reproduction, cost
from sgmim.tables import Scale, read_table, tables

COSTS = "cost"  # the step that columns of time and memory say they are of


def main(arguments: Sequence[str]) -> None:
    if not arguments:
        print("\n".join(f"{name:<14} {read_table(name).title}" for name in tables()))
        return
    parser = Parser("reproduce", __doc__.partition("\n")[0])
    parser.add_argument("table", type=str, help="'sgmim reproduce' alone lists them")
    parser.add_argument("--scale", type=Scale, default="tiny", help="how much of the paper's work")
    parser.add_argument("--folder", type=Path, default=Path("reproduction"), help="for all of it")
    parser.add_argument("--seeds", type=int | None, default=None, help="by default the scale's")
    parser.add_argument(
        "--data", type=dict[str, Path], default={}, help="your folders, as --dry_run asks for them"
    )
    parser.add_argument(
        "--weights", type=dict[str, str], default={},
        help="a row's checkpoint, in the place of its pre-training: --weights.mae FILE",
    )  # fmt: skip
    parser.add_argument("--parallel", type=int, default=0, help="chains at once; 0 is one a core")
    parser.add_argument(
        "--launcher", type=str, default="",
        help="what stands before a command's words: 'torchrun --nproc_per_node 8 -m -- sgmim'",
    )  # fmt: skip
    parser.add_argument(
        "--steps", type=int | None, default=None, help="of each run, for a quick look at the flow"
    )
    parser.add_argument("--dry_run", action="store_true", help="tell the plan, and stop")
    config = parser.read(arguments)
    table = read_table(config.table)
    asked = Reproduction(
        table, config.scale, config.folder, dict(config.data), config.seeds,
        dict(config.weights), config.steps,
    )  # fmt: skip
    if config.dry_run or config.scale == "full":
        print(plan(asked))
    if config.dry_run:
        return
    check(asked)
    alone = config.scale != "tiny"  # a GPU is one chain's
    runner = Runner(
        config.parallel or int(alone), shlex.split(config.launcher), {} if alone else SMALL
    )
    for chain in runner.run(asked.chains()):
        print(f"done: {chain.name}", flush=True)
        write(asked, {})
    made = write(asked, measured(asked))
    print(f"\n{made}\n{path(asked, 'html')} shows it")


def plan(asked: Reproduction) -> str:
    """What would be run, what of it is done, what it costs, and which data is missing."""
    lines = [f"{asked.table.title}, {asked.scale} ({asked.count} seeds)"]
    if asked.setting.cost:
        lines.append(f"cost     {asked.setting.cost}")
    lines += [f"differs  {each}" for each in asked.setting.differs]
    for name, row in asked.rows.items():
        chain = asked.chain(name, 0)
        lines += ["", f"{name}: {row.label}"]
        for done, words in chain.commands.items():
            said = "done" if done.is_file() else cost(words)
            lines.append(f"  sgmim {shlex.join(words)}" + (f"\n    # {said}" if said else ""))
    lines += [
        "",
        *(f"not made: {asked.table.rows[name].label}: {why}" for name, why in _not(asked)),
    ]
    lines += [f"missing: --data.{name} FOLDER: {what}" for name, what in asked.missing().items()]
    return "\n".join(lines)


def check(asked: Reproduction) -> None:
    """Raise FileError where data is missing, all of it at once."""
    if missing := asked.missing():
        told = "; ".join(f"--data.{name} FOLDER, {what}" for name, what in missing.items())
        raise FileError(f"{asked.table.name} at scale {asked.scale} needs {told}")


def measured(asked: Reproduction) -> dict[str, dict[str, float]]:
    """Time and memory of every row, over those of the first, where the table has such columns;
    measured once, when nothing else is running."""
    if not any(column.of == COSTS for column in asked.table.columns.values()):
        return {}
    file = path(asked, "costs.json")
    if not file.is_file():
        words = {
            name: [word for word in commands[0] if not word.startswith("--run=")][1:]
            for name in asked.rows
            for commands in [list(asked.chain(name, 0).commands.values())]
        }
        device = "cpu" if asked.scale == "tiny" else "auto"  # where its runs are
        found = {name: asdict(each) for name, each in costs.measure(words, device).items()}
        write_text(file, json.dumps(found, indent=2) + "\n")
    found = json.loads(file.read_text(encoding="utf-8"))
    first = next(iter(found.values()))
    return {
        name: {
            "time": each["milliseconds"] / first["milliseconds"],
            "memory": each["bytes"] / first["bytes"],
        }
        for name, each in found.items()
    }


def write(asked: Reproduction, measured: dict[str, dict[str, float]]) -> str:
    """Write what there is so far: JSON, Markdown, a page; returns the table for a terminal."""
    made = paper_table.gathered(asked, measured)
    write_text(path(asked, "json"), json.dumps(made.record(), indent=2) + "\n")
    write_text(path(asked, "md"), made.markdown())
    write_text(path(asked, "html"), made.page())
    return made.told()


def path(asked: Reproduction, kind: str) -> Path:
    return asked.folder / f"{asked.table.name}_{asked.scale}.{kind}"


def _not(asked: Reproduction) -> list[tuple[str, str]]:
    return [
        (name, row.without[asked.scale])
        for name, row in asked.table.rows.items()
        if asked.scale in row.without
    ]
