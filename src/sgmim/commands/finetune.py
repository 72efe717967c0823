"""Fine-tune an encoder for a task, and score it.

sgmim finetune depth --init RUN --data.images FOLDER --data.maps.depth FOLDER ...
                     [--test.images FOLDER --test.maps.depth FOLDER ...]
"""

import json
import sys
from collections.abc import Sequence
from typing import cast

from sgmim import contamination, distributed
from sgmim.analysis.live import Live
from sgmim.assembly import prepare
from sgmim.commands.evaluate import told
from sgmim.evaluation import evaluate
from sgmim.files import write_text
from sgmim.inference import Inference
from sgmim.objective import Task
from sgmim.sources import make_source

DEFAULTS = {"test.scenes": 0, "test.scene_seed": 1}


def main(arguments: Sequence[str]) -> None:
    with distributed.together():
        run = prepare("finetune", "tasks", "task", arguments, **DEFAULTS)
        test = make_source(**run.config.test.as_dict())
        if test is not None:
            run.objective.check(test.has, "test")
        if distributed.is_main():
            print(run.told())
        if run.config.dry_run:
            return
        trained = cast(Task, run.train())
        if test is not None:
            scores, protocol = evaluate(
                trained,
                test,
                normalization=run.batches.normalization,
                inference=Inference(**run.config.inference.as_dict()),
            )
            record = json.dumps({"scores": scores, "protocol": protocol}, indent=2) + "\n"
            if distributed.is_main():
                write_text(run.folder / "scores.json", record)
                Live(run.folder).write()
                print(told(trained, scores, protocol))
                found = contamination.handed_on(run.folder)
                benchmark = contamination.benchmark(test, run.config.test.benchmark)
                if warning := contamination.warning(found, benchmark):
                    print(warning, file=sys.stderr)
