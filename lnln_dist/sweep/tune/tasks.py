"""One function over many items as Ray tasks."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lnln_dist.files import explain_os_errors
from lnln_dist.sweep.tune.cluster import check_nodes, cluster

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_IN_FLIGHT = 4  # tasks per core that wait or run: what is done is told early, nothing starves


@contextlib.contextmanager
def spread_over(address: str, folder: Path) -> Iterator[Callable[..., Any]]:
    """Yields ``spread`` on a cluster whose nodes all see ``folder``.

    Args:
        address: of a running cluster; ``local`` starts one of this machine.
        folder: where the function writes; made if it does not exist.

    Raises:
        UserError: no cluster answers, or a node lacks the folder or this program.
    """
    with cluster(address) as ray:
        with explain_os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        check_nodes(ray, folder, [])
        yield functools.partial(spread, ray)


def spread(
    ray: Any,
    function: Callable[..., Answer],
    items: Sequence[Item],
    *given: Any,
    crashed: Answer,
) -> Iterator[tuple[Item, Answer]]:
    """Yields items with what ``function(item, *given)`` answers, as the answers come.

    Args:
        ray: a cluster that is connected.
        function: runs in a process of its own on any node, a core each.
        items: small ones.
        given: what else it takes, the same for all.
        crashed: the answer for an item whose process died twice.

    Raises:
        Exception: what the function raised.
    """
    # A node that is lost costs a repetition, a function that kills its process does not go on.
    task = ray.remote(num_cpus=1, max_retries=1)(function)
    most = _IN_FLIGHT * max(1, int(ray.cluster_resources().get("CPU", 1)))
    waiting: list[Item] = list(reversed(items))
    running: dict[Any, Item] = {}
    while waiting or running:
        while waiting and len(running) < most:
            item = waiting.pop()
            running[task.remote(item, *given)] = item
        ready, _ = ray.wait(list(running), num_returns=1)
        for answer in ready:
            item = running.pop(answer)
            try:
                yield item, ray.get(answer)
            except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
                yield item, crashed
            except ray.exceptions.RayTaskError as err:
                raise err.cause from err
