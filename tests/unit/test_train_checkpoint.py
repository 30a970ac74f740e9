"""Checkpoints: exact, committed whole, damage named."""

from pathlib import Path

import pytest
import torch
from torch import nn

from lnln_dist.errors import CheckpointError, UserError
from lnln_dist.files import PENDING
from lnln_dist.train import checkpoint
from lnln_dist.train.checkpoint import TrainState


def trained(seed: int, steps: int) -> tuple[nn.Module, torch.optim.AdamW]:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1))
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    for _ in range(steps):
        step(net, optimizer)
    return net, optimizer


def step(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    net(torch.ones(2, 3)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def save(run: Path, at: int, net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    state = TrainState(step=at, best={"best": float("nan")})
    checkpoint.save(run, state, net, optimizer, scaler={"scale": 2.0}, keep=2)


def test_going_on_from_a_checkpoint_equals_not_stopping(tmp_path: Path) -> None:
    net, optimizer = trained(0, 3)
    save(tmp_path, 3, net, optimizer)
    other, other_optimizer = trained(1, 0)
    [folder] = checkpoint.checkpoints(tmp_path)
    state, scaler = checkpoint.load(folder, other, other_optimizer)
    assert (state.step, scaler) == (3, {"scale": 2.0})
    assert state.best["best"] != state.best["best"]  # NaN survives
    for model, opt in ((net, optimizer), (other, other_optimizer)):
        step(model, opt)
    assert all(map(torch.equal, net.state_dict().values(), other.state_dict().values()))


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    net, optimizer = trained(0, 1)
    for at in (1, 2, 10, 3):
        save(tmp_path, at, net, optimizer)
    names = [p.name for p in checkpoint.checkpoints(tmp_path)]
    assert names == ["step-00000003", "step-00000010"]
    assert not list((tmp_path / "checkpoints").glob(f"{PENDING}*"))


def test_a_half_written_checkpoint_is_never_picked_up(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / f"{PENDING}step-00000009-1-aa"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text("{}")
    assert checkpoint.checkpoints(tmp_path) == []
    net, optimizer = trained(0, 1)
    save(tmp_path, 1, net, optimizer)
    assert not folder.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
def test_a_flipped_bit_is_named(tmp_path: Path, name: str) -> None:
    net, optimizer = trained(0, 1)
    save(tmp_path, 1, net, optimizer)
    [folder] = checkpoint.checkpoints(tmp_path)
    raw = bytearray((folder / name).read_bytes())
    raw[-1] ^= 1
    (folder / name).write_bytes(raw)
    with pytest.raises(CheckpointError, match=f"{name}: damaged"):
        checkpoint.load(folder, net, optimizer)


def test_another_network_is_refused(tmp_path: Path) -> None:
    net, optimizer = trained(0, 1)
    save(tmp_path, 1, net, optimizer)
    [folder] = checkpoint.checkpoints(tmp_path)
    with pytest.raises(CheckpointError, match="another network"):
        checkpoint.load(folder, nn.Linear(2, 2), optimizer)


def test_a_note_with_a_path_cannot_leave_the_folder(tmp_path: Path) -> None:
    net, optimizer = trained(0, 1)
    save(tmp_path, 1, net, optimizer)
    [folder] = checkpoint.checkpoints(tmp_path)
    note = (folder / "state.json").read_text().replace("model.safetensors", "../../../etc/passwd")
    (folder / "state.json").write_text(note)
    with pytest.raises(CheckpointError):
        checkpoint.load(folder, net, optimizer)


def test_a_full_disk_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, optimizer = trained(0, 1)
    save(tmp_path, 1, net, optimizer)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(UserError, match="disk is full"):
        save(tmp_path, 2, net, optimizer)
    assert [p.name for p in checkpoint.checkpoints(tmp_path)] == ["step-00000001"]
    assert not list((tmp_path / "checkpoints").glob(f"{PENDING}*"))
