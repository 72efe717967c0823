"""From options to a run: what 'sgmim pretrain' and 'sgmim finetune' have in common."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import Namespace
from torch.optim import Optimizer

from sgmim import __version__, contamination, distributed, memory, options, runs, trackers
from sgmim.data.batches import Batches, in_order
from sgmim.data.derived import Subset
from sgmim.data.images import Source
from sgmim.data.labels import within
from sgmim.data.views import VIEWS
from sgmim.datasets import shortfall
from sgmim.distributed.parallel import Parallel, is_shared, place
from sgmim.ema import MovingAverage
from sgmim.encoders import Encoder, make_encoder
from sgmim.encoders.files import initialize
from sgmim.errors import ConfigurationError, DataError
from sgmim.objective import Batch, Objective
from sgmim.optim import make_optimizer
from sgmim.options import build
from sgmim.plan import Plan
from sgmim.prediction import CLASSES
from sgmim.request import read
from sgmim.runs import Look
from sgmim.sources import NO_DATA, completed, make_source

PREVIEWED = 6  # samples on a picture sheet
FREE = (  # when a run goes on
    "run", "device", "dry_run", "recipe", "license", "track", "init_at_least", "batches.workers",
    "data.cache", "data.cache_gb", "data.benchmark", "test.benchmark", "inference", "partial",
    "test_every", "encoder.checkpointing", "parallel",
)  # fmt: skip
FREE_PLAN = ("log_every", "save_every", "pictures_every", "keep", "compile")


@dataclass
class Run:
    """All that a run is made of."""

    command: str
    name: str  # of the method or task
    config: Namespace
    folder: Path
    encoder: Encoder
    objective: Objective
    source: Source
    batches: Batches
    plan: Plan
    optimizer: Optimizer
    started_from: str  # what the encoder's weights are
    license: str  # of the weights that it ends with
    preview: Batch | None  # the samples of the picture sheets
    warned: list[str]  # what is to be told of these samples
    activations: int  # bytes an image
    parallel: Parallel
    ema: MovingAverage | None

    def train(self, look: Look | None = None, epochs: float = 0.0) -> Objective:
        """Run it to the end, and go on if it has begun; returns what it hands over.

        `look` is called every so many epochs, if any, and at the end.
        """
        images = len(self.source)
        recipe = Path(str(self.config.recipe[0])).stem if self.config.recipe else ""
        return runs.train(
            self.objective,
            self.optimizer,
            self.batches,
            self.plan,
            self.folder,
            seed=self.config.seed,
            images=images,
            ema=self.ema,
            configuration=self.fingerprint(),
            recipe=self.written(),
            metadata=self._seen()
            | self._named()
            | {
                "method": self.name,
                "recipe": recipe,
                "normalization": self.config.batches.normalization,
                "license": self.license,
                "started_from": self.started_from,
            },
            preview=self.preview if distributed.is_main() or is_shared(self.objective) else None,
            track=self.config.track,
            look=look if epochs else None,
            look_every=self.plan.steps_of(epochs, images),
        )

    def _seen(self) -> dict[str, Any]:
        """Benchmarks that the teachers of its maps, or of what it starts from, were trained on."""
        now = contamination.seen(self.source, self.objective.needs)
        seen = contamination.joined(now, contamination.handed_on(self.config.init))
        return {contamination.KEY: seen} if seen else {}

    def _named(self) -> dict[str, Any]:
        """The names of the classes that it learns, where its data have any."""
        names = getattr(self.source, "classes", ()) if self.objective.limits else ()
        return {CLASSES: list(names)} if names else {}

    def written(self) -> str:
        """The configuration as a recipe."""
        asked = _without(self.config, "recipe", "dry_run")
        plain = json.loads(json.dumps(asked, default=str))
        head = f"# {self.command} {self.name}, sgmim {__version__}\n"
        return head + yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)

    def fingerprint(self) -> dict[str, Any]:
        """What has to be the same for a run to go on."""
        return _without(self.config, *FREE, *(f"training.{option}" for option in FREE_PLAN))

    def told(self) -> str:
        """The plan of the run, for people."""
        plan, images, processes = self.plan, len(self.source), distributed.world()
        steps, maps = plan.length(images), self._maps()
        samples = "pairs" if "second" in self.objective.needs else "images"
        size = " x ".join(map(str, self.encoder.image_size))
        count = sum(p.numel() for p in self.objective.parameters()) / 1e6
        of_it = sum(p.numel() for p in self.encoder.parameters()) / 1e6
        parts = f", in {plan.accumulate} micro-batches each" if plan.accumulate > 1 else ""
        strategy, shards = self.parallel.strategy, self.parallel.shards
        shared = f", on {processes} processes ({strategy})" if processes > 1 else ""
        lines = {
            "runs": f"{self.command} {self.name} in {self.folder}",
            "encoder": f"{self.encoder.name} for {size} pixels, {of_it:.1f} M parameters of "
            f"{count:.1f} M; weights: {self.started_from}",
            "data": f"{images} {samples}{' with ' * bool(maps)}{', '.join(maps)}",
            "steps": f"{steps} of {plan.batch} images ({steps * plan.batch / images:.1f} epochs)"
            f"{parts}{shared}",
            "rate": f"{plan.rate:.3g}, {plan.schedule}",
            "memory": memory.told(
                self.objective, self.activations, plan.micro_batch // processes, shards
            ),
        }
        told = [f"{name:<8} {line}" for name, line in lines.items()]
        return "\n".join([*told, *(f"warning  {line}" for line in self.warned)])

    def _maps(self) -> list[str]:
        """The maps that lie on the images, and where they come from if not from the source."""
        live = self.batches.live
        return [
            *sorted(self.source.has - {"image", "camera", "frame", "second"} - live.names),
            *(f"{name} (live, from the crop)" for name in live.crop),
            *(f"{name} (live, on the device)" for name in live.device),
        ]


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
    name, config = read(command, room, part, arguments, **defaults)
    parallel = Parallel(**config.parallel.as_dict())
    trackers.check(config.track)
    with _checked("device and seed"):
        device = distributed.start(config.device, timeout=parallel.timeout)
        torch.manual_seed(config.seed)
    with _checked("encoder"):
        encoder, started_from, license = _encoder(config)
    with _checked(part):
        objective = build(room, name, encoder, config[part], config.get("head"))
    plan = Plan(**config.training.as_dict())
    source = make_source(**config.data.as_dict())
    if source is None:
        raise ConfigurationError(NO_DATA)
    source, live = completed(source, config.data.live, objective.needs)
    objective.check({*source.has, *live.names, *VIEWS})
    source = within(source, objective.limits)
    objective.class_names = getattr(source, "classes", ())
    batches = Batches(
        source,
        size=encoder.image_size,
        batch=plan.micro_batch,
        needs=objective.needs,
        seed=config.seed,
        rank=distributed.rank(),
        world=distributed.world(),
        device=device,
        live=live,
        **options.arguments(Batches, config.batches.as_dict()),
    )
    preview = _preview(source, objective, batches)
    shapes = {name: tuple(value.shape[1:]) for name, value in (preview or {}).items()}
    told = " and ".join(f"{name} {shapes.get(name)}" for name in objective.needs)
    with _checked(f"{part} or encoder", f"with {told} a sample"):
        warned = objective.warnings(preview) if preview else []
        warned += shortfall(source)
        activations = memory.activations(objective, preview) if preview else 0
    ema = MovingAverage(objective, plan.ema) if plan.ema else None
    for model in (objective, ema.objective) if ema else (objective,):
        place(model, device, parallel, plan.precision)
    with _checked("optimizer"):
        optimizer = make_optimizer(objective, lr=plan.rate, **config.optimizer.as_dict())
    folder = config.run or Path("runs") / f"{command}_{name}"
    return Run(
        command, name, config, folder, encoder, objective, source, batches, plan, optimizer,
        started_from, config.license or license, preview, warned, activations, parallel, ema,
    )  # fmt: skip


def _encoder(config: Namespace) -> tuple[Encoder, str, str]:
    """The encoder that was asked for, what its weights are, and the license that came with them."""
    encoder = make_encoder(**config.encoder.as_dict())
    if config.init:
        report = initialize(encoder, config.init, at_least=config.init_at_least)
        return encoder, f"{config.init}: {report}", report.license
    return encoder, "timm's pre-trained" if config.encoder.pretrained else "new", ""


def _preview(source: Source, objective: Objective, batches: Batches) -> Batch | None:
    """A few samples; none if all of those are broken, which is for the run to weigh."""
    found = in_order(
        Subset(source, count=min(PREVIEWED, len(source))),
        size=objective.encoder.image_size,
        batch=PREVIEWED,
        needs=objective.needs,
        normalization=batches.normalization,
        device=batches.device,
        broken={},
        live=batches.live,
        augmentation=batches.cutter.augmentation,
    )
    batch = next(found, None)
    if batch is None:
        return None
    return batch | {"key": torch.arange(len(batch["image"]), device=batches.device)}


@contextmanager
def _checked(part: str, where: str = "") -> Iterator[None]:
    """One line for what torch and timm raise of odd values, which can be anything."""
    try:
        yield
    except (ConfigurationError, DataError, OSError):
        raise
    except Exception as error:
        reason = (str(error) or type(error).__name__).strip().partition("\n")[0]
        wrong = f"these options of {part} do not work{where and ' '}{where}: {reason}"
        raise ConfigurationError(wrong) from error


def _without(config: Namespace, *names: str) -> dict[str, Any]:
    kept = config.clone()
    for name in names:
        kept.pop(name, None)
    return kept.as_dict()
