"""Ranks meet at the launcher's address before there is a process group.

A group with a rank missing, or of ranks that were launched differently, does not come up or ends
within its library, and names nobody.
"""

import contextlib
import itertools
import json
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Protocol

from torch import distributed

from lnln_dist.errors import TrainingError
from lnln_dist.runtime.launcher import Environment

NEEDED = ("RANK", "MASTER_ADDR", "MASTER_PORT")
LINGER = timedelta(seconds=5)  # of the rank that keeps the meeting place, for the others to read
SOON_S, SELDOM_S = 0.01, 0.5  # between two looks at who has come: at first, and later on
TOLD_S = 20.0  # what a rank that is told to leave still waits for those who are on their way
SHOWN = 8  # missing ranks that a message names
_meetings = itertools.count()  # of this process; all ranks count alike


class Peers(Protocol):
    """The processes of a launch as one of them sees them: a ``Runtime``, or a meeting before it."""

    rank: int
    world: int

    def gather_objects(self, value: object) -> list[Any]:
        """One value per rank, in rank order, on every rank."""
        ...


class Meeting:
    """The ranks of a launch by way of a key-value store at the launcher's address.

    Args:
        world: number of ranks.
        timeout: how long to wait for the last of them.
        environment: variables of this process, ``NEEDED`` among them.
        told: whether this rank was told to leave. If all were, they meet and leave together; if
            another one has failed, the launcher tells the rest, which then must not wait long.

    Raises:
        TrainingError: the address is not to be had.
    """

    def __init__(
        self, world: int, timeout: timedelta, environment: Environment, told: Callable[[], bool]
    ) -> None:
        self.rank, self.world = int(environment["RANK"]), world
        self._timeout, self._told = timeout, told
        self._place = f"{environment['MASTER_ADDR']}:{environment['MASTER_PORT']}"
        self._rounds = itertools.count()
        # As torch does: the agent of torchrun and accelerate launch may keep the store, else rank 0
        # does, and the process group that comes after shares it.
        of_agent = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        self._keeper = self.rank == 0 and not of_agent
        store = self._reach(
            host_name=environment["MASTER_ADDR"],
            port=int(environment["MASTER_PORT"]),
            is_master=self._keeper,
            timeout=timeout,
            wait_for_workers=False,
            multi_tenant=not of_agent,
        )
        self._store = distributed.PrefixStore(  # type: ignore[attr-defined]
            f"lnln-meeting-{next(_meetings)}", store
        )

    def _reach(self, **how: Any) -> Any:
        """The store; in a thread, since torch waits for ever for an answer of another service."""
        came: queue.Queue[Any] = queue.Queue()

        def reach() -> None:
            try:
                came.put(distributed.TCPStore(**how))  # type: ignore[attr-defined]
            except RuntimeError as err:
                came.put(err)

        threading.Thread(target=reach, name="meeting", daemon=True).start()
        end = time.monotonic() + (self._timeout + LINGER).total_seconds()
        while True:
            if self._told():
                end = min(end, time.monotonic() + TOLD_S)
            try:
                store = came.get(timeout=SELDOM_S)
            except queue.Empty:
                if time.monotonic() > end:
                    raise self._unreachable(RuntimeError("something else answers there")) from None
                continue
            if isinstance(store, RuntimeError):
                raise self._unreachable(store) from store
            return store

    def roll_call(self) -> None:
        """Waits for all ranks.

        Raises:
            TrainingError: some rank does not come in time.
        """
        self._wait("here", self._timeout)

    def gather_objects(self, value: object) -> list[Any]:
        """One value per rank, in rank order, on every rank; JSON values only."""
        return [
            json.loads(held) for held in self._wait(f"{next(self._rounds)}", self._timeout, value)
        ]

    def close(self) -> None:
        """Parts; the rank that keeps the store goes last."""
        with contextlib.suppress(TrainingError, RuntimeError):
            if self._keeper:
                self._wait("left", min(LINGER, self._timeout))
            else:
                self._store.set(f"left/{self.rank}", "")

    def _wait(self, name: str, timeout: timedelta, value: object = None) -> list[bytes]:
        """Leaves a value and takes those of all ranks."""
        keys = [f"{name}/{rank}" for rank in range(self.world)]
        begin, pause = time.monotonic(), SOON_S
        end = begin + timeout.total_seconds()
        try:
            self._store.set(keys[self.rank], json.dumps(value))
            # Asked again and again: the store's own waiting fills the screen when it is in vain.
            while not self._store.check(keys):
                now = time.monotonic()
                if self._told():
                    end = min(end, now + TOLD_S)
                if now > end:
                    missing = [n for n, key in enumerate(keys) if not self._store.check([key])]
                    if missing:
                        raise self._missing(missing, now - begin)
                time.sleep(pause)
                pause = min(2 * pause, SELDOM_S)
            return [self._store.get(key) for key in keys]
        except RuntimeError as err:
            raise self._unreachable(err) from err

    def _missing(self, ranks: list[int], waited_s: float) -> TrainingError:
        shown = ", ".join(map(str, ranks[:SHOWN])) + (", ..." if len(ranks) > SHOWN else "")
        return TrainingError(
            f"rank {self.rank} on {socket.gethostname()} waited {waited_s:.0f} s at "
            f"{self._place} for rank{'s' if len(ranks) > 1 else ''} {shown} of {self.world}: see "
            "what they say, start all of them within that time (train.timeout_s) and with this "
            "address and number of processes, and open the port between the hosts"
        )

    def _unreachable(self, err: RuntimeError) -> TrainingError:
        first = (str(err).strip().splitlines() or [type(err).__name__])[0][:200]
        who = f"rank {self.rank} on {socket.gethostname()}"
        if self._keeper:
            return TrainingError(
                f"{who} cannot listen on {self._place} ({first}): choose a free port "
                "(--main_process_port, MASTER_PORT) and this host's address (MASTER_ADDR)"
            )
        return TrainingError(
            f"{who} does not reach the main host at {self._place}, where rank 0 should be "
            f"({first}): see what rank 0 says, check the address (MASTER_ADDR, MASTER_PORT) and "
            "open the port between the hosts"
        )


@contextlib.contextmanager
def meeting(
    world: int,
    timeout: timedelta,
    environment: Environment = os.environ,
    *,
    told: Callable[[], bool] = lambda: False,
) -> Iterator[Meeting | None]:
    """A meeting of all ranks for as long as the block; keep it until the process group is made.

    None for one process, where a group is there already, and where the launcher gives no address.

    Args:
        world: number of ranks.
        timeout: how long to wait for the last of them.
        environment: variables of this process.
        told: whether this rank was told to leave.

    Raises:
        TrainingError: some rank does not come, or the address is not to be had.
    """
    addressed = all(environment.get(name) for name in NEEDED)
    if world == 1 or distributed.is_initialized() or not addressed:
        yield None
        return
    held = Meeting(world, timeout, environment, told)
    try:
        held.roll_call()
        yield held
    finally:
        held.close()
