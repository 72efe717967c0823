"""Loss and metrics against the authors' numbers and against a reference in plain numpy."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from conftest import golden
from sgmim.encoders import make_encoder
from sgmim.encoders.base import Encoder
from sgmim.errors import ConfigurationError, DataError
from sgmim.tasks.depth import DepthEstimation
from sgmim.tasks.depth_losses import LOSSES
from sgmim.tasks.depth_metrics import METRICS, DepthMeter, depth_errors
from sgmim.tasks.heads.base import Head
from sgmim.tasks.heads.deconv import DeconvHead
from sgmim.tasks.heads.linear import LinearHead
from sgmim.tasks.regions import REGIONS
from toys import trained

SMALL = partial(DeconvHead, filters=8, width=8)
THEIR_NAMES = {  # of the metrics, in the authors' evaluation
    "abs_rel": "abs_rel",
    "sq_rel": "sq_rel",
    "rmse": "rmse",
    "rmse_log": "rmse_log",
    "log10": "log10",
    "d1": "delta1",
    "d2": "delta2",
    "d3": "delta3",
    "silog": "silog_half",
}
PROTOCOLS = {  # golden results: images, their units a meter, largest depth, region
    "nyudepthv2": ("nyudepthv2", 1000, 10.0, "nyu_eigen"),
    "kitti.garg_crop": ("kitti", 256, 80.0, "garg"),
    "kitti.eigen_crop": ("kitti", 256, 80.0, "eigen"),
    "kitti.no_crop": ("kitti", 256, 80.0, "none"),
}


class Looks(Encoder):
    dim = patch_dim = 12
    stride = 8

    def __init__(self):
        super().__init__()
        self.backbone = nn.Conv2d(3, 12, 8, 8)

    def forward(self, image, hidden=None, token=None):
        return self.backbone(image)


def column(*values):
    return torch.tensor(values)[None, None, None]  # (1, 1, 1, n)


TRUTH, PREDICTION = column(1.0, 2.0, 4.0, 8.0, 20.0), column(1.1, 1.7, 5.2, 7.5, 30.0)


def scores(prediction, truth, **options):
    meter = DepthMeter(**({"max_depth": 80.0} | options))
    meter.update(prediction, {"depth": truth})
    return meter.results()


def authors_pair(io, dataset, index, unit):
    """Truth and prediction as the golden README says to unpack them, in meters."""
    height, width = {"nyudepthv2": (480, 640), "kitti": (352, 1216)}[dataset]
    codes = (io[f"{dataset}.{index}.{kind}_code"] for kind in ("gt", "pred"))
    truth, prediction = (
        code.repeat_interleave(8, 0).repeat_interleave(8, 1)[:height, :width].float() / unit
        for code in codes
    )
    if index == 1:
        prediction[60:62, 100:140] = math.inf
        prediction[200:203, 50:60] = math.nan
    return truth[None, None], prediction[None, None]


# --- metrics


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_metrics_are_the_authors(protocol):
    meta, io = golden("depth_eval")
    dataset, unit, max_depth, region = PROTOCOLS[protocol]
    theirs = meta["results"][protocol]
    whole = DepthMeter(max_depth=max_depth, region=region, clamp=False)
    for index, expected in enumerate(theirs["per_image"]):
        truth, prediction = authors_pair(io, dataset, index, unit)
        inside = truth[(..., *whole.box(*truth.shape[2:]))]
        assert whole.counts(inside).sum() == theirs["valid_pixels"][index]
        whole.update(prediction, {"depth": truth})
        ours = scores(prediction, truth, max_depth=max_depth, region=region, clamp=False)
        for name, value in expected.items():
            assert ours[THEIR_NAMES[name]] == pytest.approx(value, rel=1e-6), name
        kitti = theirs["compute_errors_per_image"][index]["silog_x100_variance_form"]
        assert ours["silog_kitti"] == pytest.approx(kitti, rel=1e-6)
    for name, value in theirs["aggregated (mean over images)"].items():
        assert whole.results()[THEIR_NAMES[name]] == pytest.approx(value, rel=1e-6), name


def test_metrics_of_a_handful_of_pixels():
    expected = {
        "abs_rel": 0.2225,
        "sq_rel": 1.08925,
        "rmse": 4.511984,
        "rmse_log": 0.233623,
        "log10": 0.086007,
        "delta1": 0.6,
        "delta2": 1.0,
        "delta3": 1.0,
        "silog_kitti": 20.756773,
        "silog_half": 0.220980,
    }
    assert scores(PREDICTION, TRUTH) == pytest.approx(expected, rel=1e-5)


def reference(prediction, truth, low, high, box):
    """The formulas once more, pixel lists and all, in numpy."""
    p = np.where(np.isnan(prediction), low, np.where(np.isposinf(prediction), high, prediction))
    inside = np.zeros(truth.shape, bool)
    inside[box] = True
    with np.errstate(invalid="ignore"):
        chosen = inside & (truth > np.float32(low)) & (truth < np.float32(high))
    if not chosen.any():
        return None
    y = truth[chosen].astype(float)
    p = np.clip(p, np.float32(low), np.float32(high))[chosen].astype(float)
    log, worst = np.log(p / y), np.maximum(p / y, y / p)
    return {
        "abs_rel": np.mean(np.abs(p - y) / y),
        "sq_rel": np.mean((p - y) ** 2 / y),
        "rmse": np.sqrt(np.mean((p - y) ** 2)),
        "rmse_log": np.sqrt(np.mean(log**2)),
        "log10": np.mean(np.abs(np.log10(p / y))),
        "delta1": np.mean(worst < 1.25),
        "delta2": np.mean(worst < 1.25**2),
        "delta3": np.mean(worst < 1.25**3),
        "silog_kitti": 100 * np.std(log),
        "silog_half": np.sqrt(np.mean(log**2) - np.mean(log) ** 2 / 2),
    }


@pytest.mark.parametrize("region", ["none", "garg", "eigen"])
def test_metrics_of_1000_maps_are_those_of_plain_numpy(region):
    random = np.random.default_rng(0)
    truth = random.uniform(-0.5, 12, (1000, 1, 20, 28)).astype(np.float32)
    truth[random.random(truth.shape) < 0.2] = np.nan
    truth[::50] = np.nan
    prediction = (np.abs(truth) * random.lognormal(0, 0.4, truth.shape)).astype(np.float32)
    prediction[np.isnan(truth)] = 3
    for value in (np.nan, np.inf, -np.inf, 0):
        prediction[random.random(truth.shape) < 0.01] = value
    meter = DepthMeter(max_depth=10.0, min_depth=0.1, region=region)
    for part in torch.arange(1000).split(64):
        meter.update(torch.from_numpy(prediction)[part], {"depth": torch.from_numpy(truth)[part]})
    box = REGIONS[region](20, 28)
    maps = zip(prediction[:, 0], truth[:, 0], strict=True)
    all_images = [reference(p, y, 0.1, 10.0, box) for p, y in maps]
    scored = [image for image in all_images if image]
    assert (meter.protocol()["images"], meter.protocol()["images_without_truth"]) == (980, 20)
    for name in METRICS:
        expected = np.mean([image[name] for image in scored])
        assert meter.results()[name] == pytest.approx(expected, rel=1e-6), name


def test_regions_are_the_published_rows_and_columns():
    def bounds(region, height, width):
        return [(part.start, part.stop) for part in REGIONS[region](height, width)]

    assert bounds("garg", 352, 1216) == [(143, 349), (43, 1172)]
    assert bounds("eigen", 352, 1216) == [(117, 321), (43, 1172)]
    assert bounds("garg", 375, 1242) == [(153, 371), (44, 1197)]
    assert bounds("nyu_eigen", 480, 640) == [(45, 471), (41, 601)]
    assert bounds("none", 5, 7) == [(0, 5), (0, 7)]


def test_cropping_before_or_after_the_region_is_cut_scores_other_pixels():
    truth = torch.rand(1, 1, 375, 1242) * 50 + 1
    prediction = truth + torch.linspace(0, 1, 375)[:, None]
    cut = (..., slice(375 - 352, None), slice(13, 13 + 1216))
    full = scores(prediction, truth, region="garg")["rmse"]
    assert full != pytest.approx(scores(prediction[cut], truth[cut], region="garg")["rmse"])


def test_what_counts_is_strictly_between_the_bounds():
    meter = DepthMeter(max_depth=10.0, min_depth=1.0)
    truth = column(math.nan, -1.0, 0.0, 1.0, 1.5, 9.5, 10.0, 11.0, math.inf)
    assert meter.counts(truth).flatten().nonzero().flatten().tolist() == [4, 5]


def test_a_prediction_that_is_not_a_number_is_the_least_depth_and_an_infinite_one_the_greatest():
    truth = column(2.0, 4.0, 8.0)
    broken, mended = column(math.nan, math.inf, -math.inf), column(1.0, 10.0, 1.0)
    options = {"max_depth": 10.0, "min_depth": 1.0}
    assert scores(broken, truth, **options) == scores(mended, truth, **options)


def test_with_the_scale_told_a_prediction_is_scored_as_if_its_median_were_right():
    truth = column(1.0, 2.0, 4.0, 9.0)
    told = {"scaling": "median", "max_depth": 10.0}
    assert scores(truth * 0.3, truth, **told) == pytest.approx(scores(truth, truth), abs=1e-7)
    median = scores(column(4.0, 2.0, 2.0, 4.0), truth, **told)  # 3 / 3: the mean of the middle two
    assert median == scores(column(4.0, 2.0, 2.0, 4.0), truth, max_depth=10.0)
    zeros = scores(torch.zeros_like(truth), truth, **told)
    assert all(math.isfinite(value) for value in zeros.values())


def test_a_region_of_the_full_frame_is_that_of_the_uncut_image():
    truth = torch.rand(1, 1, 375, 1242) * 50 + 1
    prediction = truth * (1 + torch.rand(truth.shape))
    full = scores(prediction, truth, region="garg")
    cut = (..., slice(23, 375), slice(13, 1229))
    frame = torch.tensor([[375, 1242, 23, 13]])
    meter = DepthMeter(max_depth=80.0, region="garg", region_frame="full")
    meter.update(prediction[cut], {"depth": truth[cut], "frame": frame})
    assert meter.results() == pytest.approx(full, rel=1e-12)
    assert meter.results()["rmse"] != scores(prediction[cut], truth[cut], region="garg")["rmse"]


@pytest.mark.parametrize("size", [(370, 1224), (370, 1226), (374, 1238), (375, 1242), (376, 1241)])
@pytest.mark.parametrize("region", ["garg", "eigen"])
def test_on_kitti_the_crop_holds_the_whole_of_a_full_region(size, region):
    meter = DepthMeter(region=region, region_frame="full")
    rows, columns = meter.box(352, 1216, [*size, size[0] - 352, (size[1] - 1216) // 2])
    assert rows.start > 0 and rows.stop < 352 and columns.start > 0 and columns.stop < 1216
    with pytest.raises(ConfigurationError, match="beyond the 352 x 1216"):
        DepthMeter(region_frame="full").box(352, 1216, [375, 1242, 23, 13])


def test_clamping_can_be_left_out():
    assert scores(column(99.0), column(5.0), max_depth=10.0)["rmse"] == 5
    assert scores(column(99.0), column(5.0), max_depth=10.0, clamp=False)["rmse"] == 94


def test_a_perfect_prediction_is_perfect():
    truth = torch.rand(3, 1, 8, 8) * 9 + 0.5
    best = dict.fromkeys(METRICS, 0.0) | {"delta1": 1.0, "delta2": 1.0, "delta3": 1.0}
    assert scores(truth, truth) == best


def test_a_coarser_prediction_is_scored_at_the_size_of_the_truth():
    assert scores(torch.full((2, 1, 4, 4), 3.0), torch.full((2, 1, 16, 16), 3.0))["rmse"] == 0


def test_an_image_counts_once_however_few_of_its_pixels_are_known():
    truth = torch.full((2, 1, 4, 4), math.nan)
    truth[0], truth[1, 0, 0, 0] = 1.0, 4.0
    assert scores(torch.full_like(truth, 2.0), truth)["rmse"] == (1 + 2) / 2


def test_meters_of_several_processes_add_up_to_one():
    truth = torch.rand(7, 1, 6, 6) * 12
    truth[2] = math.nan
    prediction = truth.nan_to_num(1) * 1.3
    one, here, there = (DepthMeter(max_depth=10.0) for _ in range(3))
    for meter, part in ((one, slice(None)), (here, slice(None, 3)), (there, slice(3, None))):
        meter.update(prediction[part], {"depth": truth[part]})
    here.merge(there)
    torch.testing.assert_close(here.totals, one.totals, rtol=1e-14, atol=0)
    assert (here.protocol()["images"], here.protocol()["images_without_truth"]) == (6, 1)


def test_images_without_truth_have_no_errors():
    nothing = torch.full((4,), math.nan)
    errors = depth_errors(nothing[:0], nothing[:0])
    assert all(error.isnan().all() for error in errors.values())


def test_a_score_of_no_image_at_all_is_an_error():
    meter = DepthMeter(max_depth=10.0)
    meter.update(torch.ones(2, 1, 4, 4), {"depth": torch.full((2, 1, 4, 4), 5000.0)})
    with pytest.raises(DataError, match=r"none of 2 images has a depth between 0.001 and 10 met"):
        meter.results()


def test_wrong_regions_are_errors_that_help():
    with pytest.raises(ConfigurationError, match="did you mean 'garg'"):
        DepthMeter(max_depth=80.0, region="grag")
    with pytest.raises(ConfigurationError, match=r"480 x 640 pixels, but .* 64 x 64"):
        scores(torch.ones(1, 1, 64, 64), torch.ones(1, 1, 64, 64), region="nyu_eigen")


# --- the task


@pytest.fixture
def batch():
    torch.manual_seed(0)
    depth = torch.rand(4, 1, 32, 48) * 5 + 0.5
    depth[:, :, :4] = math.nan
    return {"image": torch.randn(4, 3, 32, 48), "depth": depth}


@pytest.fixture
def task():
    torch.manual_seed(0)
    return DepthEstimation(Looks(), SMALL)


def test_it_learns_in_a_few_steps(task, batch):
    batch["depth"] = batch["depth"].mul(0) + 2 + batch["image"].mean(dim=(1, 2, 3), keepdim=True)
    losses = trained(task, batch, steps=20, lr=1e-2)
    assert losses[-1] < losses[0] / 2
    assert all(parameter.grad is not None for parameter in task.parameters())


@pytest.mark.parametrize(
    "name, options",
    [
        ("vit_tiny_patch16_224", {"depth": 2}),
        ("swin_tiny_patch4_window7_224", {"embed_dim": 12, "depths": (1, 1, 2, 1)}),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_parameter_learns_on_any_encoder(name, options, dtype):
    torch.manual_seed(0)
    task = DepthEstimation(
        make_encoder(name, image_size=(64, 96), options=options), partial(DeconvHead, filters=8)
    )
    truth = torch.rand(2, 1, 64, 96) * 9
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        [loss] = task({"image": torch.randn(2, 3, 64, 96), "depth": truth}).values()
    loss.backward()
    assert loss.dtype == torch.float32
    for parameter in task.parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all()


def test_it_starts_in_the_middle_of_the_range(task, batch):
    depth = task.predict(batch["image"])
    assert depth.shape == (4, 1, 32, 48)
    torch.testing.assert_close(depth, torch.full_like(depth, 5.0), rtol=0.01, atol=0)


def test_it_predicts_nothing_beyond_the_largest_depth(task, batch):
    nn.init.normal_(task.head.value[-1].weight, std=10)
    depth = task.predict(batch["image"])
    assert depth.min() >= 0 and depth.max() <= task.max_depth and depth.std() > 0.1


class Says(Head):
    """A head that says some numbers, whatever it sees."""

    def __init__(self, encoder, channels=1, *, numbers=(0.0, 0.5), weights=(1.0,)):
        super().__init__(encoder, channels)
        self.numbers, self.weights = numbers, weights

    def forward(self, features, size):
        return column(*self.numbers).repeat(len(features[0]), 1, size[0], size[1] // 2)

    def trained(self, features, size):
        return [(weight, self(features, size)) for weight in self.weights]


@pytest.mark.parametrize(
    ("scale", "meters"),
    [
        ("sigmoid", [4.0, 8 / (1 + math.exp(-0.5))]),
        ("exp", [1.0, math.exp(0.5)]),
        ("share", [2.0, 5.0]),
        ("standardized", [3.0, 3.75]),
    ],
)
def test_the_numbers_of_a_head_become_meters_on_the_scale_asked_for_or_its_own(scale, meters):
    options = {"max_depth": 8.0, "min_depth": 2.0, "mean_depth": 3.0, "deviation": 1.5}
    image = torch.zeros(2, 3, 8, 8)
    own = type("Own", (Says,), {"scale": scale})
    for task in (
        DepthEstimation(Looks(), Says, scale=scale, **options),
        DepthEstimation(Looks(), own, **options),
    ):
        depth = task.predict(image)
        assert depth[1, 0, 3, :2].tolist() == pytest.approx(meters)


def test_berhu_of_a_standardized_head_is_in_deviations():
    truth = column(4.0, 3.0).repeat(1, 1, 8, 4)
    batch = {"image": torch.zeros(1, 3, 8, 8), "depth": truth}
    options = {"scale": "standardized", "mean_depth": 3.0, "deviation": 0.5}
    in_deviations = column(2.0, 0.0), column(0.0, 0.5), column(True, True)
    for name in ("berhu", "l1"):
        [(said, loss)] = DepthEstimation(Looks(), Says, loss=name, **options)(batch).items()
        assert said == name
        torch.testing.assert_close(loss, LOSSES[name](*in_deviations))


def test_what_a_head_has_for_training_alone_counts_by_its_weight():
    batch = {"image": torch.zeros(1, 3, 8, 8), "depth": torch.full((1, 1, 8, 8), 3.0)}
    one, three = (
        DepthEstimation(Looks(), partial(Says, weights=weights), loss="l1")(batch)["l1"]
        for weights in ((1.0,), (1.0, 0.5, 1.5))
    )
    torch.testing.assert_close(three, 3 * one)


def test_within_range_it_learns_nothing_from_depths_outside(batch):
    batch["depth"][:, :, 4:8], batch["depth"][:, :, 8:12] = 0.2, 9.0
    task = DepthEstimation(Looks(), SMALL, min_depth=0.5, max_depth=8.0, within_range=True)
    expected = (batch["depth"] > 0.5) & (batch["depth"] < 8)
    assert torch.equal(task.known(batch["depth"]), expected) and expected.any()
    task.within_range = False
    assert torch.equal(task.known(batch["depth"]), batch["depth"] > 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"min_depth": 9.0, "max_depth": 8.0}, "to a larger max_depth=8"),
        ({"deviation": 0.0}, "above 0, not 0"),
    ],
)
def test_impossible_ranges_are_refused(options, said):
    with pytest.raises(ConfigurationError, match=said):
        DepthEstimation(Looks(), SMALL, **options)


def test_its_meter_scores_its_predictions_as_it_was_asked_to(batch):
    options = {"max_depth": 8.0, "min_depth": 0.7, "region": "garg", "clamp": False}
    task = DepthEstimation(Looks(), SMALL, **options).eval()
    meter = task.meter()
    meter.update(task.predict(batch["image"]), batch)
    assert tuple(meter.results()) == task.metrics
    assert meter.protocol() == {
        "region": "garg",
        "min_depth": 0.7,
        "max_depth": 8.0,
        "region_frame": "kb",
        "clamp": False,
        "scaling": "none",
        "averaged": "over the pixels of an image, then over images",
        "images": 4,
        "images_without_truth": 0,
    }


def test_its_pictures_show_truth_beside_prediction_and_nothing_where_nothing_is_known(task, batch):
    batch["depth"][:, :, -1] = 0
    pictures = task.pictures(batch)
    assert list(pictures) == ["image", "depth", "predicted depth"]
    assert pictures["depth"][:, :, [0, -1]].isnan().all()
    assert pictures["predicted depth"].isfinite().all()


def test_a_frozen_encoder_stays_as_it_is_and_its_readout_learns(batch):
    torch.manual_seed(0)
    encoder = make_encoder(
        "vit_tiny_patch16_224", image_size=(32, 48), drop_path=0.5, options={"depth": 2}
    )
    task = DepthEstimation(encoder, LinearHead, frozen=True).train()
    before = {name: value.clone() for name, value in task.state_dict().items()}
    losses = trained(task, batch, steps=20, lr=1e-2)
    assert losses[-1] < losses[0]
    changed = {n for n, value in task.state_dict().items() if not torch.equal(value, before[n])}
    assert changed and all(name.startswith("head.") for name in changed)
    assert torch.equal(encoder(batch["image"]), encoder(batch["image"]))  # no drop path


def test_a_linear_readout_is_linear_and_looks_at_no_cell_but_the_nearest():
    encoder = make_encoder("vit_tiny_patch16_224", image_size=(32, 96), options={"depth": 1})
    head = LinearHead(encoder).eval()
    features = torch.randn(1, encoder.dim, 2, 6)
    read = head([features], (32, 96))
    torch.testing.assert_close(head([2 * features], (32, 96)), 2 * read)
    features[..., :2] = 0
    changed = (head([features], (32, 96)) != read)[0, 0].all(dim=0)
    assert changed[:24].all() and not changed[40:].any()
