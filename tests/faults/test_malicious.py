"""Checkpoints that want to do something else than be weights."""

import io
import json
import pickle
import random
import resource
import struct
import tarfile
import zipfile
from contextlib import suppress

import pytest
import torch
from safetensors.torch import save, save_file

from conftest import tiny
from faults import children
from sgmim.checkpoint import latest
from sgmim.checkpoint.sealing import seal
from sgmim.encoders.files import initialize, load_encoder, save_encoder, saved_options
from sgmim.errors import ConfigurationError, DataError, FileError
from test_checkpoint import Run

pytestmark = pytest.mark.slow

FILES = 100
MEMORY = 6 << 30  # bytes of address space, which a bomb would burst
SECONDS = 20


class Calls:
    """Unpickled, it calls something."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def calls(marker, draw):
    """Something that would leave a mark if it were run."""
    text = f"open({str(marker)!r}, 'w').close()"
    choices = [
        ("builtins", "exec", text),
        ("builtins", "eval", text),
        ("posix", "system", f"touch {marker}"),
        ("os", "mkdir", str(marker)),
        ("subprocess", "getoutput", f"touch {marker}"),
        ("pathlib", "Path.touch", marker),
        ("torch", "load", str(marker)),
        ("torch.hub", "load", str(marker.parent), "evil"),
        ("shutil", "copyfile", __file__, str(marker)),
        ("builtins", "__import__", "evil_module"),
        ("numpy", "save", str(marker), 1),
        ("torch.utils.cpp_extension", "load_inline", "x", text),
    ]
    module, name, *arguments = draw.choice(choices)
    return global_call(module, name, *arguments)


def global_call(module, name, *arguments):
    """A pickle that calls a function by name, imported by whoever reads it."""
    packed = pickle.dumps(tuple(arguments), protocol=2)[2:-1]
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + packed + b"R."


def in_zip(pickled, method=zipfile.ZIP_STORED):
    """As torch.save packs it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def zipped_call(marker, draw):
    return ".pt", in_zip(calls(marker, draw))


def bare_pickle(marker, draw):
    return draw.choice([".pth", ".pt", ".ckpt"]), calls(marker, draw)


def hidden_call(marker, draw):
    """Weights as they should be, and a stranger among them."""
    file = io.BytesIO()
    state = tiny("vit", image_size=32).backbone.state_dict()
    torch.save({"model": state, "epoch": Calls(exec, f"open({str(marker)!r}, 'w')")}, file)
    return ".pth", file.getvalue()


def legacy(marker, draw):
    """As torch saved before 1.6: pickles one after another."""
    head = b"".join(pickle.dumps(n, 2) for n in (0x1950A86A20F9469CFC6C, 1001, {}))
    return ".pth", head + calls(marker, draw)


def tar(marker, draw):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            content = calls(marker, draw)
            member = tarfile.TarInfo(draw.choice(["", "../../", str(marker)]) + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return ".tar", file.getvalue()


def script(marker, draw):
    """A TorchScript archive, which is code."""
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), file)
    return ".pt", file.getvalue()


def bomb(marker, draw):
    """A few kilobytes that unpack to gigabytes."""
    many = draw.choice([1, 2]) << 30
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("archive/data.pkl", "w", force_zip64=True) as part,
    ):
        for _ in range(many >> 24):
            part.write(bytes(1 << 24))
    return ".pt", file.getvalue()


def deep(marker, draw):
    """A list in a list in a list."""
    return ".pth", b"\x80\x02" + b"](" * 100_000 + b"e" * 100_000 + b"."


def endless(marker, draw):
    """A tensor that says it is larger than any memory."""
    file = io.BytesIO()
    torch.save({"pos_embed": torch.zeros(1).expand(1 << 40)}, file)
    return ".pth", file.getvalue()


def header(text, content=b""):
    return ".safetensors", struct.pack("<Q", len(text)) + text + content


def odd_header(marker, draw):
    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    return draw.choice(
        [
            lambda: (".safetensors", struct.pack("<Q", 1 << 60) + b"{}"),
            lambda: header(b"{" * 100_000),
            lambda: header(b"\xff\xfe" * 50),
            lambda: header(json.dumps({"a": tensor | {"shape": [1 << 62, 4]}}).encode(), bytes(8)),
            lambda: header(json.dumps({"a": tensor | {"shape": [-2]}}).encode(), bytes(8)),
            lambda: header(json.dumps({"a": tensor | {"dtype": "X9"}}).encode(), bytes(8)),
            lambda: header(
                json.dumps({"a": tensor | {"data_offsets": [0, 1 << 40]}}).encode(), bytes(8)
            ),
            lambda: header(json.dumps({"a": tensor, "b": tensor}).encode(), bytes(8)),
            lambda: header(json.dumps([1, 2]).encode()),
            lambda: header(b'{"__metadata__": {"options": 3}}'),
        ]
    )()


def odd_encoder(marker, draw):
    """Weights in order, under a header that describes something else."""
    options = {"img_size": [32, 32], "in_chans": 3, "drop_path_rate": 0.0, "num_classes": 0}
    options |= {"embed_dim": 48, "depth": 2, "num_heads": 3}
    changes = [
        {"name": "hf-hub:evil/model"},
        {"name": f"local-dir:{marker.parent}"},
        {"name": "../../evil"},
        {"options": "{" * 10_000},
        {"options": "[1]"},
        {"options": "{}"},
        {"options": json.dumps(options | {"embed_dim": 1 << 20, "depth": 1})},
        {"options": json.dumps(options | {"depth": 1 << 30})},
        {"options": json.dumps(options | {"img_size": [1 << 20, 1 << 20]})},
        {"options": json.dumps(options | {"img_size": "evil"})},
        {"options": json.dumps(options | {"checkpoint_path": str(marker)})},
        {"options": json.dumps(options | {"pretrained_cfg": {"url": "http://localhost/evil"}})},
        {"options": json.dumps(options | {"class_path": "os.system"})},
        {"options": json.dumps(options | {"norm_layer": "evil.module"})},
    ]
    told = {"name": "vit_tiny_patch16_224", "options": json.dumps(options)} | draw.choice(changes)
    return ".safetensors", save(tiny("vit", image_size=32).backbone.state_dict(), told)


KINDS = (
    *(zipped_call, bare_pickle, hidden_call, legacy, tar, script, bomb, deep, endless),
    *(odd_header, odd_encoder, zipped_call, odd_encoder, bare_pickle, odd_header),
)


def refused(path):
    """Give a file to all that read weights; whether each refuses it in one line."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    torch.set_num_threads(1)
    encoder = tiny("vit", image_size=32)
    for read in (lambda: initialize(encoder, path), lambda: load_encoder(path)):
        try:
            read()
            return False
        except (DataError, ConfigurationError, FileError) as error:
            print(type(error).__name__, error)
            if "\n" in str(error):
                return False
    with suppress(DataError, FileError):
        saved_options(path)
    return True


def passed_over(path, folder):
    """Put it, sealed where it can be, in the place of a run's newest checkpoint."""
    newest = folder / "checkpoints" / "step_00000009.pt"
    newest.write_bytes(path.read_bytes())
    if zipfile.is_zipfile(newest):
        with open(newest, "r+b") as file:
            seal(file)
    found = latest(folder)
    newest.unlink()
    return found.step == 0 and list(found.passed_over) == [newest.name]


def test_no_checkpoint_runs_anything(tmp_path, recorded, monkeypatch):
    draw, kept, marker = random.Random(0), 0, tmp_path / "executed"
    (tmp_path / "evil_module.py").write_text(f"open({str(marker)!r}, 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    run = tmp_path / "run"
    Run().save(run)
    for number in range(FILES):
        suffix, content = KINDS[number % len(KINDS)](marker, draw)
        path = tmp_path / f"weights{suffix}"
        path.write_bytes(content)
        told = tmp_path / "told.txt"
        code = children.done(lambda path=path: 0 if refused(path) else 1, told, SECONDS)
        code = code or children.done(lambda path=path: not passed_over(path, run), told, SECONDS)
        kept += code == 0 and not marker.exists()
        if code:
            print(KINDS[number % len(KINDS)].__name__, code, told.read_text()[-300:])
    recorded("untrusted checkpoints", "malicious: none run, one clear line", FILES, kept)


def test_these_files_are_refused_for_what_they_are_and_not_by_mistake(tmp_path):
    """The same checks let through what is in order."""
    encoder = tiny("vit", image_size=32)
    save_encoder(encoder, tmp_path)
    assert load_encoder(tmp_path)[1].share == 1
    torch.save({"model": encoder.backbone.state_dict()}, tmp_path / "weights.pth")
    assert initialize(tiny("vit", image_size=32), tmp_path / "weights.pth").share == 1
    save_file(encoder.backbone.state_dict(), tmp_path / "weights.safetensors")
    assert initialize(tiny("vit", image_size=32), tmp_path / "weights.safetensors").share == 1
