"""What the surroundings of a process have to be for any command to work."""

import os

from bcsim.errors import EnvironmentFault, fit_line

# Read by joblib, whose errors name neither the variable nor a remedy.
_START_METHODS = ("", "loky", "loky_init_main", "spawn", "fork", "forkserver")
_VARIABLES = {
    "LOKY_MAX_CPU_COUNT": (lambda value: value.isdecimal() and int(value) > 0, "a number from 1"),
    "JOBLIB_START_METHOD": (lambda value: value in _START_METHODS, ", ".join(_START_METHODS[1:])),
}


def check_environment() -> None:
    """Check the working folder, and the variables that libraries stumble over.

    Raises:
        EnvironmentFault: naming what is wrong and the remedy.
    """
    try:
        os.getcwd()
    except OSError as error:
        raise EnvironmentFault(
            f"the working folder cannot be used ({(error.strerror or 'lost').lower()}); change to "
            "one that is there"
        ) from error
    for name, (is_right, wanted) in _VARIABLES.items():
        value = os.environ.get(name)
        if value is not None and not is_right(value):
            told = f"the variable {name} is {fit_line(repr(value), 40)}"
            raise EnvironmentFault(f"{told}; set it to {wanted}, or unset it")
