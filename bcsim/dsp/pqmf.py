r"""Pseudo-quadrature mirror filters: split speech into M bands at 1/M of the rate, and back.

One low-pass prototype is modulated by cosines to each band. Aliasing between neighbouring bands
cancels in the synthesis, so the bank is near-perfect without a net delay. EBEN (arXiv 2210.14090)
works on such bands; the construction is Nguyen's (doi 10.1109/78.258042), the design of the
prototype Lin and Vaidyanathan's (doi 10.1109/97.681427).
"""

import numpy as np
import scipy  # its parts are loaded when they are asked for
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import conv1d, conv_transpose1d

KAISER_BETA = 9.0
MAX_TAPS = 4096


class PQMF(nn.Module):
    r"""A bank of M near-perfect-reconstruction filters with N taps each.

    .. math::
        a_k[n] &= 2 h[n] \cos\left(\tfrac{(2k+1)\pi}{2M} (n - \tfrac{N-1}{2})
                  + (-1)^k \tfrac{\pi}{4}\right) \\
        s_k[n] &= 2 M h[n] \cos\left(\tfrac{(2k+1)\pi}{2M} (n - \tfrac{N-1}{2})
                  - (-1)^k \tfrac{\pi}{4}\right)

    The weights are frozen parameters, not buffers, because the published EBEN checkpoints hold
    them as such; whatever a checkpoint holds replaces those computed here.

    Args:
        num_bands: M, at least 2.
        num_taps: N, a multiple of 4M up to 4096, or the phases of neighbours do not cancel.

    Raises:
        ValueError: for another number of bands or taps.

    Example:
        >>> pqmf = PQMF(4, 32)
        >>> bands = pqmf.analysis(torch.zeros(1, 1, 16_000))
        >>> bands.shape, pqmf.synthesis(bands).shape
        (torch.Size([1, 4, 4008]), torch.Size([1, 1, 16000]))
    """

    def __init__(self, num_bands: int, num_taps: int) -> None:
        super().__init__()
        if num_bands < 2 or num_taps % (4 * num_bands) or not 0 < num_taps <= MAX_TAPS:
            raise ValueError(
                f"a PQMF of {num_bands} bands with {num_taps} taps: wants at least 2 bands, and "
                f"taps that are a multiple of {4 * max(num_bands, 2)} up to {MAX_TAPS}"
            )
        self.num_bands = num_bands
        self.num_taps = num_taps
        analysis, synthesis = _filters(num_bands, num_taps)
        # conv1d correlates; a filter convolves: hence the analysis filters back to front.
        self.analysis_weights = _frozen(analysis[:, ::-1])
        self.synthesis_weights = _frozen(synthesis)

    def analysis(self, signal: Tensor, num_bands: int | None = None) -> Tensor:
        """Split a signal into bands, lowest first.

        Args:
            signal: (B, 1, T).
            num_bands: number of the lowest bands to compute; all by default.

        Returns:
            (B, num_bands, (T + N - 2) // M + 1).
        """
        return split_bands(signal, self.analysis_weights[:num_bands], self.num_bands)

    def synthesis(self, bands: Tensor) -> Tensor:
        """Put bands (B, M, F) together again, without a delay against the signal analysed.

        Returns:
            (B, 1, M F - N): the T samples analysed where M divides T.
        """
        with torch.autocast(bands.device.type, enabled=False):
            return conv_transpose1d(
                bands.to(self.synthesis_weights),
                self.synthesis_weights,  # (M, 1, N): M channels in, summed into one
                stride=self.num_bands,
                padding=self.num_taps - 1,
                output_padding=self.num_bands - 2,
            )


def split_bands(signal: Tensor, filters: Tensor, stride: int) -> Tensor:
    """Filter a signal (B, 1, T) into bands, (B, K, (T + N - 2) // stride + 1).

    The filters, (K, 1, N), are the analysis filters of a PQMF or some of them.
    """
    # Mixed precision would cost 4 of the 49 dB to which the bank reconstructs.
    with torch.autocast(signal.device.type, enabled=False):
        padding = filters.shape[-1] - 1
        return conv1d(signal.to(filters), filters, stride=stride, padding=padding)


def prototype_cutoff(num_bands: int, num_taps: int) -> float:
    r"""Return the prototype's cut-off, as a fraction of the Nyquist frequency.

    A bank reconstructs when the prototype's autocorrelation is zero at the non-zero multiples of
    2M; the cut-off that comes nearest minimises

    .. math:: \phi(\omega) = \max_{m \ne 0} \lvert (h_\omega \star h_\omega)[2 M m] \rvert

    which has one minimum, a little above the ideal 1/(2M).

    Example:
        >>> round(prototype_cutoff(4, 32), 5)
        0.15887
    """

    def residue(cutoff: float) -> float:
        prototype = _prototype(cutoff, num_taps)
        autocorrelation = np.correlate(prototype, prototype, "full")[num_taps - 1 :]
        return float(np.abs(autocorrelation[2 * num_bands :: 2 * num_bands]).max())

    bounds = (0.5 / num_bands, 0.75 / num_bands)
    found = scipy.optimize.minimize_scalar(
        residue, bounds=bounds, method="bounded", options={"xatol": 1e-12}
    )
    return float(found.x)


def _prototype(cutoff: float, num_taps: int) -> NDArray[np.float64]:
    n = np.arange(num_taps) - (num_taps - 1) / 2
    return cutoff * np.sinc(cutoff * n) * np.kaiser(num_taps, KAISER_BETA)


def _filters(num_bands: int, num_taps: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return analysis and synthesis filters (M, N), as convolution wants them."""
    prototype = _prototype(prototype_cutoff(num_bands, num_taps), num_taps)
    n = np.arange(num_taps) - (num_taps - 1) / 2
    band = np.arange(num_bands)[:, None]
    angle = (2 * band + 1) * np.pi / (2 * num_bands) * n
    phase = (-1.0) ** band * np.pi / 4
    analysis = 2 * prototype * np.cos(angle + phase)
    synthesis = 2 * num_bands * prototype * np.cos(angle - phase)
    return analysis, synthesis


def _frozen(filters: NDArray[np.float64]) -> nn.Parameter:
    weights = torch.tensor(filters[:, None, :].copy(), dtype=torch.float32)
    return nn.Parameter(weights, requires_grad=False)
