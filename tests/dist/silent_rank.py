"""Two ranks that train; after its first step rank 1 does nothing any more."""

import sys
import time

from scenarios import corpus, set_up, take

from lnln_dist.runtime import Runtime
from lnln_dist.train.loop import train_step


def main(strategy: str, timeout_s: float) -> None:
    """Says on rank 0 how long the step took that rank 1 did not take part in."""
    runtime = Runtime(cpu=True, strategy=strategy, timeout_s=timeout_s)
    run = set_up(runtime, start=None)
    batch = take(corpus(), [runtime.rank, 3])
    train_step(run, [batch], 2 * runtime.world)
    if not runtime.is_main:
        time.sleep(600)
    begin = time.monotonic()
    try:
        train_step(run, [batch], 2 * runtime.world)
    finally:
        print(f"\nwaited {time.monotonic() - begin:.1f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
