"""Commands of sgmim that follow each other, several such chains at once, each in its own process.

What is done stays: a command whose result is there is not run again, and a run that was stopped
goes on. So whoever asks for the same chains once more gets the rest of them.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sgmim.errors import ConfigurationError, DataError
from sgmim.files import write_text

COMMANDS = "commands.json"  # what a folder's results were made by
LAST = 3  # lines of a failed command's log that are shown
# for networks of minutes on a CPU, where timm's fused attention is slower than its own
SMALL = {"TIMM_FUSED_ATTN": "0", "CUDA_VISIBLE_DEVICES": ""}


@dataclass(frozen=True)
class Chain:
    """Some commands, each of which may need what those before it have left.

    name: for people.
    folder: what is theirs alone: their log, and a note of what they were.
    commands: the words after 'sgmim', by the file that is there once a command is done.
    """

    name: str
    folder: Path
    commands: Mapping[Path, Sequence[str]]

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def is_done(self) -> bool:
        return all(path.is_file() for path in self.commands)

    def note(self) -> None:
        """Write down what its results are made by.

        Raises:
            ConfigurationError: there are results, and they were made by other commands.
        """
        path = self.folder / COMMANDS
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        asked = {
            str(done.relative_to(self.folder)): shlex.join(words)
            for done, words in self.commands.items()
        }
        for result in before.keys() & asked.keys():
            if before[result] != asked[result]:
                raise ConfigurationError(
                    f"{self.folder / result} was made by 'sgmim {before[result]}', and now 'sgmim "
                    f"{asked[result]}' is asked for: give another --folder, or remove that one"
                )
        write_text(path, json.dumps(before | asked, indent=2) + "\n")


@dataclass
class Runner:
    """Runs chains, so many at once.

    parallel: chains at once; 0 is one for each core, at most 4.
    launcher: what stands before the words of a command; this Python's sgmim if there is nothing.
    environment: variables of the commands, beyond this process's own.
    """

    parallel: int = 0
    launcher: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    running: set[subprocess.Popen] = field(default_factory=set)

    def run(self, chains: Sequence[Chain]) -> Iterator[Chain]:
        """Run chains, the first first, and yield each as it is done.

        Raises:
            ConfigurationError: a folder holds what other commands have made.
            DataError: some chains failed, once all others are done.
        """
        for chain in chains:
            chain.note()
        cores = os.cpu_count() or 1
        workers = max(1, self.parallel or min(cores, len(chains), 4))
        failed: list[str] = []
        with ThreadPoolExecutor(workers) as pool, self._stopping(pool):
            jobs = {
                pool.submit(self._follow, chain, max(1, cores // workers)): chain
                for chain in chains
            }
            for job in as_completed(jobs):
                try:
                    job.result()
                except DataError as error:
                    failed.append(str(error))
                else:
                    yield jobs[job]
        if failed:
            raise DataError("\n".join(failed))

    def _follow(self, chain: Chain, threads: int) -> None:
        for done, words in chain.commands.items():
            if not done.is_file():
                self.command(words, chain.log, threads)

    def command(self, words: Sequence[str], log: Path, threads: int) -> None:
        """Run one command, what it says going to a log; raises DataError where it fails."""
        log.parent.mkdir(parents=True, exist_ok=True)
        print(f"sgmim {shlex.join(words)}", flush=True)
        told = {"OMP_NUM_THREADS": str(threads), **self.environment}
        launcher = self.launcher or (sys.executable, "-m", "sgmim")
        with open(log, "a", encoding="utf-8") as file:
            process = subprocess.Popen(
                [*launcher, *words], stdout=file, stderr=file, env=os.environ | told
            )
            self.running.add(process)
            code = process.wait()
            self.running.discard(process)
        if code:
            end = "\n".join(log.read_text(encoding="utf-8").splitlines()[-LAST:])
            raise DataError(f"'sgmim {shlex.join(words)}' failed, see {log}:\n{end}")

    @contextmanager
    def _stopping(self, pool: ThreadPoolExecutor) -> Iterator[None]:
        """Where this process is stopped so are its commands, which save and go on another time."""
        try:
            yield
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in tuple(self.running):
                process.terminate()
            raise
