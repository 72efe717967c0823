"""The decoders of Hugging Face's models, with as many channels as one of our heads has.

Each takes what its own encoder would give it, and returns outputs with the weights of their losses,
all of them at the image's size, as ours do.
"""

import transformers
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DPTConfig, GLPNConfig, UperNetConfig
from transformers.models.dpt import modeling_dpt as dpt
from transformers.models.glpn import modeling_glpn as glpn
from transformers.models.upernet import modeling_upernet as upernet

from sgmim.encoders import Encoder
from sgmim.tasks.heads.dpt import DPTHead
from sgmim.tasks.heads.sff import SelectiveFusionHead
from sgmim.tasks.heads.upernet import UperNetHead

VERSION = f"transformers {transformers.__version__}"
Outputs = list[tuple[float, Tensor]]


class DPT(nn.Module):
    """Tokens of four blocks, class token first, to a depth."""

    def __init__(self, encoder: Encoder, head: DPTHead, channels: int):
        super().__init__()
        config = DPTConfig(
            hidden_size=encoder.dim,
            neck_hidden_sizes=list(head.maps.widths),
            fusion_hidden_size=head.enter[0].out_channels,
            readout_type="project" if head.reads_class else "ignore",
            use_batch_norm_in_fusion_residual=channels > 1,
            num_labels=channels,
            semantic_classifier_dropout=0.0,
        )
        self.grid, self.neck = encoder.grid, dpt.DPTNeck(config)
        self.neck.fusion_stage.layers[0].residual_layer1 = None  # which nothing goes through
        several = channels > 1
        self.head = (dpt.DPTSemanticSegmentationHead if several else dpt.DPTDepthEstimationHead)(
            config
        )

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Outputs:
        numbers = self.head(self.neck(features, *self.grid))
        return [(1.0, numbers if numbers.dim() == 4 else numbers[:, None])]


class GLPN(nn.Module):
    """The maps of four stages to a depth."""

    def __init__(self, encoder: Encoder, head: SelectiveFusionHead, channels: int):
        super().__init__()
        config = GLPNConfig(
            hidden_sizes=list(encoder.widths), decoder_hidden_size=head.value[0].out_channels
        )
        self.decoder = glpn.GLPNDecoder(config)
        self.head = glpn.GLPNDepthEstimationHead(config)

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Outputs:
        return [(1.0, self.head(self.decoder(features))[:, None])]


class UperNet(nn.Module):
    """The maps of four stages to classes, and to the same once more for training."""

    def __init__(self, encoder: Encoder, head: UperNetHead, channels: int):
        super().__init__()
        config = UperNetConfig(
            backbone_config=transformers.SwinConfig(),
            hidden_size=head.value[1].in_channels,
            num_labels=channels,
            auxiliary_channels=head.auxiliary[2].in_channels,
            auxiliary_in_channels=encoder.widths[2],
        )
        self.head = upernet.UperNetHead(config, list(encoder.widths))
        self.auxiliary = upernet.UperNetFCNHead(config, list(encoder.widths))

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Outputs:
        heads = {1.0: self.head} | ({0.4: self.auxiliary} if self.training else {})
        return [
            (weight, F.interpolate(head(features), size, mode="bilinear"))
            for weight, head in heads.items()
        ]
