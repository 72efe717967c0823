"""Each process of a run feels the pulse of the next, so that none waits for one that is gone.

A process that is killed closes its connections, but not every backend notices, and a machine that
loses power closes nothing. So each counts up a number of its own where all have met, once a
second, and watches the number of the next.
"""

import os
import socket
import sys
from datetime import timedelta
from threading import Event, Thread
from time import monotonic, sleep

from torch import distributed
from torch.distributed import PrefixStore, Store, TCPStore

BEAT = 1.0  # seconds
PATIENCE = 25.0  # seconds without a beat, after which a process counts as lost
SUSPICION = 3.5  # the same, once a connection has broken
GRACE = 25.0  # seconds for the main thread to end the process by itself


class LostError(OSError):
    """Another process of the run is gone. The same command goes on from the newest checkpoint."""

    exit_code = 75  # a passing failure, as sysexits.h has it: as when the run itself is preempted


class Pulse:
    """The life signs of all processes, from when they have joined."""

    def __init__(self):
        self.rank, self.world = distributed.get_rank(), distributed.get_world_size()
        self.store = self._meet()
        self.store.set(f"host {self.rank}", socket.gethostname())
        self.ended = Event()
        self.thread = Thread(target=self._watch, daemon=True)
        self.thread.start()

    def leave(self, failed: str | None = None) -> None:
        """Stop counting: in good order, or because this process cannot go on."""
        self.ended.set()
        self.thread.join(PATIENCE)
        try:
            if failed is not None:
                self._tell(f"process {self._named(self.rank)} ended: {failed}")
            self.store.set(f"left {self.rank}", "")
            self._see_off(PATIENCE if failed is None else 2 * SUSPICION)
        except RuntimeError:  # where all have met is gone itself
            pass

    def verdict(self) -> str | None:
        """After a connection has broken: who is gone, as far as can be found out. This waits."""
        end = monotonic() + SUSPICION
        try:
            before = self._counts()
            while monotonic() < end:
                if self.store.check(["lost"]):
                    return self._told()
                self.ended.wait(BEAT)
            after = self._counts()
            still = [rank for rank in range(self.world) if after[rank] == before[rank]]
            gone = [rank for rank in still if not self.store.check([f"left {rank}"])]
            return self._lost(gone) if gone else None
        except RuntimeError:
            return self._unreachable()

    def _meet(self) -> Store:
        """A connection of its own to where all have met, with names that no other run uses."""
        name = [os.urandom(8).hex()]
        distributed.broadcast_object_list(name)
        place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        patience = timedelta(seconds=PATIENCE)
        store = TCPStore(*place, is_master=False, timeout=patience, wait_for_workers=False)
        return PrefixStore(f"pulse {name[0]}", store)

    def _watch(self) -> None:
        """Count, and look at the next process, until one is lost."""
        following = (self.rank + 1) % self.world
        seen, since, found = 0, monotonic(), None
        while not self.ended.wait(BEAT):
            try:
                self.store.add(f"beats {self.rank}", 1)
                count = self.store.add(f"beats {following}", 0)
                if count != seen or self.store.check([f"left {following}"]):
                    seen, since = count, monotonic()
                if monotonic() > since + PATIENCE:
                    found = self._lost([following])
                elif self.store.check(["lost"]):
                    found = self._told()
            except RuntimeError:
                found = self._unreachable()
            if found and not self.ended.wait(GRACE):
                print(f"sgmim: {found}", file=sys.stderr, flush=True)
                os._exit(LostError.exit_code)  # the main thread hears nobody

    def _see_off(self, seconds: float) -> None:
        """Who keeps the place where all have met leaves after all others that live."""
        end, others = monotonic() + seconds, set(range(1, self.world))
        while self.rank == 0 and others and monotonic() < end:
            before = self._counts()
            for _ in range(round(SUSPICION / BEAT * 10)):
                others = {rank for rank in others if not self.store.check([f"left {rank}"])}
                if not others:
                    return
                sleep(BEAT / 10)
            after = self._counts()
            others = {rank for rank in others if after[rank] != before[rank]}

    def _counts(self) -> list[int]:
        return [self.store.add(f"beats {rank}", 0) for rank in range(self.world)]

    def _lost(self, ranks: list[int]) -> str:
        names = ", ".join(map(self._named, ranks[:8]))
        more = f" and {len(ranks) - 8} more" if len(ranks) > 8 else ""
        return self._tell(f"no life sign of process {names}{more}")

    def _tell(self, what: str) -> str:
        """Let all know, so that all say the same."""
        if not self.store.check(["lost"]):
            self.store.set("lost", what)
        return self._told()

    def _told(self) -> str:
        what = self.store.get("lost").decode()
        return f"{what}. The same command goes on from the newest checkpoint"

    def _named(self, rank: int) -> str:
        known = self.store.check([f"host {rank}"])
        host = self.store.get(f"host {rank}").decode() if known else "an unknown host"
        return f"{rank} of {self.world} on {host}"

    def _unreachable(self) -> str:
        who = "torchrun" if "TORCHELASTIC_RUN_ID" in os.environ else "process 0"
        address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        return (
            f"{who} is gone: nobody answers at {address} any more. "
            "The same command goes on from the newest checkpoint"
        )
