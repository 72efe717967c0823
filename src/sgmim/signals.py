"""Being asked to stop: SIGTERM and SIGUSR1 from a scheduler, SIGINT from the keyboard.

A run that trains notes the first signal, ends its step, saves and stops; a second signal ends the
process at once. Whatever else runs is ended by the first, as by Ctrl-C.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from sgmim.errors import Preempted

PREEMPTING = (signal.SIGTERM, signal.SIGUSR1)
SIGNALS = (*PREEMPTING, signal.SIGINT)
KILLED = 128  # shells add the number of the signal


class Listener:
    """Which signal a run was sent, if any."""

    def __init__(self):
        self.first: signal.Signals | None = None
        self.leaving = False  # everything is saved

    def __bool__(self) -> bool:
        return self.first is not None

    def hear(self, number: int) -> None:
        """Note a signal; the second one ends the process, wherever its other threads are."""
        if self.leaving:
            return
        if self.first is not None:
            os._exit(KILLED + number)
        self.first = signal.Signals(number)

    def stop(self, after: str) -> NoReturn:
        """Raise what the command ends with: Preempted, or KeyboardInterrupt after Ctrl-C.

        From here on schedulers are not listened to: torchrun signals whoever is not as quick.
        """
        self.leaving = True
        name = self.first.name if self.first else "another process"
        message = f"stopped by {name} {after}; the same command goes on from there"
        raise KeyboardInterrupt(message) if self.first == signal.SIGINT else Preempted(message)


@contextmanager
def listening() -> Iterator[Listener]:
    """In here signals are only noted. In another thread than the main one there are none.

    They are read by a thread, because Python's own handlers have to wait until torch returns from
    what may be a long step, and by then two signals have become one.
    """
    listener = Listener()
    if threading.current_thread() is not threading.main_thread():
        yield listener
        return
    ear, mouth = os.pipe()
    os.set_blocking(mouth, False)
    thread = threading.Thread(target=_hear, args=(ear, listener), daemon=True)
    thread.start()
    before = signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
    try:
        with _handled(SIGNALS, lambda number, frame: None):
            yield listener
    finally:
        for number in PREEMPTING if listener.leaving else ():
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(before)
        os.write(mouth, b"\0")  # no signal has this number
        thread.join()
        os.close(ear)
        os.close(mouth)


@contextmanager
def ending() -> Iterator[None]:
    """In here the signals of schedulers raise Preempted, as Ctrl-C raises KeyboardInterrupt."""

    def end(number: int, frame: object) -> NoReturn:
        raise Preempted(f"stopped by {signal.Signals(number).name}; the same command starts again")

    is_main = threading.current_thread() is threading.main_thread()
    with _handled(PREEMPTING if is_main else (), end):
        yield


@contextmanager
def deaf() -> Iterator[None]:
    """Processes that are started in here never hear these signals, which are for the run alone.

    Launchers and terminals send them to a whole group of processes.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _handled(
    numbers: tuple[signal.Signals, ...], handler: Callable[[int, object], object]
) -> Iterator[None]:
    """With a handler for some signals, but for those that this process was started to ignore."""
    heard = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, other in before.items():
            signal.signal(number, other)


def _hear(ear: int, listener: Listener) -> None:
    while number := os.read(ear, 1)[0]:
        if number in SIGNALS:
            listener.hear(number)
