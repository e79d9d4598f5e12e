"""A language model behind any endpoint with OpenAI's `/chat/completions`: asked one question at a time, answers kept."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiltc.figures import one_line
from tiltc.files import write_text

#: seconds for an answer, attempts in all, bytes of an answer
TIMEOUT, ATTEMPTS, LARGEST = 60.0, 4, 1 << 20
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
        key: the environment variable that may hold a key.
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
                if problem.code in _THIS_ONE:
                    raise Refused(f"HTTP status {problem.code}") from problem
                busy = problem.code == 429 or problem.code >= 500
                if not busy or attempt == ATTEMPTS - 1:
                    raise Unreachable(f"HTTP status {problem.code}") from problem
                time.sleep(self.pause * 2**attempt)
            except (OSError, ValueError, http.client.HTTPException) as problem:
                raise Unreachable(one_line(getattr(problem, "reason", None) or problem)) from problem
        raise AssertionError("the last attempt returns or raises")

    def _answer(self, prompt: str) -> str:
        with urllib.request.build_opener(_Stay).open(self._request(prompt), timeout=TIMEOUT) as reply:
            body = reply.read(LARGEST)
        try:
            return str(json.loads(body)["choices"][0]["message"]["content"])
        except (ValueError, LookupError, TypeError, RecursionError):
            return ""

    def _request(self, prompt: str) -> urllib.request.Request:
        if not self.url.startswith(("http://", "https://")):
            raise Unreachable("an endpoint starts with http:// or https://")
        headers = {"Content-Type": "application/json"}
        key = os.environ.get(self.key, "").strip()
        if not (key.isascii() and key.isprintable()):  # checked here: the library would print it
            raise Unreachable(f"the key in {self.key} has characters that no request can carry")
        if key:
            headers["Authorization"] = f"Bearer {key}"
        asked = {"model": self.model, "temperature": 0, "messages": [{"role": "user", "content": prompt}]}
        url = f"{self.url.rstrip('/')}/chat/completions"
        return urllib.request.Request(url, json.dumps(asked).encode(), headers, method="POST")


def objects(answer: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in an answer, whatever is written around them, from left to right."""
    decoder = json.JSONDecoder()
    at = answer.find("{")
    while at >= 0:
        try:
            read, _ = decoder.raw_decode(answer, at)
        except (ValueError, RecursionError):
            read = None
        if isinstance(read, dict):
            yield read
        at = answer.find("{", at + 1)


def answer_file(cache: Path, model: str, prompt: str) -> Path:
    """Where the answer to a question is kept, by the sha256 of model and prompt."""
    return cache / f"{hashlib.sha256(json.dumps([model, prompt]).encode()).hexdigest()}.json"


def kept_answer(file: Path) -> str:
    """The text of a kept answer; empty without one."""
    try:
        return file.read_text("utf-8")
    except (OSError, ValueError):
        return ""


def keep_answer(file: Path, answer: dict[str, Any]) -> None:
    """Written beside and moved into place, so that half an answer is never read. A cache that can't be written is none."""
    with suppress(OSError):
        write_text(file, json.dumps(answer) + "\n", flush=False)
