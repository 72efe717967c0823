"""Lists, archives, indices and notes of a villain: nothing leads out of the root or is run."""

import json
import os
import struct
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from faults.crashing import in_children
from packs import COUNT, contents, packed, photos
from sgmim.data.checking import check
from sgmim.data.images import Images
from sgmim.data.index import Entry, File, Index, Member, piece
from sgmim.data.shards import Shards
from sgmim.errors import ConfigurationError, DataError, FileError

pytestmark = pytest.mark.slow

PATHS = 500
BATCH = 50
LEADS = (
    "{bait}", "../bait/a.jpg", "x/../../bait/a.jpg", "./../bait/a.jpg",
    "deep.er/../../bait/a.jpg", "..//bait//a.jpg", "//{bait}", "{root}/../bait/a.jpg",
    "{root}x/a.jpg", "../photos/../bait/a.jpg", "..\\bait\\a.jpg", "%2e%2e/bait/a.jpg",
    "file://{bait}", "~/../{bait}", "$HOME/../{bait}", "a.jpg\x00{bait}", "../bait/a.jpg\x00.jpg",
    "/proc/self/root{bait}", "/etc/passwd", "/etc/passwd\x00.jpg",
    "../../../../../../../../../../etc/passwd", "....//bait/a.jpg", "|cat {bait}",
    "$(touch {bait}.run).jpg", "`touch {bait}.run`.jpg", "; touch {bait}.run; .jpg",
    "../bait/a.jpg ", " ../bait/a.jpg", "..", "/", "\ufeff../bait/a.jpg", "../bait/\u202ea.jpg",
    "x" * 5000 + "/../../bait/a.jpg", ".\u2024/bait/a.jpg",
)  # fmt: skip
HUGE = (2**63, 2**64 - 1, 2**62, 2**40, 2**31, 10**6)
seen: list[str] = []  # what this process opened or ran


def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], str | bytes):
        seen.append(str(arguments[0]))
    elif event in ("os.system", "os.exec", "subprocess.Popen", "pickle.find_class"):
        seen.append(f"ran {event}")


def attempt(item):
    """One attack on a fresh copy of the data; what is not as promised."""
    folder, number, kind = item
    if not hasattr(sys, "watched"):  # hooks are for ever, and a child makes several attacks
        sys.addaudithook(watch)
        sys.watched = True
    lead = LEADS[number % len(LEADS)]
    lead = lead.format(bait=folder / "bait" / "a.jpg", root=folder / "photos")
    told, before = f"{kind} {lead[:80]!r}", contents(folder)
    seen.clear()
    try:
        ATTACKS[kind](folder, lead, number)
    except (DataError, ConfigurationError, FileError):
        pass
    except BaseException as error:
        yield f"{told}: {type(error).__name__}: {str(error)[:200]}"
    out = [place for place in seen if "bait" in Path(place).parts or place.startswith("/etc")]
    out += [place for place in seen if place.startswith("ran")]
    if out:
        yield f"{told}: {out}"
    left = {name for name in contents(folder).keys() - before.keys() if not name.startswith("own")}
    if left:
        yield f"{told}: there is {left} now"


def by_list(folder, lead, number):
    """A list whose second line leads elsewhere; half of them with a root that is given."""
    path = folder / "photos" / f"own.{('txt', 'csv')[number % 2]}"
    path.write_text(f"0.jpg\n{lead}\n")
    try:
        source = Images(path, root=folder / "photos" if number % 3 else None)
        root = folder / "photos"
        assert all((root / name).resolve().is_relative_to(root) for name in source.names)
        source.read(1)
    finally:
        path.unlink()


def altered(folder, change, **manifest):
    """The packed data with another index."""
    own = folder / "own"
    own.mkdir(exist_ok=True)
    for name, content in contents(folder / "packed").items():
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_bytes(content)
    (own / "index.bin").write_bytes(change(Index(folder / "packed" / "index.bin")))
    return own


def visit(own):
    """All that there is to do with packed data. Every kind of damage is an error or harmless."""
    try:
        faults = [fault for checked in check(own, workers=0) for fault in checked.faults]
        assert faults, "a check found nothing"
    except DataError:
        pass
    shards = Shards(own)
    broken = 0
    for index in range(len(shards)):
        try:
            made = own / shards.names[index]  # what others write would be called so
            assert Path(os.path.normpath(made)).is_relative_to(own), f"a name leads to {made}"
            shards.read(index)
        except DataError:
            broken += 1
    assert broken, "nothing was refused"


def by_name(folder, lead, number):
    """Names in the index, of which others make files."""
    if lead.startswith(
        ("..\\", "%2e", "file:", "~", "$", "....", "|", "`", ";", " ", ".\u2024", "\ufeff")
    ):
        lead = f"../{lead}"  # these are odd names of files in the folder, and nothing else
    entries = [Entry(lead, [Member(512, 9, 1), Member(512, 9, 1)])]
    files = [File("", 10240, 0)] * 2
    visit(altered(folder, lambda index: piece(("image", "depth"), files, entries)))


def by_modality(folder, lead, number):
    """Names of folders in the index."""
    files = [File("", 10240, 0)] * 2
    own = altered(folder, lambda index: piece(("image", lead), files, []))
    with pytest.raises(DataError):
        Shards(own)


def by_offset(folder, lead, number):
    """Places beyond the files, or of other samples."""

    def change(index):
        content = bytearray(Path(index.path).read_bytes())
        place = index._places[2] + 16 * (number % (2 * COUNT))
        huge = HUGE[number % len(HUGE)]
        if number % 4 == 0:
            content[place : place + 16] = content[index._places[2] + 32 :][:16]  # overlapping
            content[place] ^= 1
        elif number % 4 == 1:
            struct.pack_into("<I", content, place + 8, min(huge, 2**32 - 1))
        else:
            struct.pack_into("<Q", content, place, huge)
        return bytes(content)

    visit(altered(folder, change))


def by_count(folder, lead, number):
    """Sections of impossible sizes, lines that are no header."""

    def change(index):
        content = Path(index.path).read_bytes()
        line, _, rest = content.partition(b"\n")
        said = json.loads(line)
        name = ("samples", "shards", "text", "modalities")[number % 4]
        said[name] = (-1, 2**62, "7", None, 1e300, [lead], {lead: 1}, True)[number // 4 % 8]
        return json.dumps(said).encode()[: len(line)].ljust(len(line)) + b"\n" + rest

    own = altered(folder, change)
    with pytest.raises(DataError):
        Shards(own)


def by_archive(folder, lead, number):
    """A tar whose members lead elsewhere, or are links."""
    own = altered(folder, lambda index: Path(index.path).read_bytes())
    kinds = (tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
    with tarfile.open(own / "image" / "00000.tar", "w") as tar:
        for name in (lead.replace("\0", "") or "x", "0.jpg"):
            entry = tarfile.TarInfo(name)
            entry.type = kinds[number % len(kinds)]
            entry.linkname = str(folder / "bait" / "a.jpg")
            tar.addfile(entry)
    visit(own)


def by_note(folder, lead, number):
    """Notes of maps that are not what they should be."""
    own = altered(folder, lambda index: Path(index.path).read_bytes())
    texts = (
        json.dumps({"scale": lead}), json.dumps({"hole": [lead]}), json.dumps({"low": {lead: 1}}),
        "[" * 100_000, '{"scale": 1e999}', f'!!python/object/apply:os.system ["touch {lead}"]',
        '{"scale": -1}', json.dumps([lead]), "", '{"scale": 1' + "0" * 5000 + "}",
    )  # fmt: skip
    text = texts[number % len(texts)]
    (own / ("depth/knowledge.json", "shards.json")[number % 2]).write_bytes(
        text.encode() or b"\xff"
    )
    with pytest.raises((DataError, ConfigurationError)):
        Shards(own)


ATTACKS = {
    work.__name__: work
    for work in (by_list, by_name, by_modality, by_offset, by_count, by_archive, by_note)
}


def test_no_crafted_path_leads_out_of_the_root(tmp_path, recorded):
    packed(photos(tmp_path))
    (tmp_path / "bait").mkdir()
    Image.new("RGB", (20, 30)).save(tmp_path / "bait" / "a.jpg")
    (tmp_path / "photosx").mkdir()
    Image.new("RGB", (20, 30)).save(tmp_path / "photosx" / "a.jpg")
    kinds = list(ATTACKS)
    items = [(tmp_path, n // len(kinds), kinds[n % len(kinds)]) for n in range(PATHS)]
    wrong = in_children(attempt, items, BATCH)
    print(*wrong[:20], sep="\n")
    promise = "0 outside the root, nothing executed"
    recorded("untrusted archives and lists", promise, PATHS, PATHS - len(wrong))
