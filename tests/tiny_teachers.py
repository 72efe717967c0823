"""Models of transformers, tiny and untrained, as save_pretrained leaves them: no network."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import huggingface_hub
import torch
import transformers

huggingface_hub.constants.HF_HUB_OFFLINE = True

SCRATCH = Path(tempfile.mkdtemp(prefix="tiny_teachers_"))
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)

VIT = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
DINO = {**VIT, "patch_size": 14, "image_size": 56, "out_features": ["stage1", "stage2"]}
NECK = {"neck_hidden_sizes": [8, 12], "fusion_hidden_size": 8, "reassemble_factors": [2, 1]}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


@cache
def folder(name: str) -> Path:
    """The folder of a tiny model: one of the functions below, by name."""
    torch.manual_seed(0)
    model, processor = globals()[name]()
    for called, weight in model.named_parameters():
        if weight.ndim > 1:  # livelier than at the start, when one class wins everywhere
            learnt = "queries" in called or "class_predictor" in called
            torch.nn.init.normal_(weight, std=1 if learnt else weight[0].numel() ** -0.5)
    path = SCRATCH / name.replace("_", "-")
    model.eval().save_pretrained(path)
    if processor is not None:
        processor.save_pretrained(path)
    return path


def depth_anything(**settings):
    dino = transformers.Dinov2Config(
        **DINO, mlp_ratio=2, reshape_hidden_states=False, apply_layernorm=True
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=dino, patch_size=14, **NECK, reassemble_hidden_size=24,
        head_hidden_size=4, **settings,
    )  # fmt: skip
    processor = transformers.DPTImageProcessor(
        size={"height": 56, "width": 56}, keep_aspect_ratio=True, ensure_multiple_of=14, **IMAGENET
    )
    return transformers.DepthAnythingForDepthEstimation(config), processor


def metric_depth():
    return depth_anything(depth_estimation_type="metric", max_depth=20)


def dpt():
    config = transformers.DPTConfig(
        **VIT, intermediate_size=48, image_size=64, patch_size=16, backbone_out_indices=[0, 1],
        **NECK,
    )  # fmt: skip
    half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    processor = transformers.DPTImageProcessor(size={"height": 64, "width": 64}, **half)
    return transformers.DPTForDepthEstimation(config), processor


def glpn():
    config = transformers.GLPNConfig(
        num_encoder_blocks=4, depths=[1] * 4, hidden_sizes=[8, 8, 16, 16],
        num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=8, max_depth=10,
    )  # fmt: skip
    return transformers.GLPNForDepthEstimation(config), transformers.GLPNImageProcessor()


def mask2former():
    swin = transformers.SwinConfig(
        image_size=64, embed_dim=12, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.Mask2FormerConfig(
        backbone_config=swin, hidden_dim=32, feature_size=32, mask_feature_size=32, num_queries=20,
        encoder_feedforward_dim=16, dim_feedforward=16, encoder_layers=1, decoder_layers=2,
        num_attention_heads=2, id2label={n: f"thing {n}" for n in range(5)},
    )  # fmt: skip
    processor = transformers.Mask2FormerImageProcessor(size={"height": 64, "width": 64})
    return transformers.Mask2FormerForUniversalSegmentation(config), processor


def segformer():
    config = transformers.SegformerConfig(
        depths=[1] * 4, hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=8, num_labels=7,
    )  # fmt: skip
    processor = transformers.SegformerImageProcessor(size={"height": 64, "width": 64})
    return transformers.SegformerForSemanticSegmentation(config), processor


def zoedepth():
    beit = transformers.BeitConfig(
        **VIT | {"num_hidden_layers": 4}, intermediate_size=48, image_size=64, patch_size=16,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False,
    )  # fmt: skip
    config = transformers.ZoeDepthConfig(
        backbone_config=beit, neck_hidden_sizes=[8, 8, 12, 12], fusion_hidden_size=16,
        reassemble_factors=[4, 2, 1, 0.5], bottleneck_features=16, bin_embedding_dim=8,
        num_relative_features=8,
        bin_configurations=[{"n_bins": 8, "min_depth": 0.1, "max_depth": 10.0, "name": "nyu"}],
    )  # fmt: skip
    processor = transformers.ZoeDepthImageProcessor(
        size={"height": 64, "width": 64}, ensure_multiple_of=32
    )
    return transformers.ZoeDepthForDepthEstimation(config), processor


def tipsv2():
    """Normals."""
    eye = transformers.Tipsv2VisionConfig(
        **VIT, image_size=56, out_indices=[1, 2], apply_layernorm=True, reshape_hidden_states=False
    )
    config = transformers.Tipsv2DptConfig(backbone_config=eye, **NECK)
    processor = transformers.Tipsv2DptImageProcessor(size={"height": 56, "width": 56})
    return transformers.Tipsv2DptForNormalEstimation(config), processor


def classifier():
    config = transformers.ViTConfig(**VIT, intermediate_size=48, image_size=32, patch_size=16)
    return transformers.ViTForImageClassification(config), None


def on_the_hub(cache: Path, hub: str, model: Path, card: str | None = None) -> str:
    """Put a model where the hub's client keeps what it has fetched; returns its commit."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    place = cache / f"models--{hub.replace('/', '--')}"
    shutil.copytree(model, place / "snapshots" / commit)
    if card is not None:
        (place / "snapshots" / commit / "README.md").write_text(card)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    return commit
