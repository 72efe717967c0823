"""What a run is asked to be: every option of 'sgmim pretrain' and 'sgmim finetune'."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from sgmim.data.batches import Batches
from sgmim.data.geometry import NORMALIZATIONS
from sgmim.distributed.parallel import Parallel
from sgmim.encoders import make_encoder
from sgmim.encoders.files import saved_normalization, saved_options
from sgmim.errors import ConfigurationError
from sgmim.inference import Inference
from sgmim.optim import make_optimizer
from sgmim.options import HEADS, Parser, find, has_head, named, named_head
from sgmim.plan import Plan
from sgmim.sources import make_source


def read(
    command: str, room: str, part: str, arguments: Sequence[str], **defaults: Any
) -> tuple[str, Namespace]:
    """What is run, and its options."""
    name, rest = named(arguments, command, room)
    parser = Parser(command, f"{command} {name}: {find(room, name).__doc__ or ''}".split("\n")[0])
    parser.add_argument(f"--{command}", type=str, default=name, help=f"which of the {room}")
    parser.add_recipe()
    parser.add_argument("--run", type=Path | None, default=None, help="folder of the run")
    parser.add_argument(
        "--init", type=str | None, default=None,
        help="weights to start from: a run, an encoder.safetensors, or a checkpoint of others "
        "(docs/weights.md)",
    )  # fmt: skip
    parser.add_argument(
        "--init_at_least", type=float, default=0.95,
        help="share of the encoder's parameters that --init must have",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of everything that is random")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu or cuda")
    parser.add_argument(
        "--license", type=str, default="", help="of the weights, for their file's header"
    )
    parser.add_argument("--dry_run", action="store_true", help="tell the plan, and stop")
    told = "tell these too how it goes: tensorboard, wandb, mlflow, trackio"
    parser.add_argument("--track", type=str, nargs="*", default=[], help=told)
    parser.add(part, find(room, name), skip={"encoder", "head"})
    if room == "tasks" and has_head(name):
        head = named_head(rest, name)
        parser.add_argument("--head.name", type=str, default=head, help="see 'sgmim list heads'")
        parser.add("head", find(HEADS, head), skip={"encoder", "channels"})
    parser.add("encoder", make_encoder)
    parser.add("data", make_source)
    parser.add(
        "batches", Batches,
        skip={"source", "size", "batch", "needs", "seed", "rank", "world", "device", "live"},
    )  # fmt: skip
    parser.add("training", Plan)
    parser.add("parallel", Parallel)
    parser.add("optimizer", make_optimizer, skip={"objective", "lr"})
    if command == "finetune":
        parser.add("test", make_source)
        parser.add("inference", Inference)
        parser.add_argument(
            "--test_every", type=float, default=0.0,
            help="epochs between scores while it trains; 0 scores at the end alone",
        )  # fmt: skip
        parser.add_argument("--partial", action="store_true", help="score what there is of a split")
    parser.set_defaults(defaults | dict(getattr(find(room, name), "defaults", {})))
    parser.set_defaults(_saved_encoder(parser.read(rest, defaults=False)))
    config = parser.read(rest)
    if config[command] != name:
        raise ConfigurationError(f"'{command} {name}' was asked for, and --{command} differs")
    return name, config


def _saved_encoder(given: Namespace) -> dict[str, Any]:
    """The options of the encoder that a run starts from, and how its images were normalized, as
    defaults of the run's own."""
    if not given.get("init"):
        return {}
    normalization = saved_normalization(given.init)
    told = {"batches.normalization": normalization} if normalization in NORMALIZATIONS else {}
    size = given.get("encoder.image_size")
    saved = saved_options(given.init, **({"image_size": size} if size else {}))
    if given.get("encoder.name", saved.get("name")) != saved.get("name"):
        return told
    return told | {f"encoder.{name}": value for name, value in saved.items()}
