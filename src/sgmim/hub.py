"""Models to and from the Hugging Face hub, or a folder that looks the same.

    sgmim.push_to_hub("runs/sgmim", "user/sgmim-swin-base", license="apache-2.0")
    encoder = sgmim.from_pretrained("user/sgmim-swin-base")
    model = sgmim.from_pretrained("user/sgmim-depth").predict("photo.jpg")

Only weights as safetensors, settings and texts are ever fetched; nothing that comes is run.
"""

from collections.abc import Callable
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import safe_open

from sgmim.encoders import Encoder
from sgmim.encoders.files import ENCODER, FROM_ELSEWHERE, load_encoder
from sgmim.errors import ConfigurationError, DataError, FileError
from sgmim.export import export
from sgmim.export.card import CARD, for_hub
from sgmim.export.check import Outcome
from sgmim.export.subject import open_subject
from sgmim.files import write_text
from sgmim.finished import build
from sgmim.plain_values import read_recipe
from sgmim.prediction import Predictor, load_task
from sgmim.runs import CONFIG, OBJECTIVE

FETCHED = [ENCODER, OBJECTIVE, CONFIG, CARD]


def save_pretrained(run: Path | str, folder: Path | str, **options: Any) -> Outcome:
    """Write what from_pretrained opens, with a model card, and compare it with the model.

    Args:
        run: of 'sgmim pretrain' or 'sgmim finetune', or the file of an encoder.
        folder: made, or replaced where it was written by this.
        options: license, normalization, image_size: see export.subject.open_subject.

    Raises:
        ConfigurationError, DataError, FileError: see export.export.
    """
    return export(open_subject(Path(run), **options), "sgmim", Path(folder))


def push_to_hub(run: Path | str, repository: str, *, private: bool = True, **options: Any) -> str:
    """Put a model on the hub, with its card; returns its address.

    Args:
        run: of 'sgmim pretrain' or 'sgmim finetune', or the file of an encoder.
        repository: USER/NAME; made if it is not there yet.
        private: who may see a new one.
        options: as of save_pretrained.

    Raises:
        ConfigurationError: nobody has said under which license it is, or no such repository can be.
        DataError, FileError: see export.export; or the hub cannot be reached, or refuses.
    """
    subject = open_subject(Path(run), **options)
    subject.check_license()
    with TemporaryDirectory() as folder:
        export(subject, "sgmim", Path(folder) / "model")
        return push_folder(Path(folder) / "model", repository, private=private)


def push_folder(folder: Path, repository: str, *, private: bool = True) -> str:
    """Put an export on the hub; returns its address."""
    from huggingface_hub import HfApi

    card = folder / CARD
    write_text(card, for_hub(card.read_text(encoding="utf-8"), repository))

    def push() -> str:
        api = HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=str(folder))
        return f"https://huggingface.co/{repository}"

    return _told(repository, push)


def from_pretrained(
    name: Path | str, *, revision: str | None = None, device: str = "auto", **changes: Any
) -> Encoder | Predictor:
    """An encoder, or a model that was fine-tuned, ready to predict.

    Args:
        name: a folder, or a repository of the hub, USER/NAME.
        revision: of the repository: a branch, a tag or a commit.
        device: of a model that predicts; "auto" is a GPU where there is one.
        changes: of an encoder, keywords of make_encoder, such as image_size (encoders.files); of a
            model that predicts, options of inference (prediction.load_task).

    Raises:
        FileError: there is no such folder, and the hub has nothing of that name.
        DataError: what is there is no model of sgmim.
    """
    folder = Path(name) if Path(name).is_dir() else _fetched(str(name), revision)
    if (folder / OBJECTIVE).is_file() and (folder / CONFIG).is_file():
        _check(folder)
        return load_task(folder, device=device, **changes)
    if not (folder / ENCODER).is_file():
        raise DataError(
            f"{name} holds no model of sgmim: {ENCODER}, or {CONFIG} and {OBJECTIVE}, are "
            "expected; what timm and transformers keep is opened by them"
        )
    encoder, _ = load_encoder(folder, **changes)
    return encoder.eval()


def _fetched(repository: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    def fetch() -> str:
        return snapshot_download(repository, revision=revision, allow_patterns=FETCHED)

    return Path(_told(repository, fetch))


def _told(repository: str, ask: Callable[[], str]) -> str:
    """What the hub answers; its own errors, which can be anything, in one line."""
    from huggingface_hub.errors import HFValidationError

    try:
        return ask()
    except HFValidationError as error:
        raise ConfigurationError(
            f"{repository!r} is neither a folder nor a repository, which is USER/NAME: {error}"
        ) from error
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise FileError(f"the hub and {repository!r}: {reason}") from error


def _check(folder: Path) -> None:
    """Refuse a configuration from elsewhere that would have other files opened, or describes a
    model of any size."""
    path = folder / CONFIG
    encoder = read_recipe(path).get("encoder") or {}
    options = encoder.get("options") or {} if isinstance(encoder, dict) else {}
    if elsewhere := FROM_ELSEWHERE & set(options):
        raise DataError(f"{path} has {', '.join(sorted(elsewhere))} in the encoder's options")
    with torch.device("meta"):  # at no cost
        model = build(path, "finetune").objective
    told = sum(tensor.numel() for tensor in model.state_dict().values())
    with safe_open(folder / OBJECTIVE, "pt") as opened:
        there = sum(prod(opened.get_slice(n).get_shape()) for n in opened.keys())  # noqa: SIM118
    if told != there:
        raise DataError(
            f"{path} is of another file: it describes a model of {told} numbers, and there are "
            f"{there}"
        )
