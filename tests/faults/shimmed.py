"""Runs `sweep.py` with the shim that lets calls fail; this process itself loads next to nothing."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

PLAN_BYTES = 80  # `PLAN` of sweep.py


def main() -> int:
    """Compile the shim, load it into a process, and let that sweep."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        library, plan, root = folder / "shim.so", folder / "plan", folder / "root"
        source = Path(__file__).with_name("shim.c")
        build = ["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"]
        subprocess.run(build, check=True)
        plan.write_bytes(bytes(PLAN_BYTES))
        root.mkdir()
        faults = {"LD_PRELOAD": library, "FAULT_PLAN": plan, "FAULT_ROOT": root}
        environment = {**os.environ, **{key: str(value) for key, value in faults.items()}}
        environment["OMP_NUM_THREADS"] = "1"
        command = [sys.executable, str(Path(__file__).with_name("sweep.py")), *sys.argv[1:]]
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
