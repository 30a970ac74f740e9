"""Training data from an S3-compatible server against local shards: batches and throughput.

    python benchmarks/object_store.py [--samples 1284] [--repeats 3]

Shards of MOSI-like lengths (random content) lie in a folder and in a bucket of moto's server, which
runs in a process of its own on this machine. Timed is opening the data and two epochs of shuffled
batches of 64 with training noise: from the folder, from the bucket with an empty cache (the copy of
a host's first run), and from the bucket again. All batches are compared, bit for bit.
"""

import argparse
import hashlib
import os
import pickle
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import fsspec
import torch
from loader import BATCH, PAD, PADDED, UNK, feature_file

from lnln_dist.config import NoiseConfig
from lnln_dist.data.convert import prepare
from lnln_dist.data.loader import Collator, Loader
from lnln_dist.data.noise import TrainingNoise
from lnln_dist.data.plan import SamplingPlan
from lnln_dist.data.shards import open_dataset

EPOCHS = 2
PORT = 5711
SERVER = """
import sys, time
from moto.server import ThreadedMotoServer
ThreadedMotoServer(ip_address="127.0.0.1", port=int(sys.argv[1])).start()
print("up", flush=True)
time.sleep(10**6)
"""


def epochs(data: str | Path) -> tuple[float, list]:
    """Seconds of opening and loading, and the batches."""
    start = time.perf_counter()
    split = open_dataset(data).split("train")
    noise = TrainingNoise(NoiseConfig(), seed=1, ids=split.ids)
    plan = SamplingPlan(size=len(split), batch_size=BATCH, world=1, micro_batch=None, seed=1)
    make = Collator(split, noise, padding="batch", padded_lengths=PADDED, unk_id=UNK, pad_id=PAD)
    steps = ((epoch, step) for epoch in range(EPOCHS) for step in range(plan.steps_per_epoch))
    items = (item for at in steps for item in plan.step(*at, 0).micro_batches)
    batches = list(Loader(make, items))
    return time.perf_counter() - start, batches


def digest(batches: list) -> str:
    """Of all numbers of all batches."""
    found = hashlib.sha256()
    for value in tensors(tuple(batches)):
        found.update(value.contiguous().numpy().tobytes())
    return found.hexdigest()


def tensors(value: object) -> Iterator[torch.Tensor]:
    """All tensors within tuples."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from tensors(part)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=1284)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    call = [sys.executable, "-c", SERVER, str(PORT)]
    with (
        tempfile.TemporaryDirectory() as name,
        subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server,
    ):
        try:
            assert server.stdout is not None
            assert b"up\n" in server.stdout  # reads on until then
            os.environ |= {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{PORT}",
                "AWS_ACCESS_KEY_ID": "testing",
                "AWS_SECRET_ACCESS_KEY": "testing",
                "AWS_DEFAULT_REGION": "us-east-1",
                "LNLN_CACHE": f"{name}/cache",
            }
            measure(Path(name), options.samples, options.repeats)
        finally:
            server.terminate()


def measure(folder: Path, samples: int, repeats: int) -> None:
    sizes = {"train": samples, "valid": 7, "test": 8}
    content = {split: feature_file(size) for split, size in sizes.items()}
    (folder / "source.pkl").write_bytes(pickle.dumps(content))
    index = prepare(folder / "source.pkl", folder / "data", dataset="mosi")
    size = sum(shard.bytes for split in index.splits.values() for shard in split.shards)
    store = fsspec.filesystem("s3")
    store.mkdir("bucket")
    store.put(str(folder / "data"), "bucket/data", recursive=True)
    ways = {"local": folder / "data", "first": "s3://bucket/data", "again": "s3://bucket/data"}
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats + 1):
        shutil.rmtree(folder / "cache", ignore_errors=True)
        found = {}
        for way, data in ways.items():
            seconds, batches = epochs(data)
            times[way].append(seconds)
            found[way] = digest(batches)
        assert len(set(found.values())) == 1, found
    middle = {way: statistics.median(values[1:]) for way, values in times.items()}
    print(f"{samples} samples, {size / 1e6:.0f} MB of shards, {EPOCHS} epochs, {repeats} times")
    for way, seconds in middle.items():
        rate, ratio = EPOCHS * samples / seconds, middle["local"] / seconds
        print(f"{way:<6} {rate:9,.0f} samples/s, {ratio:.2f} times local ({seconds:.2f} s)")
    print("all batches equal bit for bit")


if __name__ == "__main__":
    main()
