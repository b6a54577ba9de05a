import pytest
import torch

from bcsim.losses.adversarial import CRITERIA
from bcsim.losses.adversarial.feature_matching import Convention, FeatureMatching
from bcsim.losses.adversarial.hinge import Hinge
from bcsim.losses.adversarial.least_squares import LeastSquares


def of(*scores: list[float]) -> list[list[torch.Tensor]]:
    """One network a list of scores, with an inner feature that no criterion may look at."""
    return [[torch.full((1, 2, 3), 7.0), torch.tensor([[network]])] for network in scores]


def test_the_hinge_asks_for_a_margin_and_no_more():
    real, fake = of([2.0, 0.0], [1.0, 1.0]), of([-3.0, 1.0], [-1.0, -1.0])
    # real: (0 + 1) / 2 and 0; fake: (0 + 2) / 2 and 0; over two networks
    assert Hinge().discriminator_loss(real, fake).item() == pytest.approx((0.5 + 1.0) / 2)
    # enhancer: (4 + 0) / 2 and 2, or without the hinge: -(-3 + 1) / 2 and 1
    assert Hinge().generator_loss(fake).item() == pytest.approx((2 + 2) / 2)
    assert Hinge(saturating=False).generator_loss(fake).item() == pytest.approx((1 + 1) / 2)


def test_least_squares_wants_one_and_zero():
    real, fake = of([2.0, 0.0]), of([0.5, -0.5])
    criterion = LeastSquares()
    assert criterion.discriminator_loss(real, fake).item() == pytest.approx(1 + 0.25)
    assert criterion.generator_loss(fake).item() == pytest.approx((0.25 + 2.25) / 2)


@pytest.mark.parametrize("name", CRITERIA)
def test_both_players_pull_the_scores_of_fakes_apart(name):
    criterion = CRITERIA[name]()
    scores = torch.zeros(1, 1, 4, requires_grad=True)
    real = torch.zeros(1, 1, 4, requires_grad=True)
    loss = criterion.discriminator_loss([[real]], [[scores + 0.1]])
    towards_fake, towards_real = torch.autograd.grad(loss, [scores, real])
    (wished,) = torch.autograd.grad(criterion.generator_loss([[scores + 0.1]]), scores)
    assert (towards_fake > 0).all()  # going down the slope lowers the scores of fakes
    assert (towards_real < 0).all()
    assert (wished < 0).all()


def test_feature_matching_is_relative_to_the_reference():
    """Two networks, of two and one inner layers; the last entry of each is a score map."""
    real = [[torch.full((1, 1, 4), v) for v in (2.0, 4.0, 9.0)], [torch.full((1, 1, 2), 5.0)] * 2]
    fake = [[torch.full((1, 1, 4), v) for v in (3.0, 2.0, 0.0)], [torch.full((1, 1, 2), 4.0)] * 2]
    layers = [[1 / 2, 2 / 4], [1 / 5]]
    expected = (sum(layers[0]) / 2 + layers[1][0]) / 2
    assert FeatureMatching("reference")(real, fake).item() == pytest.approx(expected)
    by_enhanced = 1 / 3 + 2 / 2 + 1 / 4
    assert FeatureMatching("eben")(real, fake).item() == pytest.approx(by_enhanced / (2 * 1))
    plain = (sum([1, 2]) / 2 + 1) / 2
    assert FeatureMatching("melgan")(real, fake).item() == pytest.approx(plain)
    everything = 1 + 2 + 9 + 1 + 1
    assert FeatureMatching("hifi_gan")(real, fake).item() == pytest.approx(2 * everything)


def test_only_ebens_convention_can_be_pleased_by_larger_features():
    """Its normaliser is the enhanced side's, and the gradient goes through that as well."""
    real = [[torch.full((1, 1, 1), 1.0), torch.zeros(1)]]
    slopes: list[tuple[Convention, float]] = [
        ("reference", 1.0), ("eben", 1 / 4), ("melgan", 1.0), ("hifi_gan", 2.0)
    ]  # fmt: skip
    for convention, expected in slopes:
        feature = torch.full((1, 1, 1), 2.0, requires_grad=True)
        FeatureMatching(convention)(real, [[feature, torch.zeros(1)]]).backward()
        assert feature.grad is not None
        # d/df |f - 1| / f at 2 is 1/2 - 1/4
        assert feature.grad.item() == pytest.approx(expected), convention


def test_another_convention_is_refused():
    with pytest.raises(ValueError, match="convention is 'hifigan'; it wants one of reference"):
        FeatureMatching("hifigan")  # pyright: ignore[reportArgumentType]
