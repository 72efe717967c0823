"""Runs are stopped at random steps, and change their number of processes on the way."""

import pytest

from processes import joined
from test_resume import KINDS, METHODS, differences, resumed

pytestmark = pytest.mark.slow

STOPS = 20
STEPS = 52  # 13 for each number of processes


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_stops_leave_no_trace(kind, method, tmp_path, recorded):
    world, strategy = KINDS[kind]
    kept = joined(lambda rank: resumed(tmp_path, method, strategy, STOPS), world, tmp_path, 600)
    recorded("exact resume", f"{method}, {kind}: final SHA-256 equal", STOPS, min(kept))


def test_the_number_of_processes_may_change_in_a_longer_run(tmp_path, recorded):
    found = list(differences(tmp_path, STEPS))
    kept = sum(same and difference < 1e-5 for same, difference in found)
    worst = max(difference for _, difference in found)
    told = f"4, 2, 1, 4 processes, DDP and FSDP2: same samples, losses within 1e-5 ({worst:.0e})"
    recorded("elastic", told, len(found) * STEPS, kept * STEPS)
