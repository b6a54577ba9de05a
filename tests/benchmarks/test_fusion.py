"""What the benchmark of fusion does to the sensor's signal is what its table says."""

import pytest
import torch


@pytest.fixture(scope="module")
def changes(load_benchmark):
    return load_benchmark("fusion").changes()


def test_each_condition_changes_the_signal_as_its_name_says(changes):
    own, other = torch.arange(1.0, 481.0), torch.tensor([5.0, 6.0, 7.0])
    changed = {name: change(own, other) for name, change in changes.items()}
    assert all(len(signal) == 480 for signal in changed.values())
    torch.testing.assert_close(changed["sensor +12 dB"], own * 10**0.6)
    assert changed["sensor +5 ms"].tolist() == [0.0] * 80 + own[:400].tolist()
    assert changed["sensor -5 ms"].tolist() == own[80:].tolist() + [0.0] * 80
    lost = changed["contact lost for a third"]
    assert lost[:160].equal(own[:160])
    assert lost[320:].equal(own[320:])
    assert not lost[160:320].any()
    assert not changed["no sensor"].any()
    assert changed["sensor of another recording"].tolist() == [5.0, 6.0, 7.0] * 160
    assert own[0] == 1  # what is given stays as it is
