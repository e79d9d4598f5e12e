"""`tiltc` and `python -m tiltc`."""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO


def main() -> None:
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # until a verb runs there is nothing to clean up: an interrupt ends the process, and no import shows a traceback
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from tiltc import cli

    sys.exit(_ended(cli.main(sys.argv[1:], _stream(sys.stdout), _stream(sys.stderr))))


def _stream(stream: "TextIO | None") -> "TextIO":
    """A stream that can be written to whatever the terminal: closed ones lead nowhere, odd characters are escaped."""
    import io
    import os

    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream


def _ended(code: int) -> int:
    """Flush, or lead a closed pipe nowhere, so that the interpreter has nothing to complain of when it ends."""
    import os

    streams: tuple[TextIO | None, ...] = (sys.stdout, sys.stderr)  # None when closed at the start
    for stream in streams:
        if stream is not None:
            try:
                stream.flush()
            except (OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return code


if __name__ == "__main__":
    main()
