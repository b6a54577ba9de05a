"""Seeded mutations of files that bcsim reads, in child processes: none may crash, hang or lie.

`python -m tests.hostile.mutations --count 2000` tries so many; `--only 417` repeats one.
What a mutant is depends on its number alone, on whether pyarrow is installed, and in lists that
hold whole paths on the folder's name.
"""

import argparse
import hashlib
import json
import math
import os
import resource
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.hostile.broken_audio import ogg_page
from tests.hostile.case import BUNDLED_SENSOR, RATE, encode, generator, speech
from tests.hostile.structured import restructure

MAX_CPU_S = 10  # seconds of a processor for a mutant; milliseconds are usual
MAX_SECONDS = 60.0  # for one that waits: a busy machine may look away
START_SECONDS = 600.0  # to import everything
BATCH = 500  # mutants a child
MAX_BYTES = 2**30  # of address space for a mutant, beside what the imports took
READER = (sys.executable, "-m", "tests.hostile.mutations", "--child")
ROOT = Path(__file__).parents[2]
SMALL_SENSOR = ROOT / "assets/demo/known.sensor"
_SIZES = (0, 1, 2, 7, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 2**31 - 1, 2**31, 2**32 - 8, 2**32 - 1)


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a file with one to three things changed, mostly one."""
    mutant = bytearray(content)
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        if not mutant:
            break
        change = _CHANGES[int(rng.integers(len(_CHANGES)))]
        change(mutant, rng)
    return bytes(mutant)


def _place(mutant: bytearray, rng: np.random.Generator) -> int:
    """Return a place, half of the time in the header, where it hurts most."""
    end = len(mutant) if rng.integers(2) else min(len(mutant), 200)
    return int(rng.integers(end))


def _flip_bits(mutant: bytearray, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(1, 9))):
        mutant[_place(mutant, rng)] ^= 1 << int(rng.integers(8))


def _set_bytes(mutant: bytearray, rng: np.random.Generator) -> None:
    start = _place(mutant, rng)
    size = min(int(rng.integers(1, 9)), len(mutant) - start)
    mutant[start : start + size] = bytes([int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))]) * size


def _truncate(mutant: bytearray, rng: np.random.Generator) -> None:
    del mutant[_place(mutant, rng) :]


def _insert(mutant: bytearray, rng: np.random.Generator) -> None:
    start = _place(mutant, rng)
    mutant[start:start] = rng.bytes(int(rng.integers(1, 65)))


def _delete(mutant: bytearray, rng: np.random.Generator) -> None:
    start = _place(mutant, rng)
    del mutant[start : start + int(rng.integers(1, 65))]


def _duplicate(mutant: bytearray, rng: np.random.Generator) -> None:
    start, target = _place(mutant, rng), _place(mutant, rng)
    mutant[target:target] = mutant[start : start + int(rng.integers(1, 4097))]


def _set_size(mutant: bytearray, rng: np.random.Generator) -> None:
    width = int(rng.choice([1, 2, 4, 8]))
    start = min(int(rng.integers(256)), len(mutant)) // 2 * 2
    order = "little" if rng.integers(2) else "big"
    value = _SIZES[int(rng.integers(len(_SIZES)))] & (1 << 8 * width) - 1
    mutant[start : start + width] = value.to_bytes(width, order)


_CHANGES: tuple[Callable[[bytearray, np.random.Generator], None], ...] = (
    _flip_bits, _set_bytes, _truncate, _insert, _delete, _duplicate, _set_size, _set_size,
)  # fmt: skip


class Subjects:
    """What is mutated, and who reads it.

    Args:
        folder: to work in.
    """

    def __init__(self, folder: Path) -> None:
        from bcsim.audio.read import read_audio, read_blocks
        from bcsim.datasets.manifest import MANIFEST_NAME, PairRow, write_manifest
        from bcsim.datasets.pairs import StoredPairs
        from bcsim.models.storage import build_enhancer, load_enhancer, save_enhancer
        from bcsim.sensors.profile import SensorProfile
        from bcsim.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
        from tests.hostile.networks import MODEL

        self.folder = folder
        self.contents: dict[str, tuple[bytes, Callable[[bytes], object]]] = {}

        def add(name: str, content: bytes, read: Callable[[bytes], object]) -> None:
            self.contents[name] = (content, read)

        def audio(path: Path) -> None:
            samples, _ = read_audio(path, RATE)
            assert np.isfinite(samples).all()
            assert np.abs(samples).max(initial=0) < 1e6
            blocks = [len(block) for block in read_blocks(path, RATE)]
            assert abs(sum(blocks) - len(samples)) <= 1, (
                f"{len(samples)} at once, {sum(blocks)} in blocks"
            )

        for name, (container, subtype) in {
            "pcm16.wav": ("WAV", "PCM_16"), "float.wav": ("WAV", "FLOAT"),
            "alaw.wav": ("WAV", "ALAW"), "pcm24.wav": ("WAVEX", "PCM_24"),
            "rf64.wav": ("RF64", "PCM_16"), "pcm16.flac": ("FLAC", "PCM_16"),
            "pcm24.flac": ("FLAC", "PCM_24"), "vorbis.ogg": ("OGG", "VORBIS"),
            "opus.ogg": ("OGG", "OPUS"), "layer3.mp3": ("MP3", "MPEG_LAYER_III"),
            "pcm16.aiff": ("AIFF", "PCM_16"), "float.aiff": ("AIFF", "FLOAT"),
        }.items():  # fmt: skip
            content = _without_chance(encode(speech(0.5), container, subtype))
            add(name, content, self._reader(name, audio))
        for path in (BUNDLED_SENSOR, SMALL_SENSOR):
            add(path.name, path.read_bytes(), self._reader(path.name, SensorProfile.load))

        dataset = folder / "dataset"
        split = dataset / "train"
        rows = [
            PairRow(
                id=name, bone_file_name=f"bone/{name}.flac", air_file_name=f"air/{name}.flac",
                speaker=name, duration_s=0.1, sample_rate=RATE, sensor="x", source=f"{name}.wav",
                source_sha256="0" * 64, seed=0, drawn={},
            )
            for name in "ab"
        ]  # fmt: skip
        for row in rows:
            for file_name in row.file_names.values():
                (split / file_name).parent.mkdir(parents=True, exist_ok=True)
                (split / file_name).write_bytes(encode(speech(0.1), "FLAC"))
        write_manifest(split / MANIFEST_NAME, rows)

        def pairs(_path: Path) -> None:
            stored = StoredPairs(dataset, "train", RATE, seed=0)
            for index in range(len(stored)):
                stored.whole(index)

        manifest = "dataset/train/" + MANIFEST_NAME
        add("manifest", (folder / manifest).read_bytes(), self._reader(manifest, pairs))

        from tests.hostile.mutated_lists import lists
        from tests.hostile.mutated_sources import sources

        for name, content, read in (*sources(folder), *lists(folder)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
            add(name, content, self._reader(name, read))

        import torch

        tensors = {"weight": torch.arange(300.0), "count": torch.tensor(7)}
        save_checkpoint(folder / "run", Checkpoint(7, tensors, {"sums": {"loss": 0.25}}))
        (facts,) = (folder / "run").glob("*.json")
        self._add_signed("checkpoint", facts, "tensors_sha256", load_checkpoint, add)
        save_enhancer(folder / "model", build_enhancer(MODEL, seed=1), {})
        config = folder / "model/config.json"
        read = _parent_of(load_enhancer)
        self._add_signed("model", config, "weights_sha256", read, add)
        from tests.hostile.mutated_models import enhanced_by_inverse, starts

        for name, config, read in starts(folder):
            self._add_signed(name, config, "weights_sha256", _parent_of(read), add)
        name = "inverse.sensor"
        add(name, SMALL_SENSOR.read_bytes(), self._reader(name, enhanced_by_inverse))

    def mutant(self, number: int) -> tuple[str, Callable[[], object]]:
        """Return the name of a mutant, and what reads it."""
        names = list(self.contents)
        name = names[number % len(names)]
        content, read = self.contents[name]
        rng = generator(6, number)
        if rng.integers(3):
            other, _ = self.contents[names[int(rng.integers(len(names)))]]
            mutant = restructure(content, other, rng)
        else:
            mutant = mutate(content, rng)
        return name, lambda: read(mutant)

    def _reader(self, name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
        def write_and_read(content: bytes) -> object:
            path = self.folder / name
            path.write_bytes(content)
            return read(path)

        return write_and_read

    def _add_signed(
        self,
        name: str,
        facts: Path,
        key: str,
        read: Callable[[Path], object],
        add: Callable[[str, bytes, Callable[[bytes], object]], None],
    ) -> None:
        """Add facts, weights, and weights and facts whose hashes agree with the facts."""
        from tests.hostile.networks import signed_facts

        weights = next(facts.parent.glob("*.safetensors"))
        sound = facts.read_bytes(), weights.read_bytes()

        def put(said: bytes, held: bytes) -> object:
            facts.write_bytes(said)
            weights.write_bytes(held)
            return read(facts)

        def signed(held: bytes) -> object:
            content = {**json.loads(sound[0]), key: hashlib.sha256(held).hexdigest()}
            said = signed_facts(content) if "sha256" in content else json.dumps(content)
            return put(said.encode(), held)

        def resigned(said: bytes) -> object:
            try:
                content = json.loads(said)
            except (ValueError, RecursionError):
                return put(said, sound[1])
            if isinstance(content, dict) and "sha256" in content:
                said = signed_facts(content).encode()
            return put(said, sound[1])

        add(f"{name} facts", sound[0], resigned)
        add(f"{name} weights", sound[1], lambda held: put(sound[0], held))
        add(f"{name} weights, signed", sound[1], signed)


def _parent_of(read: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda path: read(path.parent)


def _without_chance(content: bytes) -> bytes:
    """Return a file without what libsndfile makes of the clock: PEAK chunks, Ogg's serials."""
    place = content.find(b"PEAK")
    if place >= 0:
        return content[: place + 12] + bytes(4) + content[place + 16 :]
    if not content.startswith(b"OggS"):
        return content
    return b"OggS".join(
        page and ogg_page(b"OggS" + page[:10] + bytes(4) + page[14:])[4:]
        for page in content.split(b"OggS")
    )


def child(numbers: range) -> None:
    """Read mutants; before each its number is printed, and after each how it ended."""
    from bcsim.errors import BcsimError

    with tempfile.TemporaryDirectory() as folder:
        subjects = Subjects(Path(folder))
        for content, read in subjects.contents.values():
            read(content)  # what is not changed is sound
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MAX_BYTES, resource.RLIM_INFINITY))
        for number in numbers:
            name, read = subjects.mutant(number)
            _say(f"{number} {name}")
            limit_cpu(MAX_CPU_S)
            try:
                read()
                _say("accepted")
            except BcsimError:
                _say("refused")
            except BaseException as error:  # a defect, which is the parent's to tell
                _say(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


def limit_cpu(seconds: int) -> None:
    """Let the system end this process once it has computed for so many seconds from now on."""
    until = math.ceil(time.process_time()) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@dataclass
class Outcome:
    """What became of the mutants.

    Args:
        counts: of how they ended.
        problems: a line for each that ended otherwise.
    """

    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def run(first: int, count: int, reader: Sequence[str] = READER) -> Outcome:
    """Read mutants in child processes, which the command `reader FIRST END` starts."""
    outcome = Outcome()
    number, end = first, first + count
    while number < end:
        number = _run_child(reader, number, min(number + BATCH, end), outcome)
    return outcome


def _run_child(reader: Sequence[str], first: int, end: int, outcome: Outcome) -> int:
    """Let one child read; return the number that the next one begins with."""
    command = [*reader, str(first), str(end)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (
        subprocess.Popen(
            command,
            bufsize=0,  # or lines would wait in a buffer that no selector looks into
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        ) as process,
        selectors.DefaultSelector() as selector,
    ):
        assert process.stdout is not None
        selector.register(process.stdout, selectors.EVENT_READ)
        mutant, number, waiting, hung = "the start", first - 1, START_SECONDS, False
        while number < end:
            if not selector.select(waiting):
                process.kill()
                hung = True
                outcome.problems.append(f"{mutant}: hung for {waiting:.0f} s")
                break
            line = process.stdout.readline().decode().rstrip("\n")
            if not line:
                break
            if line.split(" ")[0].isdecimal():
                mutant, number, waiting = line, int(line.split(" ")[0]), MAX_SECONDS
                continue
            outcome.counts[line if line in ("accepted", "refused") else "otherwise"] += 1
            if line not in ("accepted", "refused"):
                outcome.problems.append(f"{mutant}: {line}")
            if number == end - 1:
                break
            waiting = START_SECONDS  # what is left is the harness
        code = process.wait()
    if code == -signal.SIGXCPU:
        outcome.problems.append(f"{mutant}: computed for more than {MAX_CPU_S} s")
    elif code != 0 and not hung:
        outcome.problems.append(f"{mutant}: its process ended with {code}")
    return max(number + 1, first + 1)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", type=int)
    parser.add_argument("--child", type=int, nargs=2)
    options = parser.parse_args()
    if options.child:
        child(range(*options.child))
        return 0
    first, count = (options.first, options.count) if options.only is None else (options.only, 1)
    outcome = run(first, count)
    _say("\n".join([*outcome.problems, str(dict(outcome.counts))]))
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
