"""Reads a sweep's folder for ray_two_nodes.sh: waits for a state, or reports what happened."""

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

TIMEOUT_S = 600


def events(folder: Path) -> list[dict[str, Any]]:
    """The ledger's lines."""
    path = folder / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def running(folder: Path) -> list[dict[str, Any]]:
    """Start events of the newest session's stretches that have not ended."""
    open_: dict[str, dict[str, Any]] = {}
    for event in events(folder):
        if event["event"] == "session":
            open_ = {}
        elif event["event"] == "start":
            open_[event["trial"]] = event
        elif event["event"] in ("end", "failed"):
            open_.pop(event["trial"], None)
    return list(open_.values())


def epochs(folder: Path, trial: str) -> int:
    """Epochs whose checkpoint a trial has."""
    states = sorted((folder / "trials" / trial / "checkpoints").glob("step-*/state.json"))
    if not states:
        return 0
    step = json.loads(states[-1].read_text())["state"]["step"]
    lines = (folder / "trials" / trial / "log.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return sum(row["kind"] == "score" and row["step"] <= step for row in rows)


def reached(state: str, folder: Path) -> bool:
    """Whether a sweep is in a named state."""
    told = events(folder)
    if state == "both-hosts":
        return len({e["host"] for e in told if e["event"] == "end"}) == 2
    if state == "both-in-the-middle":
        now = running(folder)
        return len(now) == 2 and all(0 < epochs(folder, e["trial"]) < e["until"] for e in now)
    if state == "lost":
        return any(e["event"] == "lost" for e in told)
    if state == "after-lost":
        names = [e["event"] for e in told]
        return names[names.index("lost") :].count("end") >= 1
    summary = folder / "summary.md"
    return summary.exists() and "\nFinished." in summary.read_text()


def report(folder: Path) -> None:
    """Checks that no trial that had a checkpoint began anew; says what happened."""
    told = events(folder)
    hosts = Counter(e["host"] for e in told if e["event"] == "end")
    print("stretches per host:", dict(hosts))
    assert len(hosts) == 2
    lost = [e["trial"] for e in told if e["event"] == "lost"]
    assert lost
    last: dict[str, int] = {}
    for event in told:
        if event["event"] != "end":
            continue
        trial = event["trial"]
        assert event["start"] >= last.get(trial, 0), f"{trial} began anew"
        if trial in lost:
            print(f"{trial} was lost; ended epoch {event['epoch']} from epoch {event['start']}")
        last[trial] = event["epoch"]
    restarted = [e for e in told if e["event"] == "end" and e["trial"] in lost]
    assert any(e["start"] > 0 for e in restarted), "no lost trial went on from its checkpoint"
    sessions = sum(e["event"] == "session" for e in told)
    print(f"{sessions} sessions, {len(last)} trials, none from the start where it had a checkpoint")
    assert sessions == 2


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
