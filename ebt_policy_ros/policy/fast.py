"""The networks for inference: the same functions of the same weights, with fewer and larger operations.

Training differentiates the trunk twice and so uses small operations that can be. Inference needs one forward pass,
and for the energy its gradient with respect to the chunk alone. Here the scales of the norms and of the attention are
folded into the matrices behind them, query, key and value are one product, residual sums ride on the matrix
products, and the gradient is written out: one matrix product back for each one forward, no graph and no gradients of
weights. All methods run on this trunk, so that comparing their speed compares the methods.

Everything is a snapshot of the network's weights; B counts candidates. Sizes are read as ``x.shape[0]``, never as
``len(x)``: so an export keeps the number of candidates open.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ebt_policy_ros.policy.critic import CriticNetwork
from ebt_policy_ros.policy.diffusion import DiffusionNetwork
from ebt_policy_ros.policy.network import NORM_EPSILON, Block, EnergyNetwork, ObservationCache, Trunk
from ebt_policy_ros.policy.regression import RegressionNetwork

_silu_backward = torch.ops.aten.silu_backward.default
_softmax_backward = torch._softmax_backward_data

FastCache = tuple[Tensor, ...]
"""Per layer (2, B, heads, T, d / heads): keys and values of the observation tokens."""


class _Layer(NamedTuple):
    """A block's matrices as x @ matrix reads them, the scales of the norms before them folded in."""

    query_key_value: Tensor
    """(d, 3 d); the queries carry the attention's 1 / sqrt(d / heads)."""
    out: Tensor
    """(d, d)."""
    expand: Tensor
    """(d, 3 d)."""
    expand_bias: Tensor
    contract: Tensor
    """(3 d, d)."""
    contract_bias: Tensor


class _Kept(NamedTuple):
    """What a layer's backward pass reads: rows are B * H action tokens, heads are B * heads."""

    normed: Tensor
    rate: Tensor
    query: Tensor
    keys_values: Tensor
    weights: Tensor
    mix_normed: Tensor
    mix_rate: Tensor
    expanded: Tensor


def prepare(cache: ObservationCache) -> FastCache:
    """The observations' keys and values as the fast trunk reads them."""
    return tuple(torch.stack(pair) for pair in zip(*cache, strict=True))


def repeat(cache: FastCache, starts: int) -> FastCache:
    """The prepared cache of one observation for ``starts`` candidates."""
    return cache if starts == 1 else tuple(layer.expand(-1, starts, -1, -1, -1) for layer in cache)


class FastTrunk:
    """Blocks and norms of a trunk: forward, and back to the action tokens."""

    def __init__(self, trunk: Trunk) -> None:
        a = trunk.architecture
        self.heads, self.horizon, self.width = a.heads, a.horizon, a.model_width
        with torch.no_grad():
            self.layers = tuple(_layer(block) for block in trunk.blocks)
        self.epsilon = trunk.action_place.new_full((1, 1), NORM_EPSILON)

    def forward(
        self,
        x: Tensor,
        cache: FastCache,
        scales: tuple[Tensor, Tensor] | None = None,
        keep: list[_Kept] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Action tokens with their places (B * H, d) -> the last norm's result without its scale, and its rates.

        ``scales``: (1, d) factors on what attention and mixing read. ``keep`` collects what ``backward`` needs.
        """
        count, heads, horizon = x.shape[0] // self.horizon, self.heads, self.horizon
        for layer, observed in zip(self.layers, cache, strict=True):
            normed, rate = self.norm(x)
            read = normed if scales is None else normed * scales[0]
            split = torch.mm(read, layer.query_key_value).view(count, horizon, 3, heads, -1).permute(2, 0, 3, 1, 4)
            query = split[0].reshape(count * heads, horizon, -1)
            keys_values = torch.cat([observed, split[1:]], 3).flatten(1, 2)
            weights = torch.bmm(query, keys_values[0].transpose(1, 2)).softmax(2)
            heard = torch.bmm(weights, keys_values[1]).view(count, heads, horizon, -1).transpose(1, 2)
            x = torch.addmm(x, heard.reshape(count * horizon, self.width), layer.out)
            mix_normed, mix_rate = self.norm(x)
            read = mix_normed if scales is None else mix_normed * scales[1]
            expanded = torch.addmm(layer.expand_bias, read, layer.expand)
            x = torch.addmm(x, torch.nn.functional.silu(expanded), layer.contract).add_(layer.contract_bias)
            if keep is not None:
                keep.append(_Kept(normed, rate, query, keys_values, weights, mix_normed, mix_rate, expanded))
        return self.norm(x)

    def backward(self, gradient: Tensor, kept: list[_Kept]) -> Tensor:
        """Gradient (B * H, d) before the last norm -> at the action tokens."""
        for layer, own in zip(reversed(self.layers), reversed(kept), strict=True):
            expanded = _silu_backward(torch.mm(gradient, layer.contract.t()), own.expanded)
            mixed = torch.mm(expanded, layer.expand.t())
            gradient = self.norm_backward(mixed, own.mix_normed, own.mix_rate, gradient)
            attended = torch.mm(self._attention_backward(gradient, layer, own), layer.query_key_value.t())
            gradient = self.norm_backward(attended, own.normed, own.rate, gradient)
        return gradient

    def _attention_backward(self, gradient: Tensor, layer: _Layer, own: _Kept) -> Tensor:
        """Gradient (B * H, d) after the attention's residual sum -> of query, key and value (B * H, 3 d)."""
        heads, horizon = self.heads, self.horizon
        count = gradient.shape[0] // horizon
        heard = torch.mm(gradient, layer.out.t()).view(count, horizon, heads, -1).transpose(1, 2).flatten(0, 1)
        weights = torch.bmm(heard, own.keys_values[1].transpose(1, 2))
        logits = _softmax_backward(weights, own.weights, 2, weights.dtype)
        parts = torch.stack(
            (
                torch.bmm(logits, own.keys_values[0]),
                torch.bmm(logits[:, :, -horizon:].transpose(1, 2), own.query),
                torch.bmm(own.weights[:, :, -horizon:].transpose(1, 2), heard),
            )
        )
        return parts.view(3, count, heads, horizon, -1).permute(1, 3, 0, 2, 4).reshape(count * horizon, -1)

    def norm(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x / rms(x) and 1 / rms(x), row by row."""
        size = torch.linalg.vector_norm(x, 2, 1, True)
        rate = torch.addcmul(self.epsilon, size, size, value=1 / self.width).rsqrt_()
        return x * rate, rate

    def norm_backward(self, gradient: Tensor, normed: Tensor, rate: Tensor, onto: Tensor) -> Tensor:
        """The gradient through ``norm``, added to ``onto``."""
        along = torch.linalg.vecdot(gradient, normed).unsqueeze(1)
        return torch.addcmul(onto, torch.addcmul(gradient, normed, along, value=-1 / self.width), rate)


class FastEnergy(FastTrunk):
    """E and dE/da of an EnergyNetwork."""

    def __init__(self, network: EnergyNetwork) -> None:
        super().__init__(network)
        with torch.no_grad():
            self.token = network.action_token.weight.t().contiguous()
            self.place = network.action_place + network.action_token.bias
            self.head = network.head.weight[0] * network.head_norm.scale

    def energy(self, cache: FastCache, chunks: Tensor) -> Tensor:
        """chunks (B, H, D) normalised -> (B,) energies."""
        normed, _ = self.forward(self._tokens(chunks), cache)
        return torch.mv(normed, self.head).view(chunks.shape[0], -1).sum(1)

    def energy_and_gradient(self, cache: FastCache, chunks: Tensor) -> tuple[Tensor, Tensor]:
        """E (B,) and dE/da (B, H, D) at ``chunks``."""
        kept: list[_Kept] = []
        normed, rate = self.forward(self._tokens(chunks), cache, keep=kept)
        each = torch.mv(normed, self.head)
        inner = torch.addcmul(self.head, normed, each.unsqueeze(1), value=-1 / self.width)
        gradient = torch.mm(self.backward(inner * rate, kept), self.token.t())
        return each.view(chunks.shape[0], -1).sum(1), gradient.view(chunks.shape)

    def _tokens(self, chunks: Tensor) -> Tensor:
        place = self.place if chunks.shape[0] == 1 else self.place.repeat(chunks.shape[0], 1)
        return torch.addmm(place, chunks.reshape(-1, chunks.shape[2]), self.token)


class FastDiffusion(FastTrunk):
    """epsilon of a DiffusionNetwork at the diffusion steps given beforehand, whose conditions are computed once."""

    def __init__(self, network: DiffusionNetwork, steps: Tensor) -> None:
        """``steps`` (S,) int64, in the order in which the sampler visits them."""
        super().__init__(network)
        with torch.no_grad():
            added, (attention, mixing), head = network.condition(steps.to(network.action_place.device))
            self.token = network.action_token.weight.t().contiguous()
            self.places = (network.action_place + network.action_token.bias + added).unbind(0)
            self.scales = tuple(zip(attention.unbind(0), mixing.unbind(0), strict=True))
            self.head_scales = (head * network.head_norm.scale).unbind(0)
            self.head, self.head_bias = network.head.weight.t().contiguous(), network.head.bias.clone()

    def noise(self, cache: FastCache, noisy: Tensor, index: int) -> Tensor:
        """Noisy chunks (B, H, D) at the ``index``-th of the sampler's steps -> the predicted noise (B, H, D)."""
        place = self.places[index] if len(noisy) == 1 else self.places[index].repeat(len(noisy), 1)
        x = torch.addmm(place, noisy.reshape(-1, noisy.shape[2]), self.token)
        normed, _ = self.forward(x, cache, self.scales[index])
        return torch.addmm(self.head_bias, normed * self.head_scales[index], self.head).view(noisy.shape)


class FastRegression(FastTrunk):
    """The chunk of a RegressionNetwork."""

    def __init__(self, network: RegressionNetwork) -> None:
        super().__init__(network)
        with torch.no_grad():
            self.place = network.action_place.clone()
            self.head = (network.head.weight * network.head_norm.scale).t().contiguous()
            self.head_bias = network.head.bias.clone()

    def chunk(self, cache: FastCache) -> Tensor:
        """The prepared cache of B observations -> chunks (B, H, D), normalised."""
        count = cache[0].shape[1]
        normed, _ = self.forward(self.place.repeat(count, 1), cache)
        return torch.addmm(self.head_bias, normed, self.head).view(count, self.horizon, -1)


class FastCritic(FastTrunk):
    """The expected distances of a CriticNetwork."""

    def __init__(self, network: CriticNetwork) -> None:
        super().__init__(network)
        with torch.no_grad():
            self.token = network.action_token.weight.t().contiguous()
            self.place = network.action_place + network.action_token.bias
            self.head = network.head.weight[0] * network.head_norm.scale
            self.head_bias = network.head.bias.clone()

    def distances(self, cache: FastCache, chunks: Tensor) -> Tensor:
        """chunks (B, H, D) normalised -> (B, H) expected mean squared distances to the expert's rows."""
        x = torch.addmm(self.place.repeat(chunks.shape[0], 1), chunks.reshape(-1, chunks.shape[2]), self.token)
        normed, _ = self.forward(x, cache)
        return (torch.mv(normed, self.head) + self.head_bias).exp().view(chunks.shape[0], -1)


def _layer(block: Block) -> _Layer:
    attention, mixing = block.attention_norm.scale, block.mix_norm.scale
    head_width = block.query.weight.shape[0] // block.heads
    weights = torch.cat([block.query.weight * head_width**-0.5, block.key_value.weight]) * attention
    return _Layer(
        weights.t().contiguous(),
        block.out.weight.t().contiguous(),
        (block.expand.weight * mixing).t().contiguous(),
        block.expand.bias.clone(),
        block.contract.weight.t().contiguous(),
        block.contract.bias.clone(),
    )
