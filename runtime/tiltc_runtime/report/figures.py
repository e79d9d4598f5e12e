"""How a report writes its numbers: rates in percent, shifts of rates in points, scores in sd."""

from __future__ import annotations

from tiltc.plan import Interval
from tiltc_runtime.report.model import Beside, Measure

NONE = "–"


def level(value: Interval | None, measure: Measure) -> str:
    """A level without its interval: `15.1%` or `+0.42`."""
    if value is None:
        return NONE
    return f"{100 * value.value:.1f}%" if measure == "rate" else _signed(value.value, 2)


def amount(value: Interval, measure: Measure) -> str:
    """A difference without its interval: `−6.8 points` or `−0.31 sd`."""
    return f"{_signed(100 * value.value, 1)} points" if measure == "rate" else f"{_signed(value.value, 2)} sd"


def shift_ends(value: Interval, measure: Measure) -> str:
    """The interval of a difference: `−11.2 to −2.4`."""
    scale, digits = (100.0, 1) if measure == "rate" else (1.0, 2)
    return f"{_signed(scale * value.low, digits)} to {_signed(scale * value.high, digits)}"


def shift(value: Interval | None, measure: Measure) -> str:
    """A difference with its interval: `−6.8 points (−11.2 to −2.4)` or `−0.31 sd (−0.52 to −0.10)`."""
    return NONE if value is None else f"{amount(value, measure)} ({shift_ends(value, measure)})"


def between(value: Interval, measure: Measure) -> str:
    """The interval alone: `9.8–22.5%` or `+0.20 to +0.64`."""
    if measure == "rate":
        return f"{100 * value.low:.1f}–{100 * value.high:.1f}%"
    return f"{_signed(value.low, 2)} to {_signed(value.high, 2)}"


def share(value: float | None) -> str:
    return NONE if value is None else f"{_plain(100 * value, 0)}%"


def recovery(value: Interval | None) -> str:
    """`55% (18% to 93%)`."""
    return "not defined" if value is None else f"{share(value.value)} ({share(value.low)} to {share(value.high)})"


def against_control(beside: Beside, measure: Measure) -> str:
    """What the control run says of an effect, in one sentence."""
    said = f"tilted − control {shift(beside.beyond, measure)}"
    if beside.by_itself is None:
        return said
    if beside.share is None:
        return f"tilted − plain is within noise: no share of it is defined; {said}"
    return f"unrelated sentences alone make {recovery(beside.share)} of tilted − plain; {said}"


def number(value: float | None, digits: int = 2) -> str:
    return NONE if value is None else _plain(value, digits)


def signed(value: float | None, digits: int = 2) -> str:
    return NONE if value is None else _signed(value, digits)


def brief(value: float) -> str:
    """A setting as a person writes it: `1`, `0.1`, `5e-6`."""
    return f"{value:g}".replace("e-0", "e-")


def p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _plain(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return (text.removeprefix("-") if float(text) == 0 else text).replace("-", "−")


def _signed(value: float, digits: int) -> str:
    text = _plain(value, digits)
    return text if value <= 0 or float(text) == 0 else f"+{text}"
