"""What the source must never do, whatever a file says: run code, call the network, tear a file.

Names are followed through imports (`import joblib as j; j.load(...)`), not through variables: this
finds what is written by mistake, not what is hidden on purpose.
"""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("bcsim", "cli", "benchmarks", "assets", "recipes")
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]

# Read a file with one of these, and the file decides what runs.
UNSAFE_MODULES = {
    *("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "jsonpickle", "shelve", "marshal"),
    *("code", "codeop", "imp", "runpy", "torch.hub", "torch.jit", "torch.package"),
}
UNSAFE_CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "tempfile.mktemp"),
    *("subprocess.getoutput", "subprocess.getstatusoutput", "shutil.unpack_archive"),
    *("torch.load", "torch.save", "joblib.load", "joblib.dump", "scipy.io.loadmat"),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.full_load"),
    *("yaml.full_load_all", "yaml.dump", "pandas.read_pickle", "torch.export.load"),
    *("numpy.loadtxt", "numpy.genfromtxt", "numpy.fromregex"),  # these also open addresses
}
UNSAFE_METHODS = {"extractall", "extract", "read_pickle", "to_pickle"}  # of archives and tables
MAY_RUN = {("cli/exit_handling.py", "os.execve"): "`exit N` of the shell, a constant: the last act"}
# Where the keyword is given at all; numpy.load has to have it.
MUST_BE = {"allow_pickle": "False", "shell": "False", "trust_remote_code": "False"}

# Samples come in through the reader, which looks at a file before libsndfile does.
AUDIO = {"soundfile", "audioread", "wave", "aifc", "sunau", "torchcodec"}
AUDIO_CALLS = {
    *("librosa.load", "librosa.stream", "librosa.get_duration", "librosa.get_samplerate"),
    *("torchaudio.load", "torchaudio.info", "scipy.io.wavfile.read", "lhotse.load_audio"),
}
READERS = {"bcsim/audio/decoding.py", "bcsim/audio/write.py", "bcsim/audio/copy.py"}

NETWORK = {
    *("socket", "socketserver", "ssl", "http", "urllib.request", "urllib3", "requests", "httpx"),
    *("aiohttp", "ftplib", "smtplib", "xmlrpc", "webbrowser", "huggingface_hub", "distributed"),
    "torch.distributed",
}
MAY_CALL = {
    ("bcsim/audio/contained.py", "socket"): "a pair of sockets, to the process that decodes",
    ("bcsim/audio/decoding.py", "socket"): "the other one of the pair",
    ("bcsim/losses/base.py", "torch.distributed"): "sums over the processes of one training",
    ("bcsim/workers/engines.py", "distributed"): "--engine dask: the cluster that is asked for",
    ("bcsim/workflows/synthesize.py", "distributed"): "is it installed?",
    ("bcsim/training/processes.py", "torch.distributed"): "where --nproc processes meet",
    ("bcsim/workflows/hub.py", "huggingface_hub"): "a hub id, Owner/Name, that is asked for",
}

# Final names come from bcsim.files: what is written goes to a `temporary` of `with replacing(...)`.
MAY_WRITE = {
    "bcsim/audio/contained.py": "memory that is shared with the process that decodes",
    "cli/streams.py": "/dev/null, where a standard stream is closed",
    "bcsim/workers/limits.py": "a worker's stderr",
    "bcsim/files/run_folder.py": "locks; and a folder that is whole gets its final name",
    "bcsim/synthesis/journal.py": "notes of a process, whose torn last line is cut off",
    "bcsim/synthesis/run.py": "the journal, likewise",
    "bcsim/training/metrics_log.py": "logs that are cut to the last checkpoint",
}
WRITING_METHODS = {"write_text", "write_bytes", "rename", "touch", "symlink_to", "hardlink_to"}
WRITING_CALLS = {
    *("os.replace", "os.rename", "os.renames", "os.link", "os.symlink", "os.truncate"),
    *("shutil.move", "shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.copytree"),
}
WRITERS_OF_FILES = {"bcsim.files.write_bytes", "bcsim.files.write_text"}


class Names(ast.NodeVisitor):
    """What is imported in a file, and the full name of what is called."""

    def __init__(self, tree: ast.AST) -> None:
        self.full: dict[str, str] = {}
        self.modules: set[str] = set()
        self.visit(tree)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.modules.add(alias.name)
            own = alias.name if alias.asname else alias.name.split(".")[0]
            self.full[alias.asname or own] = own

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.modules.add(node.module or "")
        for alias in node.names:
            self.modules.add(f"{node.module}.{alias.name}")
            self.full[alias.asname or alias.name] = f"{node.module}.{alias.name}"

    def visit_Call(self, node: ast.Call) -> None:
        if ast.unparse(node.func).endswith(("optional_import", "import_module")) and node.args:
            match node.args[0]:
                case ast.Constant(value=str(name)):  # bcsim.extras.optional_import("pandas", ...)
                    self.modules.add(name)
        self.generic_visit(node)

    def of(self, function: ast.expr) -> str:
        head, dot, rest = ast.unparse(function).partition(".")
        return f"{self.full.get(head, head)}{dot}{rest}"

    def imports(self, forbidden: set[str]) -> set[str]:
        return {name for name in forbidden for m in self.modules if f"{m}.".startswith(f"{name}.")}


@functools.cache
def calls(source: str) -> tuple[Names, list[tuple[str, ast.Call]]]:
    tree = ast.parse(source)
    names = Names(tree)
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return names, [(names.of(node.func), node) for node in found]


def runs_code(source: str) -> Iterator[str]:
    names, called = calls(source)
    yield from names.imports(UNSAFE_MODULES)
    for name, node in called:
        given = {k.arg: ast.unparse(k.value) for k in node.keywords}
        if name in UNSAFE_CALLS or name.startswith(("os.exec", "os.spawn", "torch.hub.")):
            yield name
        if isinstance(node.func, ast.Attribute) and node.func.attr in UNSAFE_METHODS:
            yield name
        yield from (f"{k}={given[k]}" for k, v in MUST_BE.items() if given.get(k, v) != v)
        if name == "numpy.load" and "allow_pickle" not in given:
            yield "numpy.load without allow_pickle=False"
        if name.endswith("load_state_dict") and given.get("strict", "True") != "True":
            yield "load_state_dict(strict=False)"


def reads_audio(source: str) -> Iterator[str]:
    names, called = calls(source)
    yield from names.imports(AUDIO)
    yield from (name for name, _ in called if name in AUDIO_CALLS)


def writes(source: str) -> Iterator[str]:
    """Yield what writes, removes or renames under a name that is not `temporary`."""
    _, called = calls(source)
    for name, node in called:
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
        arguments = [ast.unparse(argument) for argument in node.args]
        if "temporary" in (owner, *arguments) or name in WRITERS_OF_FILES:
            continue
        modes = [
            str(value.value)
            for value in [*node.args, *(k.value for k in node.keywords if k.arg == "mode")]
            if isinstance(value, ast.Constant) and isinstance(value.value, str)
        ]
        opens = method == "open" or name in ("open", "os.fdopen", "tarfile.open", "gzip.GzipFile")
        mode = modes[-1] if modes else "r"
        in_memory = any(k.arg == "fileobj" for k in node.keywords)
        if opens and name != "os.open" and not in_memory and set(mode) & set("wax+"):
            yield f"{ast.unparse(node)[:60]}"
        if name == "os.open" and any("O_WRONLY" in a or "O_RDWR" in a for a in arguments):
            yield f"{ast.unparse(node)[:60]}"
        path_replace = method == "replace" and len(arguments) == 1 and not node.keywords
        if name in WRITING_CALLS or method in WRITING_METHODS or path_replace:
            yield f"{ast.unparse(node)[:60]}"


def of(path: Path) -> tuple[str, str]:
    return path.relative_to(ROOT).as_posix(), path.read_text("utf-8")


def test_no_file_that_is_read_can_run_code():
    for path in SOURCES:
        name, source = of(path)
        assert not [call for call in runs_code(source) if (name, call) not in MAY_RUN], name


def test_samples_come_in_through_the_reader():
    for path in SOURCES:
        name, source = of(path)
        if name in READERS or name.startswith("benchmarks/"):  # which read what they have written
            continue
        if name == "bcsim/workflows/doctor.py":  # says which libsndfile there is
            used = {"soundfile.__version__", "soundfile.__libsndfile_version__"}
            attributes = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Attribute)]
            found = {ast.unparse(node) for node in attributes}
            assert {text for text in found if text.startswith("soundfile.")} == used
            continue
        assert not [*reads_audio(source)], name


def test_the_network_is_called_where_it_is_asked_for_and_nowhere_else():
    called = {
        (name, module)
        for name, source in map(of, SOURCES)
        for module in calls(source)[0].imports(NETWORK)
    }
    assert called == set(MAY_CALL)


def test_final_names_are_written_by_one_writer():
    writing = {name for name, source in map(of, SOURCES) if [*writes(source)]}
    assert {name for name in writing if not name.startswith("benchmarks/")} == set(MAY_WRITE)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from torch import hub",
        "import cloudpickle as p",
        "optional_import('dill', extra='x')",
        "import torch as t\nt.load(path, weights_only=True)",
        "from joblib import load\nload(path)",
        "import yaml\nyaml.load(text, Loader=yaml.SafeLoader)",
        "import numpy as np\nnp.load(path)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import subprocess\nsubprocess.run(text, shell=True)",
        "import subprocess as s\ns.run(text, shell=flag)",
        "exec(text)",
        "__import__(name)",
        "import os\nos.execvp(name, [])",
        "tarfile.open(path).extractall(folder)",
        "network.load_state_dict(weights, strict=False)",
    ],
)
def test_the_rule_about_code_can_say_no(source):
    assert [*runs_code(source)]


@pytest.mark.parametrize(
    "source",
    [
        "path.open('w')",
        "path.open('ab')",
        "open(path, mode='r+')",
        "path.write_text(text)",
        "path.replace(other)",
        "import os\nos.rename(a, b)",
        "from os import replace\nreplace(a, b)",
        "import os\nos.open(path, os.O_RDWR | os.O_CREAT)",
        "import tarfile\ntarfile.open(path, 'w')",
        "import shutil as s\ns.copy2(a, b)",
    ],
)
def test_the_rule_about_writing_can_say_no(source):
    assert [*writes(source)]


@pytest.mark.parametrize(
    "source",
    [
        "path.open('rb')",
        "path.open(encoding='utf-8')",
        "temporary.open('w')",
        "text.replace('a', 'b')",
        "from bcsim.files import write_text\nwrite_text(path, text)",
        "import re\nre.compile(text)",
        "import torch\nmodel.eval()\nmodel.compile()",
        "import numpy as np\nnp.load(path, allow_pickle=False)",
        "import yaml\nyaml.safe_load(text)",
    ],
)
def test_what_is_harmless_is_left_alone(source):
    assert not [*runs_code(source), *writes(source)]


def test_the_rule_about_audio_can_say_no():
    assert [*reads_audio("import soundfile as sf")]
    assert [*reads_audio("import librosa\nlibrosa.load(path)")]
    assert not [*reads_audio("from bcsim.audio.read import read_audio")]
