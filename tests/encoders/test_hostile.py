"""Files that want to do harm: each ends in one line that says what it is, and does nothing.

Many more, in processes with bounds of memory and time: tests/faults/test_malicious.py.
"""

import io
import json
import pickle
import struct
import tarfile
import zipfile
from argparse import Namespace
from collections import OrderedDict

import pytest
import torch

from conftest import tiny
from sgmim.encoders.files import initialize
from sgmim.encoders.importing import import_encoder
from sgmim.errors import DataError

CANARY = "canary"  # the name of a file that comes to be if anything is run


class Calls:
    """Unpickled, it calls something."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Unknown(torch.nn.Module):
    """A class of somebody's own."""


def named(module, name, *arguments):
    """A pickle that calls a function by its name, whoever reads it."""
    packed = pickle.dumps(tuple(arguments), protocol=2)[2:-1]
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + packed + b"R."


def zipped(pickled, method=zipfile.ZIP_STORED, **records):
    """As torch packs it, with further records."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
        for name, content in records.items():
            archive.writestr(name, content)
    return file.getvalue()


def saved(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def swapped(order):
    """Good weights that say they are in another order of bytes."""
    file, good = io.BytesIO(), io.BytesIO(saved(weights()))
    with zipfile.ZipFile(good) as before, zipfile.ZipFile(file, "w") as archive:
        for name in before.namelist():
            content = before.read(name)
            archive.writestr(name, order if name.endswith("byteorder") else content)
    return file.getvalue()


def weights():
    return tiny("vit", (32, 32)).backbone.state_dict()


def tarred():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            content = named("posix", "system", f"touch {CANARY}")
            member = tarfile.TarInfo(f"../../{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def compiled():
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), file)
    return file.getvalue()


def beyond_its_storage():
    rebuild, storage = torch._utils._rebuild_tensor_v2, torch.zeros(4).storage()
    return saved({"model": Calls(rebuild, storage, 0, (1 << 40,), (1,), False, OrderedDict())})


def odd_indices():
    tensor = torch.sparse_coo_tensor([[0], [9]], [1.0], (10, 10))
    file = saved({"pos_embed": tensor})
    return file.replace(struct.pack("<q", 9), struct.pack("<q", 1 << 40))


def within_itself():
    content: dict = {"epoch": 1}
    content["model"] = content["state_dict"] = content
    return saved(content)


def quantized():
    tensor = torch.quantize_per_tensor(torch.ones(1, 5, 48), 0.1, 0, torch.qint8)
    return saved({"patch_embed.proj.weight": tensor, "pos_embed": tensor})


def header(text, length=None):
    return struct.pack("<Q", len(text) if length is None else length) + text


def tensor(**changes):
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes
    return header(json.dumps({"cls_token": entry}).encode()) + bytes(8)


TOUCH = f"touch {CANARY}"
OPEN = f"open({CANARY!r}, 'w').close()"
PICKLES = {
    "a command of the shell": lambda: named("posix", "system", TOUCH),
    "an expression, in an archive": lambda: zipped(named("builtins", "eval", OPEN)),
    "a statement among good weights": lambda: saved({"model": weights(), "x": Calls(exec, OPEN)}),
    "a process": lambda: named("subprocess", "getoutput", TOUCH),
    "an attribute of an attribute": lambda: saved(
        Calls(getattr, Calls(__import__, "os"), "system")
    ),
    "a method by its dotted name": lambda: named("pathlib", "Path.touch", CANARY),
    "a checkpoint in a checkpoint": lambda: named("torch", "load", CANARY),
    "bytes of a storage, which are a pickle": lambda: named(
        "torch.storage", "_load_from_bytes", named("posix", "system", TOUCH)
    ),
    "code from the network": lambda: named("torch.hub", "load", "evil/evil", "evil"),
    "another library's loader": lambda: named("numpy", "load", CANARY),
    "an object of a class of its own": lambda: saved({"model": Unknown()}),
    "settings that call": lambda: saved({"args": Namespace(x=Calls(exec, OPEN))}),
    "a registry of constructors": lambda: named("copyreg", "_reconstructor", dict, object, None),
    "an old archive of paths that lead out": tarred,
    "an archive of paths that lead out": lambda: zipped(
        named("posix", "system", TOUCH), **{f"../../{CANARY}": "x", f"/etc/../{CANARY}": "x"}
    ),
    "an archive that unpacks to far more": lambda: zipped(
        pickle.dumps({"x": bytes(1 << 22)}), zipfile.ZIP_DEFLATED
    ),
    "compiled code": compiled,
    "a list in a list in a list": lambda: b"\x80\x02" + b"](" * 5_000 + b"e" * 5_000 + b".",
    "a tensor larger than its storage": beyond_its_storage,
    "one number that says it is many": lambda: saved({"cls_token": torch.zeros(1).expand(1 << 40)}),
    "a sparse tensor of places that are not there": odd_indices,
    "quantized tensors": quantized,
    "a dictionary within itself": within_itself,
    "bytes in an order that is none": lambda: swapped("middle"),
    "bytes in another order than they are": lambda: swapped("big"),
    "half of a file": lambda: saved(weights())[:9000],
    "shapes without numbers": lambda: saved(
        {name: torch.empty(t.shape, device="meta") for name, t in weights().items()}
    ),
}
SAFETENSORS = {
    "a header longer than any file": lambda: header(b"{}", 1 << 60),
    "a header of opened braces": lambda: header(b"{" * 50_000),
    "a header that is a list": lambda: header(b"[1, 2]"),
    "a shape larger than its bytes": lambda: tensor(shape=[1 << 62, 4]),
    "a shape below zero": lambda: tensor(shape=[-2]),
    "bytes after the end": lambda: tensor(data_offsets=[0, 1 << 40]),
    "numbers of no known kind": lambda: tensor(dtype="X9"),
}
CASES = [(name, ".pth", make) for name, make in PICKLES.items()]
CASES += [(name, ".safetensors", make) for name, make in SAFETENSORS.items()]


@pytest.mark.parametrize("suffix, make", [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_a_hostile_file_ends_in_one_line_and_does_nothing(suffix, make, tmp_path, monkeypatch):
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(make())
    encoder = tiny("vit", (32, 32))
    before = {name: t.clone() for name, t in encoder.state_dict().items()}
    for read in (lambda: initialize(encoder, file), lambda: import_encoder(file, heads=3)):
        with pytest.raises(DataError) as error:
            read()
        assert "\n" not in str(error.value)
    assert all(torch.equal(before[name], t) for name, t in encoder.state_dict().items())
    assert not list(folder.iterdir()) and [f.name for f in tmp_path.iterdir() if f.is_file()] == [
        file.name
    ]


def test_these_files_are_refused_for_what_they_are_and_not_by_mistake(tmp_path):
    """The same weights, without anything else, are let in."""
    (tmp_path / "weights.pth").write_bytes(saved({"model": weights(), "args": Namespace(lr=1)}))
    assert initialize(tiny("vit", (32, 32)), tmp_path / "weights.pth").share == 1
    assert len(CASES) >= 20
