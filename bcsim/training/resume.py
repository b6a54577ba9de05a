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
    "training": ("num_steps", "device", "log_interval_steps", "checkpoint_interval_steps"),
    "validation": ("interval_steps", "num_samples"),
}

log = logging.getLogger(__name__)


def check_continues(out: Path, begun: Mapping[str, Any], now: Mapping[str, Any], step: int) -> None:
    """Check that a run may be continued with other settings; log the changes that are allowed.

    Args:
        out: folder of the run.
        begun: settings that the checkpoint was made with.
        now: settings that the run is to be continued with.
        step: number of steps done.

    Raises:
        UsageError: if a setting differs that changes the weights, as the number of steps does
            where the learning rate depends on it, or fewer steps are asked for than were done.
    """
    check_same_settings(out, _without_free(begun), _without_free(now))
    changed = [*differences(dict(begun), dict(now))]
    sections = (begun["training"], now["training"])
    before, wanted = (section.get("num_steps") for section in sections)
    if before != wanted:
        schedule = now["schedule"]["name"]
        if schedule != "constant":
            raise UsageError(
                f"{out}: made with training.num_steps {shown(before)}, now {wanted}, on which the "
                f"learning rates of the {schedule} schedule depend; use the same number, or begin "
                "a new run from these weights"
            )
        if wanted <= step:
            raise UsageError(
                f"{out}: {step} steps are done, training.num_steps is {wanted}; set it to more "
                f"than {step}, or to {shown(before)} as before"
            )
    if changed:
        log.info("%s: begun with %s", out, "; ".join(changed))


def _without_free(settings: Mapping[str, Any]) -> dict[str, Any]:
    kept = dict(settings)
    for section, names in FREE_SETTINGS.items():
        if isinstance(kept.get(section), dict):
            kept[section] = {n: v for n, v in kept[section].items() if n not in names}
    return kept
