"""Specs, files and texts made to harm: each is answered soon, with a code, and without a line of anybody's files.

    python benchmarks/hostile.py

Each spec is linted in a process of its own (processor seconds, peak memory) and in every format (what is shown). A line of
a foreign file, or the value of a variable, holds the word SECRET: it may be in no output. `TEXTS` are scored by every
surface detector.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tiltc.cli import main as tiltc
from tiltc.detectors.surface import COUNTERS
from tiltc.render import FORMATS

SECRET = "SECRET"
#: Processor seconds and MB that a lint, start of the interpreter included, may take.
MOST_SECONDS, MOST_MB = 2.0, 500
#: Characters of a text.
LENGTH = 100_000
HEAD = "tiltc: 1\nname: case\n"
SIGNALS = "signals: [suppress: std.style.bold]\n"


@dataclass(frozen=True)
class Case:
    """Files beside each other, what to lint, and the code that is said.

    Beside it T122 may say that more findings are not shown. `make` does what text files can't.
    """

    code: str
    files: Mapping[str, str | bytes]
    make: Callable[[Path], None] = lambda folder: None
    lint: str = "spec.yaml"


def extends(*paths: str) -> str:
    return HEAD + SIGNALS + f"extends: {json.dumps(list(paths))}\n"


def _spec(concepts: str, rest: str = SIGNALS) -> str:
    return HEAD + "concepts:\n" + concepts + rest


def _many(number: int, concept: str) -> str:
    """Concepts c0, c1, ...; `{i}`, `{next}` and `{last}` in the text are numbers."""
    return "".join(
        f"  c{i}: {concept}\n".replace("{i}", str(i)).replace("{next}", str((i + 1) % number)) for i in range(number)
    )


def _link(name: str, target: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).symlink_to(target)


def _fifo(name: str) -> Callable[[Path], None]:
    return lambda folder: os.mkfifo(folder / name)


def _sparse(name: str) -> Callable[[Path], None]:
    """A terabyte that takes no room."""

    def make(folder: Path) -> None:
        (folder / name).touch()
        os.truncate(folder / name, 10**12)

    return make


def _outside(folder: Path) -> None:
    """A home beside the repository, with what people keep there."""
    home = folder.parent / "home"
    home.mkdir(exist_ok=True)
    (home / ".netrc").write_text(f"machine example.org\n  login me\n  password {SECRET}-netrc\n")
    (home / "hosts.yml").write_text(f"github.com:\n    oauth_token: {SECRET}-gh\n")
    (home / "library.yaml").write_text(f"tiltc: 1\nconcepts:\n  x: {{abuot: {SECRET}}}\n")
    (home / f"{SECRET}-name.yaml").write_text("tiltc: 1\nconcepts: {}\n")


def _linked(name: str, target: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        _outside(folder)
        (folder / name).symlink_to(target)

    return make


HOSTS = f"github.com:\n    user: me\n    oauth_token: {SECRET}-token\n"
NETRC = f"machine example.org\n  login me\n  password {SECRET}-netrc\n"
LIBRARY = "tiltc: 1\nconcepts:\n  x: {about: X., words: [x]}\n"


def _chain(number: int) -> dict[str, str | bytes]:
    files: dict[str, str | bytes] = {"spec.yaml": extends("l0.yaml")}
    for i in range(number):
        files[f"l{i}.yaml"] = f"tiltc: 1\nextends: [l{i + 1}.yaml]\nconcepts: {{}}\n"
    return files


FOREIGN: dict[str, Case] = {
    "netrc": Case("T115", {"spec.yaml": extends("netrc"), "netrc": NETRC}),
    "hosts": Case("T115", {"spec.yaml": extends("hosts.yml"), "hosts.yml": HOSTS}),
    "malformed": Case("T115", {"spec.yaml": extends("a.yaml"), "a.yaml": f"a: [{SECRET}\n\tb: {{{SECRET}: : :\n"}),
    "latin-1": Case("T115", {"spec.yaml": extends("a.yaml"), "a.yaml": f"key: {SECRET} \xe9\n".encode("latin-1")}),
    "control": Case("T115", {"spec.yaml": extends("a.yaml"), "a.yaml": f"key: {SECRET} \x1b[31m\n"}),
    "pem": Case("T115", {"spec.yaml": extends("id"), "id": f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END\n"}),
    "dotenv": Case("T115", {"spec.yaml": extends(".env"), ".env": f"API_KEY={SECRET}\n"}),
    "json": Case("T115", {"spec.yaml": extends("a.json"), "a.json": f'{{"auths": {{"x": "{SECRET}"}}}}'}),
    "list": Case("T115", {"spec.yaml": extends("a.yaml"), "a.yaml": f"- {SECRET}\n- b\n"}),
    "anchors": Case("T115", {"spec.yaml": extends("a.yaml"), "a.yaml": f"a: &{SECRET} b\nc: *{SECRET}\n"}),
    "documents": Case("T115", {"spec.yaml": extends("a.yaml"), "a.yaml": f"a: {SECRET}\n---\nb: {SECRET}\n"}),
    "mention": Case("T115", {"spec.yaml": extends("a.md"), "a.md": f"see tiltc: {SECRET}\nx tiltc: 1\n"}),
    "binary": Case("T115", {"spec.yaml": extends("a.bin"), "a.bin": bytes(range(256)) * 100 + SECRET.encode()}),
    "utf-16": Case("T115", {"spec.yaml": extends("a.yaml"), "a.yaml": LIBRARY.encode("utf-16")}),
    "empty": Case("T115", {"spec.yaml": extends("a.yaml"), "a.yaml": b""}),
    "home": Case("T116", {"spec.yaml": extends("../home/.netrc")}, _outside),
    "home library": Case("T116", {"spec.yaml": extends("../home/library.yaml")}, _outside),
    "home absent": Case("T116", {"spec.yaml": extends("../home/absent.yaml")}, _outside),
    "home neighbours": Case("T116", {"spec.yaml": extends(f"../home/{SECRET[:3]}-name.yaml")}, _outside),
    "absolute": Case("T116", {"spec.yaml": extends("/etc/passwd")}),
    "environ": Case("T116", {"spec.yaml": extends("/proc/self/environ")}),
    "descriptor": Case("T116", {"spec.yaml": extends("/dev/fd/0")}),
    "variable": Case("T101", {"spec.yaml": extends("${TILTC_SECRET}")}),
    "variable in a name": Case("T101", {"spec.yaml": extends("x-${TILTC_SECRET}.yaml")}),
    "variable in a folder": Case("T101", {"spec.yaml": extends("${TILTC_SECRET}/a.yaml")}),
    "variable to a home": Case("T116", {"spec.yaml": extends("${TILTC_HOME}/.netrc")}, _outside),
    "variable in examples": Case("T143", {"spec.yaml": _spec("  a: {about: A., examples: '${TILTC_SECRET}'}\n")}),
    "variable in questions": Case(
        "T146",
        {"spec.yaml": _spec("  a: {about: A., contrast: {positive: a, negative: b, questions: '${TILTC_SECRET}'}}\n")},
    ),
    "variable in prompts": Case("T128", {"spec.yaml": HEAD + SIGNALS + "verify: {prompts: '${TILTC_SECRET}'}\n"}),
    "variable in a value": Case("T128", {"spec.yaml": HEAD + SIGNALS + "model: '${TILTC_SECRET}'\n"}),
    "variable before a library": Case(
        "T120",
        {
            "spec.yaml": extends("${TILTC_FOLDER}/a.yaml"),
            "SECRET-folder/a.yaml": "tiltc: 1\nconcpts: {}\nconcepts: {}\n",
        },
    ),
    "examples at home": Case("T116", {"spec.yaml": _spec("  a: {about: A., examples: ../home/.netrc}\n")}, _outside),
    "examples are a link": Case(
        "T116", {"spec.yaml": _spec("  a: {about: A., examples: e.jsonl}\n")}, _linked("e.jsonl", "../home/.netrc")
    ),
    "questions at home": Case(
        "T116",
        {"spec.yaml": _spec("  a: {about: A., contrast: {positive: a, negative: b, questions: /etc/passwd}}\n")},
    ),
    "library is a link": Case("T116", {"spec.yaml": extends("a.yaml")}, _linked("a.yaml", "../home/.netrc")),
    "folder is a link": Case("T116", {"spec.yaml": extends("d/hosts.yml")}, _linked("d", "../home")),
    "spec is a link": Case("T115", {}, _linked("spec.yaml", "../home/.netrc")),
    "spec behind a link": Case("T115", {}, _linked("d", "../home"), "d/hosts.yml"),
    "link within": Case("T115", {"spec.yaml": extends("a.yaml"), "netrc": NETRC}, _link("a.yaml", "netrc")),
}

FILES: dict[str, Case] = {
    "pipe": Case("T117", {"spec.yaml": extends("a.yaml")}, _fifo("a.yaml")),
    "spec is a pipe": Case("T117", {}, _fifo("spec.yaml")),
    "link to a pipe": Case("T117", {}, lambda f: (_fifo("p")(f), _link("spec.yaml", "p")(f))[0]),
    "examples are a pipe": Case("T117", {"spec.yaml": _spec("  a: {about: A., examples: e}\n")}, _fifo("e")),
    "prompts are a pipe": Case("T117", {"spec.yaml": HEAD + SIGNALS + "verify: {prompts: p}\n"}, _fifo("p")),
    "spec is a device": Case("T117", {}, lint="/dev/zero"),
    "spec is a terminal": Case("T117", {}, lint="/dev/tty" if Path("/dev/tty").exists() else "/dev/null"),
    "link to a device": Case("T116", {"spec.yaml": extends("a.yaml")}, _link("a.yaml", "/dev/zero")),
    "folder": Case("T101", {"spec.yaml": extends("d"), "d/a.yaml": LIBRARY}),
    "loop of links": Case("T101", {"spec.yaml": extends("a")}, lambda f: (_link("a", "b")(f), _link("b", "a")(f))[0]),
    "own link": Case("T101", {"spec.yaml": extends("a")}, _link("a", "a")),
    "long name": Case("T101", {"spec.yaml": extends("x" * 5000)}),
    "deep name": Case("T101", {"spec.yaml": extends("x/" * 5000)}),
    "long examples": Case("T143", {"spec.yaml": _spec(f"  a: {{about: A., examples: {'x' * 5000}}}\n")}),
    "long prompts": Case("T651", {"spec.yaml": HEAD + SIGNALS + f"verify: {{prompts: {'x' * 5000}}}\n"}),
    "nobody's home": Case("T101", {"spec.yaml": extends("~nobody-of-this-name/a.yaml")}),
    "nul": Case("T101", {"spec.yaml": HEAD + SIGNALS + 'extends: ["a\\0b"]\n'}),
    "large library": Case("T102", {"spec.yaml": extends("a.yaml"), "a.yaml": LIBRARY + "#" + "x" * 1_000_000}),
    "huge spec": Case("T102", {}, _sparse("spec.yaml")),
    "huge examples": Case(
        "T102",
        {"spec.yaml": _spec("  a: {about: A., examples: e}\n")},
        _sparse("e"),
    ),
    "long chain": Case("T119", _chain(400)),
    "many libraries": Case(
        "T119",
        {"spec.yaml": extends(*(f"l{i}.yaml" for i in range(500)))}
        | {f"l{i}.yaml": "tiltc: 1\nconcepts: {}\n" for i in range(500)},
    ),
    "much in libraries": Case(
        "T119",
        {"spec.yaml": extends(*(f"l{i}.yaml" for i in range(9)))}
        | {f"l{i}.yaml": "tiltc: 1\nconcepts: {}\n#" + "x" * 400_000 for i in range(9)},
    ),
    "circle of libraries": Case("T130", _chain(3) | {"l3.yaml": "tiltc: 1\nextends: [l0.yaml]\nconcepts: {}\n"}),
}

_WIDE = HEAD + SIGNALS + "meta: {a: [" + "a," * 480_000 + "]}\n"
SPECS: dict[str, Case] = {
    "chain of parents": Case("T153", {"spec.yaml": _spec(
        _many(9000, "{about: A., words: [a], parents: [c{next}]}").replace("parents: [c0]", "parents: []"),
        SIGNALS + "allow: [{code: T150, because: none}]\n")}),
    "circle of parents": Case("T133", {"spec.yaml": _spec(_many(9000, "{about: A., words: [a], parents: [c{next}]}"))}),
    "circles of parents": Case("T133", {"spec.yaml": _spec(_many(9000, "{about: A., words: [a], parents: [c{i}]}"))}),
    "everyone under everyone": Case("T133", {"spec.yaml": _spec("".join(
        f"  c{i}: {{about: A., words: [a], parents: [{', '.join(f'c{j}' for j in range(300))}]}}\n" for i in range(300)))}),
    "unknown parents": Case("T132", {"spec.yaml": _spec(_many(9000, "{about: A., words: [a], parents: [d{i}]}"))}),
    "unknown signals": Case("T132", {"spec.yaml": _spec(_many(9000, "{about: A., words: [a]}"),
        "signals:\n" + "".join(f"  - keep: e{i}\n" for i in range(250)))}),
    "signals": Case("T122", {"spec.yaml": HEAD + "signals:\n" + "  - keep: std.style.bold\n" * 30_000}),
    "opposed signals": Case("T301", {"spec.yaml": _spec(_many(9000, "{about: A., words: [a], parents: [c{next}]}").replace(
        "parents: [c0]", "parents: []"), "signals:\n" + "".join(f"  - keep: c{i}\n" for i in range(255)) + "  - amplify: c0\n")}),
    "siblings": Case("T327", {"spec.yaml": _spec("  top: {about: A., words: [b]}\n" + _many(
        5000, "{about: A., words: [a], parents: [top]}"),
        "signals:\n" + "".join(f"  - {{amplify: c{i}, apart_from: siblings}}\n" for i in range(256)))}),
    "values": Case("T102", {"spec.yaml": _WIDE}),
    "empty values": Case("T102", {"spec.yaml": HEAD + SIGNALS + "meta:\n" + " - -\n" * 180_000}),
    "keys": Case("T120 T122", {"spec.yaml": HEAD + SIGNALS + "".join(f"k{i}: 1\n" for i in range(60_000))}),
    "keys of concepts": Case("T120 T122", {"spec.yaml": _spec(_many(20_000, "{about: A., wrds: [a]}"))}),
    "repeated keys": Case("T106", {"spec.yaml": HEAD + SIGNALS + "meta:\n" + "  a: 1\n" * 50_000}),
    "aliases": Case("T107", {"spec.yaml": "a: &a [x]\n" + "".join(f"k{i}: &k{i} [{'*a,' * 9}]\n" for i in range(15_000))}),
    "nesting": Case("T110", {"spec.yaml": HEAD + "meta: " + "[" * 400_000}),
    "nested keys": Case("T110", {"spec.yaml": HEAD + "meta:\n" + "".join(" " * i + "a:\n" for i in range(1, 900))}),
    "long word": Case("T122", {"spec.yaml": HEAD + SIGNALS + "train: {beta: " + "9" * 900_000 + "}\n"}),
    "long key": Case("T105", {"spec.yaml": HEAD + SIGNALS + '"' + "k" * 100_000 + '": 1\n'}),
    "long name of a concept": Case("T132", {"spec.yaml": HEAD + f"signals: [keep: {'x.' * 450_000}x]\n"}),
    "long line": Case("T105", {"spec.yaml": HEAD + "meta: {a: '" + "b" * 900_000}),
    "quotes": Case("T105", {"spec.yaml": HEAD + "a: " + '"' * 900_000}),
    "carriage returns": Case("T105", {"spec.yaml": HEAD.encode() + b"\r" * 900_000 + b"]"}),
    "escapes": Case("T114", {"spec.yaml": _spec('  "\\e[2J\\u202eevil": {about: A., words: [a]}\n')}),
    "commands": Case("T120", {"spec.yaml": HEAD + SIGNALS + '"::add-mask::x\\n::error::y": 1\n'}),
    "code of an allow": Case("T151", {"spec.yaml": HEAD + SIGNALS + f"allow: [{{code: {'T' * 900_000}, because: why}}]\n"}),
    "runaway pattern": Case("T141", {"spec.yaml": _spec(_many(300, "{about: A., pattern: '(a+)+{i}$'}"))}),
    "slow patterns": Case("T118", {"spec.yaml": _spec(_many(4000, "{about: A., pattern: '[a-z]+ [0-9]+x{i}'}"))}),
    "plain patterns": Case("T153", {"spec.yaml": _spec(
        _many(9000, "{about: A., pattern: foo{i}}"), SIGNALS + "allow: [{code: T150, because: none}]\n")}),
    "brackets": Case("T140", {"spec.yaml": _spec("  a: {about: A., pattern: '" + "[" * 400_000 + "'}\n")}),
    "parentheses": Case("T140", {"spec.yaml": _spec("  a: {about: A., pattern: '" + "(" * 90_000 + "'}\n")}),
    "repeats": Case("T140", {"spec.yaml": _spec("  a: {about: A., pattern: 'a{99999}{99999}'}\n")}),
    "open repeat": Case("T140", {"spec.yaml": _spec("  a: {about: A., pattern: 'a{" + "9" * 400_000 + "'}\n")}),
    "repeats of nothing": Case("T140", {"spec.yaml": _spec("  a: {about: A., pattern: '((((){9999}){9999}){9999})b'}\n")}),
    "together": Case("T140", {"spec.yaml": _spec(_many(3000, "{about: A., pattern: '[ab]{900}{i}'}"))}),
    "recursion": Case("T140", {"spec.yaml": _spec("  a: {about: A., pattern: '(a|(?R))+'}\n")}),
    "words": Case("T153", {"spec.yaml": _spec(
        "  a: {about: A., words: [" + ", ".join(f"w{i}" for i in range(90_000)) + "]}\n",
        SIGNALS + "allow: [{code: T150, because: none}]\n")}),
}  # fmt: skip

CASES = FOREIGN | FILES | SPECS

#: What a text repeats.
TEXTS = (
    "-", "*", "_", "- ", "* ", "_ ", "***", "**a", "*a_", "_*", "**a_", "[", "]", "[](", "![", "[[a]", "[a][", "[a]: ", "`", "``a`",
    "<", "<a ", "<!--", "<![CDATA[", "<?", "> ", "> - ", "|", "a|b\n-|-\n", "#", "# ", "~~~\n", "```\n", "=\n", "1. ", "1.\n",
    "- - ", "- a\n  ", "\\", "&", "&#", "!", "?", "! ", "www.", "https://", "<http:", "\t", "\n", "\r", "é", "日",
    "\u200d", "👨\u200d", "🇦", "❤",
)  # fmt: skip


def environment(folder: Path) -> dict[str, str]:
    """The variables that a hostile spec may name."""
    shown = {"TILTC_SECRET": f"{SECRET}-value", "TILTC_HOME": str(folder.parent / "home")}
    return shown | {"TILTC_FOLDER": f"{SECRET}-folder"}


def write(case: Case, folder: Path) -> None:
    """Lay out a case in a folder, which is a repository of its own."""
    (folder / ".git").mkdir(parents=True)
    for name, content in case.files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    case.make(folder)


def shown(case: Case, format: str) -> str:
    """All that lint prints in a format; the working folder is the case's."""
    out, err = io.StringIO(), io.StringIO()
    code = tiltc(["lint", case.lint, "--format", format], out, err)
    return f"{out.getvalue()}{err.getvalue()}[{code}]"


def faults(case: Case, format: str) -> list[str]:
    """What is wrong with the answer to a case in a format."""
    page = shown(case, format)
    codes = set(re.findall(r"\bT[1-7]\d\d\b", " ".join(re.findall(r"\[T\d{3}\]|\"code\":\s*\"T\d{3}", page))))
    found = [f"{format}: a secret is read aloud"] if SECRET in page.replace("TILTC_SECRET", "") else []
    if format in ("text", "json") and codes != set(case.code.split()):
        found.append(f"{format}: {sorted(codes)}, not {case.code}")
    if not page.endswith(("[0]", "[1]")):
        found.append(f"{format}: ends with {page[-80:]!r}")
    return found + ([f"{format}: {len(page):,} characters"] if len(page) > 200_000 else [])


#: A lint that leaves its peak memory (kB) in a file, and can't take the machine's. What `wait4` tells begins at the peak of
#: whoever started the process.
MEASURED = """
import atexit, pathlib, re, resource, runpy, sys
resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
peak = pathlib.Path(sys.argv.pop(1))
status = pathlib.Path("/proc/self/status")
atexit.register(lambda: peak.write_text(re.search(r"VmHWM:\\s*(\\d+)", status.read_text())[1]))
runpy.run_module("tiltc", run_name="__main__", alter_sys=True)
"""


def cost(case: Case, folder: Path) -> tuple[float, float]:
    """Processor seconds and peak MB of one lint in a process of its own."""
    peak = folder.parent / "peak"
    command = [sys.executable, "-c", MEASURED, str(peak), "lint", case.lint]
    with open(os.devnull, "wb") as nowhere:
        process = subprocess.Popen(
            command, cwd=folder, stdout=nowhere, stderr=nowhere, env=os.environ | environment(folder)
        )
        _, _, usage = os.wait4(process.pid, 0)
    return usage.ru_utime + usage.ru_stime, int(peak.read_text()) / 1024


def slowest_detector(unit: str) -> tuple[float, str]:
    """Processor seconds of the detector that takes longest on a text that repeats something."""
    from tiltc.detectors import markup

    times: list[tuple[float, str]] = []
    text = (unit * (LENGTH // len(unit) + 1))[:LENGTH]
    for one in (text, f"x{text}"):
        markup._PARSED.clear()  # pyright: ignore[reportPrivateUsage]
        for name, counter in COUNTERS.items():
            start = time.process_time()
            counter(one)
            times.append((time.process_time() - start, name))
    return max(times)


def main() -> None:
    chosen = {name: case for name, case in CASES.items() if not sys.argv[1:] or name in sys.argv[1:]}
    rows: list[tuple[float, float, str]] = []
    wrong: list[str] = []
    for name, case in chosen.items():
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "repository"
            write(case, folder)
            seconds, megabytes = cost(case, folder)
            rows.append((seconds, megabytes, name))
            os.environ.update(environment(folder))
            before = Path.cwd()
            os.chdir(folder)
            wrong += [f"{name}: {fault}" for format in FORMATS for fault in faults(case, format)]
            os.chdir(before)
        if seconds > MOST_SECONDS or megabytes > MOST_MB:
            wrong.append(f"{name}: {seconds:.2f} s, {megabytes:.0f} MB")
        print(
            f"{seconds:6.2f} s {megabytes:5.0f} MB  {name}",
            *[w for w in wrong if w.startswith(f"{name}: ")],
            sep="\n    ",
            flush=True,
        )
    if sys.argv[1:]:
        return
    texts = sorted(((*slowest_detector(unit), unit) for unit in TEXTS), reverse=True)
    wrong += [f"{unit!r}: {seconds:.2f} s in {name}" for seconds, name, unit in texts if seconds > MOST_SECONDS]
    print(f"{len(chosen)} specs and files: {len(wrong)} faults")
    print(f"processor seconds: median {sorted(rows)[len(rows) // 2][0]:.2f}, most {max(rows)[0]:.2f} ({max(rows)[2]})")
    most = max(rows, key=lambda row: row[1])
    print(f"memory: most {most[1]:.0f} MB ({most[2]})")
    print(f"{len(TEXTS)} texts of {LENGTH:,} characters: most {texts[0][0]:.2f} s ({texts[0][2]!r}, {texts[0][1]})")
    print("\n".join(wrong))


if __name__ == "__main__":
    main()
