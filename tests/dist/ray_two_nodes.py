"""Reads a sweep's folder for ray_two_nodes.sh: waits for a state, or reports what happened."""

import sys
import time
from collections import Counter
from pathlib import Path

from lnln_dist.errors import TransientError
from lnln_dist.files import held
from lnln_dist.sweep.records import NOTE, Note, newest_state

TIMEOUT_S = 600


def notes(folder: Path) -> dict[str, Note]:
    """What is noted of every trial."""
    paths = folder.glob(f"trials/*/{NOTE}")
    return {path.parent.name: Note.model_validate_json(path.read_bytes()) for path in paths}


def in_the_middle(run: Path) -> bool:
    """Whether a trial is being trained, with a checkpoint to go on from and epochs to go."""
    state = newest_state(run)
    if state is None or state["finished"]:
        return False
    try:
        with held(run, wait_s=0):
            return False
    except TransientError:
        return True


def reached(state: str, folder: Path) -> bool:
    """Whether a sweep is in a named state."""
    told = notes(folder)
    stretches = [stretch for note in told.values() for stretch in note.stretches]
    if state == "both-hosts":
        return len({stretch.host for stretch in stretches}) == 2
    if state == "both-in-the-middle":
        return sum(in_the_middle(run) for run in folder.glob("trials/*")) == 2
    if state == "lost":
        return any(note.losses for note in told.values())
    if state == "after-lost":
        return any(note.losses and note.stretches[-1:] for note in told.values())
    summary = folder / "summary.md"
    return summary.exists() and "\nFinished." in summary.read_text()


def report(folder: Path) -> None:
    """Checks that no trial that had a checkpoint began anew; says what happened."""
    told = notes(folder)
    hosts = Counter(stretch.host for note in told.values() for stretch in note.stretches)
    print("stretches per host:", dict(hosts))
    assert len(hosts) == 2
    lost = {name: note for name, note in told.items() if note.losses}
    assert lost
    for name, note in told.items():
        ends = [0, *(stretch.epoch for stretch in note.stretches)]
        starts = [stretch.start for stretch in note.stretches]
        assert all(a >= b for a, b in zip(starts, ends, strict=False)), f"{name} began anew"
    for name, note in lost.items():
        print(f"{name} was lost; its stretches: {[(s.start, s.epoch) for s in note.stretches]}")
    assert any(s.start > 0 for note in lost.values() for s in note.stretches), (
        "no lost trial went on from its checkpoint"
    )
    print(f"{len(told)} trials, none from the start where it had a checkpoint")


def main(state: str, folder: Path) -> int:
    """Waits for ``state`` or prints the report."""
    if state == "report":
        report(folder)
        return 0
    end = time.monotonic() + TIMEOUT_S
    while not reached(state, folder):
        if time.monotonic() > end:
            return 1
        time.sleep(0.02)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
