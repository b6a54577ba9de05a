"""Files that hold a pair as channels; which channel is which has to be said."""

from pathlib import Path
from typing import ClassVar

from bcsim.audio.folder import AUDIO_SUFFIXES, audio_files, list_audio
from bcsim.datasets.importers import IMPORTERS
from bcsim.datasets.importers.base import FoundPair, Importer, Recording, place_of
from bcsim.errors import InputError, UsageError


@IMPORTERS.register("channels")
class Channels(Importer):
    """One file, or every audio file below a folder; the first folder of a path is the speaker."""

    takes_channels: ClassVar[bool] = True

    def recognises(self, source: Path) -> bool:
        if source.is_dir():
            is_audio = bool(list_audio(source).names)
        else:
            is_audio = source.suffix.lower() in AUDIO_SUFFIXES
        if not is_audio:
            return False
        if not self.channels:
            raise InputError("if files hold air and bone as channels, say which channel is which")
        return True

    def read(self, source: Path) -> list[FoundPair]:
        if not {"air", "bone"} <= set(self.channels):
            raise UsageError(
                f"channels {','.join(self.channels) or '(none)'}: say which channel is air and "
                "which is bone, such as air,bone"
            )
        if self.names:
            raise UsageError(f"air is named {self.names['air']}: the channels alone tell the roles")
        files = [source] if source.is_file() else audio_files(source)
        folder = source.parent if source.is_file() else source
        found = []
        for path in files:
            pair_id, speaker, split = place_of(path.relative_to(folder))
            recordings = {
                role: Recording.of_file(path, channel=number)
                for role, number in self.channel_of.items()
            }
            found.append(FoundPair(pair_id, recordings, speaker, split))
        return found
