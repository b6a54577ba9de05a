"""Models as lines of text, for `bcsim show models` and the page of a comparison."""

import textwrap
from collections.abc import Mapping
from typing import Any

Facts = Mapping[str, Any]

WHOLE = "whole recording"
_COLUMNS = ("recipe", "parameters", "multiply-adds/s", "look-ahead", "causal", "channels")


def model_lines(facts: Facts, width: int) -> list[str]:
    """Return each model with its first sentence, and a line a recipe.

    Args:
        facts: result of `bcsim.workflows.show_models.models_reference`.
        width: length of a line in characters.
    """
    rows = {model["name"]: [_cells(size) for size in model["sizes"]] for model in facts["models"]}
    every = [_COLUMNS, *(row for found in rows.values() for row in found)]
    widths = [max(len(row[column]) for row in every) for column in range(len(_COLUMNS))]
    lines = [f"  {_aligned(_COLUMNS, widths)}"]
    for model in facts["models"]:
        heading = f"{model['name']}: {model['summary']}"
        lines += ["", *textwrap.wrap(heading, width, subsequent_indent="  ")]
        lines += [f"  {_aligned(row, widths)}" for row in rows[model["name"]]]
    if facts["bundled"]:
        lines += ["", "Trained, ready to use (bcsim enhance --model NAME):"]
        for found in facts["bundled"]:
            told = f"  {found['name']}: {found['model']}, {found['trained_on']}"
            lines += textwrap.wrap(told, width, subsequent_indent="    ")
    lines += ["", "Look-ahead: how far behind an output sample the last input is that it needs."]
    return lines


def model_table(facts: Facts) -> list[str]:
    """Return the same as the lines of a Markdown table, one a recipe, for the documentation."""
    lines = [f"| model | {' | '.join(_COLUMNS)} |", f"|{'---|' * (len(_COLUMNS) + 1)}"]
    for model in facts["models"]:
        lines += [f"| {' | '.join((model['name'], *_cells(s)))} |" for s in model["sizes"]]
    return lines


def look_ahead_text(look_ahead_ms: float | None) -> str:
    """Return a look-ahead as text.

    Example:
        >>> look_ahead_text(31.9375), look_ahead_text(None)
        ('31.9 ms', 'whole recording')
    """
    return WHOLE if look_ahead_ms is None else f"{look_ahead_ms:.1f} ms"


def count_text(count: int) -> str:
    """Return a large count with three digits and its unit.

    Example:
        >>> count_text(0), count_text(16_345_678), count_text(1_234_567_890)
        ('0.00 M', '16.3 M', '1.23 G')
    """
    value, unit = (count / 1e9, "G") if count >= 1e9 else (count / 1e6, "M")
    decimals = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{decimals}f} {unit}"


def _cells(size: Facts) -> tuple[str, ...]:
    return (
        size["recipe"] or "(default size)",
        f"{size['num_parameters']:,}",
        count_text(size["multiply_adds_per_s"]),
        look_ahead_text(size["look_ahead_ms"]),
        "yes" if size["causal"] else "no",
        ", ".join(size["channels"]),
    )


def _aligned(row: tuple[str, ...], widths: list[int]) -> str:
    """Return the cells of a row side by side; numbers flush right."""
    numbers = (1, 2, 3)
    cells = [
        cell.rjust(width) if column in numbers else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()
