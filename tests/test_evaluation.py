"""Every image counts once, whoever scores it; and what cannot be scored is said before."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from processes import joined
from sgmim.data.derived import Drawn
from sgmim.encoders.base import Encoder
from sgmim.errors import ConfigurationError, DataError
from sgmim.evaluation import evaluate
from sgmim.inference import Inference
from sgmim.objective import Task
from sgmim.tasks.depth_metrics import METRICS, DepthMeter


class Sized(Encoder):
    image_size = (32, 32)

    def __init__(self):
        super().__init__()
        self.backbone = nn.Conv2d(3, 1, 1)


class Guess(Task):
    """Says that red things are far."""

    needs = ("image", "depth")
    metrics = METRICS

    def __init__(self):
        super().__init__()
        self.encoder = Sized()

    def predict(self, image):
        return 1 + image[:, :1]

    def meter(self, **options):
        return DepthMeter(**({"max_depth": 10.0} | options))


class Rows:
    """Images of two sizes, one of which knows no depth."""

    def __init__(self, count=7, expected=None):
        self.has = {"image", "depth"}
        self.names, self.expected = [f"{number}.png" for number in range(count)], expected
        self.read_so_far = []

    def __len__(self):
        return len(self.names)

    def read(self, index, needs=None):
        self.read_so_far.append(index)
        size = (32, 48) if index % 3 else (40, 32)
        generator = torch.Generator().manual_seed(index)
        depth = torch.rand(1, *size, generator=generator) * 9 + 0.5
        if index == 2:
            depth[:] = math.nan
        image = torch.randint(256, (3, *size), generator=generator).to(torch.uint8)
        return {"image": image, "depth": depth}


def scored(source, **options):
    return evaluate(Guess(), source, normalization="none", batch=4, **options)


def test_every_image_counts_once_and_one_without_truth_is_counted_but_not_scored():
    source = Rows()
    scores, protocol = scored(source)
    assert source.read_so_far == list(range(7))
    assert protocol["images"] == 6 and protocol["images_without_truth"] == 1
    assert protocol["images_found"] == 7 and protocol["images_expected"] is None
    alone = [scored(One(number))[0] for number in range(7) if number != 2]
    for name in METRICS:
        assert scores[name] == pytest.approx(np.mean([one[name] for one in alone]))


class One(Rows):
    def __init__(self, number):
        super().__init__(1)
        self.number = number

    def read(self, index, needs=None):
        return super().read(self.number)


@pytest.mark.parametrize("world", [2, 3, 8])
def test_several_processes_share_the_images_and_say_the_same(world, tmp_path):
    alone = scored(Rows())

    def work(rank):
        source = Rows()
        return scored(source), source.read_so_far

    found = joined(work, world, tmp_path)
    assert sorted(index for _, seen in found for index in seen) == list(range(7))
    for (scores, protocol), _ in found:
        assert scores == pytest.approx(alone[0], rel=1e-12) and protocol == alone[1]


def test_a_split_that_is_not_complete_is_not_scored_by_mistake():
    with pytest.raises(DataError, match=r"7 images were found .* this split has 9.*--partial"):
        scored(Rows(expected=9))
    scores, protocol = scored(Rows(expected=9), partial=True)
    assert (protocol["images_found"], protocol["images_expected"]) == (7, 9)
    assert scores == scored(Rows(expected=7))[0]


def test_nothing_is_read_where_the_scores_need_what_is_not_there():
    source = Rows()
    with pytest.raises(ConfigurationError, match=r"need frame.*--score\.region_frame kb"):
        scored(source, scoring={"region_frame": "full"})
    assert not source.read_so_far


def test_the_protocol_tells_what_was_asked_for():
    scoring = {"scaling": "median", "max_depth": 8.0}
    _, protocol = scored(Rows(), scoring=scoring, inference=Inference(flip=True))
    assert protocol["scaling"] == "median" and protocol["max_depth"] == 8.0
    assert protocol["inference"] == {"mode": "whole", "flip": True, "size": [32, 32]}


def test_a_task_is_left_as_it_was():
    task = Guess().train()
    evaluate(task, Rows(), normalization="none")
    assert task.training


def test_the_images_that_multimae_draws_are_drawn():
    source = Drawn(Rows(654, expected=654), 100, 0)
    np.random.seed(0)
    theirs = np.random.permutation(654)[:100]
    assert [source.names[i] for i in range(100)] == [f"{number}.png" for number in theirs]
    assert source.expected == len(source) == 100
    with pytest.raises(DataError, match="653 were found, of 654"):
        Drawn(Rows(653, expected=654), 100, 0)
