"""Plain values to typed ones, with every pydantic error turned into a diagnostic at its place."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tiltc.diagnostics import Diagnostics
from tiltc.parse.document import MOST, Document
from tiltc.parse.shape import keys_at
from tiltc.parse.suggest import did_you_mean, nearest
from tiltc.source import Route
from tiltc.spec import DEFINITIONS, VERSION, Amplify, ConceptFile, FileRef, HubRef, Keep, SaeRef, Spec, Suppress

M = TypeVar("M", bound=BaseModel)

VERBS: dict[str, type[Suppress | Keep | Amplify]] = {"suppress": Suppress, "keep": Keep, "amplify": Amplify}


def validate_spec(document: Document, found: Diagnostics) -> Spec | None:
    """The typed spec, or None when anything is wrong with it."""
    before = len(found)
    _version(document, found)
    data = dict(document.data)
    for key in ("model", "sae", "data"):
        if key in data and not isinstance(data[key], str):
            data[key] = _reference(document, key, data[key], found)
    if isinstance(data.get("signals"), tuple) and data["signals"]:
        data["signals"] = _signals(document, data["signals"], found)
    spec = _validate(Spec, document, (), data, found)
    return spec if len(found) == before else None


def validate_library(document: Document, found: Diagnostics) -> ConceptFile | None:
    """A typed concept library, or None when anything is wrong with it."""
    _version(document, found)
    return _validate(ConceptFile, document, (), document.data, found) if not found.failed else None


def _version(document: Document, found: Diagnostics) -> None:
    version = document.data.get("tiltc", VERSION)
    if type(version) is not int or version != VERSION:
        helps = [f"this tiltc reads version {VERSION}: write `tiltc: {VERSION}`"]
        text = f"version `{str(version)[:40].lower()}` is not known"
        document.report(found, "T123", ("tiltc",), text, helps=helps)
        document.data["tiltc"] = VERSION


def _reference(document: Document, key: str, value: Any, found: Diagnostics) -> BaseModel | str:
    """The variant of a model, SAE or data reference that its keys show. One that fails is replaced."""
    if not isinstance(value, dict):
        document.report(found, "T122", (key,), "must be text or a mapping", helps=[_SHAPES[key]])
        return "-"
    if key == "sae":
        return _validate(SaeRef, document, (key,), value, found) or SaeRef(release="-", id="-")
    if key == "data" and nearest("file", value):
        return _validate(FileRef, document, (key,), value, found) or FileRef(file="-")
    return _validate(HubRef, document, (key,), value, found) or HubRef(hub="-")


def _signals(document: Document, items: tuple[Any, ...], found: Diagnostics) -> tuple[Any, ...]:
    """Each signal as the variant its verb names. One that fails is replaced, so that it is reported once."""
    signals: list[Any] = []
    limit = len(found) + MOST
    for index, item in enumerate(items):
        if len(found) >= limit:
            break
        signals.append(_signal(document, ("signals", index), item, found) or Keep(keep="-"))
    return tuple(signals)


def _signal(document: Document, route: Route, item: Any, found: Diagnostics) -> BaseModel | None:
    if not isinstance(item, dict):
        helps = ["write `- suppress: NAME`"]
        document.report(found, "T122", route, "a signal is a mapping", helps=helps)
        return None
    verbs = [verb for verb in VERBS if verb in item]
    if len(verbs) == 1:
        return _validate(VERBS[verbs[0]], document, route, item, found)
    if verbs:
        text = " and ".join(f"`{verb}`" for verb in verbs) + " in one signal"
        document.report(found, "T124", (*route, verbs[1]), text, key=True, helps=["write one signal for each"])
        return None
    keys = [key for key in item if nearest(key, VERBS)]
    helps = did_you_mean(keys[0], VERBS) if keys else ["name a concept to `suppress`, `keep` or `amplify`"]
    at = (*route, keys[0]) if keys else (*route, next(iter(item), ""))
    document.report(found, "T124", at, "no verb in this signal", key=True, helps=helps)
    return None


def _validate(model: type[M], document: Document, at: Route, data: Any, found: Diagnostics) -> M | None:
    try:
        return model.model_validate(data)
    except ValidationError as failure:
        errors = failure.errors(include_url=False)
    for error in _apart(errors[: 2 * MOST])[:MOST]:
        _report(model, document, at, error, found)
    if len(errors) > MOST:
        found.add("T122", document.key_of(at), f"{len(errors) - MOST:,} more findings in this file are not shown")
    return None


def _apart(errors: list[ErrorDetails]) -> list[ErrorDetails]:
    """Errors without the missing keys that an unknown key beside them was meant to be."""
    extra = [error["loc"] for error in errors if error["type"] == "extra_forbidden"]

    def misspelt(loc: Route) -> bool:
        return bool(nearest(str(loc[-1]), [str(other[-1]) for other in extra[:MOST] if other[:-1] == loc[:-1]]))

    return [error for error in errors if error["type"] != "missing" or not misspelt(error["loc"])]


def _report(model: type[BaseModel], document: Document, at: Route, error: ErrorDetails, found: Diagnostics) -> None:
    loc: Route = error["loc"]
    route = (*at, *loc)
    helps: list[str] = []
    match error["type"]:
        case "extra_forbidden":
            known = keys_at(model, loc[:-1])
            helps = did_you_mean(str(loc[-1]), known) or [f"known here: {', '.join(known)}"]
            document.report(found, "T120", route, f"`{loc[-1]}` is not a key here", key=True, helps=helps)
        case "missing":
            where = f" in `{route[-2]}`" if len(route) > 1 and isinstance(route[-2], str) else ""
            document.report(found, "T121", route[:-1], f"no `{loc[-1]}`{where}", key=True)
        case "value_error" if "exactly one of" in error["msg"]:
            text = re.sub(r"^Value error, ", "", error["msg"])
            document.report(found, "T125", route, text, key=True, helps=_emptied(error.get("input")))
        case kind:
            text = _WANTED.get(kind, _otherwise)(error)
            document.report(
                found, "T122", route, f"{text}{_given(error)}", helps=_advice(model, document, route, error)
            )


def _emptied(concept: Any) -> list[str]:
    """What a definition was meant to be by a key that is there without a value."""
    empty = [key for key in DEFINITIONS if isinstance(concept, dict) and concept.get(key, "") is None]
    return (
        [f"`{empty[0]}:` is empty; a text that begins with `#` goes in quotes, as it is a comment else"]
        if empty
        else []
    )


def _given(error: ErrorDetails) -> str:
    value = error.get("input")
    if value is None:
        return ", nothing is given"
    if isinstance(value, bool):
        return f", not {str(value).lower()}"
    if isinstance(value, str):
        return f", not `{value[:60]}`"
    return f", not {_written(value)}" if isinstance(value, int | float) else ""


def _otherwise(error: ErrorDetails) -> str:
    return re.sub(r"^(Value error, |Input )", "", error["msg"])


def _bound(words: str, name: str) -> Callable[[ErrorDetails], str]:
    return lambda error: f"must be {words} {_written(error.get('ctx', {})[name])}"


def _written(number: int | float) -> str:
    """A number as it is read best; integers to the digit, as far as anybody counts."""
    return str(number) if isinstance(number, int) and abs(number) < 2**63 else f"{float(number):g}"


def _says(text: str) -> Callable[[ErrorDetails], str]:
    return lambda _: text


def _choices(error: ErrorDetails) -> str:
    return "must be one of " + str(error.get("ctx", {}).get("expected")).replace("'", "`").replace(" or ", ", ")


_WANTED: dict[str, Callable[[ErrorDetails], str]] = {
    "string_type": _says("must be text"),
    "int_type": _says("must be a whole number"),
    "float_type": _says("must be a number"),
    "bool_type": _says("must be `true` or `false`"),
    "tuple_type": _says("must be a list"),
    "dict_type": _says("must be a mapping"),
    "model_type": lambda error: f"must be {'a factor or a signal' if error['loc'][-1] == 'to' else 'a mapping'}",
    "literal_error": _choices,
    "greater_than": _bound("more than", "gt"),
    "greater_than_equal": _bound("at least", "ge"),
    "less_than_equal": _bound("at most", "le"),
    "finite_number": _says("must be finite"),
    "string_pattern_mismatch": lambda error: f"must match `{error.get('ctx', {}).get('pattern')}`",
    "string_too_short": _says("must not be empty"),
    "too_long": lambda error: f"may have {error.get('ctx', {}).get('max_length')} items at most",
    "too_short": _says("needs at least one item"),
}


def _advice(model: type[BaseModel], document: Document, route: Route, error: ErrorDetails) -> list[str]:
    value = error.get("input")
    if error["type"] == "string_type" and value is None and "words" in route:
        return ["a word that begins with `#` goes in quotes, as it is a comment else"]
    if error["type"] == "string_type" and isinstance(value, bool | int | float):
        written = document.source.written(route)
        return [f"put it in quotes: '{written}'"] if written else []
    if error["type"] == "literal_error" and isinstance(value, str):
        return did_you_mean(value, re.findall(r"'([^']+)'", str(error.get("ctx", {}).get("expected"))))
    if error["type"] == "string_pattern_mismatch" and route == ("name",):
        return ["use lower-case letters, digits and hyphens"]
    if model is Amplify and route[-1] == "to":
        return ["write a factor such as `2x`, or a signal such as `0.5 sd`"]
    return [_SHAPES[str(route[-1])]] if route[-1] in _SHAPES else []


#: How a value of a field is written, for fields whose type alone does not say.
_SHAPES = {
    **dict.fromkeys(("drop", "effective_sample", "warmup", "within", "to"), "write a share, such as `5%` or `0.05`"),
    "words": "write a list: `[certainly, of course]`",
    **dict.fromkeys(("positive", "negative"), "write a system prompt, or a list of them"),
    "extends": "write a list: `[./team-concepts.yaml]`",
    "data": "write `builtin:planted`, a file name, `{file: ...}` or `{hub: ..., revision: ...}`",
    "model": "write `builtin:smollm2-135m-instruct`, a folder, or `{hub: ..., revision: ...}`",
    "sae": "write `builtin:smollm2-135m-instruct-l15`, a folder, or `{release: ..., id: ...}`",
}
