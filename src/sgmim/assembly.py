"""From options to a run: what 'sgmim pretrain' and 'sgmim finetune' have in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import Namespace
from torch.optim import Optimizer

from sgmim import __version__, distributed, memory, runs
from sgmim.data.batches import Batches, in_order
from sgmim.data.derived import Subset
from sgmim.data.images import Source
from sgmim.encoders import Encoder, encoder_names, make_encoder
from sgmim.encoders.files import initialize, saved_options
from sgmim.errors import ConfigurationError, nearest
from sgmim.files import write_whole
from sgmim.masking import keys
from sgmim.objective import Batch, Objective
from sgmim.optim import adamw
from sgmim.options import Parser, find, named
from sgmim.sources import make_source

PREVIEWED = 6  # samples on a picture sheet
FREE = ("run", "device", "dry_run", "recipe", "batches.workers")  # may differ when a run goes on
FREE_PLAN = ("log_every", "save_every", "pictures_every", "keep", "compile")


@dataclass
class Run:
    """All that a run is made of."""

    command: str
    name: str  # of the method or task
    config: Namespace
    parser: Parser
    folder: Path
    encoder: Encoder
    objective: Objective
    source: Source
    batches: Batches
    plan: runs.Plan
    optimizer: Optimizer
    started_from: str  # what the encoder's weights are

    def train(self) -> None:
        """Run it to the end, and go on if it has begun."""
        if distributed.is_main():
            text = f"# {self.command} {self.name}, sgmim {__version__}\n{self.written()}"
            write_whole(self.folder / "config.yaml", lambda file: file.write(text.encode()))
        runs.train(
            self.objective,
            self.optimizer,
            self.batches,
            self.plan,
            self.folder,
            seed=self.config.seed,
            images=len(self.source),
            configuration=self.fingerprint(),
            metadata={
                "method": self.name,
                "recipe": str(self.config.recipe[0]) if self.config.recipe else "",
                "normalization": self.config.batches.normalization,
                "license": self.config.license,
                "started_from": self.started_from,
            },
            preview=self.preview(),
        )

    def preview(self) -> Batch | None:
        if not distributed.is_main():
            return None
        few = Subset(self.source, count=min(PREVIEWED, len(self.source)))
        sized = {"size": self.encoder.image_size, "batch": PREVIEWED}
        how = {"needs": self.objective.needs, "device": self.batches.device}
        batch = next(in_order(few, normalization=self.batches.normalization, **sized, **how))
        return batch | {"key": torch.arange(len(batch["image"]), device=self.batches.device)}

    def written(self) -> str:
        """The configuration as a recipe."""
        kept = self.config.clone()
        for name in ("recipe", "dry_run"):
            kept.pop(name, None)
        return self.parser.dump(kept, skip_validation=True)

    def fingerprint(self) -> dict[str, Any]:
        """What has to be the same for a run to go on."""
        kept = self.config.clone()
        for name in (*FREE, *(f"training.{option}" for option in FREE_PLAN)):
            kept.pop(name, None)
        return kept.as_dict()

    def told(self) -> str:
        """The plan of the run, for people."""
        steps, images = self.plan.length(len(self.source)), len(self.source)
        size = " x ".join(map(str, self.encoder.image_size))
        count = sum(p.numel() for p in self.objective.parameters()) / 1e6
        of_it = sum(p.numel() for p in self.encoder.parameters()) / 1e6
        lines = {
            "runs": f"{self.command} {self.name} in {self.folder}",
            "encoder": f"{self.encoder.name} for {size} pixels, {of_it:.1f} M parameters of "
            f"{count:.1f} M; weights: {self.started_from}",
            "data": f"{images} images with {', '.join(sorted(self.source.has))}",
            "steps": f"{steps} of {self.plan.batch} images ({steps * self.plan.batch / images:.1f} "
            f"epochs), {self.plan.accumulate} micro-batches each, {distributed.world()} processes",
            "rate": f"{self.plan.rate:.3g}, {self.plan.schedule}",
            "memory": memory.told(self.objective, self.plan.micro_batch // distributed.world()),
        }
        return "\n".join(f"{name:<8} {line}" for name, line in lines.items())


def prepare(command: str, room: str, part: str, arguments: Sequence[str], **defaults: Any) -> Run:
    """Read the options of a run and build what it is made of.

    Args:
        command: its name, also the recipe's word for what is run.
        room: where that is found.
        part: what its options are called by.
        arguments: of the command line.
        defaults: of options, where they differ from the signatures'.

    Raises:
        ConfigurationError, DataError, FileError: whatever is wrong, before any training.
    """
    parser, name, config = read(command, room, part, arguments, **defaults)
    device = distributed.start(config.device)
    torch.manual_seed(config.seed)
    encoder, started_from = _encoder(config)
    objective = find(room, name)(encoder, **config[part].as_dict())
    plan = runs.Plan(**config.training.as_dict())
    source = make_source(**config.data.as_dict())
    if source is None:
        raise ConfigurationError("there is no data: give --data.images FOLDER or --data.scenes N")
    objective.check(source.has)
    objective.to(device)
    batches = Batches(
        source,
        size=encoder.image_size,
        batch=plan.micro_batch,
        needs=objective.needs,
        seed=config.seed,
        rank=distributed.rank(),
        world=distributed.world(),
        device=device,
        **config.batches.as_dict(),
    )
    optimizer = adamw(objective, lr=plan.rate, **config.optimizer.as_dict())
    folder = config.run or Path("runs") / f"{command}_{name}"
    return Run(
        command, name, config, parser, folder, encoder, objective, source, batches, plan,
        optimizer, started_from,
    )  # fmt: skip


def read(
    command: str, room: str, part: str, arguments: Sequence[str], **defaults: Any
) -> tuple[Parser, str, Namespace]:
    """The options of a run, checked against what they are for."""
    name, rest = named(arguments, command, room)
    parser = Parser(command, f"{command} {name}: {find(room, name).__doc__ or ''}".split("\n")[0])
    parser.add_argument(f"--{command}", type=str, default=name, help=f"which of the {room}")
    parser.add_recipe()
    parser.add_argument("--run", type=Path | None, default=None, help="folder of the run")
    parser.add_argument(
        "--init", type=str | None, default=None,
        help="weights to start from: a run, an encoder.safetensors, or a checkpoint of SimMIM, "
        "SG-MIM, MIM-Depth-Estimation or timm",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of everything that is random")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu or cuda")
    parser.add_argument(
        "--license", type=str, default="", help="of the weights, for their file's header"
    )
    parser.add_argument("--dry_run", action="store_true", help="tell the plan, and stop")
    parser.add(part, find(room, name), skip={"encoder"})
    parser.add("encoder", make_encoder)
    parser.add("data", make_source)
    parser.add(
        "batches", Batches,
        skip={"source", "size", "batch", "needs", "seed", "rank", "world", "device"},
    )  # fmt: skip
    parser.add("training", runs.Plan)
    parser.add("optimizer", adamw, skip={"objective", "lr"})
    if command == "finetune":
        parser.add("test", make_source)
    parser.set_defaults(defaults)
    rest = [word.replace("--dry-run", "--dry_run") for word in rest]
    if init := _value(rest, "--init"):
        size = _value(rest, "--encoder.image_size")
        changes = {"image_size": yaml.safe_load(size)} if size else {}
        saved = saved_options(init, **changes)
        parser.set_defaults({f"encoder.{name}": value for name, value in saved.items()})
    return parser, name, parser.read(rest)


def _encoder(config: Namespace) -> tuple[Encoder, str]:
    """The encoder that was asked for, and what its weights are."""
    options = config.encoder.as_dict()
    if options["name"] not in encoder_names():
        make_encoder(**options)  # says what is near
    encoder = make_encoder(**options)
    if config.init:
        return encoder, f"{config.init}: {initialize(encoder, config.init)}"
    return encoder, "timm's pre-trained" if options["pretrained"] else "new"


def _value(arguments: Sequence[str], option: str) -> str | None:
    """What an option is given, before all options are known."""
    for place, word in enumerate(arguments):
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
        if word == option and place + 1 < len(arguments):
            return arguments[place + 1]
    return None
