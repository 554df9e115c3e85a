"""Make the sample recording of the README: a synthetic voice that says "light" where the text has "right".

python -m training.make_sample samples/turn_right.flac
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import soundfile
import soxr
from hibari import Hibari

SPOKEN = "Please turn light at the next corner."
MEANT = "Please turn right at the next corner."
VOICE_RATE = 24_000
RATE = 16_000


def main(path: Path) -> None:
    """Write the recording, with a third of a second of silence around it."""
    voice = Hibari()(SPOKEN, seed=0)
    speech = soxr.resample(voice, VOICE_RATE, RATE)
    pad = np.zeros(RATE // 3, dtype=np.float32)
    soundfile.write(path, np.concatenate([pad, 0.8 * speech / np.abs(speech).max(), pad]), RATE, subtype="PCM_16")
    print(f"{path}: says {SPOKEN!r}; analyse it with the text {MEANT!r}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
