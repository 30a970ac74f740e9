"""The micro-batch that fits: search, agreement, memory of the finding."""

import contextlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from builders import TOKENIZER, WIDTHS, small_config
from cost_cases import real_model
from hypothesis import given
from hypothesis.strategies import integers

from lnln_dist import settings
from lnln_dist.data.plan import SamplingPlan
from lnln_dist.errors import TrainingError
from lnln_dist.runtime import Runtime
from lnln_dist.specs.registry import make_config
from lnln_dist.train import micro_batch
from lnln_dist.train.task import Task

MIB = 2**20
PLACES = {"text": 9, "audio": 17, "vision": 11}
INDEX = SimpleNamespace(
    padded_lengths={"text": 12, "audio": 20, "vision": 16},
    splits={"train": SimpleNamespace(max_lengths=PLACES)},
    widths=WIDTHS,
    tokenizer=TOKENIZER,
)


class Peers:
    """A runtime among ``world`` ranks; the others' findings are given."""

    def __init__(self, world: int = 1, others: tuple[int, ...] = ()) -> None:
        self.world, self.rank, self.others = world, 0, others
        self.precision, self.device = "fp32", torch.device("cpu")
        self.launch = SimpleNamespace(strategy="ddp", offload=False)

    def gather_objects(self, value: int) -> list[int]:
        return [value, *self.others]

    def on_main(self, action):
        return action()

    def on_all(self, action):
        return self.gather_objects(action())

    def to_device(self, batch):
        return batch

    def autocast(self):
        return contextlib.nullcontext()


def config(batch_size: int = 64, **data: object):
    train = {"batch_size": batch_size, "auto_micro_batch": True}
    return settings.build({"train": train, "data": data})


def make_task() -> Task:
    return Task(real_model(small_config()))


def choose(folder: Path, fits=None, runtime=None, given=None, task=None) -> micro_batch.Found:
    runtime, given = runtime or Peers(), given or config()
    return micro_batch.choose_micro_batch(task, runtime, given, INDEX, folder=folder, fits=fits)


def never(_: int) -> bool:
    raise AssertionError("it was tried again")


@pytest.mark.parametrize(
    ("share", "room", "found", "tried"),
    [
        (64, 64, 64, [64]),
        (64, 63, 32, [64, 32]),
        (64, 20, 16, [64, 32, 16, 22]),
        (256, 100, 86, [256, 128, 64, 86]),
        (37, 18, 13, [37, 19, 10, 13]),
        (5, 1, 1, [5, 3, 2, 1]),
        (5, 0, 0, [5, 3, 2, 1]),
        (1, 0, 0, [1]),
    ],
)
def test_the_share_is_cut_into_the_fewest_passes_that_fit(
    share: int, room: int, found: int, tried: list[int]
) -> None:
    sizes = []

    def fits(size: int) -> bool:
        sizes.append(size)
        return size <= room

    assert micro_batch.largest_that_fits(share, fits) == found
    assert sizes == tried


@given(share=integers(1, 5000), room=integers(1, 5000))
def test_no_fewer_passes_would_fit_and_few_sizes_are_tried(share: int, room: int) -> None:
    sizes = []

    def fits(size: int) -> bool:
        sizes.append(size)
        return size <= room

    found = micro_batch.largest_that_fits(share, fits)
    assert -(-share // found) == -(-share // room)
    assert len(sizes) == len(set(sizes)) <= 2 * share.bit_length()


def test_ranks_agree_on_the_smallest_finding(tmp_path: Path) -> None:
    found = choose(tmp_path, lambda size: size <= 16, Peers(4, others=(8, 32, 64)), config(256))
    assert (found.micro_batch, found.passes) == (8, 8)
    assert "micro-batch 8 fits (cpu): 8 forward passes" in found.note
    assert "global batch 256 as before" in found.note


def test_the_global_batch_stays_the_same(tmp_path: Path) -> None:
    found = choose(tmp_path, lambda size: size <= 4, Peers(2, others=(99,)), config(30))
    given = {"size": 100, "batch_size": 30, "world": 2, "seed": 3}
    whole = SamplingPlan(**given, micro_batch=None)
    cut = SamplingPlan(**given, micro_batch=found.micro_batch)
    for step in range(whole.steps_per_epoch):
        for rank in range(2):
            pieces = cut.step(1, step, rank).micro_batches
            assert all(len(piece.rows) <= found.micro_batch for piece in pieces)
            (one,) = whole.step(1, step, rank).micro_batches
            assert np.array_equal(np.concatenate([p.rows for p in pieces]), one.rows)
        if step == 0:
            assert len(pieces) == found.passes == 4


def test_no_room_at_all_names_the_rank(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"memory of rank 2: set model\.encoder"):
        choose(tmp_path, lambda _: True, Peers(3, others=(4, 0)))
    assert not (tmp_path / micro_batch.REMEMBERED).exists()


def test_a_run_that_goes_on_takes_what_it_had(tmp_path: Path) -> None:
    first = choose(tmp_path, lambda size: size <= 5)
    assert choose(tmp_path, never) == first
    with pytest.raises(AssertionError, match="tried again"):
        choose(tmp_path, never, Peers(2, others=(9,)))
    (tmp_path / micro_batch.REMEMBERED).write_text("{")
    with pytest.raises(AssertionError, match="tried again"):
        choose(tmp_path, never)


@pytest.mark.parametrize(
    ("padding", "places"), [("batch", PLACES), ("corpus", INDEX.padded_lengths)]
)
def test_what_is_tried_is_as_long_as_a_batch_can_be(padding: str, places: dict) -> None:
    model = {} if padding == "batch" else {"mask_padding": False}
    given = settings.build({"data": {"padding": padding}, "model": model})
    batch = micro_batch.longest_batch(3, given, INDEX)
    found = [batch.text.ids_BT, batch.audio.frames_BTD, batch.vision.frames_BTD]
    assert [tuple(x.shape[:2]) for x in found] == [(3, n) for n in places.values()]
    losses = make_task()(batch)
    assert all(torch.isfinite(term) for term in losses.terms.values())


def test_on_a_cpu_the_free_memory_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task()
    found = {}
    for free in (None, 10_000 * MIB, 8 * MIB, 4 * MIB):
        monkeypatch.setattr(micro_batch, "available_bytes", lambda free=free: free)
        found[free] = choose(tmp_path / str(free), task=task).micro_batch
    assert found[None] == found[10_000 * MIB] == 64
    assert 64 > found[8 * MIB] > found[4 * MIB] >= 1
    monkeypatch.setattr(micro_batch, "available_bytes", lambda: MIB // 8)
    with pytest.raises(TrainingError, match="not even one sample"):
        choose(tmp_path / "none", task=task)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(micro_batch, "available_bytes", lambda: 16 * MIB)
    assert choose(tmp_path / "two", task=task).micro_batch == found[8 * MIB]


def test_searching_leaves_no_trace(tmp_path: Path) -> None:
    task = make_task()
    task.model.norm = torch.nn.BatchNorm1d(WIDTHS["audio"])
    plain = task.model.losses

    def normed(batch):
        task.model.norm(batch.audio.frames_BTD[:, 0])
        return plain(batch)

    task.model.losses = normed
    before = [p.clone() for p in task.parameters()]
    state = torch.get_rng_state()
    runtime = Runtime(cpu=True)
    try:
        found = choose(tmp_path, runtime=runtime, given=config(8), task=task)
    finally:
        runtime.close()
    assert found.micro_batch == 8
    assert json.loads((tmp_path / micro_batch.REMEMBERED).read_text())["launch"]["device"] == "cpu"
    assert torch.equal(state, torch.get_rng_state())
    assert all(map(torch.equal, before, task.parameters()))
    assert all(p.grad is None for p in task.parameters())
    assert not task.model.norm.num_batches_tracked
    assert not task.model.norm.running_mean.any()


def test_a_rank_that_fails_alone_leaves_no_other_waiting(tmp_path: Path) -> None:
    """The search of each rank is one meeting, whatever becomes of it."""
    runtime = Runtime(cpu=True)
    met = []
    runtime.gather_objects = lambda value: met.append(value) or [value]

    def fits(_: int) -> bool:
        raise RuntimeError("device-side assert triggered")

    try:
        with pytest.raises(RuntimeError, match="device-side assert"):
            choose(tmp_path, fits, runtime)
    finally:
        runtime.close()
    ((_, error),) = met[1:]
    assert str(error) == "rank 0 failed: RuntimeError: device-side assert triggered"


@pytest.fixture
def pretended_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimpleNamespace(total_memory=100 * MIB)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: contextlib.nullcontext())


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("no"), RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED")]
)
@pytest.mark.usefixtures("pretended_gpu")
def test_a_gpu_is_tried_and_cleaned_up(error: Exception) -> None:
    task, tried = make_task(), []

    def forward(size: int) -> torch.Tensor:
        tried.append(size)
        if size > 4:
            raise error
        return task(micro_batch.longest_batch(size, config(), INDEX)).total()

    fits = micro_batch._try_on_gpu(task, Peers(), forward)
    assert micro_batch.largest_that_fits(16, fits) == 4
    assert tried == [16, 8, 4, 6]
    assert all(p.grad is None for p in task.parameters())


@pytest.mark.usefixtures("pretended_gpu")
def test_other_errors_on_a_gpu_are_not_taken_for_a_lack_of_memory() -> None:
    def forward(_: int) -> torch.Tensor:
        raise RuntimeError("device-side assert triggered")

    with pytest.raises(RuntimeError, match="device-side assert"):
        micro_batch._try_on_gpu(make_task(), Peers(), forward)(4)


@pytest.mark.usefixtures("pretended_gpu")
def test_what_is_not_there_yet_is_stood_for(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = []
    empty = torch.empty

    def note(size: int, **more: object) -> torch.Tensor:
        blocks.append(size)
        return empty(1)

    task = make_task()
    fits = micro_batch._try_on_gpu(task, Peers(), lambda _: next(task.parameters()).sum())
    monkeypatch.setattr(torch, "empty", note)
    assert fits(1)
    # Weights and gradients are held by the pass itself; two moments are to come, and the margin.
    count = sum(p.numel() for p in task.parameters())
    assert blocks == [8 * count + 10 * MIB]


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Peers:
    runtime = Peers(2, others=(99,))
    runtime.device = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a card")
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: None)
    return runtime


def test_the_peak_of_the_search_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_a_gpu: Peers
) -> None:
    happened = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", happened.append)

    def fits(size: int) -> bool:
        happened.append(size)
        return True

    choose(tmp_path, fits, on_a_gpu)
    assert happened == [32, on_a_gpu.device]


@pytest.mark.parametrize("strategy", ["zero3", "fsdp2"])
def test_a_model_that_no_card_holds_whole_is_reckoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_a_gpu: Peers, strategy: str
) -> None:
    on_a_gpu.launch = SimpleNamespace(strategy=strategy, offload=False)
    task = make_task()
    monkeypatch.setattr(task, "to", lambda *_: pytest.fail("the whole model went to the card"))
    plain = settings.to_dict(make_config(model=small_config()))
    plain["train"] |= {"batch_size": 64, "auto_micro_batch": True}
    found = {}
    for free in (10_000, 6, 3):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, f=free: (f * MIB, 10 * MIB))
        runtime, folder = on_a_gpu, tmp_path / str(free)
        found[free] = choose(folder, None, runtime, settings.build(plain), task).micro_batch
    assert found[10_000] == 32 > found[6] > found[3] >= 1
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (MIB, 10 * MIB))
    with pytest.raises(TrainingError, match="not even one sample"):
        choose(tmp_path / "none", None, on_a_gpu, settings.build(plain), task)
