"""Folders as runs leave them, without the run."""

import json
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

CONFIG = {
    "pretrain": "sgmim",
    "run": None,
    "encoder": {"name": "vit_tiny_patch16_224", "image_size": [64, 96]},
    "training": {"batch": 24, "steps": None, "lr": 1e-3},
}
BEGAN = 1_800_000_000.0  # seconds since 1970


def rows(count: int, *, every: int = 10, start: int = 0):
    """Lines of a log as a run of SG-MIM writes them, a second each."""
    dice = np.random.default_rng(start)
    for number in range(start, count):
        step = (number + 1) * every
        image, depth = 0.3 + 2 / (step + 9) + 0.02 * dice.random(2)
        yield {
            "step": step, "time": BEGAN + number + 1, "loss": image + depth, "image": image,
            "depth": depth, "grad_norm": 0.5 + dice.random(), "lr": 1e-3 / (1 + number),
            "images_per_second": 180 + 10 * dice.random(), "waiting": 0.1 * dice.random(),
            "replaced": 0, "memory": 1.5 + 0.5 * (step > 20),
        }  # fmt: skip


def write_log(folder: Path, lines) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "log.jsonl", "a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def start(step: int = 0, total: int = 1000, **more):
    """An entry of environment.json."""
    return {
        "time": BEGAN + step / 10, "step": step, "total": total, "processes": 1,
        "environment": {"torch": "2.12.1", "device": "cpu"}, **more,
    }  # fmt: skip


def write_starts(folder: Path, *starts) -> None:
    (folder / "environment.json").write_text(json.dumps(starts))


def run_folder(folder: Path, lines: int = 40, sheets: int = 3, **config) -> Path:
    """A run that ends after so many lines; without a word of why, as one that is killed."""
    write_log(folder, rows(lines))
    write_starts(folder, start())
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG | config, sort_keys=False))
    (folder / "pictures").mkdir()
    for number in range(sheets):
        noise = np.random.default_rng(number).integers(0, 255, (6, 15, 3), dtype=np.uint8)
        sheet = Image.fromarray(noise).resize((1500, 600), Image.Resampling.NEAREST)
        sheet.save(folder / "pictures" / f"step_{number + 1:08d}.png")
    return folder


def trained(folder: Path, command: str, what: str, *, seed: int = 0, init: Path | None = None,
            score: float | None = None, **options) -> Path:  # fmt: skip
    """A run that is done, as `sgmim pretrain` or `sgmim finetune` leaves it, and its AbsRel."""
    write_log(folder, rows(6))
    write_starts(folder, start(total=60, ended=BEGAN + 60, reason=""))
    config = {
        command: what, "run": str(folder), "init": init and str(init), "seed": seed,
        "data": {"scene_seed": 100 + seed}, "training": {"batch": 24, "steps": 60, "lr": 1e-3},
    }  # fmt: skip
    for option, value in options.items():
        part, _, name = option.partition("__")
        config[part] = {**config.get(part, {}), name: value} if name else value
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    if score is not None:
        write_scores(folder / "scores.json", {"abs_rel": score, "delta1": 1 - score})
    return folder


def write_scores(path: Path, scores, **protocol) -> None:
    made = {"scores": scores, "protocol": {"name": "ours", "clamp": True, **protocol}}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(made | {"command": f"sgmim finetune depth --run {path.parent}"}))


def chains(folder: Path, scores, **options) -> list[str]:
    """Fine-tuned runs by their scores: {method: one for each seed}; "" begins from nothing."""
    made = []
    for method, values in scores.items():
        for seed, score in enumerate(values):
            name = f"{method or 'scratch'}_{seed}"
            before = folder / f"pre_{name}" if method else None
            if before and not before.exists():
                trained(before, "pretrain", method, seed=seed)
            run = folder / f"tuned_{name}"
            trained(run, "finetune", "depth", seed=seed, init=before, score=score, **options)
            made.append(str(run))
    return made
