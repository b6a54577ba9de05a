"""Makes a folder that comes with bcsim of what `bcsim adapt` has trained.

    bcsim adapt --air AIR --bone BONE --talkers TALKERS.csv --air-corpus CORPUS --out RUN
    python assets/make_bundled_model.py RUN assets/models/throat

The weights are those of the run; the card tells what they were fitted to, and the licence of that.
"""

import argparse
import json
from pathlib import Path

from bcsim.files.atomic import write_bytes, write_text

TRAINED_ON = "16 throat pairs of 7 talkers, and 120 speakers through a sensor fitted to them"
PROVENANCE = """
## Where the weights come from

- Pairs: 16 recordings, 74 s, of 7 talkers with a throat and an air microphone, of the Vibravox
  corpus (Hauret et al. 2024, CC BY 4.0). The sensor was fitted to them, and the network fine-tuned.
- Air speech that was rendered through that sensor: 120 speakers of LibriSpeech (Panayotov et al.
  2015, CC BY 4.0).
- Made by `bcsim adapt` on two cores. The figures above are those of its folds, in which nothing
  saw the talkers that it was scored on; these weights have seen all 16 recordings.

The weights are under the MIT licence, as the rest of bcsim. The recordings that they were fitted to
want their sources named (CC BY 4.0).
"""


def main() -> None:
    """Copy weights, config and card."""
    parser = argparse.ArgumentParser(description="Make a bundled model of an adaptation.")
    parser.add_argument("run", type=Path, help="folder that bcsim adapt wrote")
    parser.add_argument("out", type=Path, help="folder to make")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    weights = "model.safetensors"
    write_bytes(arguments.out / weights, (arguments.run / weights).read_bytes())
    config = json.loads((arguments.run / "config.json").read_text("utf-8"))
    config["facts"]["trained_on"] = TRAINED_ON
    write_text(arguments.out / "config.json", json.dumps(config, indent=1) + "\n")
    card = (arguments.run / "README.md").read_text("utf-8")
    card = card.replace("--model .", f"--model {arguments.out.name}")
    write_text(arguments.out / "README.md", card.rstrip() + "\n" + PROVENANCE)


if __name__ == "__main__":
    main()
