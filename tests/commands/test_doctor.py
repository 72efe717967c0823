"""The doctor finds what is wrong with a machine or a run, and says what to change."""

import json
import os
from types import SimpleNamespace

import pytest
import torch

from folders import start, write_log, write_starts
from sgmim.checkpoint import sharded
from sgmim.data import processes
from sgmim.doctor import feeding, fitness, machine
from sgmim.doctor.patient import patient
from sgmim.optim import adamw
from shell import FEW, SCENES, TINY, photographs, sgmim
from toys import toy


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run on photographs, of which one is broken."""
    folder = tmp_path_factory.mktemp("doctor")
    photos = photographs(folder / "photos")
    (photos / "grey.jpg").write_bytes((photos / "grey.jpg").read_bytes()[:99])
    words = ("--batches.broken_share=0.5", "--training.save_every=2")
    asked = ("pretrain", "simmim", *TINY, f"--data.images={photos}", *words)
    assert sgmim(*asked, f"--run={folder / 'run'}") == 0
    return folder / "run"


@pytest.fixture
def quick(monkeypatch):
    """Measured for a moment, on a disk that is fast."""
    monkeypatch.setattr(feeding, "MEASURED", 0.1)
    monkeypatch.setattr(fitness, "WRITTEN", fitness.MIB)
    monkeypatch.setattr(fitness, "SLOW_DISK", 0)


def doctor(tmp_path, *words, code=0):
    """What it finds, by name; of several of one name the last."""
    file = tmp_path / "findings.json"
    assert sgmim("doctor", *words, f"--json={file}") == code
    return {found["what"]: found for found in json.loads(file.read_text())}


def test_a_machine_is_told_of_and_nothing_there_is_bad(tmp_path, capsys):
    found = doctor(tmp_path)
    assert found["torch"]["found"] == torch.__version__.partition("+")[0]
    assert {"python", "timm", "torchvision", "processor", "threads", "open files"} <= found.keys()
    assert not any(each["level"] == "bad" for each in found.values())
    said = capsys.readouterr().out
    assert all(line[:5] in ("ok   ", "look ", "     ") for line in said.splitlines())


def test_a_run_is_told_of_with_its_disk_data_and_checkpoints(run, tmp_path, quick):
    found = doctor(tmp_path, run)
    assert found["the run"]["found"] == "finished at step 4 of 4"
    assert found["checkpoint"]["found"] == "step_00000004.pt is whole"
    assert "images/s on one core (image)" in found["data"]["found"]
    assert found["broken files"]["level"] == "look"
    assert found["disk"]["level"] == found["memory"]["level"] == "ok"


def test_a_run_that_was_only_asked_for_leaves_nothing_behind(tmp_path, quick, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("--recipe=demo_sgmim", *SCENES, *FEW)
    found = doctor(tmp_path, *words)
    assert (
        "24 made-up scenes" in found["data"]["found"]
        and "MiB a process" in found["memory"]["found"]
    )
    assert [path.name for path in tmp_path.iterdir()] == ["findings.json"]


def test_data_alone_can_be_looked_at(run, tmp_path, quick):
    found = doctor(tmp_path, f"--data.images={run.parent / 'photos'}", "--encoder.image_size=32")
    assert "images/s on one core" in found["data"]["found"] and "memory" not in found


def test_packed_data_are_read_like_any_other(run, tmp_path, quick):
    assert (
        sgmim("data", "pack", run.parent / "photos", tmp_path / "packed", "--broken_share=1") == 0
    )
    found = doctor(tmp_path, "--recipe=demo_simmim", f"--data.shards={tmp_path / 'packed'}")
    assert "images/s on one core (image)" in found["data"]["found"]


def finding(checks, what):
    return next(found for found in checks if found.what == what)


def test_a_checkpoint_that_rots_is_found(run, tmp_path, quick):
    newest = run / "checkpoints" / "step_00000004.pt"
    whole = newest.read_bytes()
    newest.write_bytes(whole[:-100])
    try:
        found = doctor(tmp_path, run)["checkpoint"]
    finally:
        newest.write_bytes(whole)
    assert found["level"] == "look" and "step_00000002.pt is whole" in found["found"]


def test_a_checkpoint_in_parts_is_found_and_so_is_its_rot(tmp_path):
    write_log(tmp_path, [{"step": 3}])
    objective = toy()
    sharded.Writer(tmp_path).copy(3, objective, adamw(objective, lr=1e-3))()
    asked = patient(["--data.scenes=8", f"--run={tmp_path}"])
    assert finding(fitness.so_far(asked), "checkpoint").found == "step_00000003 is whole"
    (tmp_path / "checkpoints" / "step_00000003" / ".metadata").write_bytes(b"")
    assert finding(fitness.so_far(asked), "checkpoint").level == "bad"


def test_a_full_disk_is_bad_and_makes_the_exit_code_two(run, tmp_path, quick, monkeypatch, capsys):
    full = SimpleNamespace(f_bavail=1, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    found = doctor(tmp_path, run, code=2)
    assert found["disk"]["level"] == "bad" and "make room" in found["disk"]["advice"]
    assert "are bad: disk" in capsys.readouterr().err


def test_versions_that_are_too_old_are_bad(monkeypatch):
    monkeypatch.setattr(machine, "installed", {"torch": "2.10.0", "timm": "1.0.31"}.get)
    torch_, numpy = (finding(machine.versions(), what) for what in ("torch", "numpy"))
    assert torch_.level == "bad" and ">=2.11" in torch_.found and "--upgrade" in torch_.advice
    assert numpy.level == "bad" and "not installed" in numpy.found


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs, of which the second is old and in use."""

    def properties(number):
        first = number == 0
        return SimpleNamespace(
            name="H100" if first else "K80", total_memory=80 * 2**30,
            major=9 if first else 3, minor=0 if first else 7,
        )  # fmt: skip

    fakes = {
        "is_available": lambda: True,
        "device_count": lambda: 2,
        "get_device_properties": properties,
        "get_device_capability": lambda number: ((9, 0), (3, 7))[number],
        "is_bf16_supported": lambda including_emulation: True,
        "mem_get_info": lambda number: ((79 * 2**30, 10 * 2**30)[number], 80 * 2**30),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(torch.cuda.nccl, "version", lambda: (2, 29, 7))


def test_gpus_are_told_of_one_by_one(gpus, monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: True)
    found = list(machine.devices())
    assert [each.level for each in found] == ["ok", "look", "ok"]
    assert found[0].found == "H100, 80 GiB, sm_90, bf16" and found[2].found == "2.29.7"
    assert "no kernels" in found[1].advice


def test_several_gpus_without_nccl_are_bad(gpus, monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: False)
    assert list(machine.devices())[-1].level == "bad"


def test_a_gpu_that_torch_cannot_use_is_bad(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(machine.Path, "glob", lambda self, pattern: iter([self / "nvidia0"]))
    (found,) = machine.devices()
    assert found.level == "bad" and "driver" in found.advice


def test_more_threads_than_cores_are_worth_a_look(monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    found = finding(machine.cpu(), "threads")
    assert found.level == "look" and "OMP_NUM_THREADS" in found.advice


def test_few_open_files_are_worth_a_look(monkeypatch):
    monkeypatch.setattr(machine.resource, "getrlimit", lambda _: (256, 100_000))
    found = finding(machine.limits(), "open files")
    assert found.level == "look" and "ulimit -n 4096" in found.advice


def asked(folder, workers):
    """A run of 4 processes whose log says 3,600 images/s, a tenth of the time spent waiting."""
    write_log(folder, [{"step": 1, "images_per_second": 3600.0, "waiting": 0.1}])
    write_starts(folder, start() | {"processes": 4})
    options = (f"--batches.workers={workers}", "--training.batch=512")
    return patient(["--data.images=photos", f"--run={folder}", *options])


SAMPLE = {"image": torch.zeros(3, 200, 200, dtype=torch.uint8), "key": torch.tensor(0)}


@pytest.mark.parametrize(
    "cores, workers, level, advice",
    [
        (64, 0, "look", "--batches.workers 5"),
        (64, 5, "ok", ""),
        (8, 5, "look", "more than the 8 cores"),
    ],
)
def test_it_says_how_many_workers_a_run_needs(monkeypatch, tmp_path, cores, workers, level, advice):
    monkeypatch.setattr(feeding, "reading_speed", lambda run: (200.0, {}, SAMPLE))
    monkeypatch.setattr(feeding, "cores", lambda: cores)
    found = finding(feeding.data(asked(tmp_path, workers)), "data")
    assert found.level == level and advice in found.advice


def test_too_little_shared_memory_is_bad(monkeypatch, tmp_path):
    monkeypatch.setattr(feeding, "reading_speed", lambda run: (200.0, {}, SAMPLE))
    monkeypatch.setattr(feeding, "free_shared_memory", lambda: 64 * fitness.MIB)  # as in docker
    found = finding(feeding.data(asked(tmp_path, 8)), "shared memory")
    assert found.level == "bad" and "--shm-size" in found.advice


def test_a_container_has_the_cores_of_its_share(monkeypatch, tmp_path):
    monkeypatch.setattr(processes.Path, "read_text", lambda self, **_: "150000 100000\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert processes.cores() == 2
    monkeypatch.setattr(processes.Path, "read_text", lambda self, **_: "max 100000\n")
    assert processes.cores() == 64


def test_data_that_cannot_be_read_is_bad_and_the_rest_is_told(run, tmp_path, quick):
    for_sgmim = ("--recipe=demo_sgmim", f"--data.images={run.parent / 'photos'}", "--device=cpu")
    found = doctor(tmp_path, *for_sgmim, code=2)
    assert found["data"]["level"] == "bad" and "no depth" in found["data"]["found"]
    assert found["disk"]["level"] == "ok"


MISTAKES = [("--json",), ("nowhere",), ("--data.imges=x",), ("--x",), ("--recipe=nothing",)]


def test_an_encoder_that_cannot_be_is_bad_and_no_traceback(tmp_path, quick):
    words = ("--recipe=demo_sgmim", *SCENES, "--encoder.options={num_heads: 5}")
    assert doctor(tmp_path, *words, code=2)["needed memory"]["level"] == "bad"


def test_a_recipe_that_is_none_is_one_line(tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_bytes(b"a: [\xff")
    assert sgmim("doctor", f"--recipe={tmp_path / 'recipe.yaml'}") == 2
    assert "is no YAML" in capsys.readouterr().err


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistaken_request_is_one_line(capsys, words):
    assert sgmim("doctor", *words) in (2, 74)
    said = capsys.readouterr().err
    assert said.startswith("sgmim: ") and said.count("\n") == 1
