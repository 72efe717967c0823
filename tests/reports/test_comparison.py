"""The page of several runs tells which is better, what it cost, what differed, how to run it again;
and whatever lies in the folders, it is made of what can be read."""

import json
import re
import shlex
from time import perf_counter

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from folders import chains, rows, run_folder, trained, write_log, write_scores
from sgmim.reports import comparison_page, costs, lineage
from sgmim.reports.history import History
from shell import sgmim


def page_of(*words, **options):
    html, wrong = comparison_page.of_runs([str(word) for word in words], **options)
    return (
        html,
        re.sub(r"<[^>]+>", " ", re.sub(r"<(style|script).*?</\1>", "", html, flags=re.S)),
        wrong,
    )


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two pre-trainings of two seeds each and none, fine-tuned, analyzed and probed."""
    folder = tmp_path_factory.mktemp("two")
    scores = {"simmim": [0.31, 0.30], "sgmim": [0.28, 0.285], "": [0.4, 0.41]}
    tuned = chains(folder, scores, test__scenes=300)
    for seed in (0, 1):
        for place, method in enumerate(("simmim", "sgmim")):
            run = folder / f"pre_{method}_{seed}"
            bits = np.random.default_rng(seed).integers(0, 255, (4, 9, 3), dtype=np.uint8)
            (run / "pictures").mkdir()
            Image.fromarray(bits).save(run / "pictures" / "step_00000060.png")
            (run / "analysis").mkdir()
            found = {
                "title": "Fourier spectrum", "options": {"nyquist": False}, "images": 64,
                "numbers": {"block 2 at 0.75π": -2.5 + place + 0.1 * seed},
                "rows": [{"layer": f"block {layer}", "grid": "8 x 8", "frequency": f, "delta": -f}
                         for layer in (1, 2) for f in (0.0, 0.25, 0.5)],
            }  # fmt: skip
            (run / "analysis" / "spectrum.json").write_text(json.dumps(found))
            write_scores(run / "probes" / "knn.json", {"top1": 0.5 + 0.1 * place + 0.01 * seed})
    return tuned


def test_it_tells_who_is_better_and_how_sure_that_is(two):
    html, said, wrong = page_of(*two)
    assert wrong == [] and re.search(r"abs_rel \(less is better\):\s+sgmim\s+0.2825 ± 0.0035", said)
    # scipy.stats.ttest_rel([.28, .285], [.4, .41]).confidence_interval(.95): -0.15427, -0.09073
    assert "\N{MINUS SIGN}0.1225 against no pre-training" in said
    assert "\N{MINUS SIGN}0.1543 to \N{MINUS SIGN}0.0907, 2 seeds in common" in said
    assert len(re.findall(r"<b class=better>better</b>", html)) > 2
    assert "probe knn" in said and "Protocol: ours." in said


def test_only_what_beats_all_others_is_marked(two):
    html, *_ = page_of(*two)
    assert not re.search(r"<td class=best>0.2825", html)  # of two seeds against simmim: not sure
    assert re.search(r"<td class=best>0.6050", html)  # by the same 0.1 in both seeds


def test_a_chain_is_whole_though_only_its_end_is_given(two):
    html, said, _ = page_of(*two)
    assert "memory at most" in said and "2.0 GiB" in said
    assert "3 arms, 10 runs" in said and "sgmim → depth" in said
    assert html.count("<figcaption>sgmim, seed 0, step 60") == 1


def test_analyses_are_numbers_and_curves_in_the_colors_of_the_arms(two):
    html, said, _ = page_of(*two)
    assert "Fourier spectrum, after pre-training" in said and "64 images" in said
    assert re.search(r"simmim\s+-2.45 ± 0.071", said) and re.search(r"sgmim\s+-1.45 ± 0.071", said)
    deltas = re.findall(r"data-curves=.([^>]*?).><figcaption><b>delta</b>", html)
    assert len(deltas) == 2 and all(each.count("sgmim") == 2 for each in deltas)


def test_options_that_differ_are_told_by_their_subject_and_the_rest_is_folded(tmp_path):
    runs = [trained(tmp_path / name, "pretrain", "sgmim", method__ratio=ratio, training__lr=lr)
            for name, ratio, lr in (("a", 0.5, 1e-3), ("b", 0.6, 2e-3))]  # fmt: skip
    html, said, _ = page_of(*runs)
    apart = said[
        said.index("Differences", said.index("Costs", 200)) : said.index("options that are")
    ]
    assert re.search(r"Method\s+option\s+ratio 0.5\s+ratio 0.6\s+method.ratio\s+0.5\s+0.6", apart)
    assert (
        re.search(r"Training\s.*training.lr\s+0.001\s+0.002", apart, re.S) and "batch" not in apart
    )
    assert re.search(r"<details><summary>\d+ options that are alike", html)


def test_commands_run_a_chain_again_in_folders_of_its_own(two):
    html, *_ = page_of(*two)
    block = html[html.index('id="run-it-again"') :]
    lines = [
        line for part in re.findall(r"<code>(.*?)</code>", block, re.S) for line in part.split("\n")
    ]
    words = [shlex.split(line) for line in lines if line.startswith("sgmim")]
    assert [w[1] for w in words].count("pretrain") == 2 and len(words) == 5
    made = {w[w.index("--run") + 1] for w in words}
    begun = {w[w.index("--init") + 1] for w in words if "--init" in w}
    assert begun < made and not made & set(two) and len(begun) == 2
    assert sum(line.startswith("# as it was: sgmim finetune") for line in lines) == 3


def test_what_a_run_cost_is_in_its_log_and_in_the_headers_of_its_weights(tmp_path):
    run = trained(tmp_path / "run", "pretrain", "sgmim")
    weights = {"a": np.zeros((3, 4), np.float32), "b": np.zeros(5, np.float32)}
    save_file(weights, run / "encoder.safetensors")
    history = History(run).update()
    cost = costs.cost_of(history)
    assert (cost.steps, cost.images, cost.elapsed, cost.encoder) == (60, 1440, 60, 17)
    assert cost.stepping == pytest.approx(sum(240 / p for p in history["images_per_second"]))
    assert (cost.objective, cost.device) == (0, "cpu") and cost.memory == 2.0


def test_what_ran_elsewhere_is_named(tmp_path):
    runs = [trained(tmp_path / name, "pretrain", name) for name in ("a", "b", "c")]
    told = json.loads((runs[1] / "environment.json").read_text())
    told[0]["environment"]["torch"] = "2.11.0"
    (runs[1] / "environment.json").write_text(json.dumps(told))
    assert "torch: 2.12.1 (a, c); 2.11.0 (b)" in page_of(*runs)[1]


def test_losses_of_different_methods_are_in_plots_of_their_own(tmp_path):
    runs = [trained(tmp_path / f"{m}_{s}", "pretrain", m, seed=s) for m in "ab" for s in (0, 1)]
    html, *_ = page_of(*runs)
    losses = re.findall(r"data-curves='([^']*)'><figcaption><b>loss</b>", html)
    assert [each.count("mean&quot;") for each in losses] == [1, 1]
    rates = re.findall(r"data-curves='([^']*)'><figcaption><b>learning rate</b>", html)
    assert rates[0].count("mean&quot;") == 2 and rates[0].count("seed 1") == 2


GARBAGE = [b"", b"\xff\xfe\x00", b"null", b"[]", b"{", b"[1, 2]", b'{"scores": {"a": "x"}}',
           b'"text"', b"a: [", b"{1: {2: 3}}", b'[{"time": "x", "step": [], "processes": 1}]',
           b'{"numbers": [], "rows": 5}', b'{"scores": {"abs_rel": NaN}, "protocol": []}',
           b'{"step": "many", "loss": {}}\n', b'{"pretrain": {"a": 1}}']  # fmt: skip


@pytest.mark.parametrize(
    "file",
    ["config.yaml", "log.jsonl", "environment.json", "scores.json", "probes/knn.json",
     "analysis/spectrum.json", "encoder.safetensors", "pictures/step_00000001.png"],
)  # fmt: skip
def test_whatever_is_in_a_file_there_is_a_page(tmp_path, file):
    good = trained(tmp_path / "good", "pretrain", "sgmim")
    bad = run_folder(tmp_path / "bad", sheets=0)
    path = bad / file
    path.parent.mkdir(exist_ok=True)
    for garbage in GARBAGE:
        path.write_bytes(garbage)
        html, _, wrong = page_of(good, bad)
        assert "</html>" in html and all("\n" not in line for line in wrong)


def test_names_cannot_add_to_the_page(tmp_path):
    run = trained(tmp_path / "<b onclick=x>", "pretrain", "<script>alert(1)</script>")
    other = trained(tmp_path / "other", "pretrain", "sgmim", license="<img src=x>")
    html, *_ = page_of(f"<i>=\"'={run}", other)
    assert html.count("<script>") == 1 and "<img" not in html and "<b onclick" not in html


def test_the_command_says_what_is_wrong_and_makes_the_page(two, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert sgmim("report", *two, tmp_path / "nowhere", "--baseline", "simmim") == 0
    said = capsys.readouterr()
    assert said.out.split() == ["comparison.html"] and "nowhere is not there" in said.err
    assert "nowhere is not there" in (tmp_path / "comparison.html").read_text()
    assert "difference to simmim" in (tmp_path / "comparison.html").read_text()
    assert sgmim("report", *two, "--baseline", "sgnim") == 2
    assert "did you mean 'sgmim'" in capsys.readouterr().err
    assert sgmim("report", tmp_path / "nowhere", tmp_path / "neither") == 74


def test_forty_runs_take_seconds(tmp_path):
    scores = {f"m{number}": [0.3 + 0.01 * number, 0.31] for number in range(10)}
    tuned = chains(tmp_path, scores)
    for run in tuned[:4]:
        write_log(tmp_path / run, rows(3000, start=6))
    page_of(*tuned[:2])  # what is imported but once
    began = perf_counter()
    html, said, _ = page_of(*tuned)
    assert perf_counter() - began < 6 and "10 arms, 40 runs" in said  # measured: under 1
    assert len(html) < 2_000_000 and "d1" in html


def test_of_runs_without_scores_the_rest_is_told(tmp_path):
    runs = [trained(tmp_path / name, "pretrain", name) for name in ("a", "b")]
    html, said, _ = page_of(*runs)
    assert "No run has a score" in said and 'id="curves"' in html and 'id="scores"' not in html
    assert lineage.find([str(runs[0])]).wrong == []
