import pickle

import numpy as np
import pytest

from sgmim.data.names import Chosen, Names
from sgmim.errors import DataError

WORDS = ["a.jpg", "", "ü/ñ.png", "raw \udcff.jpg", "a.jpg"]


def test_they_are_the_strings_they_were_made_of():
    names = Names.of(WORDS)
    assert list(names) == WORDS == names and len(names) == 5
    assert names[-1] == "a.jpg" and names[1:3] == WORDS[1:3] and names != WORDS[:4]
    assert pickle.loads(pickle.dumps(names)) == WORDS
    with pytest.raises(IndexError):
        names[5]
    assert list(Names.of([])) == []


def test_a_stranger_s_names_lead_nowhere():
    for word in ("/etc/passwd", "../a", "a/../../b", "a\0b", ""):
        names = Names.of([word])
        with pytest.raises(DataError, match="no path inside"):
            Names(names.text, names.ends, checked=True)[0]
    torn = Names(b"abc", np.array([0, 2**63, 1], np.uint64), checked=True)
    assert torn[0] == "abc"
    with pytest.raises(DataError):
        torn[1]


def test_some_of_them_are_chosen_by_number():
    chosen = Chosen(Names.of("abcdef"), range(1, 6, 2))
    assert list(chosen) == ["b", "d", "f"] and chosen[1:] == ["d", "f"] and len(chosen) == 3
