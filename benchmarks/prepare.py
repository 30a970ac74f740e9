"""Speed, memory and size of ``prepare`` at MOSI-like lengths.

    python benchmarks/prepare.py [--samples 2600]

A padded feature file of random content (float32, no ``text`` field: both make real files larger
and this comparison harder) is prepared in a process of its own. Time is compared with only
unpickling and hashing the same file, memory and size with the file's own bytes.
"""

import argparse
import hashlib
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from loader import feature_file

PROGRAM = """
import re, sys, time
from pathlib import Path
from lnln_dist.data.convert import prepare


def peak():
    # Not ru_maxrss: a child inherits its parent's.
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024


before = peak()
start = time.perf_counter()
index = prepare(sys.argv[1], sys.argv[2], dataset="mosi")
seconds = time.perf_counter() - start
size = sum(s.bytes for split in index.splits.values() for s in split.shards)
print(seconds, peak(), before, size)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=2600, help="rows of the training split")
    samples = parser.parse_args().samples
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "features.pkl"
        splits = {"train": samples, "valid": samples // 6, "test": samples // 2}
        content = {name: feature_file(size) for name, size in splits.items()}
        source.write_bytes(pickle.dumps(content, protocol=4))
        del content
        size = source.stat().st_size
        start = time.perf_counter()
        raw = source.read_bytes()
        hashlib.sha256(raw).hexdigest()
        pickle.loads(raw)
        floor = time.perf_counter() - start
        call = [sys.executable, "-c", PROGRAM, str(source), str(Path(folder) / "shards")]
        done = subprocess.run(call, capture_output=True, text=True, check=True)
        seconds, peak, idle, written = map(float, done.stdout.split())
    print(f"file                  {size / 1e6:8.1f} MB, {sum(splits.values())} samples")
    print(f"prepare               {size / 1e6 / seconds:8.1f} MB/s, {seconds:.2f} s")
    print(f"  / read, hash, load  {seconds / floor:8.2f} times as long ({floor:.2f} s)")
    print(f"peak memory / file    {peak / size:8.2f} (interpreter alone {idle / 1e6:.0f} MB)")
    print(f"shards / file         {written / size:8.3f}")


if __name__ == "__main__":
    main()
