"""Work in a process of its own, started from what is imported here, which may die of it."""

import os
import signal
import sys
import traceback
from pathlib import Path
from time import monotonic, sleep

import sgmim.commands.pretrain  # noqa: F401  so that no child has to

HANGS = 60  # seconds after which a process counts as hanging


def start(work, told: Path) -> int:
    """Do some work in a child; its number is returned, and what it says goes to a file."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        file = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout = os.fdopen(1, "w", buffering=1)  # not pytest's
        sys.stderr = os.fdopen(2, "w", buffering=1)
        code = work() or 0
    except KeyboardInterrupt:  # as Python says it
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def end(pid: int, seconds: float = HANGS) -> int | None:
    """Wait for a child: its exit code, negative after a signal; None where it hung."""
    deadline = monotonic() + seconds
    while monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def done(work, told: Path, seconds: float = HANGS) -> int | None:
    """Do some work in a child and wait for it."""
    return end(start(work, told), seconds)


def workers_of(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
