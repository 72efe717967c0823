"""Look at the machine, and at a run or what one would need, and say what to change.

    sgmim doctor                                     versions, devices, processor, limits
    sgmim doctor RUN                                 and that run: disk, data, memory, checkpoints
    sgmim doctor --recipe NAME --data.images FOLDER  and a run with such options
    sgmim doctor --data.images FOLDER                and how fast these images are read
    sgmim doctor --replay FOLDER                     what a run was stopped by, once more

Each line is "ok", "look" or "bad"; one that is bad makes the exit code 2. --json FILE writes them
down. All options of 'sgmim pretrain' and 'sgmim finetune' are understood.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from sgmim.doctor.fitness import examined
from sgmim.doctor.machine import Finding, machine
from sgmim.doctor.patient import patient
from sgmim.doctor.replay import replay
from sgmim.errors import ConfigurationError
from sgmim.files import write_text


def main(arguments: Sequence[str]) -> None:
    own, rest = _split(arguments)
    if own.replay:
        for line in replay(own.replay):
            print(line, flush=True)
        return
    run = patient(rest)
    findings = []
    for finding in chain(machine(), examined(run) if run else ()):
        findings.append(finding)
        print(told(finding), flush=True)
    if own.json:
        write_text(own.json, json.dumps([asdict(each) for each in findings], indent=2) + "\n")
    if bad := [finding.what for finding in findings if finding.level == "bad"]:
        raise ConfigurationError(f"{len(bad)} of {len(findings)} are bad: {', '.join(bad)}")


def told(finding: Finding) -> str:
    """A finding in a line, and in another what to change."""
    line = f"{finding.level:<5}{finding.what:<16} {finding.found}"
    return f"{line}\n{'':<22}-> {finding.advice}" if finding.advice else line


def _split(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Its own options, and those of a run."""
    parser = argparse.ArgumentParser(
        "sgmim doctor", description=__doc__, exit_on_error=False, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter, usage="sgmim doctor [RUN] [options]",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings there")
    parser.add_argument("--replay", type=Path, metavar="FOLDER", help="a capture of a stopped run")
    try:
        return parser.parse_known_args(list(arguments))
    except argparse.ArgumentError as error:
        raise ConfigurationError(str(error)) from error
