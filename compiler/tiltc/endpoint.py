"""A language model behind any endpoint with OpenAI's `/chat/completions`: asked one question at a time, answers kept.

An endpoint is a stranger. Whatever it answers costs a bounded time and memory, is never followed elsewhere, and does not get
the key back into a finding or a file.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from tiltc.figures import one_line
from tiltc.files import write_text
from tiltc.seal import sealed_line, unsealed_line

T = TypeVar("T")
#: seconds for a whole answer, however it trickles in; attempts in all; bytes of an answer
TIMEOUT, ATTEMPTS, LARGEST = 60.0, 4, 1 << 20
#: characters of a JSON object in an answer, and places at which one is looked for: reasoning may have many braces
OBJECT, PLACES = 1 << 14, 10_000
#: HTTP statuses that are about one question
_THIS_ONE = (400, 413, 422)


class Unreachable(Exception):
    """The endpoint gave no answer, and is not likely to give one to the next question."""


class Refused(Exception):
    """The endpoint did not take this question, as content filters do; it may take the next."""


class _Stay(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: following it would hand the key to another host."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


@dataclass(frozen=True)
class Endpoint:
    """A model behind an endpoint, such as `http://127.0.0.1:8000/v1`.

    Attributes:
        key: the environment variable that may hold a key; empty for an endpoint that is given none.
        pause: seconds before the second attempt; each further pause is twice as long.
    """

    url: str
    model: str
    key: str
    pause: float = 1.0

    def ask(self, prompt: str) -> str:
        """The text of the answer; empty when the answer is not of the agreed form.

        Raises:
            Unreachable: when there is no answer.
            Refused: when there is none to this question.
        """
        for attempt in range(ATTEMPTS):
            try:
                return self._answer(prompt)
            except urllib.error.HTTPError as problem:
                problem.close()
                if problem.code in _THIS_ONE:
                    raise Refused(f"HTTP status {problem.code}") from None
                busy = problem.code == 429 or problem.code >= 500
                if not busy or attempt == ATTEMPTS - 1:
                    raise Unreachable(_status(problem.code)) from None
                time.sleep(self.pause * 2**attempt)
            except (OSError, ValueError, OverflowError, http.client.HTTPException) as problem:
                raise Unreachable(self._said(problem)) from None
        raise AssertionError("the last attempt returns or raises")

    def _answer(self, prompt: str) -> str:
        place = _place(self.url)
        key = self._key(place)
        request, late = self._request(prompt, key), Event()
        body = _within(TIMEOUT, lambda: _body(_opener(place), request, late), late)
        text = _content(body)
        if key and (key.encode() in body or _tells(text, key)):
            raise Unreachable(f"its answer holds the key in {self.key}, and is not used")
        return text

    def _key(self, place: SplitResult) -> str:
        key = os.environ.get(self.key, "").strip() if self.key else ""
        if not (key.isascii() and key.isprintable()):  # checked here: the library would print it
            raise Unreachable(f"the key in {self.key} has characters that no request can carry")
        if key and place.scheme == "http" and not _here(place):
            raise Unreachable(f"the key in {self.key} would go over a network in the clear: use https, or unset it")
        return key

    def _request(self, prompt: str, key: str) -> urllib.request.Request:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        asked = {"model": self.model, "temperature": 0, "messages": [{"role": "user", "content": prompt}]}
        url = f"{self.url.rstrip('/')}/chat/completions"
        return urllib.request.Request(url, json.dumps(asked).encode(), headers, method="POST")

    def _said(self, problem: Exception) -> str:
        """What went wrong on one short line, without the key, which a hostile answer may hold."""
        text = one_line(getattr(problem, "reason", None) or problem or type(problem).__name__)
        key = os.environ.get(self.key, "").strip() if self.key else ""
        return (text.replace(key, "***") if key else text)[:200]


def _status(code: int) -> str:
    return f"HTTP status {code}" + (", which points elsewhere and is not followed" if 300 <= code < 400 else "")


def shown(url: str) -> str:
    """An address as findings name it: without a user, a password, or what follows a `?`."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the endpoint"
    scheme = f"{parts.scheme}://" if parts.scheme else ""
    return one_line(f"{scheme}{parts.netloc.rpartition('@')[2]}{parts.path}")[:200]


def _place(url: str) -> SplitResult:
    """Raises Unreachable, without repeating the address, for one that is no endpoint's."""
    place = urlsplit(url)
    if place.scheme not in ("http", "https"):
        raise Unreachable("an endpoint starts with http:// or https://")
    if "@" in place.netloc or place.query or place.fragment:
        raise Unreachable("an endpoint's address has no user, password or query: a key is given in the environment")
    return place


def _here(place: SplitResult) -> bool:
    """Is it this machine?"""
    with suppress(ValueError):
        return place.hostname == "localhost" or ip_address(place.hostname or "").is_loopback
    return False


def _opener(place: SplitResult) -> urllib.request.OpenerDirector:
    # nobody's proxy stands between two processes of one machine
    direct = [urllib.request.ProxyHandler({})] if _here(place) else []
    return urllib.request.build_opener(_Stay, *direct)


def _body(opener: urllib.request.OpenerDirector, request: urllib.request.Request, late: Event) -> bytes:
    """The bytes of an answer, read until it ends, is too large, or is late."""
    body = bytearray()
    with opener.open(request, timeout=TIMEOUT) as reply:
        while not late.is_set() and (part := reply.read1(1 << 16)):
            body += part
            if len(body) > LARGEST:
                raise ValueError(f"an answer of more than {LARGEST >> 20} MB")
    return bytes(body)


def _content(body: bytes) -> str:
    """The text in the body of an answer; empty when it is not of the agreed form."""
    try:
        text = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return text if isinstance(text, str) else ""


def _tells(text: str, key: str) -> bool:
    """Whether a text, or anything that is read of it, holds the key: escapes hide it, and blanks are put together."""
    bare = "".join(key.split())
    return any(bare in "".join(said.split()) for said in (text, *_strings(text)))


def _strings(text: str) -> Iterator[str]:
    """The names and the texts of the JSON objects in a text."""
    for read in objects(text):
        for name, value in read.items():
            yield name
            yield from (v for v in (value if isinstance(value, list) else [value]) if isinstance(v, str))


def _within(seconds: float, call: Callable[[], T], late: Event) -> T:
    """What a call returns, or raises, in so many seconds. A call that is late goes on alone, and nobody waits for it.

    Raises:
        TimeoutError: it is late; `late` is set.
    """
    answers: SimpleQueue[tuple[T | None, Exception | None]] = SimpleQueue()

    def work() -> None:
        try:
            answers.put((call(), None))
        except Exception as problem:
            answers.put((None, problem))

    Thread(target=work, daemon=True).start()
    try:
        value, problem = answers.get(timeout=seconds)
    except Empty:
        late.set()
        raise TimeoutError(f"timed out: no whole answer in {seconds:g} seconds") from None
    if problem is not None:
        raise problem
    return value  # type: ignore[return-value]


def objects(answer: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in an answer, whatever is written around them, from left to right, each before those inside of it.

    The time is bounded: objects of more than `OBJECT` characters are none, and no more than `PLACES` braces are tried.
    """
    decoder, at = json.JSONDecoder(), answer.find("{")
    for _ in range(PLACES):
        if at < 0:
            return
        try:
            read, end = decoder.raw_decode(answer[at : at + OBJECT])
            yield from _inside(read)
        except (ValueError, RecursionError):
            end = 1
        at = answer.find("{", at + end)


def _inside(value: Any) -> Iterator[dict[str, Any]]:
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            yield value
            left += reversed(value.values())
        elif isinstance(value, list):
            left += reversed(value)


def answer_file(cache: Path, model: str, prompt: str, *of: str) -> Path:
    """Where the answer to a question is kept, by the sha256 of model, prompt and what else it is an answer of."""
    return cache / f"{hashlib.sha256(json.dumps([model, prompt, *of]).encode()).hexdigest()}.json"


def kept_answer(file: Path) -> str:
    """The JSON of a kept answer; empty without one, and where it is not what was kept under this name."""
    try:
        with open(file, "rb") as kept:
            value = unsealed_line(file.stem, kept.read(LARGEST))
    except OSError:
        return ""
    return "" if value is None else json.dumps(value)


def keep_answer(file: Path, answer: dict[str, Any]) -> None:
    """Written beside and moved into place, so that half an answer is never read. A cache that can't be written is none."""
    with suppress(OSError):
        write_text(file, sealed_line(file.stem, answer), flush=False)
