"""Codes of the files that a spec names, of definitions that can't mean what they say, and of limits on what is looked at."""

from __future__ import annotations

from tiltc.codes.code import Code
from tiltc.diagnostics import Severity

ERROR, WARNING = Severity.ERROR, Severity.WARNING

FILES: tuple[Code, ...] = (
    Code(
        "T115",
        "file of another kind",
        ERROR,
        """\
`extends:` names a file that has no `tiltc:` key, so it is no concept library. The same is said of a spec that is a link
to such a file. Nothing of what it holds is shown: a spec may come from a stranger, and the file be one of yours.

Example:

    extends: [../deploy/hosts.yml]

What to do: name the library. One begins with `tiltc: 1` and has `concepts:`.""",
    ),
    Code(
        "T116",
        "path out of the repository",
        ERROR,
        """\
A spec and its libraries may name files in their repository only: below `GITHUB_WORKSPACE`, or the folder with `.git`, or
without a repository the working folder. Links are followed first. The finding is the same whether there is such a file or
not. Who runs tiltc can allow more folders, as in `PATH`; a spec can't. Data and prompts may be elsewhere for harvest and
verify; `lint --data` reads them aloud, and so asks the same of them.

Example:

    extends: ['${HOME}/team/concepts.yaml']

What to do: keep the file in the repository, or say so in the environment: `TILTC_PATHS=/srv/team`.""",
    ),
    Code(
        "T117",
        "no regular file",
        ERROR,
        """\
A path leads to a pipe, a device or a socket. Reading it could wait for ever, or have effects of its own.

Example:

    tiltc lint /dev/stdin

What to do: name a file. What a command writes goes into one first.""",
    ),
    Code(
        "T118",
        "patterns that were not tried",
        WARNING,
        """\
Each `pattern:` is tried on repetitive texts to see that it does not run away. Here that took longer than a spec may take,
so some patterns are untried. At harvest each pattern has a second for a text, whether tried or not.
This hangs on how fast the machine is, so no plan holds it, and no allow of it is called unused.

Example:

    concepts:
      c0: {about: One of five thousand., pattern: '[a-z]+ ?[a-z]+ ?[0-9]+'}

What to do: make the patterns simpler, or write plain ones as `words:`. Allow T118 where they are known to be sound.""",
    ),
    Code(
        "T119",
        "too many libraries",
        ERROR,
        """\
What a spec extends, and what that extends, is more than 64 files, 2 MB, or a chain of 24: nobody reviews that.

Example:

    extends: [part-000.yaml, part-001.yaml]        # and 98 more

What to do: put concepts that belong together into one library.""",
    ),
    Code(
        "T142",
        "definition that can't mean what it says",
        WARNING,
        """\
A `pattern:` or an entry of `words:` that is well formed and can match nothing, or not what was meant: control characters
that YAML made of `\\b` in double quotes, curly quotes for straight ones, `/.../i` of another language, a `#` that began a
comment, text behind `$` or before `^`, regular expressions among words.

Example:

    concepts:
      shout: {about: Shouts., pattern: "\\bWOW\\b"}            # two backspaces

What to do: put patterns into single quotes, in which YAML leaves backslashes alone; `(?i)` ignores case.""",
    ),
)
