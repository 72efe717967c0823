"""Reports as a browser shows them: on a phone and a large screen, light and dark, offline."""

import numpy as np
import pytest

from browser import look
from folders import rows, run_folder, start, write_log, write_starts
from sgmim.reports import comparison_page, report
from sgmim.reports.history import History


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A run that was resumed and failed for two steps, and that beside another."""
    folder = tmp_path_factory.mktemp("runs")
    run, other = (
        run_folder(folder / "run", lines=900),
        run_folder(folder / ("other" * 20), lines=90),
    )
    write_log(run, [row | {"loss": float("nan")} for row in rows(902, start=900)])
    write_log(run, rows(1000, start=902))
    write_starts(run, start(), start(step=3000, total=20_000, ended=1.8e9, reason="interrupted"))
    page, _ = comparison_page.of_runs([str(run), str(other)])
    return {"run": report.of_run(History(run).update()), "runs": page}


@pytest.mark.parametrize(
    "name, width, dark", [("run", 400, True), ("run", 1400, False), ("runs", 400, False)]
)
def test_a_page_is_whole_at_any_width_and_asks_for_nothing(pages, name, width, dark):
    found, console, picture = look(pages[name], width, dark=dark)
    assert found["wrong"] == [] and console == [] and found["requests"] == []
    assert found["width"] == width and found["needed"] == width
    assert found["charts"] == 7 and found["overlaps"] == 0 and found["hidden"] == 0
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100
    brightness = np.median(picture)
    assert brightness < 60 if dark else brightness > 200
    if name == "run":  # times are in the reader's zone, and of the sheets one is shown
        assert "UTC" not in found["said"] and "interrupted" in found["said"]
        assert "step 3" in found["said"] and "\nstep 2\n" not in found["said"]


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
def test_what_would_be_wrong_with_a_page_is_seen(pages, fault, where):
    found, console, _ = look(pages["run"].replace("</h1>", f"</h1>{fault}", 1), 1400)
    if where == "console":
        assert console
    else:
        assert found[where] not in ([], 0, 1400)
