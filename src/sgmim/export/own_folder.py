"""A model as a folder of our own: what sgmim.from_pretrained opens, and the Hub keeps.

encoder.safetensors    an encoder, with all that its header says; or
config.yaml            a model that was fine-tuned: the part of its run's configuration that makes
objective.safetensors  the model, and no word of where its data lay; its weights
"""

import inspect
from collections.abc import Iterator
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file, save_file

from sgmim.encoders.files import load_encoder, save_encoder
from sgmim.export.card import Usage
from sgmim.export.check import Pair, probe
from sgmim.export.subject import Subject
from sgmim.prediction import load_task
from sgmim.runs import CONFIG, OBJECTIVE

CLASSES = "numbers of classes, (1, H, W)"
KEPT = ("finetune", "encoder", "task", "head", "inference")  # of a run's configuration
USE = """import sgmim

model = sgmim.from_pretrained("FOLDER")
{line}
"""


def write(subject: Subject, folder: Path) -> None:
    if subject.task is None:
        told: dict[str, Any] = subject.header | {"normalization": subject.normalization}
        own = inspect.signature(save_encoder).parameters.keys()  # no header has them but by malice
        save_encoder(subject.encoder, folder, **{k: v for k, v in told.items() if k not in own})
        return
    config = {name: value for name, value in subject.config.items() if name in KEPT}
    config["encoder"] = dict(config.get("encoder", {})) | {"pretrained": False}
    config["batches"] = {"normalization": subject.normalization}
    (folder / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    save_file(load_file(subject.run / OBJECTIVE), folder / OBJECTIVE, subject.header)


def pairs(subject: Subject, folder: Path) -> Iterator[Pair]:
    height, width = subject.encoder.image_size
    others = (2 * height, 2 * width), (2 * height, 3 * width)
    if subject.task is None:
        for ours, image in subject.shown(others):
            theirs, _ = load_encoder(folder, image_size=ours.image_size)
            with torch.no_grad():
                yield Pair("features", image, ours(image), theirs.eval()(image))
        return
    run, opened = (load_task(place, device="cpu") for place in (subject.run, folder))
    for size in ((height, width), *others):
        colors = probe(2, 3, size)
        with torch.no_grad():
            yield Pair(run.map, colors, run(colors), opened(colors))


def note(subject: Subject) -> str:
    return "opened by sgmim"


def usage(subject: Subject) -> Usage:
    if subject.task is None:
        return Usage("sgmim", USE.format(line="features = model.eval()(image)  # (b, dim, h, w)"))
    said = {"depth": "meters, (1, H, W)", "label": "the number of its class, ()"}
    told = next((said[name] for name in subject.task.needs if name in said), CLASSES)
    return Usage("sgmim", USE.format(line=f'model.predict("photo.jpg")  # {told}'))
