"""Reports as a browser shows them: on a phone and a large screen, light and dark, offline."""

import numpy as np
import pytest

from browser import look
from folders import chains, rows, run_folder, start, write_log, write_starts
from sgmim.reports import comparison_page, report
from sgmim.reports.history import History


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was resumed and failed for two steps."""
    run = run_folder(tmp_path_factory.mktemp("runs") / "run", lines=900)
    write_log(run, [row | {"loss": float("nan")} for row in rows(902, start=900)])
    write_log(run, rows(1000, start=902))
    write_starts(run, start(), start(step=3000, total=20_000, ended=1.8e9, reason="interrupted"))
    return report.of_run(History(run).update())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Twelve arms, one of a very long name, scored, and one folder that is none."""
    folder = tmp_path_factory.mktemp("runs")
    names = [f"method_{number}" for number in range(10)] + ["", "m" * 40]
    dice = np.random.default_rng(0)
    scores = {name: (0.3 + 0.02 * place + 0.02 * dice.random(3)).tolist()
              for place, name in enumerate(names)}  # fmt: skip
    tuned = chains(folder, scores, test__scenes=300)
    for method in names[:2]:
        sheets = run_folder(folder / f"{method}_sheets", lines=1) / "pictures"
        sheets.rename(folder / f"tuned_{method}_0" / "pictures")
    return comparison_page.of_runs([*tuned, str(folder / "nowhere")])[0]


@pytest.mark.parametrize("width, dark", [(400, True), (1400, False)])
def test_a_page_is_whole_at_any_width_and_asks_for_nothing(run, width, dark):
    found = whole(run, width, dark)
    assert found["charts"] == 7  # times are in the reader's zone, and of the sheets one is shown
    assert "UTC" not in found["said"] and "interrupted" in found["said"]
    assert "step 3" in found["said"] and "\nstep 2\n" not in found["said"]


@pytest.mark.parametrize("width, dark", [(400, False), (1280, True)])
def test_so_is_that_of_many_runs_and_its_legend_hides_and_shows(runs, width, dark):
    clicked = """<script>addEventListener("load", () => {
      const button = document.querySelector('.legend button[data-place="3"]'), told = [];
      for (let time = 0; time < 2; time += 1) {
        button.click();
        const curves = [...document.querySelectorAll(".plot g[data-place]")];
        const hidden = curves.filter(curve => curve.style.display === "none");
        told.push(button.ariaPressed, hidden.length, hidden.every(g => g.dataset.place === "3"));
      }
      document.querySelector("h1").append(" told: " + told.join(" "));
    })</script>"""
    found = whole(runs.replace("</h1>", f"</h1>{clicked}", 1), width, dark)
    count = runs.count('<g data-place="3">')
    assert f"told: false {count} true true 0 true" in found["said"] and count > 10
    assert "12 arms, 69 runs" in found["said"] and "nowhere is not there" in found["said"]


def whole(html, width, dark):
    """What a page says of itself, if nothing is wrong with it."""
    found, console, picture = look(html, width, dark=dark)
    assert found["wrong"] == [] and console == [] and found["requests"] == []
    assert found["width"] == width and found["needed"] == width
    assert found["overlaps"] == 0 and found["hidden"] == 0
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100
    brightness = np.median(picture)
    assert brightness < 60 if dark else brightness > 200
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault, where",
    [
        ("<script>console.error('x')</script>", "console"),
        ("<script>nothing.at.all</script>", "wrong"),
        ("<script>fetch('http://127.0.0.1:9/x')</script>", "requests"),
        ("<img src='http://127.0.0.1:9/x.png'>", "hidden"),
        ("<div style='width:2000px'>x</div>", "needed"),
    ],
)
def test_what_would_be_wrong_with_a_page_is_seen(run, fault, where):
    found, console, _ = look(run.replace("</h1>", f"</h1>{fault}", 1), 1400)
    if where == "console":
        assert console
    else:
        assert found[where] not in ([], 0, 1400)
