"""Whatever an endpoint answers is one finding, in bounded time and memory, and never gets the key back into one."""

from __future__ import annotations

import json
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from tests.compiler.audits import fabricated_audit
from tiltc import endpoint, judge, questions
from tiltc.audit.model import Label
from tiltc.audit.names import Labeller, relabel
from tiltc.audit.names.llm import HOPELESS, KEY, parse_title
from tiltc.audit.page import render_html
from tiltc.audit.snippet import spec_yaml
from tiltc.audit.summary import summary
from tiltc.endpoint import LARGEST, objects
from tiltc.judge import judge_all
from tiltc.spec import Judge

SECRET = "s3cret-k3y-0123456789"
#: the same to who reads JSON
ESCAPED = "".join(f"\\u{ord(c):04x}" for c in SECRET)
#: seconds that an answer may take here
SHORT = 0.4
OK = b"HTTP/1.1 200 OK\r\n"
Script = Callable[[socket.socket], None]


def answer(content: object) -> Script:
    """A whole, well-formed answer."""
    return body(json.dumps({"choices": [{"message": {"content": content}}]}).encode())


def body(data: bytes, head: bytes = OK) -> Script:
    return lambda s: s.sendall(head + b"Content-Length: %d\r\n\r\n" % len(data) + data)


def drip(start: bytes, piece: bytes) -> Script:
    """`start`, then a piece again and again, each in good time."""

    def run(s: socket.socket) -> None:
        s.sendall(start)
        while True:
            s.sendall(piece)
            time.sleep(SHORT / 40)

    return run


def flood(start: bytes, piece: bytes) -> Script:
    def run(s: socket.socket) -> None:
        s.sendall(start)
        until = time.monotonic() + 10 * SHORT
        while time.monotonic() < until:
            s.sendall(piece)

    return run


def silent(_: socket.socket) -> None:
    time.sleep(4 * SHORT)


#: name -> what the endpoint does once it was asked
HOSTILE: dict[str, Script] = {
    "silence": silent,
    "closes": lambda _: None,
    "drips its status": drip(b"HTTP/1.1 20", b"0"),
    "drips headers": drip(OK, b"X-Slow: yes\r\n"),
    "drips a header": drip(OK + b"X-Slow: ", b"y"),
    "drips its answer": drip(OK + b"Content-Length: 1000000\r\n\r\n", b" "),
    "drips chunks": drip(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "endless headers": flood(OK, b"X: y\r\n" * 1000),
    "an endless header": flood(OK + b"X: ", b"y" * 65536),
    "an endless answer": flood(OK + b"\r\n", b" " * 65536),
    "an endless chunk": flood(OK + b"Transfer-Encoding: chunked\r\n\r\nfffffffff\r\n", b" " * 65536),
    "endless continues": flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "no HTTP": lambda s: s.sendall(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "HTTP of another age": lambda s: s.sendall(b"ICY 200 OK\r\n\r\n{}"),
    "cut short": lambda s: s.sendall(OK + b"Content-Length: 1000\r\n\r\n{"),
    "a bad chunk": lambda s: s.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "a negative length": lambda s: s.sendall(OK + b"Content-Length: -1\r\n\r\n{}"),
    "a huge length": lambda s: s.sendall(OK + b"Content-Length: 99999999999999999999\r\n\r\n{}"),
    "no JSON": body(b"<html>"),
    "no UTF-8": body(b"\xff\xfe\xff"),
    "an array": body(b"[1, 2]"),
    "no choices": body(b'{"choices": []}'),
    "a null": answer(None),
    "a list of parts": answer([{"type": "text", "text": "x"}]),
    "an object": answer({"title": "x"}),
    "nested deeply": body(b'{"a":' * 100_000),
    "a huge number": body(b'{"choices": ' + b"9" * 900_000 + b"}"),
    "braces": answer("{" * 900_000),
    "open objects": answer('{"a":' * 180_000),
    "open strings": answer('{"{' * 300_000),
    "no title in objects": answer('{"a": 1} ' * 100_000),
    "a title that is none": answer('{"title": 3}'),
    "echoes the key in its status": lambda s: s.sendall(f"{SECRET} 200\r\n\r\n".encode()),
    "echoes the key in its reason": lambda s: s.sendall(f"HTTP/1.1 418 {SECRET}\r\n\r\n".encode()),
    "echoes the key as a title": answer(json.dumps({"title": SECRET})),
    "escapes the key as a title": answer(json.dumps({"title": "?"}).replace("?", ESCAPED)),
    "escapes the key in a title": answer("Well: " + json.dumps({"in": [{"title": "A ?!"}]}).replace("?", ESCAPED)),
    "escapes the key in its envelope": body(
        json.dumps({"choices": [{"message": {"content": json.dumps({"title": "?"})}}]}).replace("?", ESCAPED).encode()
    ),
    "needs a key": body(b"", b"HTTP/1.1 401 Unauthorized\r\n"),
}  # fmt: skip


class Server:
    """A server on 127.0.0.1 that plays one script to whoever asks; `asked` is what it was sent."""

    def __init__(self, script: Script) -> None:
        self.script, self.asked = script, list[bytes]()
        self.socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}/v1"

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self.socket.accept()
                threading.Thread(target=self._play, args=(peer,), daemon=True).start()

    def _play(self, peer: socket.socket) -> None:
        with peer, suppress(OSError):
            peer.settimeout(10 * SHORT)
            sent = b""
            while b"\r\n\r\n" not in sent or not sent.rstrip().endswith(b"}"):
                sent += peer.recv(1 << 16)
            self.asked.append(sent)
            self.script(peer)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Script], Server]]:
    monkeypatch.setattr(endpoint, "TIMEOUT", SHORT)
    servers: list[Server] = []

    def start(script: Script) -> Server:
        servers.append(Server(script))
        return servers[-1]

    yield start
    for server in servers:
        server.socket.close()


def labels(count: int) -> list[Label]:
    return [Label(title=f"oven {i}", source="terms", terms=(f"oven {i}",), snippets=()) for i in range(count)]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_labeller_is_one_finding(
    serve: Callable[[Script], Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """T702, the names from the data, bounded time and memory; the key is in no finding, no progress and no file."""
    monkeypatch.setenv(KEY, SECRET)
    server, told = serve(HOSTILE[name]), list[str]()
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    waited = time.monotonic()
    named, found = relabel(Labeller(server.url, "m", tmp_path / "kept", pause=0.001), labels(2), told.append)
    assert [label.title for label in named] == ["oven 0", "oven 1"]
    assert [d.code for d in found] == ["T702"]
    assert time.monotonic() - waited < 60 * SHORT
    assert time.process_time() - began < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
    assert SECRET not in str([*found]) + "".join(told)
    assert not any(SECRET in file.read_text() for file in tmp_path.rglob("*") if file.is_file())


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_judge_is_one_finding(
    serve: Callable[[Script], Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """T546 for the same, of an endpoint that the user named."""
    server = serve(HOSTILE[name])
    monkeypatch.setenv(judge.ADDRESS, server.url)
    monkeypatch.setenv(judge.KEY, SECRET)
    verdicts, found = judge_all(Judge(model="m"), "warmth", [("q", f"a {i}") for i in range(5)], tmp_path, print)
    assert (verdicts, [d.code for d in found]) == (None, ["T546"])
    assert SECRET not in str([*found])
    assert f"Bearer {SECRET}".encode() in server.asked[0]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(
    serve: Callable[[Script], Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """Neither the key nor the question goes to another place."""
    monkeypatch.setenv(KEY, SECRET)
    other = serve(answer('{"title": "Theirs"}'))
    head = f"HTTP/1.1 {status} Moved\r\nLocation: {other.url}/chat/completions\r\n".encode()
    named, found = relabel(Labeller(serve(body(b"", head)).url, "m", tmp_path), labels(2), print)
    assert ([d.code for d in found], other.asked) == (["T702"], [])
    assert named[0].title == "oven 0"
    assert "not followed" in next(iter(found)).primary.text


def test_a_key_stays_where_the_user_sent_it(
    serve: Callable[[Script], Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spec's own `judge.endpoint` is asked without the key, unless the environment names the same address."""
    server = serve(answer('{"score": 80}'))
    monkeypatch.setenv(judge.KEY, SECRET)
    spec = Judge(model="m", endpoint=server.url)

    def asked_with(address: str | None, folder: str) -> bool:
        monkeypatch.setenv(judge.ADDRESS, address or "")
        verdicts, found = judge_all(spec, "warmth", [("q", "a")], tmp_path / folder, print)
        assert (verdicts is not None, [*found]) == (True, [])
        return SECRET.encode() in server.asked[-1]

    assert not asked_with(None, "a")
    assert not asked_with("https://judge.example/v1", "b")
    assert asked_with(server.url + "/", "c")


def test_a_judge_that_wants_the_key_is_told_why(
    serve: Callable[[Script], Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A help says what the user can do, and the key is not in it."""
    monkeypatch.setenv(judge.KEY, SECRET)
    monkeypatch.delenv(judge.ADDRESS, raising=False)
    server = serve(HOSTILE["needs a key"])
    _, found = judge_all(Judge(model="m", endpoint=server.url), "warmth", [("q", "a")], tmp_path, print)
    finding = next(iter(found))
    assert judge.ADDRESS in finding.helps[0]
    assert SECRET not in str(finding)


def test_what_a_specs_judge_says_is_not_the_users(
    serve: Callable[[Script], Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verdicts of a stranger's endpoint under a model's name are not taken for those of the user's endpoint."""
    theirs, mine = serve(answer('{"score": 100}')), serve(answer('{"score": 10}'))
    monkeypatch.delenv(judge.ADDRESS, raising=False)
    judge_all(Judge(model="m", endpoint=theirs.url), "warmth", [("q", "a")], tmp_path, print)
    monkeypatch.setenv(judge.ADDRESS, mine.url)
    verdicts, _ = judge_all(Judge(model="m"), "warmth", [("q", "a")], tmp_path, print)
    assert verdicts is not None
    assert verdicts[0].score == 10


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.1/v1", "http://judge.example:8000/v1", "http://127.0.0.1.example/v1", "http://[2001:db8::1]/v1",
        f"http://me:{SECRET}@127.0.0.1:9/v1", f"https://{SECRET}@judge.example/v1",
        f"http://127.0.0.1:9/v1?key={SECRET}", f"http://127.0.0.1:9/v1#{SECRET}",
        "http://127.0.0.1:99999/v1", "http://127.0.0.1:x/v1", "ftp://127.0.0.1/v1", "http:///v1", "http://\x1b[31m/v1",
    ],
)  # fmt: skip
def test_no_request_leaves_with_a_key_in_the_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Plain http to another machine, and keys in an address, are T702 at once, without what they hold."""
    monkeypatch.setenv(KEY, SECRET)
    monkeypatch.setattr(endpoint, "TIMEOUT", SHORT)
    began = time.monotonic()
    _, found = relabel(Labeller(url, "m", tmp_path, pause=0.001), labels(1), print)
    assert [d.code for d in found] == ["T702"]
    assert time.monotonic() - began < 60 * SHORT
    assert not {SECRET, "\x1b"} & {part for part in (SECRET, "\x1b") if part in str([*found])}


def test_a_labeller_without_titles_is_given_up(serve: Callable[[Script], Server], tmp_path: Path) -> None:
    """After the first few answers without a title no more are asked for; one title among them is reason to go on."""
    server = serve(answer("no"))
    _, found = relabel(Labeller(server.url, "m", tmp_path), labels(30), print)
    assert ([d.code for d in found], len(server.asked)) == (["T702"], HOPELESS)
    assert "30 of 30" in next(iter(found)).primary.text


@pytest.mark.parametrize("text", ["{" * LARGEST, '{"a":' * (LARGEST // 5), '{"{":1,' * (LARGEST // 7), "[{" * (LARGEST // 2),
                                  '{"a": "' + "{" * LARGEST, '{"\\' * (LARGEST // 3)])  # fmt: skip
def test_objects_are_looked_for_in_bounded_time(text: str) -> None:
    """A megabyte of what never ends costs no more than some seconds, and no recursion."""
    began = time.process_time()
    assert [*objects(text)] == []
    assert time.process_time() - began < 5


def test_objects_stand_where_they_stood() -> None:
    """Outer ones before inner ones, from left to right, whatever stands between."""
    text = 'a {"x": [{"y": {}}, {"z": 1}]} } { {"w": 2} {no} {"v": "{"}'
    assert [*objects(text)] == [
        {"x": [{"y": {}}, {"z": 1}]}, {"y": {}}, {}, {"z": 1}, {"w": 2}, {"v": "{"},
    ]  # fmt: skip


NASTY = [
    "<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", "[x](javascript:alert(1))", "::error::no",
    "\x1b[31mred", "a\n::add-mask::b", "a\r\nb: c", "--> |", "{{ 7 * 7 }}", "' # \" : - *a &b !c %d @e", "\u202eevil",
    "\ud800 half", "\u2028line", "x" * 10_000, "\ufeff\u200bhidden", "- name: pwned\n  model: theirs",
]  # fmt: skip


@pytest.mark.parametrize("title", NASTY)
def test_a_title_is_text_and_nothing_else(title: str) -> None:
    """On the page, on a terminal and in a spec that is made from the audit, a title drives nothing."""
    parsed = parse_title(json.dumps({"title": title}))
    assert parsed is not None
    assert len(parsed) <= 80
    assert parsed.isprintable()
    audit = fabricated_audit()
    given = [r.model_copy(update={"label": r.label.model_copy(update={"title": parsed})}) for r in audit.responses]
    audit = audit.model_copy(update={"responses": tuple(given)})
    page = render_html(audit)
    assert "<img" not in page.replace("<img class", "")
    assert page.count("<script") == render_html(fabricated_audit()).count("<script")
    page.encode()
    told = summary(audit)
    assert not any(line.startswith("::") for line in told.splitlines())
    assert "\x1b" not in told
    chosen = [(h.id, "suppress") for h in audit.hypotheses[:2]]
    made = yaml.safe_load(spec_yaml(audit, chosen))
    assert made.keys() == yaml.safe_load(spec_yaml(fabricated_audit(), chosen)).keys()


def test_bad_questions_are_told_a_few_times(tmp_path: Path) -> None:
    """A long file that holds no questions is not reported line by line to its end."""
    file = tmp_path / "questions.jsonl"
    file.write_text("no\n" * 200_000)
    began = time.process_time()
    _, found = questions.read_questions(file)
    assert len(found) == questions.MOST_FAULTS
    assert time.process_time() - began < 5
