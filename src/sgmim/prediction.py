"""A model that was fine-tuned, as it is used: images of any kind and size in, answers out."""

import json
from os import PathLike
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from sgmim.data.decoding import read_image
from sgmim.data.geometry import normalize
from sgmim.encoders.files import ENCODER, read_header
from sgmim.errors import ConfigurationError, DataError
from sgmim.finished import Finished, open_run
from sgmim.inference import Inference
from sgmim.objective import Task
from sgmim.runs import OBJECTIVE

CLASSES = "classes"  # in the header of an encoder's file: their names


def load_task(run: Path | str, *, device: str = "auto", **inference: Any) -> "Predictor":
    """What 'sgmim finetune' has made of an encoder, ready to predict.

    >>> model = sgmim.load_task("runs/depth")
    >>> model.predict("photo.jpg")                 # meters, (1, H, W), as large as the photo
    >>> model = sgmim.load_task("runs/ade20k", device="cuda", mode="slide")
    >>> model.predict(Image.open("street.png"))    # numbers of classes, (1, H, W)

    Args:
        run: its folder.
        device: "auto" is a GPU where there is one.
        inference: options of how images are shown to the model that are to differ from the run's:
            mode, windows, stride, flip... (inference.Inference).

    Raises:
        FileError: there is no run, or it is not done.
        ConfigurationError: it is no run of 'sgmim finetune', or has no such options.
        DataError: its weights do not fit its configuration.
    """
    try:
        return Predictor(Path(run), open_run(Path(run), "finetune", device), **inference)
    except TypeError as error:
        raise ConfigurationError(f"no such option of inference: {error}") from error


class Predictor(nn.Module):
    """Predicts for any image; in evaluation mode and on its device.

    name: of the task.
    map: what its answers are: "depth", in meters, or "classes", numbers from 0; or the "label" of
        a whole image, such a number, too.
    classes: their names, where the data had any.
    inference: how images are shown to the model.
    """

    def __init__(self, folder: Path, run: Finished, **inference: Any):
        super().__init__()
        self.task, self.name = cast(Task, run.objective), run.name
        self.map: str = next(name for name in self.task.needs if name != "image")
        told = read_header(folder if (folder / ENCODER).is_file() else folder / OBJECTIVE)
        self.classes: tuple[str, ...] = tuple(json.loads(told.get(CLASSES, "[]")))
        self.normalization = run.normalization
        self.inference = Inference(**vars(run.inference) | inference)

    @property
    def device(self) -> torch.device:
        return next(self.task.parameters()).device

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b _ *size"]:
        """What the model itself says of images with colors in [0, 1], at their size: meters, or a
        number for every class, of which the most likely has the largest; of a whole image (b, k)
        if it was fine-tuned for classification."""
        if self.map == "label":
            shown = self.inference.fitted(image, self.task.encoder.image_size)
            return self.inference.of_all(
                self.task.predict, normalize(255 * shown, self.normalization)
            )
        shown = normalize(255 * image, self.normalization)
        return self.inference(self.task.predict, shown, self.task.encoder.image_size)

    def answer(self, said: Float[Tensor, "b _ *size"]) -> Tensor:
        """What `forward` gave as an answer: meters (b, 1, H, W), or classes int64, (b, 1, H, W) or
        of whole images (b,)."""
        if not self.task.limits:
            return said
        return said.argmax(dim=1, keepdim=self.map != "label")

    @torch.no_grad()
    def predict(
        self, image: str | PathLike | Image.Image | np.ndarray | Tensor, *, logits: bool = False
    ) -> Tensor:
        """The answer for one image, on the CPU and at the image's own size.

        Args:
            image: a file; an image of PIL; bytes (H, W, 3), red, green, blue, in numpy; a tensor
                (3, H, W) of bytes or of floats in [0, 1].
            logits: give the numbers of all classes (classes, H, W) rather than the most likely.

        Returns:
            depth in meters (1, H, W) float32, or numbers of classes (1, H, W) int64; of a whole
            image, its class, () int64, or the logits of all (classes,).

        Raises:
            ConfigurationError: it is nothing of that kind, or depth was asked for logits.
            DataError: the file cannot be read, or colors are beyond their range.
        """
        if logits and not self.task.limits:
            raise ConfigurationError(f"{self.map} has no logits, which are of classes")
        said = self(as_colors(image)[None].to(self.device))
        return (said if logits else self.answer(said))[0].cpu()


def as_colors(
    image: str | PathLike | Image.Image | np.ndarray | Tensor,
) -> Float[Tensor, "3 H W"]:
    """An image of any kind as colors in [0, 1]; see `Predictor.predict`."""
    if isinstance(image, str | PathLike):
        return read_image(image) / 255
    if isinstance(image, Image.Image):
        image = np.asarray(image.convert("RGB"))
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise _strange(image.shape, image.dtype)
        return torch.tensor(image).permute(2, 0, 1) / 255
    if not isinstance(image, Tensor) or image.ndim != 3 or image.shape[0] != 3:
        raise _strange(getattr(image, "shape", ()), getattr(image, "dtype", type(image).__name__))
    if image.dtype == torch.uint8:
        return image / 255
    if not image.is_floating_point():
        raise _strange(image.shape, image.dtype)
    if not 0 <= image.min() <= image.max() <= 1:
        raise DataError(
            f"colors of a tensor of floats are from 0 to 1, before any normalization, and not from "
            f"{image.min().item():g} to {image.max().item():g}"
        )
    return image.float()


def _strange(shape: Any, kind: Any) -> ConfigurationError:
    return ConfigurationError(
        f"an image is a path, one of PIL, bytes (H, W, 3) in numpy, or a tensor (3, H, W) of bytes "
        f"or floats in [0, 1]; not {tuple(shape)} of {kind}"
    )
