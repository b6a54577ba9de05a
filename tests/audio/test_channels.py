"""Several channels become one as it is asked for, and never silence without a word."""

import numpy as np
import pytest
import soundfile

from bcsim.audio.channels import channel_index, strongest_channel
from bcsim.audio.read import open_audio, read_audio, read_blocks
from bcsim.errors import InputError, UsageError

TONE = 0.3 * np.sin(np.arange(4000) / 7)


def write(path, *channels):
    soundfile.write(path, np.stack(channels, 1), 16_000, subtype="FLOAT")
    return path


@pytest.mark.parametrize(
    "axes", [(TONE, -TONE), (TONE, -TONE / 2, -TONE / 2), (TONE, -0.9 * TONE, 0.01 * TONE)]
)
def test_channels_that_cancel_each_other_are_refused(tmp_path, axes):
    """Three axes in antiphase became silence, with the advice to check the cable."""
    gravity = [axis + 0.2 * number for number, axis in enumerate(axes)]
    path = write(tmp_path / "x.wav", *gravity)
    message = rf"has {len(axes)} channels that cancel each other: .* dB below the str.*; choose one"
    with pytest.raises(InputError, match=message):
        read_audio(path)
    with pytest.raises(InputError, match=message):
        list(read_blocks(path, 16_000, 1000))
    for number, axis in enumerate(gravity):
        assert np.allclose(read_audio(path, channel=number)[0], axis, atol=1e-6)
        blocks = np.concatenate(list(read_blocks(path, 16_000, 1000, channel=number)))
        assert np.allclose(blocks, axis, atol=1e-6)


@pytest.mark.parametrize(
    ("channels", "below_db"),
    [
        ((TONE, TONE), "0.0"),
        ((TONE, 0 * TONE), "6.0"),
        ((TONE, 0 * TONE, 0 * TONE), "9.5"),
        ((TONE, -TONE / 2), "12.0"),
    ],
)
def test_what_averaging_did_is_told(tmp_path, caplog, channels, below_db):
    path = write(tmp_path / "x.wav", *channels)
    samples, _ = read_audio(path)
    assert np.allclose(samples, sum(channels) / len(channels), atol=1e-6)
    want = f"{path}: {len(channels)} channels averaged to one ({below_db} dB below the strongest)"
    assert caplog.messages == [want]
    caplog.clear()
    list(read_blocks(path, 16_000, 999))
    assert caplog.messages == [want]


def test_a_constant_in_every_channel_is_silence_and_not_cancellation(tmp_path):
    path = write(tmp_path / "x.wav", 0 * TONE + 0.1, 0 * TONE - 0.3)
    with pytest.raises(InputError, match=r"x\.wav: stands still in each of its 2 channels"):
        read_audio(path)


@pytest.mark.parametrize(("share", "is_told"), [(-0.6, True), (-0.2, False), (0.0, False)])
def test_channels_that_cancel_each_other_in_part_are_told(tmp_path, share, is_told):
    path = write(tmp_path / "x.wav", TONE, share * TONE)
    with open_audio(path) as audio:
        audio.read()
        told = audio.findings
        for _ in audio.mono_blocks(1000, None):
            pass
        assert told == audio.findings
    severities = {found.kind: found.severity for found in told}
    assert severities.get("cancelling") == ("warning" if is_told else None)


def test_a_channel_that_is_not_there_is_refused(tmp_path):
    for path, message in (
        (write(tmp_path / "2.wav", TONE, TONE), "has 2 channels, and no channel 3"),
        (write(tmp_path / "1.wav", TONE), "has one channel, and no channel 3"),
    ):
        with pytest.raises(InputError, match=message):
            read_audio(path, channel=2)
        with pytest.raises(InputError, match=message):
            list(read_blocks(path, 16_000, channel=2))


def test_the_strongest_channel_is_one_for_all_and_gravity_does_not_count(tmp_path, caplog):
    caplog.set_level("INFO")
    paths = [
        write(tmp_path / "a.wav", 0.1 * TONE, TONE, 0 * TONE + 0.9),
        write(tmp_path / "b.wav", 0.3 * TONE, 0.2 * TONE, 0 * TONE - 0.9),
    ]
    (tmp_path / "c.wav").write_bytes(b"no audio")
    assert strongest_channel([*paths, tmp_path / "c.wav"]) == 1
    assert "channel 2 of 3 is the strongest, by 10.2 dB" in caplog.text


def test_channels_are_counted_from_one():
    assert [channel_index(name) for name in (1, "2", "Left", "RIGHT", " z")] == [0, 1, 0, 1, 2]
    assert channel_index("strongest") is None
    for wrong in ("0", "-1", "33", "up", "", "1.5"):
        with pytest.raises(UsageError, match="is no channel; give a number from 1 to 32"):
            channel_index(wrong)
