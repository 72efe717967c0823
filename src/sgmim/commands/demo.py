"""See on made-up rooms what SG-MIM is good for: pre-train, fine-tune on few labels, compare.

    sgmim demo [--folder demo] [--seeds 1] [--methods] [--controls] [--knowledge] [--readout]

Everything in it is a command that is also printed on its page, FOLDER/index.html; the scores are in
FOLDER/results.json. What is done stays: the same command goes on where it was stopped.
"""

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from time import perf_counter

from sgmim.chains import SMALL, Chain, Runner
from sgmim.confidence import told as spread
from sgmim.files import write_text
from sgmim.options import Parser
from sgmim.reports import page
from sgmim.runs import OBJECTIVE

SHOWN = ("abs_rel", "rmse", "delta1")  # of fine-tuning
HEADS = {  # of the table
    "abs_rel": "AbsRel (less is better)",
    "rmse": "RMSE, m (less)",
    "delta1": "delta1 (more)",
    "readout": "AbsRel, linear readout (less)",
}


@dataclass(frozen=True)
class Arm:
    """One way to a depth model: what is done before the labels are seen, and what with them."""

    label: str
    pretrain: tuple[str, ...] | None  # words after 'sgmim', none to start from nothing
    finetune: tuple[str, ...] = ()


SGMIM = ("pretrain", "--recipe=demo_sgmim")
ARMS = {
    "scratch": Arm("no pre-training", None),
    "simmim": Arm("SimMIM", ("pretrain", "--recipe=demo_simmim")),
    "sgmim": Arm("SG-MIM", SGMIM),
}
CONTROLS = {
    "other_depth": Arm("SG-MIM, another scene's depth", (*SGMIM, "--data.exchange=depth")),
    "edges": Arm(
        "SG-MIM, edges instead of depth",
        (*SGMIM, "--method.knowledge=edges", "--data.live={edges: image}"),
    ),
    "random_mask": Arm("SG-MIM, random guidance mask", (*SGMIM, "--method.guidance_mask=random")),
    "depth_first": Arm(
        "depth prediction as pre-training", ("finetune", "--recipe=demo_supervised")
    ),
    "scratch_long": Arm("no pre-training, same compute", None, ("--training.steps=1200",)),
}
KNOWLEDGE = {
    "kamim": Arm("KAMIM", ("pretrain", "--recipe=demo_kamim")),
    "keypoints": Arm("SG-MIM + keypoint weights", ("pretrain", "--recipe=demo_sgmim_keypoints")),
    "depth_edges": Arm("SG-MIM, depth and edges", ("pretrain", "--recipe=demo_sgmim_depth_edges")),
    "points": Arm("SG-MIM, points in space", ("pretrain", "--recipe=demo_sgmim_points")),
}

METHODS = {
    "kamim": KNOWLEDGE["kamim"],
    "sgmim_visible": Arm("SG-MIM, visible only", ("pretrain", "--recipe=demo_sgmim_visible")),
    "mae": Arm("MAE", ("pretrain", "--recipe=demo_mae")),
    "multimae": Arm("MultiMAE, image and depth", ("pretrain", "--recipe=demo_multimae")),
    "croco": Arm("CroCo", ("pretrain", "--recipe=demo_croco")),
    "mocov3": Arm("MoCo v3", ("pretrain", "--recipe=demo_mocov3")),
    "dino": Arm("DINO", ("pretrain", "--recipe=demo_dino")),
}


Results = dict[str, dict[str, list[float]]]  # by arm and score, one value a seed


@dataclass(frozen=True)
class Demo:
    """What all runs of a demo have in common, and what they are told."""

    folder: Path
    arms: dict[str, Arm]
    seeds: int = 1
    steps: int | None = None  # of every run, where not the recipes'
    readout: bool = False  # read depth linearly from the frozen encoders, too

    def run(self, name: str, seed: int, kind: str) -> Path:
        """The folder of one arm's run of some kind."""
        return self.folder / f"{name}_{seed}" / kind

    def commands(self, name: str, seed: int) -> dict[str, list[str]]:
        """What 'sgmim' is told, by kind of run. Seeds differ in weights, order and labels."""
        arm = self.arms[name]
        few = [f"--training.steps={self.steps}"] if self.steps else []
        start = [f"--init={self.run(name, seed, 'pretrain')}"] if arm.pretrain else []
        labels = [f"--seed={seed}", f"--data.scene_seed={100 + seed}"]
        made = {}
        if arm.pretrain:
            made["pretrain"] = [*arm.pretrain, f"--seed={seed}", *few]
        made["finetune"] = ["finetune", "--recipe=demo_depth", *start, *labels, *arm.finetune, *few]
        if self.readout:
            made["readout"] = ["finetune", "--recipe=demo_readout", *start, *labels, *few]
        return {
            kind: [*words, f"--run={self.run(name, seed, kind)}"] for kind, words in made.items()
        }

    def chain(self, name: str, seed: int) -> Chain:
        commands = {
            self.run(name, seed, kind) / (OBJECTIVE if kind == "pretrain" else "scores.json"): words
            for kind, words in self.commands(name, seed).items()
        }
        return Chain(
            f"{self.arms[name].label}, seed {seed}", self.folder / f"{name}_{seed}", commands
        )

    def scores(self, name: str, seed: int) -> dict[str, float]:
        """Those that are shown, of a chain that is done."""
        found = {metric: scores_of(self.run(name, seed, "finetune"))[metric] for metric in SHOWN}
        if self.readout:
            found["readout"] = scores_of(self.run(name, seed, "readout"))["abs_rel"]
        return found

    def results(self, parallel: int = 0) -> Results:
        """Run everything, and return the scores of every arm, one value a seed."""
        places = [(name, seed) for seed in range(self.seeds) for name in self.arms]
        places.sort(key=lambda place: self.arms[place[0]].pretrain is None)  # the longest first
        chains = {self.chain(*place).name: place for place in places}
        runner = Runner(parallel, environment=SMALL)
        for chain in runner.run([self.chain(*place) for place in places]):
            scores = self.scores(*chains[chain.name])
            said = ", ".join(f"{metric} {value:.3f}" for metric, value in scores.items())
            print(f"{chain.name}: {said}", flush=True)
        found = {place: self.scores(*place) for place in places}
        return {
            name: {
                metric: [found[name, seed][metric] for seed in range(self.seeds)]
                for metric in found[name, 0]
            }
            for name in self.arms
        }


def main(arguments: Sequence[str]) -> None:
    parser = Parser("demo", __doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="where all of it goes")
    parser.add_argument("--seeds", type=int, default=1, help="how often; more than 1 gives spread")
    parser.add_argument(
        "--controls", action="store_true", help="also what SG-MIM is to be told from"
    )
    parser.add_argument("--methods", action="store_true", help="also every other method")
    parser.add_argument("--knowledge", action="store_true", help="also methods of other knowledge")
    parser.add_argument(
        "--readout", action="store_true", help="also read depth linearly from the frozen encoders"
    )
    parser.add_argument(
        "--parallel", type=int, default=0, help="runs at once; 0 is one for each core, at most 4"
    )
    parser.add_argument(
        "--steps", type=int | None, default=None, help="of each run, for a quick look at the flow"
    )
    config = parser.read(arguments)
    arms = ARMS | (CONTROLS if config.controls else {})
    arms |= METHODS if config.methods else {}
    arms |= KNOWLEDGE if config.knowledge else {}
    began = perf_counter()
    demo = Demo(config.folder, arms, config.seeds, config.steps, config.readout)
    results = demo.results(config.parallel)
    write_text(config.folder / "results.json", json.dumps(results, indent=2) + "\n")
    write_text(config.folder / "index.html", drawn(demo, results))
    print(f"\n{told(arms, results)}\n")
    print(f"{config.folder / 'index.html'} shows it, after {perf_counter() - began:.0f} seconds")


def scores_of(run: Path) -> dict[str, float]:
    return json.loads((run / "scores.json").read_text())["scores"]


def told(arms: dict[str, Arm], results: Results) -> str:
    """The table, for a terminal."""
    shown = next(iter(results.values()))
    head = f"{'':<34}" + "".join(f"{metric:>16}" for metric in shown)
    lines = [
        f"{arm.label:<34}" + "".join(f"{spread(results[name][metric]):>16}" for metric in shown)
        for name, arm in arms.items()
    ]
    return "\n".join([head, *lines])


def drawn(demo: Demo, results: Results) -> str:
    """The page."""
    arms, seeds = demo.arms, demo.seeds
    shown = next(iter(results.values()))
    rows = [[arm.label, *(spread(results[n][m]) for m in shown)] for n, arm in arms.items()]
    parts = [
        page.paragraph(
            "Depth from one image of a made-up room, learnt from 400 labeled images, scored on 300 "
            "rooms that no run has seen. The encoders were pre-trained on 3000 rooms before; "
            "SG-MIM was guided by their depth. "
            + (f"Mean and deviation over {seeds} seeds." if seeds > 1 else "One seed: no spread.")
        ),
        page.table(
            ["pre-training", *(HEADS[metric] for metric in shown)], rows, best=_best(arms, results)
        ),
    ]
    for name, arm in arms.items():
        parts.append(page.heading(arm.label))
        for words in demo.commands(name, 0).values():
            parts.append(page.code(f"sgmim {shlex.join(words)}"))
        for kind, caption in (
            ("pretrain", "what it paints"),
            ("finetune", "the depth it predicts"),
        ):
            sheets = sorted((demo.run(name, 0, kind) / "pictures").glob("step_*.png"))
            parts += [page.picture(sheet, f"{arm.label}: {caption}") for sheet in sheets[-1:]]
    return page.page("What SG-MIM is good for", parts)


def _best(names: Iterable[str], results: Results) -> list[tuple[int, int]]:
    """Where in the table the best mean of every metric stands."""
    names, places = list(names), []
    for column, metric in enumerate(results[names[0]], 1):
        better = max if metric == "delta1" else min
        means = [mean(results[name][metric]) for name in names]
        places.append((means.index(better(means)), column))
    return places
