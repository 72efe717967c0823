"""The command line. It answers what needs no data and no network at once, without loading torch.

A command is a file in sgmim/commands; its docstring's first line is its help.
"""

import ast
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from sgmim import __version__, signals
from sgmim.errors import (
    ConfigurationError,
    DataError,
    FileError,
    Preempted,
    listed,
    nearest,
)

COMMANDS = Path(__file__).parent / "commands"
INTERRUPTED = 130  # as shells say it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns 0, or what kind of mistake there was (errors.py)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    trace = "--traceback" in arguments
    arguments = [argument for argument in arguments if argument != "--traceback"]
    try:
        with signals.ending():
            code = _dispatch(arguments)
            sys.stdout.flush()
            return code
    except BrokenPipeError:  # whoever reads this, such as 'head', has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ConfigurationError, DataError, FileError, OSError) as error:
        if trace:
            raise
        print(f"sgmim: {error}", file=sys.stderr)
        return getattr(error, "exit_code", FileError.exit_code)
    except (Preempted, KeyboardInterrupt) as stop:
        if trace and isinstance(stop, KeyboardInterrupt):
            raise
        if os.environ.get("RANK", "0") == "0":  # one of a run's processes speaks for all
            print(f"sgmim: {str(stop) or 'interrupted'}", file=sys.stderr)
        return getattr(stop, "exit_code", INTERRUPTED)


def _dispatch(arguments: list[str]) -> int:
    names = sorted(path.stem for path in COMMANDS.glob("[a-z]*.py"))
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview(names))
        return 0
    command, *rest = arguments
    if command == "--version":
        print(f"sgmim {__version__}")
        return 0
    if command not in names:
        raise ConfigurationError(
            f"no command {command!r}{nearest(command, names)}; there is {listed(names)}"
        )
    run: Callable[[list[str]], None] = import_module(f"sgmim.commands.{command}").main
    run(rest)
    return 0


def _overview(names: list[str]) -> str:
    lines = [f"  {name:<12}{_summary(COMMANDS / f'{name}.py')}" for name in names]
    return "\n".join(
        [
            "usage: sgmim COMMAND ...",
            "",
            "Pre-train vision backbones for dense prediction: SG-MIM and its family.",
            "",
            *lines,
            "",
            "'sgmim COMMAND --help' tells a command's options; --traceback, with any command, "
            "shows where an error came from.",
        ]
    )


def _summary(path: Path) -> str:
    """The first line of a file's docstring, without running the file."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]
