"""Titles from a language model, if one is named: any endpoint with OpenAI's `/chat/completions`. Off by default."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiltc.audit.model import Label
from tiltc.diagnostics import Diagnostics
from tiltc.figures import one_line
from tiltc.templating import render_template

KEY = "TILTC_LABELLER_KEY"
#: seconds for an answer, attempts in all, characters of a title, bytes of an answer
TIMEOUT, ATTEMPTS, LONGEST, LARGEST = 60.0, 4, 80, 1 << 20
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
class Labeller:
    """A model behind an endpoint, such as `http://127.0.0.1:8000/v1`.

    Attributes:
        cache: folder of answers by the sha256 of model and prompt; what is in it is not asked again.
        pause: seconds before the second attempt; each further pause is twice as long.
    """

    endpoint: str
    model: str
    cache: Path
    pause: float = 1.0

    def title(self, prompt: str) -> str | None:
        """What the model calls it; None when its answer holds no title.

        Raises:
            Unreachable: when there is no answer.
            Refused: when there is none to this question.
        """
        file = self.cache / f"{hashlib.sha256(json.dumps([self.model, prompt]).encode()).hexdigest()}.json"
        known = _kept(file)
        if known is not None:
            return known
        title = parse_title(self._ask(prompt))
        if title is not None:
            _keep(file, title)
        return title

    def _ask(self, prompt: str) -> str:
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
        """The text of one answer; empty when the answer is not of the agreed form."""
        with urllib.request.build_opener(_Stay).open(self._request(prompt), timeout=TIMEOUT) as reply:
            body = reply.read(LARGEST)
        try:
            return str(json.loads(body)["choices"][0]["message"]["content"])
        except (ValueError, LookupError, TypeError, RecursionError):
            return ""

    def _request(self, prompt: str) -> urllib.request.Request:
        if not self.endpoint.startswith(("http://", "https://")):
            raise Unreachable("an endpoint starts with http:// or https://")
        headers = {"Content-Type": "application/json"}
        key = os.environ.get(KEY, "").strip()
        if not (key.isascii() and key.isprintable()):  # checked here: the library would print it
            raise Unreachable(f"the key in {KEY} has characters that no request can carry")
        if key:
            headers["Authorization"] = f"Bearer {key}"
        asked = {"model": self.model, "temperature": 0, "messages": [{"role": "user", "content": prompt}]}
        url = f"{self.endpoint.rstrip('/')}/chat/completions"
        return urllib.request.Request(url, json.dumps(asked).encode(), headers, method="POST")


def relabel(
    labeller: Labeller, labels: Sequence[Label], say: Callable[[str], object]
) -> tuple[list[Label], Diagnostics]:
    """The labels with the model's titles. Where it has none, the name from the data stays. Finds T702."""
    out, found, odd = list(labels), Diagnostics(), 0
    refusals: dict[str, None] = {}
    for i, label in enumerate(labels):
        try:
            title = labeller.title(render_template("label.txt.j2", label=label))
        except Unreachable as problem:
            note = f"{len(labels) - i} of {len(labels)} clusters keep the names made from the data"
            found.add("T702", None, f"{labeller.endpoint}: {problem}", notes=[note])
            break
        except Refused as problem:
            title = None
            refusals[f"some questions were refused: {problem}"] = None
        odd += title is None
        if title is not None:
            out[i] = label.model_copy(update={"title": title, "source": "llm"})
        say(f"named {i + 1} of {len(labels)} clusters")
    if odd:
        text = f"{labeller.endpoint}: `{labeller.model}` gave no title for {odd} of {len(labels)} clusters"
        found.add("T702", None, text, notes=refusals)
    return out, found


def parse_title(answer: str) -> str | None:
    """The `title` of the first JSON object in an answer that has one, whatever is written around it."""
    decoder = json.JSONDecoder()
    at = answer.find("{")
    while at >= 0:
        try:
            read, _ = decoder.raw_decode(answer, at)
        except (ValueError, RecursionError):
            read = None
        title = read.get("title") if isinstance(read, dict) else None
        if isinstance(title, str) and one_line(title):
            return one_line(title)[:LONGEST]
        at = answer.find("{", at + 1)
    return None


def _kept(file: Path) -> str | None:
    try:
        return parse_title(file.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _keep(file: Path, title: str) -> None:
    """Written beside and moved into place, so that half an answer is never read. A cache that can't be written is none."""
    beside = file.with_suffix(f".{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps({"title": title}) + "\n", "utf-8")
        beside.replace(file)
    except OSError:
        beside.unlink(missing_ok=True)
