"""Models of transformers, from the hub or a folder: fetched, checked, asked."""

import importlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sgmim.errors import ConfigurationError, DataError
from sgmim.knowledge.teachers.licenses import Origin


@dataclass(frozen=True)
class Pretrained:
    """A model of transformers and what prepares images for it."""

    model: nn.Module
    processor: Any
    origin: Origin

    @property
    def config(self) -> Any:
        """What transformers knows of the model; its `model_type` is such as "depth_anything"."""
        return self.model.config

    def __call__(self, image: Float[Tensor, "b 3 H W"], **sizes: Any) -> Any:
        """What the model says of colors in [0, 1], prepared on the device that they are on."""
        on(self.model, image.device)
        images = list(image.unbind())
        inputs = self.processor(images, do_rescale=False, return_tensors="pt", **sizes)
        return self.model(**inputs)


def fetched(hub: str, name: str, revision: str | None, needed: bool = True) -> Any:
    """A file of a model on the hub, in the cache; None where it has none and none is `needed`."""
    transformers()  # with which the hub's client comes
    from huggingface_hub import errors, hf_hub_download

    try:
        return Path(hf_hub_download(hub, name, revision=revision))
    except errors.GatedRepoError as error:
        wrong = f"{hub} is behind terms: agree on its page, then 'hf auth login'"
        raise ConfigurationError(wrong) from error
    except errors.RepositoryNotFoundError as error:
        raise ConfigurationError(f"there is no model {hub} on the hub, or it is private") from error
    except errors.RevisionNotFoundError as error:
        raise ConfigurationError(f"{hub} has no revision {revision!r}") from error
    except Exception as error:  # no network fails in many ways
        if not needed:
            return None
        is_local = isinstance(error, errors.LocalEntryNotFoundError)
        if isinstance(error, errors.EntryNotFoundError) and not is_local:
            raise ConfigurationError(f"{hub} is no model of transformers: no {name}") from error
        raise ConfigurationError(
            f"{hub} is not in the cache, and the hub cannot be reached: 'hf download {hub}' where "
            "there is a network, or give the folder of a model"
        ) from error


def load(autos: Sequence[str], where: str, revision: str | None) -> tuple[nn.Module, Any]:
    """A model and its processor, from a folder or the hub, at an exact revision.

    autos: classes of transformers; the first that knows models of this type loads it.
    """
    library = transformers()
    told = f"{where} is no model of transformers"
    with _quiet(library, bars=revision is not None):  # of what is fetched
        with _explained(told):
            config = library.AutoConfig.from_pretrained(where, revision=revision)
        loaders = [getattr(library, auto) for auto in autos]
        able = [each for each in loaders if type(config) in each._model_mapping]
        if not able:
            kind = config.architectures[0] if config.architectures else config.model_type
            raise ConfigurationError(f"{where} is a {kind}, which is no {' and no '.join(autos)}")
        with _explained(f"what prepares images for {where} is missing"):
            processor = library.AutoImageProcessor.from_pretrained(where, revision=revision)
        with _explained(f"the weights of {where} cannot be read", DataError):
            model, report = able[0].from_pretrained(
                where, revision=revision, dtype=torch.float32, output_loading_info=True
            )
    missing = _missing(model, report)
    if missing:
        raise DataError(
            f"{where} lacks {len(missing)} weights of a {type(model).__name__}: {missing[0]}, ..."
        )
    return model.eval().requires_grad_(False), processor


def _missing(model: nn.Module, report: Mapping[str, Any]) -> list[str]:
    """Weights that were not there, but for those that a DPT has and never uses."""
    absent = {*report["missing_keys"], *(key[0] for key in report["mismatched_keys"])}
    unused = "fusion_stage.layers.0.residual_layer1"  # nothing comes before the first layer
    names = {name for name, _ in model.named_parameters()}
    return sorted(name for name in absent & names if unused not in name)


@contextmanager
def _explained(told: str, kind: type[Exception] = ConfigurationError) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except ImportError as error:  # of what a model needs beside transformers
        raise ConfigurationError(f"it cannot be loaded: {said(error)}") from error
    except Exception as error:  # a folder can hold anything
        raise kind(f"{told}: {said(error)}") from error


@contextmanager
def _quiet(library: Any, bars: bool) -> Iterator[None]:
    """Without the warnings of transformers, as what is wrong is raised; without its bars, too."""
    logging = library.utils.logging
    level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if not bars:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def in_fp32(layer: nn.Module) -> None:
    """Have a layer compute in fp32 whatever the rest of its model does."""
    inner = layer.forward

    def forward(x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return inner(x.float())

    layer.forward = forward


def on(model: nn.Module, device: torch.device) -> None:
    """Put a model on a device, if it is not there."""
    first = next(model.parameters(), None)
    if first is not None and first.device != device:
        model.to(device)
    if model.training:
        model.eval()


def said(error: BaseException) -> str:
    """The first line of what an error says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def transformers() -> Any:
    """The library. ConfigurationError where it is not installed."""
    if importlib.util.find_spec("transformers") is None:
        raise ConfigurationError("teachers need transformers: pip install 'sgmim[teachers]'")
    return importlib.import_module("transformers")
