"""Tables of papers: rows are commands that are understood, and claims are what the seeds say."""

import json
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from sgmim.errors import ConfigurationError
from sgmim.options import named, recipes
from sgmim.reports.paper_table import gathered
from sgmim.reproduction import Reproduction
from sgmim.request import read
from sgmim.tables import FOLDERS, PLACE, read_table, tables

TABLES = {name: read_table(name) for name in tables()}
MADE = [(name, scale) for name, table in TABLES.items() for scale in table.scales]
WHERE = {name: Path(f"/data/{name}") for name in FOLDERS}
ROOMS = {"pretrain": ("methods", "method"), "finetune": ("tasks", "task")}


def asked(name, scale, **settings):
    return Reproduction(TABLES[name], scale, Path("folder"), WHERE, **settings)


def understood(words):
    """The options that a command is told; nothing of the runs that it is to start from."""
    command, rest = words[0], [word for word in words[1:] if not word.startswith("--init=")]
    return read(command, *ROOMS[command], rest)


def scored(reproduction, row, column, values):
    """As if a row had been made, with these scores, a seed each; None has not been made."""
    for seed, value in enumerate(values):
        if value is None:
            continue
        for path in reproduction.chain(row, seed).commands:
            path.parent.mkdir(parents=True, exist_ok=True)
            others = {"rmse": 9.0, "abs_rel": 9.0}
            path.write_text(json.dumps({"scores": others | {column: value}}))


@pytest.mark.parametrize("name", TABLES)
def test_rows_and_claims_speak_of_columns_and_rows_that_there_are(name):
    table = TABLES[name]
    for row in table.rows.values():
        assert set(row.published) <= set(table.columns)
        assert set(row.steps) | set(row.without) <= set(table.scales)
    for claim in table.claims:
        assert {claim.row, claim.than} <= set(table.rows) and claim.by in table.columns
    for setting in table.scales.values():
        made = {*setting.steps, "cost"}
        assert all(column.of in made | {"readout", "knn"} for column in table.columns.values())


@pytest.mark.parametrize("name, scale", MADE)
def test_every_folder_that_a_command_speaks_of_is_asked_for(name, scale):
    reproduction = asked(name, scale)
    for row in reproduction.rows:
        for words in reproduction.chain(row, 0).commands.values():
            assert not PLACE.search(shlex.join(words)), words
    without = Reproduction(TABLES[name], scale, Path("folder"))
    assert set(without.missing()) == set(TABLES[name].needs(scale))


OFTEN = [("table6", "tiny"), ("table5", "full")]


@pytest.mark.parametrize(
    "name, scale",
    [each if each in OFTEN else pytest.param(*each, marks=pytest.mark.slow) for each in MADE],
)
def test_every_run_of_a_table_is_understood_and_rows_differ(name, scale):
    reproduction, seen, made = asked(name, scale), set(), []
    for row in reproduction.rows:
        commands = reproduction.chain(row, 0).commands
        apart = [
            [w for w in words if not w.startswith(("--run=", "--init="))]
            for words in commands.values()
        ]
        assert apart not in made, row
        made.append(apart)
        for words in commands.values():
            if words[0] in ROOMS and (told := shlex.join(words)) not in seen:
                seen.add(told)
                name_of, _ = named(words[1:], words[0], ROOMS[words[0]][0])
                assert understood(words)[0] == name_of


def test_rows_of_several_tables_that_are_one_arm_have_the_same_commands():
    for scale in ("tiny", "small", "full"):
        found = {}
        for name in (name for name, each in MADE if each == scale):
            reproduction = asked(name, scale)
            for row in reproduction.rows:
                chain = reproduction.chain(row, 0)
                for path, words in chain.commands.items():
                    assert found.setdefault(path, words) == words, (name, row)


@pytest.mark.parametrize(
    "table, row, recipe",
    [
        ("table6", "random", "sgmim_swin_base_100ep_random"),
        ("table5", "siamese", "sgmim_swin_base_100ep_siamese"),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                ("table6", "ratio50", "sgmim_swin_base_100ep_ratio50"),
                ("table6", "ratio70", "sgmim_swin_base_100ep_ratio70"),
                ("table6", "weight01", "sgmim_swin_base_100ep_weight01"),
                ("table6", "weight001", "sgmim_swin_base_100ep_weight001"),
                ("table6", "weight0", "sgmim_swin_base_100ep_weight0"),
                ("table5", "transformer", "sgmim_swin_base_100ep_transformer"),
            )
        ),
    ],
)
def test_a_row_is_the_recipe_of_its_own_name(table, row, recipe):
    """What a row changes by options is what its recipe changes, and nothing else."""
    words = next(iter(asked(table, "full").chain(row, 0).commands.values()))
    assert recipe in recipes()
    others = [recipe if word.startswith("--recipe=") else word for word in words]
    options = set(TABLES[table].rows[row].options)
    plain = [f"--recipe={word}" if word == recipe else word for word in others]
    (_, one), (_, other) = (
        understood(each) for each in (words, [w for w in plain if w not in options])
    )
    for config in (one, other):
        config.pop("recipe")
    assert one.as_dict() == other.as_dict()


def test_scores_stand_beside_what_was_published_and_never_in_its_place(tmp_path):
    reproduction = Reproduction(TABLES["table6"], "tiny", tmp_path, seeds=2)
    scored(reproduction, "sgmim", "rmse", [1.0, 1.2])
    made = gathered(reproduction, {})
    heads = made.heads()
    rows = {row[0]: row[1:] for row in made.rows()}
    assert heads[1:3] == ["RMSE, m, published", "RMSE, m, here"]
    assert rows["complementary masks, ratio 0.6; weights 1/1"][:2] == ["2.29", "1.100 ± 0.141"]
    assert rows["random masks, ratio 0.6"][:2] == ["2.36", "-"]
    assert "2.36" not in json.dumps([line.measured for line in made.lines])
    assert "mean and deviation over 2 seeds" in made.markdown() and "<table" in made.page()


def test_a_claim_holds_where_the_interval_of_paired_differences_is_above_zero(tmp_path):
    reproduction = Reproduction(TABLES["table6"], "tiny", tmp_path, seeds=3)
    for row, values in {
        "sgmim": [1.00, 1.10, 1.20],
        "random": [1.05, 1.151, 1.249],  # worse by the same in each seed
        "ratio50": [1.01, 1.00, 1.40],  # better, worse
        "ratio70": [0.95, 1.049, 1.151],
    }.items():
        scored(reproduction, row, "rmse", values)
    verdicts = {claim.than: (found, said) for claim, found, said in reproduction.verdicts()}
    assert verdicts["random"][1] == "holds here"
    assert verdicts["random"][0].mean == pytest.approx(0.05)
    assert verdicts["ratio50"][1].startswith("not shown: ahead in 2 of 3 seeds")
    assert verdicts["ratio70"][1] == "does not hold here: the opposite does"
    assert set(verdicts) == {"random", "ratio50", "ratio70"}  # of others nothing is known


def test_seeds_are_compared_with_themselves_where_some_are_not_done(tmp_path):
    reproduction = Reproduction(TABLES["table6"], "tiny", tmp_path, seeds=3)
    scored(reproduction, "sgmim", "rmse", [None, 1.10, 1.20])
    scored(reproduction, "random", "rmse", [1.00, 1.15, 1.25])
    ((_, found, _),) = reproduction.verdicts()
    assert found.values == pytest.approx((0.05, 0.05))


def test_of_one_seed_nothing_is_claimed(tmp_path):
    reproduction = Reproduction(TABLES["table6"], "tiny", tmp_path, seeds=1)
    for row, value in (("sgmim", 1.0), ("random", 2.0)):
        scored(reproduction, row, "rmse", [value])
    assert [said for *_, said in reproduction.verdicts()] == ["one seed: nothing can be said"]


def test_a_checkpoint_takes_the_place_of_a_pre_training(tmp_path):
    given = asked("table1", "full", weights={"mae": "mae_pretrain_vit_base.pth"})
    (words,) = given.chain("mae", 0).commands.values()
    assert "--init=mae_pretrain_vit_base.pth" in words and words[0] == "finetune"
    assert len(given.chain("croco", 0).commands) == 2
    with pytest.raises(ConfigurationError, match="no row of table1 'mea'"):
        asked("table1", "full", weights={"mea": "x"})


def test_seeds_come_one_after_the_other_so_that_a_table_can_be_read_early():
    seeds = [chain.name[-1] for chain in asked("table6", "tiny", seeds=3).chains()]
    assert all(one <= other for one, other in pairwise(seeds)) and set(seeds) == {"0", "1", "2"}
