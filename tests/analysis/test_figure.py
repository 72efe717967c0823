"""The style of figures: the same bytes every time, and fonts that travel with a PDF."""

import matplotlib
from matplotlib.figure import Figure

from sgmim.analysis import figure


def drawn():
    with figure.style():
        sheet = Figure(figsize=(2.5, 2))
        axes = sheet.subplots()
        for number in range(3):
            axes.plot([0, number], label=f"{number} of three", **figure.marked(number))
        figure.legend(sheet, axes, ["one", "two"])
    return sheet


def test_a_figure_is_always_the_same_whatever_a_users_settings(tmp_path):
    with matplotlib.rc_context({"font.size": 20, "pdf.fonttype": 3, "savefig.dpi": 30}):
        figure.save(drawn(), tmp_path / "one")
    figure.save(drawn(), tmp_path / "other")
    for kind in ("png", "pdf"):
        one, other = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("one", "other"))
        assert one == other
    assert b"/FontFile2" in (tmp_path / "one.pdf").read_bytes()


def test_no_two_of_many_curves_look_alike():
    looks = [tuple(map(str, figure.marked(number).values())) for number in range(20)]
    assert len(set(looks)) == len(looks)
