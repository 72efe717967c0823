"""SimMIM and MAE as others build them, in the architecture of one of our encoders, with weights at
random.

Each is a module that turns a batch into its loss, and comes in its authors' defaults but for
stochastic depth, which is off on both sides.
"""

import lightly
import timm
import transformers
from lightly.models import utils
from lightly.models.modules import (
    MaskedVisionTransformerDecoderTIMM,
    MaskedVisionTransformerTIMM,
    MaskedVisionTransformerTorchvision,
)
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer
from transformers import (
    SwinConfig,
    SwinForMaskedImageModeling,
    ViTConfig,
    ViTForMaskedImageModeling,
    ViTMAEConfig,
    ViTMAEForPreTraining,
)

from sgmim.encoders import Encoder, HierarchicalEncoder
from sgmim.objective import Batch


class Transformers(nn.Module):
    """Hugging Face's models for masked images. Which patches are hidden they want to be told."""

    version = f"transformers {transformers.__version__}"

    def __init__(self, encoder: Encoder):
        super().__init__()
        backbone = encoder.backbone
        shape = {
            "image_size": encoder.image_size[0],
            "patch_size": encoder.patch,
            "encoder_stride": encoder.stride,
        }
        if isinstance(encoder, HierarchicalEncoder):
            config = SwinConfig(
                **shape,
                embed_dim=encoder.patch_dim,
                depths=[len(stage.blocks) for stage in backbone.layers],
                num_heads=[stage.blocks[0].attn.num_heads for stage in backbone.layers],
                window_size=encoder.windows[0][0],
                drop_path_rate=0.0,
            )
            self.model = SwinForMaskedImageModeling(config)
        else:
            config = ViTConfig(
                **shape,
                hidden_size=encoder.dim,
                intermediate_size=4 * encoder.dim,
                num_hidden_layers=len(backbone.blocks),
                num_attention_heads=backbone.blocks[0].attn.num_heads,
            )
            self.model = ViTForMaskedImageModeling(config)

    def forward(self, batch: Batch) -> Tensor:
        return self.model(batch["image"], bool_masked_pos=batch["hidden"]).loss


class Lightly(nn.Module):
    """As in lightly's documentation (examples/simmim): torchvision's ViT, of which each hidden
    patch is drawn by itself, and a linear layer on the hidden ones alone."""

    version = f"lightly {lightly.__version__}"

    def __init__(self, encoder: Encoder):
        super().__init__()
        vit = VisionTransformer(
            image_size=encoder.image_size[0],
            patch_size=encoder.patch,
            num_layers=len(encoder.backbone.blocks),
            num_heads=encoder.backbone.blocks[0].attn.num_heads,
            hidden_dim=encoder.dim,
            mlp_dim=4 * encoder.dim,
        )
        del vit.heads  # a classifier that nothing would train
        self.backbone = MaskedVisionTransformerTorchvision(vit)
        self.decoder = nn.Linear(encoder.dim, 3 * encoder.patch**2)
        self.patch = encoder.patch

    def forward(self, batch: Batch) -> Tensor:
        image = batch["image"]
        size = (len(image), self.backbone.sequence_length)
        _, hidden = utils.random_token_mask(size, mask_ratio=0.6, device=image.device)
        features = utils.get_at_index(self.backbone.encode(image, idx_mask=hidden), hidden)
        wanted = utils.get_at_index(utils.patchify(image, self.patch), hidden - 1)
        return F.l1_loss(self.decoder(features), wanted)


class TransformersMAE(nn.Module):
    """Hugging Face's MAE."""

    version = Transformers.version

    def __init__(self, encoder: Encoder):
        super().__init__()
        backbone = encoder.backbone
        config = ViTMAEConfig(
            image_size=encoder.image_size[0],
            patch_size=encoder.patch,
            hidden_size=encoder.dim,
            intermediate_size=4 * encoder.dim,
            num_hidden_layers=len(backbone.blocks),
            num_attention_heads=backbone.blocks[0].attn.num_heads,
            norm_pix_loss=True,
        )
        self.model = ViTMAEForPreTraining(config)

    def forward(self, batch: Batch) -> Tensor:
        return self.model(batch["image"]).loss


class LightlyMAE(nn.Module):
    """As in lightly's documentation (examples/mae): timm's ViT and a decoder of its blocks, which
    finishes all patches and paints the hidden ones."""

    version = Lightly.version

    def __init__(self, encoder: Encoder):
        super().__init__()
        vit = timm.create_model(
            encoder.name, img_size=encoder.image_size, num_classes=0, global_pool=""
        )
        self.backbone = MaskedVisionTransformerTIMM(vit)
        self.backbone.mask_token.requires_grad_(False)  # which MAE has none of
        self.enter = nn.Linear(encoder.dim, 512)
        self.decoder = MaskedVisionTransformerDecoderTIMM(
            num_patches=vit.patch_embed.num_patches, embed_dim=512, depth=8, num_heads=16
        )
        self.head = nn.Linear(512, 3 * encoder.patch**2)
        self.patch = encoder.patch

    def forward(self, batch: Batch) -> Tensor:
        image = batch["image"]
        size = (len(image), self.backbone.sequence_length)
        kept, hidden = utils.random_token_mask(size, mask_ratio=0.75, device=image.device)
        known = self.enter(self.backbone.encode(image, idx_keep=kept))
        tokens = utils.repeat_token(self.decoder.mask_token, size)
        tokens = utils.set_at_index(tokens, kept, known.type_as(tokens))
        painted = self.head(utils.get_at_index(self.decoder(tokens), hidden))
        wanted = utils.get_at_index(utils.patchify(image, self.patch), hidden - 1)
        return F.mse_loss(painted, utils.normalize_mean_var(wanted, dim=-1))
