"""Files that hold a pair as channels; which channel is which has to be said."""

from pathlib import Path

from bcsim.audio.folder import audio_files
from bcsim.datasets.importers import IMPORTERS
from bcsim.datasets.importers.base import FoundPair, Importer, Recording
from bcsim.errors import UsageError


@IMPORTERS.register("channels")
class Channels(Importer):
    """One file, or every audio file below a folder; the first folder of a path is the speaker."""

    def recognises(self, source: Path) -> bool:
        return False

    def read(self, source: Path) -> list[FoundPair]:
        if not {"air", "bone"} <= set(self.channels):
            raise UsageError(
                f"channels {','.join(self.channels) or '(none)'}: say which channel is air and "
                "which is bone, such as air,bone"
            )
        files = [source] if source.is_file() else audio_files(source)
        folder = source.parent if source.is_file() else source
        return [
            FoundPair(
                path.relative_to(folder).with_suffix("").as_posix(),
                {role: Recording.of_file(path, channel=k) for role, k in self.channel_of.items()},
            )
            for path in files
        ]
