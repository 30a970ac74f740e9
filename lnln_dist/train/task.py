"""What is trained: the network and its losses as one module with one contract.

The loop knows nothing of LNLN: a task maps a batch to named loss terms, summed over samples.
"""

from typing import Literal

from torch import Tensor, nn

from lnln_dist.losses import lnln_terms
from lnln_dist.models import LNLN
from lnln_dist.types import Batch

ENCODER = "text_encoder."  # part of the parameter names of the text encoder
COMPLETENESS = ("completeness_predicted", "completeness_label")


class Task(nn.Module):
    """LNLN in training mode with its four loss terms.

    Args:
        model: the network.
        completeness: label of the completeness check.
    """

    def __init__(self, model: LNLN, *, completeness: Literal["nominal", "counted"]) -> None:
        super().__init__()
        self.model = model
        self.completeness: Literal["nominal", "counted"] = completeness

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Raw loss terms under the names of ``LossConfig`` and, for the log, ``COMPLETENESS``.

        Each is a sum over the batch's samples, to be divided once by the step's global count.
        """
        outputs = self.model(batch, complete=True)
        terms = lnln_terms(outputs, batch, completeness=self.completeness)
        text = batch.text
        label_B = 1 - text.rate_B if self.completeness == "nominal" else text.kept_share()
        shown = (outputs.completeness_B.detach(), label_B)
        return terms | {
            name: (value * batch.weight_B).sum()
            for name, value in zip(COMPLETENESS, shown, strict=True)
        }
