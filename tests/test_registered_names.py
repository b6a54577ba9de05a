"""Names in `--help` are those of the registries, though nothing is imported to find them."""

import importlib

import pytest

from bcsim.datasets.exporters import EXPORTERS
from bcsim.datasets.importers import IMPORTERS
from bcsim.fitting.estimators import ESTIMATORS


@pytest.mark.parametrize("registry", [EXPORTERS, IMPORTERS, ESTIMATORS], ids=lambda r: r.package)
def test_help_names_what_is_registered(registry):
    cli = importlib.import_module("bcsim_cli.registered")
    assert cli.registered_names(registry.package) == list(registry)
