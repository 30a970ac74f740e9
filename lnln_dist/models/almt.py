"""ALMT (Zhang, Wang, Zhang, Deng: EMNLP 2023, arXiv 2310.05804), which LNLN grew out of.

    h_m = Embedding_m(x_m) for text, audio, vision                    [N, D] each
    h_l^1 = h_l + positions, h_l^(i+1) = Block_i(h_l^i)               the language encoder
    h_hyper^i = HyperLayer_i(h_l^i, h_a, h_v, h_hyper^(i-1))          h_hyper^0 learned
    y = Linear(first place of Fusion(source h_hyper, target h_l^last))
Loss: squared error of y. Unlike LNLN: no completeness check, proxy, discriminator, reconstruction;
the language feature itself is the dominant one; the fusion's extra token is read, not the mean
of the others. Size: 2.60 M parameters outside BERT on MOSI (the released settings).
Differs from the released code: padding is hidden in the embeddings (there it is attended), and the
parts that the code makes and never uses are left out.
"""

from torch import Tensor

from lnln_dist.config import REGRESSION, Config, TaskConfig
from lnln_dist.models.hyper import HyperLearning
from lnln_dist.models.parts import Fusion, plain_encoder
from lnln_dist.models.sentiment import SentimentHead, SentimentNetwork
from lnln_dist.models.shapes import InputShapes
from lnln_dist.specs.almt import ALMTConfig
from lnln_dist.specs.sentiment import SentimentLoss
from lnln_dist.types import Batch, SentenceEncoder


class ALMT(SentimentNetwork):
    """Language at several depths picks from audio and vision; both are fused."""

    def __init__(
        self,
        config: ALMTConfig,
        encoder: SentenceEncoder,
        shapes: InputShapes,
        *,
        loss: SentimentLoss,
        task: TaskConfig = REGRESSION,
    ) -> None:
        super().__init__(encoder, shapes, loss=loss)
        self.embed = self.embeddings(config)
        self.language = plain_encoder(config, depth=config.hyper_depth - 1)
        self.hyper = HyperLearning(
            depth=config.hyper_depth, tokens=config.tokens, width=config.width, heads=config.heads
        )
        self.fusion = Fusion(config, depth=config.fusion_depth)
        self.sentiment = SentimentHead(config.width, task)

    def forward(self, batch: Batch) -> Tensor:
        """What the head says of the damaged input."""
        feature = {m: self.embed[m](*stream) for m, stream in self.streams(batch).items()}
        states = self.language.states(feature["text"])
        hyper_BND = self.hyper(states, feature["audio"], feature["vision"])
        fused_BD = self.fusion.places(hyper_BND, states[-1])[:, 0]
        output: Tensor = self.sentiment(fused_BD)
        return output


def build(config: Config, encoder: SentenceEncoder, shapes: InputShapes) -> ALMT:
    """The network of a run's settings."""
    assert isinstance(config.model, ALMTConfig)
    assert isinstance(config.loss, SentimentLoss)
    return ALMT(config.model, encoder, shapes, loss=config.loss, task=config.task)
