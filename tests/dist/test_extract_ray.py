"""Clips extracted as Ray tasks: the shards of processes, and what crashes there."""

import os
import shutil
import signal

import pytest
from clip_files import tone, write_clip
from command_line import Command

from lnln_dist.data.schema import SPLITS, read_index
from lnln_dist.errors import ConfigError

pytest.importorskip("ray", reason="pip install -e '.[ray]'")
for needed in ("av", "librosa", "pysubs2"):
    pytest.importorskip(needed)
pytestmark = pytest.mark.dist


def test_the_same_shards_as_by_processes(tmp_path, command: Command) -> None:
    rows = ["video_id,clip_id,text,label,mode"]
    for split in SPLITS:
        for k in range(2):
            path = tmp_path / "clips" / split / f"{k}.wav"
            write_clip(path, sound_S=tone(0.3 + 0.1 * k))
            rows.append(f"{split},{k},number {k},{k},{split}")
    shutil.copytree(tmp_path / "clips" / "train", tmp_path / "clips" / "bad")
    (tmp_path / "clips" / "bad" / "0.wav").write_bytes(b"RIFF")
    rows.append("bad,0,damaged,1,train")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    given = ("--dataset", "own", "--family", "mosi", "--label-range", "-3", "3")
    given += ("--tokenizer", "corpus", "--audio", "mfcc", "--vision", "none")
    found, listed = {}, {}
    for way in (("--workers", "2"), ("--address", "local")):
        out = tmp_path / way[0].strip("-")
        made = ("extract", tmp_path / "labels.csv", tmp_path / "clips", out)
        command(*made, *given, *way, "--most-rejected", "0.5")
        index = read_index(out)
        found[out.name] = [shard.sha256 for s in SPLITS for shard in index.splits[s].shards]
        listed[out.name] = out.with_name(f"{out.name}.rejected.csv").read_text()
    assert found["workers"] == found["address"]
    assert "not a media file" in listed["workers"]
    assert listed["workers"] == listed["address"]


def test_what_a_task_may_do() -> None:
    from lnln_dist.sweep.tune.cluster import QUIET, cluster
    from lnln_dist.sweep.tune.tasks import spread

    def answer(item: int, base: int) -> str | None:  # in here: the workers know no such module
        if item == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if item == 5:
            raise ConfigError("wrong")
        return None if item < 2 else str(base + item)

    before = set(os.environ)
    with cluster(None, cpus=1) as ray:
        ends = dict(spread(ray, answer, [0, 1, 2, 3, 4], 10, crashed="crashed"))
        assert ends == {0: None, 1: None, 2: "12", 3: "crashed", 4: "14"}
        with pytest.raises(ConfigError, match="wrong"):
            list(spread(ray, answer, [5], 10, crashed="crashed"))
    # A script's own experiments, later in this process, have Tune's loggers.
    assert not (set(os.environ) - before) & set(QUIET)


def test_workers_are_of_this_machine(command: Command) -> None:
    paths = ("labels.csv", "clips", "out")
    given = ("--dataset", "demo", "--tokenizer", "corpus", "--address", "local", "--workers", "2")
    done = command("extract", *paths, *given, code=2)
    assert "leave it out with --address" in done.stderr
