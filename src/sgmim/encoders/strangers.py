"""What a file looks like that is no encoder's of this library, from the names of its tensors."""

import re
from collections.abc import Iterable
from typing import Any

# pattern that fits anywhere in a name -> what such names are of
LOOKS = {
    r"\blora_[AB]\b": "adapters of a language model (LoRA)",
    r"^(model\.)?embed_tokens|^lm_head\.|\.self_attn\.q_proj": "a language model",
    r"^(transformer\.)?h\.\d+\.attn\.c_attn": "a language model (GPT-2)",
    r"^(bert|roberta|distilbert)\.|embeddings\.word_embeddings": "a language model (BERT)",
    r"^(visual|text_model|vision_model|logit_scale$)": "CLIP, of images and text",
    r"^(model\.diffusion_model|down_blocks|up_blocks)\.": "a diffusion model",
    r"^(backbone\.body|rpn|roi_heads)\.": "a detector",
    r"^(model\.)?image_encoder\.|^mask_decoder\.": "Segment Anything",
    r"\bconv_dw\b|^conv_stem\.|^features\.\d+\.": "a convolutional classifier (as EfficientNet)",
    r"^downsample_layers\.|\bdwconv\b": "a ConvNeXt",
    r"(^|\.)layer[1-4]\.\d+\.conv\d": "a ResNet",
    r"^(blocks|stages)\.\d+\.mlp_(tokens|channels)\.": "an MLP-Mixer",
    r"^depth_head\.|^pretrained\.": "Depth Anything",
    r"^(exp_avg|exp_avg_sq)\b": "the state of an optimizer",
    r"^(mlp|last_layer)\.": "a projector of DINO, without its encoder",
    r"^(decoder|decode_head|head|heads)\.": "a decoder or head, without its encoder",
}


def looks_like(names: Iterable[Any]) -> str:
    """In a few words, what has names like these, of tensors or of what a file holds."""
    names = [str(name) for name in names]
    if {"state", "param_groups"} <= set(names):
        return "the state of an optimizer"
    if not names:
        return "a file without tensors"
    counts = {
        look: sum(bool(re.search(sign, name)) for name in names) for sign, look in LOOKS.items()
    }
    likeliest = max(counts, key=lambda look: counts[look])
    return likeliest if counts[likeliest] else "nothing that is known here"
