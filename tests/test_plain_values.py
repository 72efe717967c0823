"""Options are compared line by line."""

from sgmim.plain_values import flat


def test_options_of_all_levels_have_one_name_each():
    assert flat({"a": 1, "b": {"c": {"d": 2, "e": None}}}) == {"a": 1, "b.c.d": 2, "b.c.e": None}


def test_one_map_in_another_s_place_is_another_configuration():
    depth, edges = ({"guides": {name: {"weight": None}}} for name in ("depth", "edges"))
    before, now = flat(depth), flat(edges)
    assert {name for name in before if before[name] != now.get(name)} == {"guides.depth"}
