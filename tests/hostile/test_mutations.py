"""A few hundred mutants; `python -m tests.hostile.mutations` tries as many as are wanted."""

import math
import os
import resource
import sys
import time

from tests.hostile.case import generator
from tests.hostile.mutations import limit_cpu, mutate, run

COUNT = int(os.environ.get("BCSIM_MUTANTS", "300"))


def test_what_a_mutant_is_depends_on_its_number_alone():
    content = generator(1).bytes(5000)
    first, second = ([mutate(content, generator(6, n)) for n in range(50)] for _ in range(2))
    assert first == second
    assert sum(mutant != content for mutant in first) > 45
    assert len(set(first)) > 45


def test_a_reader_that_crashes_or_hangs_is_told_with_its_mutant(tmp_path, monkeypatch):
    script = tmp_path / "reader.py"
    script.write_text(
        "import os, signal, sys, time\n"
        "for number in range(*map(int, sys.argv[1:])):\n"
        "    print(number, 'x.wav', flush=True)\n"
        "    time.sleep(3600 if number == 5 else 0)\n"
        "    os.kill(os.getpid(), signal.SIGXCPU) if number == 8 else None\n"
        "    os.abort() if number == 3 else print(['accepted', 'KeyError: 7'][number == 7])\n"
    )
    monkeypatch.setattr("tests.hostile.mutations.MAX_SECONDS", 3.0)
    outcome = run(0, 10, (sys.executable, str(script)))
    assert outcome.problems == [
        "3 x.wav: its process ended with -6",
        "5 x.wav: hung for 3 s",
        "7 x.wav: KeyError: 7",
        "8 x.wav: computed for more than 10 s",
    ]
    assert outcome.counts == {"accepted": 6, "otherwise": 1}


def test_a_mutant_has_ten_seconds_of_a_processor_whatever_the_machine_does_meanwhile():
    before = resource.getrlimit(resource.RLIMIT_CPU)
    try:
        used = time.process_time()
        limit_cpu(1000)
        until, _ = resource.getrlimit(resource.RLIMIT_CPU)
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, before)
    assert math.ceil(used) + 1000 <= until <= math.ceil(time.process_time()) + 1000


def test_no_mutant_crashes_hangs_or_ends_in_another_error_than_ours():
    outcome = run(0, COUNT)
    assert outcome.problems == []
    assert outcome.counts.total() == COUNT
    assert min(outcome.counts["accepted"], outcome.counts["refused"]) > COUNT // 20
