"""The fast ReLU and dropout against torch's own."""

import pytest
import torch

from common.dropout import ReLUDropout, dropout_mask

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.5, 0.25, 0.1875, 0.2, 0.03, 0])
def test_mask_keeps_the_stated_share_at_the_right_scale(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    mask = dropout_mask(torch.empty(1001, 999, dtype=dtype), p).double()
    assert mask.shape == (1001, 999)
    kept = (mask != 0).double().mean().item()
    assert kept == pytest.approx(1 - p, rel=0.01)
    assert mask[mask != 0].unique().tolist() == [pytest.approx(1 / (1 - p), rel=0.01)]
    assert mask.mean().item() == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize("dtype", DTYPES)
def test_elements_of_a_mask_are_independent(dtype: torch.dtype) -> None:
    """Neighbours in memory, in every distance up to two words, and two masks are uncorrelated."""
    torch.manual_seed(2)
    x = torch.empty(2**20, dtype=dtype)
    first, second = ((dropout_mask(x, 0.2) != 0).double() - 0.80078125 for _ in range(2))
    bound = 6 * 0.16 / 2**10  # six standard deviations of the mean of 2**20 products
    for distance in [*range(1, 17), 2**17, 2**18, 2**19]:
        assert abs((first * first.roll(distance)).mean().item()) < bound, distance
    assert abs((first * second).mean().item()) < bound


def test_every_position_is_dropped_as_often() -> None:
    torch.manual_seed(3)
    x = torch.empty(67, 13)
    kept = torch.zeros(x.shape)
    for _ in range(4000):
        kept += dropout_mask(x, 0.5) != 0
    kept /= 4000
    assert (kept - 0.5).abs().max().item() < 6 * 0.5 / 4000**0.5


def test_mask_has_the_layout_of_its_tensor() -> None:
    x = torch.empty(3, 5, 4, 2).to(memory_format=torch.channels_last)
    assert dropout_mask(x, 0.5).stride() == x.stride()


def test_a_part_of_a_tensor_has_a_mask_too() -> None:
    rows = torch.randn(60, 28, 128)[:, -1]
    mask = dropout_mask(rows, 0.2)
    assert mask.shape == rows.shape and mask.is_contiguous()
    assert (mask == 0).float().mean().item() == pytest.approx(0.2, abs=0.03)
    assert ReLUDropout(0.2).train()(rows).shape == rows.shape


def test_same_seed_same_mask() -> None:
    torch.manual_seed(4)
    first = dropout_mask(torch.empty(100), 0.2)
    torch.manual_seed(4)
    assert torch.equal(first, dropout_mask(torch.empty(100), 0.2))


@pytest.mark.parametrize("dtype", DTYPES)
def test_result_and_gradient_are_those_of_relu_and_the_mask(dtype: torch.dtype) -> None:
    x = torch.randn(50, 6, 4, 4).to(dtype).to(memory_format=torch.channels_last).requires_grad_()
    y = x.detach().clone().requires_grad_()
    upstream = torch.randn(50, 6, 4, 4).to(dtype)
    torch.manual_seed(5)
    result = ReLUDropout(0.2)(x)
    result.backward(upstream)
    torch.manual_seed(5)
    expected = torch.relu(y) * dropout_mask(y.detach(), 0.2)
    expected.backward(upstream)
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close(x.grad, y.grad)


def test_double_precision_trains_too() -> None:
    torch.manual_seed(0)
    x = torch.ones(10_000, dtype=torch.float64, requires_grad=True)
    result = ReLUDropout(0.25).train()(x)
    result.sum().backward()
    assert x.grad is not None and torch.equal(x.grad, result)
    assert result.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (result == 0).double().mean().item() == pytest.approx(0.25, abs=0.02)


def test_in_evaluation_it_is_relu() -> None:
    x = torch.randn(100)
    assert torch.equal(ReLUDropout(0.5).eval()(x), torch.relu(x))


@pytest.mark.parametrize("p", [-0.1, -0.001, 0.999, 1])
def test_a_share_that_leaves_nothing_or_more_than_all_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match=f"from 0 to 0.998, not {p}"):
        ReLUDropout(p)
