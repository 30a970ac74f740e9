"""What strategies wrap: a network behind one ``forward``, so that hooks see both of its verbs."""

from typing import Literal, cast, overload

from torch import nn

from lnln_dist.types import Batch, Losses, Network, Prediction


class Task(nn.Module):
    """A network whose verbs are called through ``forward``.

    Args:
        model: the network, see ``types.Network``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @overload
    def forward(self, batch: Batch, verb: Literal["losses"] = "losses") -> Losses: ...
    @overload
    def forward(self, batch: Batch, verb: Literal["predict"]) -> Prediction: ...
    def forward(
        self, batch: Batch, verb: Literal["losses", "predict"] = "losses"
    ) -> Losses | Prediction:
        """``losses`` or ``predict`` of the network."""
        network = cast(Network, self.model)
        return network.losses(batch) if verb == "losses" else network.predict(batch)
