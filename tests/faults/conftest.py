"""How a promise is counted: once a test, as a line of the file that FAULTS_REPORT names."""

import json
import os
from time import perf_counter

import pytest


@pytest.fixture
def recorded():
    """Write down how often a promise was kept, and insist that it was kept every time."""
    began = perf_counter()

    def record(risk: str, promise: str, count: int, kept: int) -> None:
        line = {"risk": risk, "promise": promise, "count": count, "kept": kept}
        line["seconds"] = round(perf_counter() - began, 1)
        if report := os.environ.get("FAULTS_REPORT"):
            with open(report, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        assert kept == count, f"{risk}: {promise}: {kept} of {count}"

    return record
