"""The one Jinja2 environment: strict about missing values, with the project's way of writing numbers as filters."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from tiltc.printing import printable

if TYPE_CHECKING:
    from jinja2 import Environment


def render_template(name: str, /, **values: Any) -> str:
    """Fill `templates/<name>`; no two blank lines in a row, exactly one newline at the end.

    Raises:
        jinja2.UndefinedError: when the template names a value that is not given.
    """
    page = _environment().get_template(name).render(**values)
    return re.sub(r"\n{3,}", "\n\n", page).strip("\n") + "\n"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from tiltc import figures

    # the pages are plain text and Markdown: what is escaped, and how, is said where it is printed
    environment = Environment(
        loader=PackageLoader("tiltc"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, finalize=_only_known,
    )  # fmt: skip
    names = ("number", "signed", "interval", "share", "count", "short", "one_line", "markdown", "code", "printable")
    environment.filters.update((name, getattr(figures, name)) for name in names)
    return environment


def _only_known(value: Any) -> Any:
    """Nothing prints as "None" by accident, and nothing drives a terminal."""
    if value is None:
        raise ValueError("a template prints a value that is None")
    return printable(value) if isinstance(value, str) else value
