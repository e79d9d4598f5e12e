"""The command line: finds the verb that was asked for, runs it, and turns what goes wrong into an exit code."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, NoReturn, TextIO

import tiltc.verbs
from tiltc.verbs import CLEAN, FAILURE, USAGE, UsageError, Verb
from tiltc.workflow import guarded

#: Verbs of the training stack, which is installed apart. Listed here so that `--help` need not load it.
RUNTIME = {
    "harvest": "read the data through the model once and write the evidence",
    "run": "train with a plan",
    "verify": "sample from a trained model and test the forecast",
}
#: What a lint-only install leaves out (`compile` in pyproject.toml), by the names of the modules.
COMPILE = ("numpy", "scipy", "pyarrow", "safetensors", "graspologic_native", "jinja2")
#: The order in which `--help` lists verbs; any other comes after.
_ORDER = ("init", "lint", "harvest", "audit", "compile", "show", "diff", "run", "verify")
_INTERRUPTED, _PIPE_CLOSED = 130, 141


def main(argv: Sequence[str] | None = None, out: TextIO | None = None, err: TextIO | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments without the program name; `sys.argv` by default.
        out: for results; `sys.stdout` by default.
        err: for progress and usage errors; `sys.stderr` by default.

    Returns:
        0 clean, 1 findings, 2 wrong usage, 3 failure, 130 interrupted, 141 nobody reads the results.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    return _guarded(arguments, guarded(out or sys.stdout), guarded(err or sys.stderr))


def _guarded(arguments: list[str], out: TextIO, err: TextIO) -> int:
    try:
        with _interruptible():
            if any("\0" in argument for argument in arguments):
                raise UsageError("an argument has a NUL in it, which no name of a file can have")
            code = _dispatch(arguments, out, err)
            out.flush()
            return code
    except _Done as done:
        return done.code
    except UsageError as error:
        return _say(err, f"tiltc: {error}", USAGE)
    except KeyboardInterrupt:
        return _say(err, "tiltc: interrupted", _INTERRUPTED)
    except BrokenPipeError:
        return _PIPE_CLOSED
    except OSError as error:
        return _refused(error, err)
    except Exception as error:
        return _failed(error, err)


@contextmanager
def _interruptible() -> Generator[None]:
    """`__main__` lets an interrupt end the process at once, so that importing gives no traceback; verbs want to clean up."""
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def _dispatch(arguments: list[str], out: TextIO, err: TextIO) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        (out if arguments else err).write(_overview())
        return CLEAN if arguments else USAGE
    if arguments[0] in ("-V", "--version"):
        from importlib.metadata import version

        out.write(f"tiltc {version('tiltc')}\n")
        return CLEAN
    verb = _verb(arguments[0])
    parser = _Parser(prog=f"tiltc {verb.name}", description=_sentence(verb.help), out=out, err=err, allow_abbrev=False)
    verb.add_arguments(parser)
    parsed = parser.parse_args(arguments[1:])
    try:
        return verb.run(parsed, out, err)
    except ModuleNotFoundError as error:
        # verbs import what is heavy when they run
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "tiltc", "tiltc_runtime") or (verb.name not in RUNTIME and missing not in COMPILE):
            raise
        raise UsageError(_lacks(verb.name, error)) from None


def _verb(name: str) -> Verb:
    if name in _built_in():
        return import_module(f"tiltc.verbs.{name}").VERB
    return _runtime_verb(name)


def _runtime_verb(name: str) -> Verb:
    from importlib.metadata import entry_points

    for point in entry_points(group="tiltc.commands", name=name):
        try:
            return point.load()
        except ImportError as error:
            if (error.name or "").partition(".")[0] == "tiltc":
                raise
            raise UsageError(_lacks(name, error)) from None
    if name in RUNTIME:
        raise UsageError(_lacks(name))
    near = get_close_matches(name, [*_built_in(), *RUNTIME], n=1)
    raise UsageError(f"no verb `{name}`" + (f"; did you mean `{near[0]}`?" if near else "; see `tiltc --help`"))


def _lacks(name: str, error: ImportError | None = None) -> str:
    missing = f" ({error.name} is missing)" if error is not None and error.name else ""
    what, extra = ("the training stack", "runtime") if name in RUNTIME else ("more than a lint-only install", "compile")
    return f"`{name}` needs {what}{missing}: pip install 'tiltc[{extra}]', in a clone pip install '.[{extra}]'"


def _built_in() -> list[str]:
    return [module.name for module in iter_modules(tiltc.verbs.__path__)]


def _overview() -> str:
    helps = {name: _verb(name).help for name in _built_in()} | RUNTIME
    names = [name for name in _ORDER if name in helps] + sorted(helps.keys() - set(_ORDER))
    lines = [f"  {name:<9} {helps[name]}" for name in names]
    return "\n".join(
        [
            "usage: tiltc VERB ...",
            "",
            "Say in a spec what preference data may teach; compile it to a plan; train; verify.",
            "",
            *lines,
            "",
            "`tiltc VERB --help` says more. Exit codes: 0 clean, 1 findings, 2 wrong usage, 3 failure, 130 interrupted.",
            "",
        ]
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _say(err: TextIO, text: str, code: int) -> int:
    try:
        err.write(text + "\n")
        err.flush()
    except (OSError, ValueError):
        pass  # nobody listens
    return code


#: what a path names is of the wrong kind, or can't be a path
_WRONG_PATHS = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)


def _refused(error: OSError, err: TextIO) -> int:
    """What the file system refused, in its own words; wrong usage where the path is to blame."""
    if os.environ.get("TILTC_TRACEBACK") or error.errno is None:
        return _failed(error, err)
    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    where = f"`{path[:200]}{'...' if len(path) > 200 else ''}`: " if path else ""
    text = f"tiltc: {where}{(error.strerror or str(error)).lower()}"
    return _say(err, text, USAGE if path and error.errno in _WRONG_PATHS else FAILURE)


def _failed(error: Exception, err: TextIO) -> int:
    if os.environ.get("TILTC_TRACEBACK"):
        return _say(err, "".join(traceback.format_exception(error)), FAILURE)
    text = " ".join(str(error).split())[:500]
    return _say(err, f"tiltc: {type(error).__name__}: {text} (TILTC_TRACEBACK=1 shows where)", FAILURE)


class _Done(Exception):
    """The parser has said all there is to say."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Parser(argparse.ArgumentParser):
    """An argument parser that writes to the streams it is given and never ends the process."""

    def __init__(self, *, out: TextIO, err: TextIO, **settings: Any) -> None:
        super().__init__(**settings)
        self.out, self.err = out, err

    def print_help(self, file: Any = None) -> None:
        self.out.write(self.format_help())

    def print_usage(self, file: Any = None) -> None:
        self.err.write(self.format_usage())

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        self.err.write(message or "")
        raise _Done(status)

    def error(self, message: str) -> NoReturn:
        self.print_usage()
        self.exit(USAGE, f"{self.prog}: {message}\n")
