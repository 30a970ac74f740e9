"""``lnln-dist doctor``, also across hosts as ``accelerate launch -m lnln_dist.doctor``."""

import dataclasses
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lnln_dist import arguments, console, settings
from lnln_dist.config import Config

DATA = re.compile(r"--data(=|$)")
EXIT_FOUND = 1  # something is wrong that a run would stumble over


def make_parser(argv: Sequence[str] = ()) -> arguments.Parser:
    """Options of the doctor."""
    parser = arguments.Parser(
        prog="lnln-dist doctor",
        description="Check machine, launch, data and memory before a run is started or queued; "
        "also run as `accelerate launch -m lnln_dist.doctor`, which compares the hosts. --data DIR "
        "is short for --data.path DIR.",
    )
    parser.add_argument("--shared", metavar="DIR", help="folder that all hosts should see")
    parser.add_argument("--output", metavar="DIR", help="where runs are written (default: here)")
    parser.add_argument("--gpus", type=int, help="processes of the planned run")
    parser.add_argument("--card", type=float, metavar="GIB", help="memory of the planned GPUs")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of an error instead of one line"
    )
    arguments.add_config_arguments(parser, argv)
    return parser


def command(argv: Sequence[str]) -> int:
    """Checks, prints on rank 0; exit code 1 on every rank if something would fail."""
    # A parser cannot have both an option --data and the options of the section data.
    long = [f"--data.path{a.removeprefix('--data')}" if DATA.match(a) else a for a in argv]
    parser = make_parser(long)
    given = parser.parse_args(long, defaults=False).as_dict()
    import socket

    from lnln_dist.doctor import findings, ranks
    from lnln_dist.errors import TrainingError

    own, facts = _own_findings(parser, given)
    try:
        with ranks.grouped() as group:
            if group.world > 1:
                shared = Path(given["shared"]) if given.get("shared") else None
                own += ranks.check_ranks(group, facts, shared=shared)
            elif given.get("shared"):
                own.append(ranks.check_shared(group, Path(given["shared"])))
            gathered = group.gather_objects((socket.gethostname(), own))
            rank = group.rank
    except TrainingError as err:
        remedy = "open the port between the hosts, and set GLOO_SOCKET_IFNAME on each of them"
        own.append(findings.fail("ranks", str(err), remedy))
        gathered, rank = [("", own)], 0
    merged = findings.merge([held for _, held in gathered], [host for host, _ in gathered])
    if rank == 0:
        shown = findings.as_json if given.get("json") else findings.as_text
        sys.stdout.write(shown(merged))
    return EXIT_FOUND if findings.worst(merged) == "fail" else 0


def _own_findings(
    parser: arguments.Parser, given: Mapping[str, Any]
) -> tuple[list[Any], dict[str, object]]:
    """What one rank finds, and what it has to have in common with the others."""
    from lnln_dist.doctor import findings, host, job, software
    from lnln_dist.errors import ConfigError, TrainingError
    from lnln_dist.train.consistency import facts_of

    found: list[findings.Finding] = []
    sections = {field.name for field in dataclasses.fields(Config)}
    named = bool(parser.layers) or not sections.isdisjoint(given)
    try:
        config = arguments.from_arguments(parser, given)
        name = f"{', '.join(given.get('config', [])) or 'defaults'}, hash"
        found.append(findings.ok("config", f"{name} {settings.config_hash(config)}"))
        if not named:
            remedy = "give those of the run, as to train: --config FILE, or single settings"
            found[-1] = findings.warn("config", "no settings given: no encoder is checked", remedy)
    except ConfigError as err:
        found.append(findings.fail("config", str(err), "correct the file or the option"))
        config, named = settings.build({}), False  # the rest can still be checked
    index, data = job.open_data(config.data.path)
    planned = job.Job(
        config=config,
        index=index,
        processes=job.processes(given.get("gpus")),
        card_bytes=job.card_bytes(given.get("card")),
        host_bytes=job.host_bytes(
            given.get("gpus"), planned=bool(given.get("gpus") or given.get("card"))
        ),
    )
    launch = job.launch_of(config)
    needs = {"deepspeed"} if config.train.strategy.startswith("zero") else set()
    found += [*software.check_software(needed=frozenset(needs)), job.check_launch(launch)]
    found += [data, *([job.check_encoder(config)] if named else [])]
    counted, memory = job.check_memory(planned)
    found += memory
    if os.environ.get("LOCAL_RANK", "0") == "0":  # once per host
        found += host.check_host(
            workers=config.data.workers,
            folder=Path(given.get("output") or Path.cwd()),
            disk_bytes=job.disk_bytes(planned, counted),
        )
    return found, facts_of(config, index, None if isinstance(launch, TrainingError) else launch)


if __name__ == "__main__":
    sys.exit(console.finish(command, sys.argv[1:]))
