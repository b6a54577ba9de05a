"""DNSMOS, a network's guess of how good listeners find speech, by the package `speechmos`."""

from functools import partial

import numpy as np

from bcsim.extras import optional_import
from bcsim.metrics import METRICS
from bcsim.metrics.base import Metric
from bcsim.metrics.comparison import SAMPLE_RATE, Comparison


@METRICS.register("dnsmos")
@partial(
    Metric,
    label="DNSMOS",
    better="higher",
    worst=1.0,
    note="without a look at the clean signal",
    enhancement=6,
    package="speechmos",
)
def dnsmos(pair: Comparison) -> float:
    """Return the overall mean opinion score of DNSMOS P.835, 1 to 5, of the estimate alone.

    Reddy, Gopal and Cutler, ICASSP 2022, arXiv 2110.01763. Its network was trained on speech in
    noise: what an enhancer invents of words may sound good and be wrong. Signals shorter than
    9.01 s are repeated until they are that long; a level above full scale is turned down.
    """
    package = optional_import("speechmos.dnsmos", extra="dnsmos")
    samples = pair.estimate.numpy()
    samples = samples / max(1.0, float(np.abs(samples).max()))
    return float(package.run(samples, SAMPLE_RATE, return_df=False)["ovrl_mos"])
