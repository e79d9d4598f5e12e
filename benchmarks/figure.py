"""Scatter plots with intervals, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

Triple = tuple[float, float, float]
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 860, 480, 60, 50, 20, 20


def scatter(items: Sequence[tuple[str, Triple, Triple]], axes: tuple[str, str], scale: float) -> str:
    """Points (name, (x, low, high), (y, low, high)) with 95% intervals and their names, both axes times `scale`.

    A point without a finite interval is left out. Intervals are cut at the plot's edge; the edges are those of the points
    and three quarters of their intervals' reach.
    """
    items = [item for item in items if all(math.isfinite(value) for value in (*item[1], *item[2]))]
    if not items:
        return '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'
    xs = _range([scale * v for _, x, _ in items for v in (x[0], *_near(x))] + [0.0, 100.0])
    ys = _range([scale * v for _, _, y in items for v in (y[0], *_near(y))] + [0.0])

    def across(value: float) -> float:
        return LEFT + (min(max(scale * value, xs[0]), xs[1]) - xs[0]) / (xs[1] - xs[0]) * (WIDTH - LEFT - RIGHT)

    def down(value: float) -> float:
        return (
            HEIGHT
            - BOTTOM
            - (min(max(scale * value, ys[0]), ys[1]) - ys[0]) / (ys[1] - ys[0]) * (HEIGHT - BOTTOM - TOP)
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(axes[0])}</text>',
        f'<text transform="translate(14 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{escape(axes[1])}</text>',
    ]
    for tick in _ticks(xs):
        x = across(tick / scale)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{tick:g}</text>')
    for tick in _ticks(ys):
        y = down(tick / scale)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for name, x, y in items:
        parts.append(
            f'<g stroke="#88a"><line x1="{across(x[1]):.1f}" x2="{across(x[2]):.1f}" y1="{down(y[0]):.1f}" y2="{down(y[0]):.1f}"/>'
            f'<line x1="{across(x[0]):.1f}" x2="{across(x[0]):.1f}" y1="{down(y[1]):.1f}" y2="{down(y[2]):.1f}"/></g>'
            f'<circle cx="{across(x[0]):.1f}" cy="{down(y[0]):.1f}" r="4" fill="#236"/>'
            f'<text x="{across(x[0]) + 6:.1f}" y="{down(y[0]) - 5:.1f}">{escape(name)}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def stacked(plots: Sequence[tuple[str, str]]) -> str:
    """Plots (title, SVG of `scatter`), one below the other."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT * len(plots)}" font-family="sans-serif">'
    ]
    for i, (title, plot) in enumerate(plots):
        parts.append(f'<svg y="{HEIGHT * i}" width="{WIDTH}" height="{HEIGHT}">\n{plot.strip()}\n</svg>')
        parts.append(f'<text x="{LEFT}" y="{HEIGHT * i + 14}" font-size="14" font-weight="bold">{escape(title)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _near(values: Triple) -> tuple[float, float]:
    value, low, high = values
    return value - 0.75 * (value - low), value + 0.75 * (high - value)


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = 0.05 * (high - low or 1.0)
    return low - room, high + room


def _ticks(ends: tuple[float, float]) -> list[float]:
    span = ends[1] - ends[0]
    step = next(s for s in (m * 10**e for e in range(-3, 9) for m in (1, 2, 5)) if span / s <= 10)
    return [
        step * k for k in range(round(ends[0] / step) - 1, round(ends[1] / step) + 2) if ends[0] <= step * k <= ends[1]
    ]
