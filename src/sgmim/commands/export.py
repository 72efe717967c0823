"""Take weights out: for timm, transformers, ONNX or torch, compared with the model they are of.

    sgmim export RUN --to timm,hf,onnx,torch [--out FOLDER] [--push USER/NAME]

RUN is the folder of 'sgmim pretrain' or 'sgmim finetune', or the file of an encoder, also of one
that 'sgmim weights import' has made. In FOLDER there is, under the name of each format:

    timm/    config.json, model.safetensors    timm.create_model("local-dir:FOLDER/timm", ...)
    hf/      config.json, model.safetensors    transformers.AutoModel.from_pretrained("FOLDER/hf")
             of a fine-tuned model as sgmim/
    onnx/    encoder.onnx; depth.onnx, ...     onnxruntime
    torch/   encoder.pt2; depth.pt2, ...       torch.export.load
    sgmim/   a folder of our own               sgmim.from_pretrained("FOLDER/sgmim")

and with each a README.md, the model card, and a check.json: how far what the other library says is
from what the model says. Where that is more than 1e-4 nothing is written.
"""

from collections.abc import Sequence
from pathlib import Path

from sgmim.errors import ConfigurationError
from sgmim.export import export, formats
from sgmim.export.subject import open_subject
from sgmim.hub import push_folder
from sgmim.options import Parser


def main(arguments: Sequence[str]) -> None:
    parser = Parser("export", "Take weights out, compared with the model they are of.")
    parser.add_argument("run", type=Path, help="folder of a run, or the file of an encoder")
    parser.add_argument("--to", type=str, default="timm", help="timm,hf,onnx,torch,sgmim")
    parser.add_argument(
        "--out", type=Path | None, default=None, help="where they go; by default RUN/exported"
    )
    parser.add_argument(
        "--image_size", type=int | tuple[int, int] | None, default=None,
        help="make the encoder one for images of another size first",
    )  # fmt: skip
    parser.add_argument(
        "--normalization", type=str | None, default=None,
        help="of its images, where the file does not say: imagenet, half, none",
    )  # fmt: skip
    parser.add_argument(
        "--license", type=str | None, default=None, help="of the weights, where they have none yet"
    )
    parser.add_argument(
        "--push", type=str | None, default=None,
        help="a repository of the Hugging Face hub, USER/NAME, for the one format asked for",
    )  # fmt: skip
    parser.add_argument("--private", type=bool, default=True, help="who may see a new one")
    config = parser.read(arguments)
    asked = formats(config.to)
    if config.push and len(asked) > 1:
        raise ConfigurationError(f"a repository holds one format, not {', '.join(asked)}")
    subject = open_subject(
        config.run,
        image_size=config.image_size,
        normalization=config.normalization,
        license=config.license,
    )
    if config.push:
        subject.check_license()
    beside = config.run.parent if config.run.is_file() else config.run
    out = config.out or beside / "exported"
    for kind in asked:
        outcome = export(subject, kind, out / kind)
        print(f"{kind:<6} {out / kind}: {outcome}")
    if config.push:
        print(push_folder(out / asked[0], config.push, private=config.private))
