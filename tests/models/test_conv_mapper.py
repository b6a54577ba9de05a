import pytest
import torch

from bcsim.models.conv_mapper import ConvMapper
from bcsim.rng import stream

SMALL = {**ConvMapper.small, "output_bands": 3}


def mapper(members: int, causal: bool = False) -> ConvMapper:
    torch.manual_seed(0)
    return ConvMapper(**{**SMALL, "members": members, "causal": causal}).double()


def levels(items: int, frames: int = 40) -> torch.Tensor:
    return torch.from_numpy(stream(1, "levels").standard_normal((items, frames, 8)))


def member_of(several: ConvMapper, number: int) -> ConvMapper:
    """The mapper that has one member of several, and no other."""
    alone = mapper(1)
    weights = several.state_dict()
    rows = {name: len(own) for name, own in alone.state_dict().items()}
    alone.load_state_dict(
        {name: weights[name][number * size : (number + 1) * size] for name, size in rows.items()}
    )
    return alone


@torch.no_grad()
def test_what_is_predicted_is_the_mean_of_the_members_by_themselves():
    several, seen = mapper(3).eval(), levels(2)
    alone = [member_of(several, number).eval().predict(seen) for number in range(3)]
    assert (alone[0] - alone[1]).abs().max() > 0.01
    torch.testing.assert_close(several.predict(seen), torch.stack(alone).mean(0))


@torch.no_grad()
@pytest.mark.parametrize("items", [1, 2, 6, 7])
def test_in_training_every_item_goes_to_one_member(items):
    several, seen = mapper(3).train(), levels(items)
    wanted = [member_of(several, b % 3).predict(seen[b : b + 1])[0] for b in range(items)]
    torch.testing.assert_close(several.predict(seen), torch.stack(wanted))


def test_a_member_learns_nothing_from_the_items_of_another():
    several = mapper(2).train()
    several.predict(levels(4))[1].sum().backward()  # of the second of the two
    for name, weights in several.named_parameters():
        assert weights.grad is not None
        first, second = weights.grad.chunk(2)
        assert not first.any(), name
        assert second.any(), name


@torch.no_grad()
def test_the_causal_form_sees_no_later_frame():
    network, seen = mapper(2, causal=True).eval(), levels(1)
    later = seen.clone()
    later[:, 20:] += 1
    before, after = network.predict(seen), network.predict(later)
    assert torch.equal(before[:, :20], after[:, :20])
    assert not torch.equal(before[:, 20], after[:, 20])


@pytest.mark.parametrize(
    "settings", [{"dilations": [1, 0]}, {"members": 0}, {"gain_scale": 1.1}, {"expansion": -0.1}]
)
def test_settings_that_make_no_network_are_refused(settings):
    with pytest.raises(ValueError, match=r"ConvMapper|dilations"):
        ConvMapper(**{**SMALL, **settings})
