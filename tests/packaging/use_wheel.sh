#!/usr/bin/env bash
# Build the wheel, install it into a folder of its own, and use it from another folder.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python="$root/.venv/bin/python"

"$python" -m build --wheel --no-isolation --outdir "$work/dist" "$root" >"$work/build.log" 2>&1 \
  || { cat "$work/build.log"; exit 1; }
"$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$work/site" "$work"/dist/*.whl
cd "$work"
# -P and the path: the wheel's files are used, and not those of the checkout.
export PYTHONPATH="$work/site"
"$python" - "$root" <<'PY'
import sys
from pathlib import Path

import bcsim
from bcsim.effects import EFFECTS
from bcsim.workflows.presets import bundled_recipes, bundled_sensors

root = Path(sys.argv[1])
assert not Path(bcsim.__file__).is_relative_to(root), bcsim.__file__
assert len(EFFECTS) == len([f for f in (root / "bcsim/effects").glob("*.py") if "EFFECTS.register" in f.read_text()])
assert set(bundled_sensors()) == {f.stem for f in (root / "assets/sensors").glob("*.sensor")}
wanted = {f.stem for f in (root / "recipes").glob("*.yaml")}
assert set(bundled_recipes("synthesis")) | set(bundled_recipes("training")) == wanted
PY
"$python" -m bcsim_cli.main synthesize --in "$work/site/bcsim/assets/demo/air" --out "$work/pairs" \
  --sensor temporal-transforms --jobs 1 --limit 2 >/dev/null
test -s "$work/pairs/dataset.json"
echo "the wheel works from another folder"
