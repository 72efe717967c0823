"""Take over weights of others: SimMIM's, KAMIM's, MAE's, DINO's, transformers' and more.

    sgmim weights show FILE               what a checkpoint is of, and what of it would be loaded
    sgmim weights import FILE --as NAME   the same, and write NAME/encoder.safetensors, which --init
                                          and load_encoder take

'sgmim weights import --help' tells its options; docs/weights.md lists the sources.
"""

from collections.abc import Sequence
from pathlib import Path

from sgmim.encoders.files import ENCODER, save_encoder
from sgmim.encoders.importing import Imported, import_encoder
from sgmim.errors import ConfigurationError, unknown
from sgmim.options import Parser


def main(arguments: Sequence[str]) -> None:
    what, *rest = arguments or [""]
    if what in ("-h", "--help"):
        print(__doc__)
    elif not what or what.startswith("-"):
        raise ConfigurationError(f"sgmim weights WHAT? There is {', '.join(JOBS)}")
    elif what not in JOBS:
        raise unknown("job", what, JOBS)
    else:
        JOBS[what](rest)


def show(arguments: Sequence[str]) -> None:
    config = _parser("show", "Tell what a checkpoint is of.").read(arguments)
    print(told(import_encoder(**config.as_dict())))


def take(arguments: Sequence[str]) -> None:
    parser = _parser("import", "Take over the encoder of a checkpoint of others.")
    parser.add_argument(
        "--as", type=Path, required=True, dest="target",
        help=f"a folder, which gets {ENCODER}, or a file of that ending",
    )  # fmt: skip
    options = parser.read(arguments).as_dict()
    target: Path = options.pop("target")
    file = target if target.suffix == ".safetensors" else target / ENCODER
    if file.exists():
        raise ConfigurationError(f"{file} is there already: take another name, or remove it")
    imported = import_encoder(**options)
    save_encoder(imported.encoder, file, **imported.metadata)
    print(told(imported))
    print(f"{'written':<14} {file}; train on from it by --init {target}")


def told(imported: Imported) -> str:
    """What was found, for people."""
    encoder, report, known = imported.encoder, imported.report, imported.metadata
    size = " x ".join(map(str, encoder.image_size))
    count = sum(parameter.numel() for parameter in encoder.parameters())
    lines = {
        "source": report.source,
        "encoder": f"{encoder.name} for {size} pixels, {count / 1e6:.1f} M parameters",
        "loaded": f"{report.kept} of {report.tensors} tensors; {report.share:.1%} of the "
        "encoder's parameters",
        **{
            word: f"{len(names)}: {', '.join(names[:3])}{' ...' * (len(names) > 3)}"
            for word in ("renamed", "resized", "missing")
            if (names := getattr(report, word))
        },
        **({"dropped": report.told_of_dropped()} if report.dropped else {}),
        "normalization": report.normalization or "unknown",
        "license": known["license"],
        "sha256": known["sha256"],
    }
    return "\n".join(f"{name:<14} {line}" for name, line in lines.items())


JOBS = {"show": show, "import": take}


def _parser(job: str, description: str) -> Parser:
    parser = Parser(f"weights {job}", description)
    parser.add_function_arguments(import_encoder, as_group=False, as_positional=True)
    return parser
