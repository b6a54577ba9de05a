"""bcsim: learn a bone-conduction sensor, simulate it, and train enhancers on the result.

The names below are imported when they are first used; `import bcsim` alone does not load torch.

======================  ==========================================================================
`load_sensor`           the profile of a sensor, by name, file, or `Owner/Name` on the hub
`fit_sensor`            fit a sensor to recorded pairs of air and bone
`load_simulator`        the `Simulator` of a sensor, which makes bone of air
`PairDataset`           torch dataset of pairs on disk
`SimulatedPairs`        torch dataset of air speech, simulated anew in every epoch
`load_enhancer`         a trained network, by name or folder
`enhance`               apply it to a recording
`evaluate_sensor`       how close a simulated sensor comes to recordings of the real one
`doctor`                what is wrong with recorded pairs
`BcsimError`            the base of every error that bcsim raises on purpose, and a `ValueError`
======================  ==========================================================================
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bcsim.datasets.torch_datasets import PairDataset as PairDataset
    from bcsim.datasets.torch_datasets import SimulatedPairs as SimulatedPairs
    from bcsim.effects.base import Scene as Scene
    from bcsim.errors import BcsimError as BcsimError
    from bcsim.errors import DivergedError as DivergedError
    from bcsim.errors import EnvironmentFault as EnvironmentFault
    from bcsim.errors import InputError as InputError
    from bcsim.errors import PartialFailure as PartialFailure
    from bcsim.errors import UsageError as UsageError
    from bcsim.inference.enhancer import enhance as enhance
    from bcsim.sensors.profile import SensorProfile as SensorProfile
    from bcsim.simulator import Simulator as Simulator
    from bcsim.workflows.doctor import doctor as doctor
    from bcsim.workflows.enhancers import load_enhancer as load_enhancer
    from bcsim.workflows.evaluate import evaluate_sensor as evaluate_sensor
    from bcsim.workflows.fit_response import fit_sensor as fit_sensor
    from bcsim.workflows.presets import load_sensor as load_sensor
    from bcsim.workflows.presets import load_simulator as load_simulator

__version__ = "0.1.0"

# The module of each public name; a test compares them with the imports above.
_MODULES = {
    "BcsimError": "bcsim.errors",
    "DivergedError": "bcsim.errors",
    "EnvironmentFault": "bcsim.errors",
    "InputError": "bcsim.errors",
    "PairDataset": "bcsim.datasets.torch_datasets",
    "PartialFailure": "bcsim.errors",
    "Scene": "bcsim.effects.base",
    "SensorProfile": "bcsim.sensors.profile",
    "SimulatedPairs": "bcsim.datasets.torch_datasets",
    "Simulator": "bcsim.simulator",
    "UsageError": "bcsim.errors",
    "doctor": "bcsim.workflows.doctor",
    "enhance": "bcsim.inference.enhancer",
    "evaluate_sensor": "bcsim.workflows.evaluate",
    "fit_sensor": "bcsim.workflows.fit_response",
    "load_enhancer": "bcsim.workflows.enhancers",
    "load_sensor": "bcsim.workflows.presets",
    "load_simulator": "bcsim.workflows.presets",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'bcsim' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value  # found directly from now on
    return value


def __dir__() -> list[str]:
    return sorted([*_MODULES, "__version__"])
