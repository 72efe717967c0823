"""The checkpoint of Omnidata's DPT-Hybrid in transformers' DPT.

The reference is DPT-Hybrid as its paper has it (Ranftl et al. 2021), on timm's ViT with a ResNet
in front, its parts named as in its authors' checkpoints.
"""

from functools import partial

import pytest
import timm
import torch
from timm.models.resnetv2 import ResNetV2
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_hybrid import HybridEmbed
from torch import nn
from torch.nn import functional as F

from conftest import close
from sgmim.errors import ConfigurationError, DataError, FileError
from sgmim.knowledge import depth, normals
from sgmim.knowledge.teachers import omnidata

SIDE, HIDDEN, FUSED = 64, 128, 32
up = partial(F.interpolate, scale_factor=2, mode="bilinear", align_corners=True)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(FUSED, FUSED, 3, padding=1) for _ in range(2))

    def forward(self, x):
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class Fusion(nn.Module):
    def __init__(self):
        super().__init__()
        self.out_conv = nn.Conv2d(FUSED, FUSED, 1)
        self.resConfUnit1, self.resConfUnit2 = Residual(), Residual()

    def forward(self, x, beside=None):
        x = x if beside is None else x + self.resConfUnit1(beside)
        return self.out_conv(up(self.resConfUnit2(x)))


class Readout(nn.Module):
    def __init__(self):
        super().__init__()
        self.project = nn.Sequential(nn.Linear(2 * HIDDEN, HIDDEN), nn.GELU())

    def forward(self, tokens):
        first, rest = tokens[:, :1], tokens[:, 1:]
        tokens = self.project(torch.cat([rest, first.expand_as(rest)], dim=-1))
        side = round(tokens.shape[1] ** 0.5)
        return tokens.transpose(1, 2).unflatten(2, (side, side))


class Reference(nn.Module):
    """DPT-Hybrid, with parts called as in its authors' checkpoints."""

    def __init__(self, channels=1):
        super().__init__()
        resnet = ResNetV2(
            layers=(1, 2, 1), channels=(128, 256, 256), stem_chs=32, num_classes=0, global_pool="",
            in_chans=3, preact=False, stem_type="same",
            conv_layer=partial(timm.layers.StdConv2dSame, eps=1e-8),
        )  # fmt: skip
        vit = VisionTransformer(
            img_size=SIDE, embed_dim=HIDDEN, depth=12, num_heads=HIDDEN // 64, num_classes=10,
            embed_layer=partial(HybridEmbed, backbone=resnet, proj=True), patch_size=1,
        )  # fmt: skip
        self.pretrained, self.scratch = nn.Module(), nn.Module()
        self.pretrained.model = vit
        self.pretrained.act_postprocess3 = nn.Sequential(
            Readout(), nn.Identity(), nn.Identity(), nn.Conv2d(HIDDEN, HIDDEN, 1)
        )
        self.pretrained.act_postprocess4 = nn.Sequential(
            Readout(), nn.Identity(), nn.Identity(), nn.Conv2d(HIDDEN, HIDDEN, 1),
            nn.Conv2d(HIDDEN, HIDDEN, 3, stride=2, padding=1),
        )  # fmt: skip
        for number, width in enumerate((128, 256, HIDDEN, HIDDEN), start=1):
            self.scratch.add_module(
                f"layer{number}_rn", nn.Conv2d(width, FUSED, 3, padding=1, bias=False)
            )
            self.scratch.add_module(f"refinenet{number}", Fusion())
        self.scratch.output_conv = nn.Sequential(
            nn.Conv2d(FUSED, FUSED // 2, 3, padding=1),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            nn.Conv2d(FUSED // 2, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, channels, 1),
            nn.ReLU(),
        )  # fmt: skip

    def forward(self, image):
        vit, scratch = self.pretrained.model, self.scratch
        resnet = vit.patch_embed.backbone
        first = resnet.stages[0](resnet.stem(image))
        second = resnet.stages[1](first)
        x = vit.patch_embed.proj(resnet.stages[2](second)).flatten(2).transpose(1, 2)
        x = torch.cat([vit.cls_token.expand(len(x), -1, -1), x], dim=1) + vit.pos_embed
        after = []
        for block in vit.blocks:
            x = block(x)
            after.append(x)
        third = self.pretrained.act_postprocess3(after[8])
        fourth = self.pretrained.act_postprocess4(after[11])
        fused = scratch.refinenet4(scratch.layer4_rn(fourth))
        fused = scratch.refinenet3(fused, scratch.layer3_rn(third))
        fused = scratch.refinenet2(fused, scratch.layer2_rn(second))
        return scratch.output_conv(scratch.refinenet1(fused, scratch.layer1_rn(first)))


@pytest.fixture(scope="module")
def reference():
    return _new(channels=1)


def _new(channels):
    torch.manual_seed(0)
    model = Reference(channels).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.05)
    for norm in (m for m in model.modules() if isinstance(m, nn.GroupNorm | nn.LayerNorm)):
        nn.init.normal_(norm.weight, mean=1.0, std=0.1)
    nn.init.constant_(model.scratch.output_conv[4].bias, 0.4)  # so that few values are cut off
    return model


def _file(folder, model):
    path = folder / "omnidata.ckpt"
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, path)
    return path


def test_the_converted_model_says_what_the_original_says(reference):
    image = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        theirs = reference(image)[:, 0]
        ours = omnidata.convert(reference.state_dict())(image).predicted_depth
    assert theirs.std() > 1e-3
    close(ours, theirs)


def test_a_checkpoint_is_a_teacher_of_depth(tmp_path, reference):
    image = torch.rand(2, 3, 50, 70)
    made = depth.maker(
        teacher="dpt-omnidata", checkpoint=_file(tmp_path, reference), accept_license=True
    )
    shown = F.interpolate(image, (SIDE, SIDE), mode="bilinear", antialias=True)
    with torch.no_grad():
        close(made(image), reference((shown - 0.5) / 0.5).clamp(0, 1))
    assert (made.note.kind, made.note.direction) == ("relative", "far_high")
    assert (made.note.license, made.note.accepted) == ("omnidata-eula", True)


def test_a_checkpoint_is_a_teacher_of_normals(tmp_path):
    model, image = _new(channels=3), torch.rand(1, 3, SIDE, SIDE)
    model.scratch.output_conv[4].bias.data = torch.tensor([0.5, 0.6, 0.1])  # towards the camera
    made = normals.maker(teacher="omnidata", checkpoint=_file(tmp_path, model), accept_license=True)
    with torch.no_grad():
        theirs = F.normalize(2 * model(image).clamp(0, 1) - 1, dim=1)
    close(made(image), theirs)


def test_its_license_has_to_be_accepted(tmp_path, reference):
    with pytest.raises(ConfigurationError, match=r"omnidata-eula.*--accept_license"):
        depth.maker(teacher="dpt-omnidata", checkpoint=_file(tmp_path, reference))


def test_what_is_no_such_checkpoint_is_said(tmp_path, reference):
    def made(checkpoint, **options):
        return depth.maker(
            teacher="dpt-omnidata", checkpoint=checkpoint, accept_license=True, **options
        )

    with pytest.raises(ConfigurationError, match="--checkpoint"):
        made(None)
    with pytest.raises(FileError, match="no checkpoint"):
        made(tmp_path / "nothing.ckpt")
    (tmp_path / "torn.ckpt").write_bytes(b"PK torn")
    with pytest.raises(DataError, match=r"torn\.ckpt"):
        made(tmp_path / "torn.ckpt")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.ckpt")
    with pytest.raises(DataError, match="DPT-Hybrid"):
        made(tmp_path / "other.ckpt")
    state = reference.state_dict()
    del state["scratch.refinenet2.out_conv.bias"]
    torch.save(state, tmp_path / "less.ckpt")
    with pytest.raises(DataError, match=r"fusion_stage\.layers\.2\.projection\.bias"):
        made(tmp_path / "less.ckpt")
    with pytest.raises(DataError, match="gives 3 channels"):
        made(_file(tmp_path, _new(channels=3)))
