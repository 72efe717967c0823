import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from torch.distributed import checkpoint as dcp
from torch.testing import assert_close

from conftest import tiny
from processes import joined
from sgmim import checkpoint, distributed
from sgmim.checkpoint import manifests, sharded
from sgmim.checkpoint.background import Background
from sgmim.distributed import parallel
from sgmim.distributed.parallel import Parallel
from sgmim.ema import MovingAverage
from sgmim.errors import ConfigurationError, DataError, FileError
from sgmim.methods.simmim import SimMIM
from sgmim.optim import adamw
from sgmim.training import steps

WORLD = 2
CONFIGURATION = {"seed": 1, "scale": (0.5, 1.0)}


class Run:
    """A run of a model that is shared, if there are several processes."""

    def __init__(self, strategy="fsdp", seed=0):
        torch.manual_seed(seed)
        self.method = SimMIM(tiny("vit"))
        self.ema = MovingAverage(self.method, decay=0.5)
        for model in (self.method, self.ema.objective):
            parallel.place(model, torch.device("cpu"), Parallel(strategy=strategy))
        self.optimizer = adamw(self.method, lr=1e-2)

    def step(self, number):
        torch.manual_seed(number)
        batch = {"image": torch.randn(2, 3, 64, 96), "key": torch.arange(2) + number}
        model = distributed.wrap(self.method)
        list(steps(model, self.optimizer, [batch], ema=self.ema, precision="fp32"))
        return self

    def saved(self, folder, *numbers, keep=2):
        """Train on, and save after each of these steps while the next is made."""
        writer = sharded.Writer(folder, CONFIGURATION, keep)
        with Background() as saving:
            for number in numbers:
                self.step(number)
                saving.finish()
                saving.start(writer.copy(number, self.method, self.optimizer, self.ema))
            self.step(99)
        return self

    def restored(self, folder):
        found = sharded.latest(folder, parallel.is_shared(self.method))
        found.restore(self.method, self.optimizer, ema=self.ema, configuration=CONFIGURATION)
        return self

    def state(self):
        whole = sharded.state_of(self.method, self.optimizer, self.ema)
        return {
            name: t.full_tensor() if hasattr(t, "full_tensor") else t.clone()
            for name, t in whole.items()
        }


def scenario(folder, rank):
    """What two processes do, and find: the state at step 2, and as other runs restored it."""
    run = Run().step(1).step(2)
    found = {"written": run.state()}
    Run().saved(folder / "parts", 1, 2)
    found["parts"] = Run(seed=1).restored(folder / "parts").state()
    found["into whole models"] = Run("ddp", seed=1).restored(folder / "parts").state()
    whole = Run("ddp").step(1).step(2)
    if distributed.is_main():
        state = (whole.method, whole.optimizer)
        checkpoint.save(folder / "whole", 2, *state, ema=whole.ema, configuration=CONFIGURATION)
    distributed.barrier()
    found["from one file"] = Run(seed=1).restored(folder / "whole").state()
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sharded")


@pytest.fixture(scope="module")
def found(folder):
    return joined(lambda rank: scenario(folder, rank), WORLD, folder / "processes")


@pytest.mark.parametrize("way", ["parts", "into whole models", "from one file"])
def test_a_run_is_restored_to_the_bit_from_either_kind_into_either(way, found):
    exact = {"rtol": 0, "atol": 0 if way != "from one file" else 1e-6}
    for process in found:
        assert_close(process[way], process["written"], **exact)


def test_one_process_restores_what_two_have_saved(folder, found):
    assert_close(Run(seed=1).restored(folder / "parts").state(), found[0]["written"])


def test_what_was_not_averaged_begins_its_average_with_the_weights(folder, found):
    run = Run(seed=1)
    copy = shutil.copytree(folder / "parts", folder / "unaveraged")
    manifest = copy / "checkpoints" / "step_00000002" / "manifest_0.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"ema": False}))
    averaged = dict(run.restored(copy).ema.objective.named_parameters())
    assert_close(averaged, dict(run.method.named_parameters()), rtol=0, atol=0)


@pytest.fixture
def saved(folder, found, tmp_path):
    """Two checkpoints of two processes, to be harmed."""
    return shutil.copytree(folder / "parts", tmp_path / "run")


def newest(run):
    return run / "checkpoints" / "step_00000002"


def without_manifest(path):
    (path / "manifest_1.json").unlink()


def without_part(path):
    next(path.glob("__1_*")).unlink()


def one_bit(path):
    part = next(path.glob("__1_*"))
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)


def torn_manifest(path):
    manifest = path / "manifest_1.json"
    manifest.write_text(manifest.read_text()[:-9])


def changed_metadata(path):
    (path / ".metadata").write_bytes((path / ".metadata").read_bytes() + b".")


@pytest.mark.parametrize(
    "harm", [without_manifest, without_part, one_bit, torn_manifest, changed_metadata]
)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(harm, saved):
    harm(newest(saved))
    found = sharded.latest(saved, shared=False)
    assert found.step == 1 and list(found.passed_over) == ["step_00000002"]


def test_a_run_killed_in_its_first_saving_begins_anew_and_a_damaged_one_does_not(saved):
    shutil.rmtree(saved / "checkpoints" / "step_00000001")
    one_bit(newest(saved))
    with pytest.raises(DataError, match=r"__1_0\.distcp has changed"):
        sharded.latest(saved, shared=False)
    without_manifest(newest(saved))
    (newest(saved) / "manifest_0.json").unlink()
    assert sharded.latest(saved, shared=False) is None
    assert sharded.latest(saved / "nowhere", shared=True) is None


def test_only_the_newest_are_kept(tmp_path):
    Run().saved(tmp_path, 1, 2, 3, keep=1)
    assert [path.name for path in manifests.saved(tmp_path / "checkpoints")] == ["step_00000003"]


def test_it_is_refused_with_another_configuration(saved):
    run = Run()
    with pytest.raises(ConfigurationError, match=r"seed \(1 then, 2 now\)"):
        sharded.latest(saved, shared=False).restore(
            run.method, run.optimizer, configuration=CONFIGURATION | {"seed": 2}
        )


def test_it_is_refused_by_another_model(saved):
    other = SimMIM(tiny("swin"))
    with pytest.raises(DataError, match="not of this model"):
        sharded.latest(saved, shared=False).restore(other, adamw(other, lr=1.0))


def test_a_disk_that_cannot_be_written_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    run = Run().saved(tmp_path, 1)

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dcp, "save", full)
    with pytest.raises(FileError, match="No space left"):
        run.saved(tmp_path, 2)
    assert sharded.latest(tmp_path, shared=False).step == 1


class Malicious:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def resigned(path):
    """Make the manifests fit what is there: whoever can write there can do that."""
    for manifest in path.glob("manifest_*"):
        told = json.loads(manifest.read_text())
        told["files"] = {name: manifests.digest(path / name) for name in told["files"]}
        manifest.write_text(json.dumps(told))


def refused(run, said):
    resigned(newest(run))
    with pytest.raises(DataError, match=said):
        Run().restored(run)


def test_metadata_that_would_run_something_is_refused(saved, tmp_path):
    mark = tmp_path / "executed"
    (newest(saved) / ".metadata").write_bytes(pickle.dumps(Malicious(mark)))
    refused(saved, "mkdir has no place")
    assert not mark.exists()


def test_a_part_that_would_run_something_is_refused(saved, tmp_path):
    mark = tmp_path / "executed"
    for part in newest(saved).glob("*.distcp"):
        part.write_bytes(pickle.dumps(Malicious(mark)).ljust(part.stat().st_size, b"\0"))
    refused(saved, "not of this model")
    assert not mark.exists()


def altered(run, change):
    path = newest(run) / ".metadata"
    metadata = pickle.loads(path.read_bytes())
    change(metadata)
    path.write_bytes(pickle.dumps(metadata))


def test_what_claims_to_be_no_tensor_is_refused(saved, tmp_path):
    """torch would unpickle it."""
    mark = tmp_path / "executed"

    def change(metadata):
        name = next(name for name in metadata.state_dict_metadata if name.startswith("objective."))
        metadata.state_dict_metadata[name] = dcp.metadata.BytesStorageMetadata()
        place = next(p for i, p in metadata.storage_data.items() if i.fqn == name)
        metadata.storage_data[dcp.metadata.MetadataIndex(name)] = place
        part = newest(saved) / place.relative_path
        content = bytearray(part.read_bytes())
        harm = pickle.dumps(Malicious(mark))
        content[place.offset : place.offset + len(harm)] = harm
        part.write_bytes(content)

    altered(saved, change)
    refused(saved, "is no tensor")
    assert not mark.exists()


def test_a_part_outside_its_folder_is_not_opened(saved):
    def change(metadata):
        next(iter(metadata.storage_data.values())).relative_path = "../../../elsewhere"

    altered(saved, change)
    refused(saved, "lies outside")


def test_a_manifest_that_names_a_file_outside_is_refused(saved):
    manifest = newest(saved) / "manifest_1.json"
    told = json.loads(manifest.read_text())
    outside = Path(saved) / "outside"
    outside.write_text("x")
    told["files"] = {"../../outside": manifests.digest(outside)}
    manifest.write_text(json.dumps(told))
    assert sharded.latest(saved, shared=False).step == 1


@pytest.mark.parametrize("step", [1, 99])
def test_a_whole_checkpoint_that_is_torn_does_not_hide_one_in_parts(saved, step):
    """A run that was started alone and went on with its model shared, or the other way round."""
    good = sharded.latest(saved, shared=False)
    (saved / "checkpoints" / f"step_{step:08d}.pt").write_bytes(b"torn")
    found = sharded.latest(saved, shared=False)
    assert found.path == good.path
    assert (f"step_{step:08d}.pt" in found.passed_over) == (step == 99)  # an older one is not read
