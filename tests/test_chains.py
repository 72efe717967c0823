"""Chains of commands: run once, in order, several at once; what is done stays."""

import json
import sys

import pytest

from sgmim.chains import COMMANDS, Chain, Runner
from sgmim.errors import ConfigurationError, DataError

# stands in for sgmim: appends its first word to the second, a file; "fail" fails, with a reason
WRITER = (
    sys.executable,
    "-c",
    "import sys; word, path = sys.argv[1:3]; open(path, 'a').write(word); "
    "sys.exit('no such thing' if word == 'fail' else 0)",
)


def chain(folder, *words):
    folder.mkdir(exist_ok=True)
    done = [folder / f"result_{place}" for place in range(len(words))]
    return Chain(
        folder.name,
        folder,
        {path: (word, str(path)) for path, word in zip(done, words, strict=True)},
    )


def test_all_chains_are_run_and_what_is_done_is_not_run_again(tmp_path):
    chains = [chain(tmp_path / name, "one", "two") for name in ("a", "b", "c")]
    assert {each.name for each in Runner(2, WRITER).run(chains)} == {"a", "b", "c"}
    assert all(each.is_done for each in chains)
    more = [chain(tmp_path / "a", "one", "two", "three")]
    assert len(list(Runner(1, WRITER).run(more))) == 1
    assert [path.read_text() for path in more[0].commands] == ["one", "two", "three"]


def test_a_command_that_fails_is_named_with_the_end_of_its_log_and_ends_its_chain_alone(tmp_path):
    chains = [chain(tmp_path / "a", "fail", "two"), chain(tmp_path / "b", "one", "two")]
    done = []
    with pytest.raises(
        DataError, match=r"(?s)sgmim fail .*' failed, see .*\nno such thing"
    ) as told:
        for each in Runner(1, WRITER).run(chains):
            done.append(each.name)
    assert done == ["b"] and "two" not in str(told.value)
    assert not (tmp_path / "a" / "result_1").exists()


def test_results_of_other_commands_are_not_taken_for_those_asked_for(tmp_path):
    list(Runner(1, WRITER).run([chain(tmp_path / "a", "one", "two")]))
    other = chain(tmp_path / "a", "one", "other")
    with pytest.raises(ConfigurationError, match="result_1 was made by 'sgmim two"):
        list(Runner(1, WRITER).run([other]))
    list(Runner(1, WRITER).run([chain(tmp_path / "a", "one")]))  # fewer are no others
    assert len(json.loads((tmp_path / "a" / COMMANDS).read_text())) == 2


def test_commands_are_told_how_many_threads_they_may_take(tmp_path):
    path = tmp_path / "a" / "threads"
    code = "import os, sys; open(sys.argv[1], 'w').write(os.environ['OMP_NUM_THREADS'])"
    one = Chain("a", tmp_path / "a", {path: (str(path),)})
    list(Runner(1000, (sys.executable, "-c", code)).run([one]))
    assert path.read_text() == "1"
