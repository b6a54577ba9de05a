"""What may change when a run is continued, and what may not."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bcsim.errors import UsageError
from bcsim.files.run_folder import check_same_settings, differences
from bcsim.files.text import shown

# Settings by section that change no weights of any step. They may change which steps are
# validated, and with that which weights are exported.
FREE_SETTINGS = {
    "data": ("num_workers",),
    "training": (
        *("num_steps", "time_limit_s"),
        *("device", "log_interval_steps", "checkpoint_interval_steps"),
    ),
    "validation": ("interval_steps", "num_samples"),
}

log = logging.getLogger(__name__)


def check_continues(
    out: Path,
    begun: Mapping[str, Any],
    now: Mapping[str, Any],
    step: int,
    trained_s: float = 0.0,
) -> None:
    """Check that a run may be continued with other settings; log the changes that are allowed.

    Args:
        out: folder of the run.
        begun: settings that the checkpoint was made with.
        now: settings that the run is to be continued with.
        step: number of steps done.
        trained_s: time in seconds that the steps took, where the run has a limit of time.

    Raises:
        UsageError: if a setting differs that changes the weights, as the number of steps and the
            limit of time do where the learning rate depends on them, or less is asked for than was
            done.
    """
    check_same_settings(out, _without_free(begun), _without_free(now))
    changed = [*differences(dict(begun), dict(now))]
    sections = (begun["training"], now["training"])
    done = {"num_steps": step, "time_limit_s": trained_s}
    for name, unit in (("num_steps", "steps"), ("time_limit_s", "s of training")):
        before, wanted = (section.get(name) for section in sections)
        if before == wanted:
            continue
        schedule = now["schedule"]["name"]
        if schedule != "constant":
            raise UsageError(
                f"{out}: made with training.{name} {shown(before)}, now {wanted}, on which the "
                f"learning rates of the {schedule} schedule depend; use the same number, or begin "
                "a new run from these weights"
            )
        if wanted is not None and wanted <= done[name]:
            raise UsageError(
                f"{out}: {done[name]:.16g} {unit} are done, training.{name} is {wanted}; set it to "
                f"more than {done[name]:.16g}, or to {shown(before)} as before"
            )
    if changed:
        log.info("%s: begun with %s", out, "; ".join(changed))


def _without_free(settings: Mapping[str, Any]) -> dict[str, Any]:
    kept = dict(settings)
    for section, names in FREE_SETTINGS.items():
        if isinstance(kept.get(section), dict):
            kept[section] = {n: v for n, v in kept[section].items() if n not in names}
    return kept
