"""Files that hold a pair as channels, with the role of each channel said: `--channels air,bone`."""

from pathlib import Path

from bcsim.audio.folder import audio_files
from bcsim.datasets.importers import IMPORTERS
from bcsim.datasets.importers.base import FoundPair, Importer, Recording
from bcsim.errors import UsageError


@IMPORTERS.register("channels")
class Channels(Importer):
    """One file, or every audio file below a folder; the first folder of a path is the speaker."""

    def recognises(self, source: Path) -> bool:
        return False  # which channel is which cannot be told, and has to be said

    def read(self, source: Path) -> list[FoundPair]:
        if not {"air", "bone"} <= set(self.channels):
            raise UsageError(
                f"--channels {','.join(self.channels) or '(none)'}: say which channel is air and "
                "which is bone, such as --channels air,bone"
            )
        files = [source] if source.is_file() else audio_files(source)
        folder = source.parent if source.is_file() else source
        return [
            FoundPair(
                path.relative_to(folder).with_suffix("").as_posix(),
                {
                    role: Recording.of_file(path, channel=number)
                    for number, role in enumerate(self.channels)
                    if role != "-"
                },
            )
            for path in files
        ]
