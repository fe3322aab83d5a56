"""The networks for inference: the same functions of the same weights, with fewer and larger operations.

Training differentiates the trunk twice and so uses small operations that can be. Inference needs one forward pass,
and for the energy its gradient with respect to the chunk alone. Here the scales of the norms and of the attention are
folded into the matrices behind them, query, key and value are one product, residual sums ride on the matrix
products, and the gradient is written out: one matrix product back for each one forward, no graph and no gradients of
weights. All methods run on this trunk, so that comparing their speed compares the methods.

Everything is a snapshot of the network's weights; B counts candidates. Sizes are read as ``x.shape[0]``, never as
``len(x)``: so an export keeps the number of candidates open. In a narrower ``dtype`` (bfloat16) the large products and
the attention are computed; sums, norms, softmax, actions and energies stay in the weights' own.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ebt_policy_ros.policy.critic import CriticNetwork
from ebt_policy_ros.policy.diffusion import DiffusionNetwork
from ebt_policy_ros.policy.network import NORM_EPSILON, Block, EnergyNetwork, Trunk
from ebt_policy_ros.policy.regression import RegressionNetwork

_silu = torch.nn.functional.silu
_silu_backward = torch.ops.aten.silu_backward.default
_softmax_backward = torch._softmax_backward_data


class _Layer(NamedTuple):
    """A block's matrices as x @ matrix reads them, the scales of the norms before them folded in."""

    query_key_value: Tensor
    """(d, 3 d); the queries carry the attention's 1 / sqrt(d / heads)."""
    key_value: Tensor
    """(d, 2 d) of them."""
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
    size: Tensor
    query: Tensor
    keys_values: Tensor
    weights: Tensor
    mix_normed: Tensor
    mix_size: Tensor
    expanded: Tensor


def repeat(cache: Tensor, starts: int) -> Tensor:
    """The cache of one observation for ``starts`` candidates."""
    return cache.expand(-1, -1, starts, -1, -1, -1)


class FastTrunk:
    """Blocks and norms of a trunk: what it observes, forward, and back to the action tokens."""

    def __init__(self, trunk: Trunk, dtype: torch.dtype | None = None) -> None:
        """``dtype`` of the large products; None: the weights' own."""
        a = trunk.architecture
        self.heads, self.horizon, self.width = a.heads, a.horizon, a.model_width
        self.wide = trunk.action_place.dtype
        self.narrow = dtype or self.wide
        with torch.no_grad():
            self.layers = tuple(_layer(block, self.narrow) for block in trunk.blocks)
            self.tokens = _ObservationTokens(trunk)
        self.epsilon = trunk.action_place.new_full((1, 1), NORM_EPSILON * self.width)

    def observe(self, features: Tensor, positions: Tensor) -> Tensor:
        """features (B, cameras, F) and normalised positions (B, D) -> the cache: keys and values of every layer,
        (layers, 2, B, heads, T, d / heads)."""
        count, x = features.shape[0], self.tokens.of(features, positions)
        told = []
        for layer in self.layers[:-1]:
            normed, _ = self.norm(x)
            heard, _, own, _ = self._hear(normed, layer, None, count)
            x, *_ = self._mix(self._added(x, heard, layer.out), layer, None)
            told.append(own)
        normed, _ = self.norm(x)
        told.append(self._split(torch.mm(normed.to(self.narrow), self.layers[-1].key_value), count))
        return torch.stack(told)

    def forward(
        self,
        x: Tensor,
        cache: Tensor,
        scales: tuple[Tensor, Tensor] | None = None,
        keep: list[_Kept] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Action tokens with their places (B * H, d) -> the last norm's result without its scale, and the sizes.

        ``scales``: (1, d) factors on what attention and mixing read. ``keep`` collects what ``backward`` needs.
        """
        count = x.shape[0] // self.horizon
        for layer, observed in zip(self.layers, cache.unbind(0), strict=True):
            normed, size = self.norm(x)
            read = normed if scales is None else normed * scales[0]
            heard, query, keys_values, weights = self._hear(read, layer, observed, count)
            x = self._added(x, heard, layer.out)
            x, mix_normed, mix_size, expanded = self._mix(x, layer, scales)
            if keep is not None:
                keep.append(_Kept(normed, size, query, keys_values, weights, mix_normed, mix_size, expanded))
        return self.norm(x)

    def _hear(
        self, read: Tensor, layer: _Layer, observed: Tensor | None, count: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Attention of ``count`` sets of tokens to each other and to ``observed`` (2, B, heads, T, d / heads): what is
        heard (rows, d), then query, keys with values, and weights; without ``observed`` the set's own keys and values
        (2, B, heads, rows, d / heads) in place of the third."""
        heads = self.heads
        split = self._split(torch.mm(read.to(self.narrow), layer.query_key_value), count)
        rows, (query, own) = split.shape[3], split.split((1, 2))
        query = query.reshape(count * heads, rows, -1)
        keys_values = (own if observed is None else torch.cat([observed, own], 3)).flatten(1, 2)
        weights = torch.bmm(query, keys_values[0].transpose(1, 2)).softmax(2, dtype=self.wide)
        heard = torch.bmm(weights.to(self.narrow), keys_values[1]).view(count, heads, rows, -1).transpose(1, 2)
        return heard.reshape(read.shape), query, own if observed is None else keys_values, weights

    def _mix(
        self, x: Tensor, layer: _Layer, scales: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """After the attention's residual sum -> after the block; then what backward reads of it."""
        normed, size = self.norm(x)
        expanded = self._added(layer.expand_bias, normed if scales is None else normed * scales[1], layer.expand)
        return self._added(x, _silu(expanded), layer.contract).add_(layer.contract_bias), normed, size, expanded

    def backward(self, gradient: Tensor, kept: list[_Kept]) -> Tensor:
        """Gradient (B * H, d) before the last norm -> at the action tokens."""
        for layer, own in zip(reversed(self.layers), reversed(kept), strict=True):
            expanded = _silu_backward(self._product(gradient, layer.contract.t()), own.expanded)
            mixed = self._product(expanded, layer.expand.t())
            gradient = self.norm_backward(mixed, own.mix_normed, own.mix_size, gradient)
            attended = self._product(self._attention_backward(gradient, layer, own), layer.query_key_value.t())
            gradient = self.norm_backward(attended, own.normed, own.size, gradient)
        return gradient

    def _attention_backward(self, gradient: Tensor, layer: _Layer, own: _Kept) -> Tensor:
        """Gradient (B * H, d) after the attention's residual sum -> of query, key and value (B * H, 3 d)."""
        heads, horizon, narrow = self.heads, self.horizon, self.narrow
        count = gradient.shape[0] // horizon
        heard = torch.mm(gradient.to(narrow), layer.out.t())
        heard = heard.view(count, horizon, heads, -1).transpose(1, 2).flatten(0, 1)
        weights = torch.bmm(heard, own.keys_values[1].transpose(1, 2)).to(self.wide)
        logits = _softmax_backward(weights, own.weights, 2, self.wide).to(narrow)
        parts = torch.cat(
            (
                torch.bmm(logits, own.keys_values[0]),
                torch.bmm(logits[:, :, -horizon:].transpose(1, 2), own.query),
                torch.bmm(own.weights[:, :, -horizon:].transpose(1, 2).to(narrow), heard),
            )
        )
        return parts.view(3, count, heads, horizon, -1).permute(1, 3, 0, 2, 4).reshape(count * horizon, -1)

    def _split(self, product: Tensor, count: int) -> Tensor:
        """(B * rows, n d) -> (n, B, heads, rows, d / heads)."""
        width = self.width // self.heads
        rows = product.shape[0] // count
        return product.view(count, rows, -1, self.heads, width).permute(2, 0, 3, 1, 4)

    def _product(self, x: Tensor, matrix: Tensor) -> Tensor:
        return torch.mm(x.to(self.narrow), matrix).to(self.wide)

    def _added(self, onto: Tensor, x: Tensor, matrix: Tensor) -> Tensor:
        """onto + x @ matrix."""
        if self.narrow is self.wide:
            return torch.addmm(onto, x, matrix)
        return onto + torch.mm(x.to(self.narrow), matrix)

    def norm(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x / |x| and |x|, row by row, with the norms' epsilon; sqrt(d), by which rms(x) is less, is the matrices'."""
        size = torch.linalg.vector_norm(x, 2, 1, True)
        size = torch.addcmul(self.epsilon, size, size).sqrt_()
        return x / size, size

    def norm_backward(self, gradient: Tensor, normed: Tensor, size: Tensor, onto: Tensor) -> Tensor:
        """The gradient through ``norm``, added to ``onto``."""
        along = torch.linalg.vecdot(gradient, normed).unsqueeze(1)
        return torch.addcdiv(onto, torch.addcmul(gradient, normed, along, value=-1), size)


class _ObservationTokens:
    """Features and joint positions as tokens, their places added."""

    def __init__(self, trunk: Trunk) -> None:
        a = trunk.architecture
        made = trunk.camera_tokens
        places = trunk.observation_place.split([a.camera_tokens] * len(a.cameras) + [a.joint_tokens])
        self.width = a.model_width
        self.cameras = torch.stack([make.weight.t() for make in made]).contiguous()
        """(cameras, F, tokens * d)."""
        self.camera_biases = torch.stack([m.bias + p.flatten() for m, p in zip(made, places, strict=False)])[:, None]
        self.joints = trunk.joint_tokens.weight.t().contiguous()
        """(D, tokens * d)."""
        self.joint_bias = trunk.joint_tokens.bias + places[-1].flatten()

    def of(self, features: Tensor, positions: Tensor) -> Tensor:
        """features (B, cameras, F), positions (B, D) -> (B * T, d)."""
        count, width = features.shape[0], self.width
        seen = torch.baddbmm(self.camera_biases, features.transpose(0, 1), self.cameras).transpose(0, 1)
        felt = torch.addmm(self.joint_bias, positions, self.joints)
        tokens = torch.cat([seen.reshape(count, -1, width), felt.view(count, -1, width)], 1)
        return tokens.reshape(-1, width)


class FastEnergy(FastTrunk):
    """E and dE/da of an EnergyNetwork."""

    def __init__(self, network: EnergyNetwork, dtype: torch.dtype | None = None) -> None:
        super().__init__(network, dtype)
        with torch.no_grad():
            self.token = network.action_token.weight.t().contiguous()
            self.place = network.action_place + network.action_token.bias
            self.head = network.head.weight[0] * network.head_norm.scale * self.width**0.5
        self.step_size = float(network.step_size.detach())

    def step(self, cache: Tensor, chunks: Tensor, moves: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One step downhill from ``chunks`` (B, H, D): energies (B,) before it, norms (B,) of the gradients, and the
        chunks after it. ``moves`` (H, 1): 0 where a row stays as it is, else 1."""
        energies, gradients = self.energy_and_gradient(cache, chunks)
        gradients = gradients * moves
        norms = torch.linalg.vector_norm(gradients, 2, (1, 2))
        return energies, norms, torch.add(chunks, gradients, alpha=-self.step_size)

    def energy(self, cache: Tensor, chunks: Tensor) -> Tensor:
        """chunks (B, H, D) normalised -> (B,) energies."""
        normed, _ = self.forward(self._tokens(chunks), cache)
        return torch.mv(normed, self.head).view(chunks.shape[0], -1).sum(1)

    def energy_and_gradient(self, cache: Tensor, chunks: Tensor) -> tuple[Tensor, Tensor]:
        """E (B,) and dE/da (B, H, D) at ``chunks``."""
        kept: list[_Kept] = []
        normed, size = self.forward(self._tokens(chunks), cache, keep=kept)
        each = torch.mv(normed, self.head)
        inner = torch.addcmul(self.head, normed, each.unsqueeze(1), value=-1)
        gradient = torch.mm(self.backward(inner / size, kept), self.token.t())
        return each.view(chunks.shape[0], -1).sum(1), gradient.view(chunks.shape)

    def _tokens(self, chunks: Tensor) -> Tensor:
        place = self.place if chunks.shape[0] == 1 else self.place.repeat(chunks.shape[0], 1)
        return torch.addmm(place, chunks.reshape(-1, chunks.shape[2]), self.token)


class FastDiffusion(FastTrunk):
    """epsilon of a DiffusionNetwork at the diffusion steps given beforehand, whose conditions are computed once."""

    def __init__(self, network: DiffusionNetwork, steps: Tensor, dtype: torch.dtype | None = None) -> None:
        """``steps`` (S,) int64, in the order in which the sampler visits them."""
        super().__init__(network, dtype)
        with torch.no_grad():
            added, (attention, mixing), head = network.condition(steps.to(network.action_place.device))
            self.token = network.action_token.weight.t().contiguous()
            places = network.action_place + network.action_token.bias + added
            head = head * network.head_norm.scale * self.width**0.5
            self.conditions = torch.cat([places, attention, mixing, head], 1).unbind(0)
            """Per step (H + 3, d): what is added to every action token, and the factors on what attention, mixing and
            head read."""
            self.head, self.head_bias = network.head.weight.t().contiguous(), network.head.bias.clone()

    def noise(self, cache: Tensor, noisy: Tensor, condition: Tensor) -> Tensor:
        """Noisy chunks (B, H, D) under the ``condition`` of one of the sampler's steps -> the predicted noise."""
        count, horizon = noisy.shape[0], self.horizon
        place = condition[:horizon]
        x = torch.addmm(place if count == 1 else place.repeat(count, 1), noisy.reshape(-1, noisy.shape[2]), self.token)
        scales = condition[horizon : horizon + 1], condition[horizon + 1 : horizon + 2]
        normed, _ = self.forward(x, cache, scales)
        return torch.addmm(self.head_bias, normed * condition[horizon + 2 :], self.head).view(noisy.shape)


class FastRegression(FastTrunk):
    """The chunk of a RegressionNetwork."""

    def __init__(self, network: RegressionNetwork, dtype: torch.dtype | None = None) -> None:
        super().__init__(network, dtype)
        with torch.no_grad():
            self.place = network.action_place.clone()
            self.head = (network.head.weight * network.head_norm.scale * self.width**0.5).t().contiguous()
            self.head_bias = network.head.bias.clone()

    def chunk(self, cache: Tensor) -> Tensor:
        """The cache of B observations -> chunks (B, H, D), normalised."""
        count = cache.shape[2]
        normed, _ = self.forward(self.place.repeat(count, 1), cache)
        return torch.addmm(self.head_bias, normed, self.head).view(count, self.horizon, -1)


class FastCritic(FastTrunk):
    """The expected distances of a CriticNetwork."""

    def __init__(self, network: CriticNetwork, dtype: torch.dtype | None = None) -> None:
        super().__init__(network, dtype)
        with torch.no_grad():
            self.token = network.action_token.weight.t().contiguous()
            self.place = network.action_place + network.action_token.bias
            self.head = network.head.weight[0] * network.head_norm.scale * self.width**0.5
            self.head_bias = network.head.bias.clone()

    def distances(self, cache: Tensor, chunks: Tensor) -> Tensor:
        """chunks (B, H, D) normalised -> (B, H) expected mean squared distances to the expert's rows."""
        x = torch.addmm(self.place.repeat(chunks.shape[0], 1), chunks.reshape(-1, chunks.shape[2]), self.token)
        normed, _ = self.forward(x, cache)
        return (torch.mv(normed, self.head) + self.head_bias).exp().view(chunks.shape[0], -1)


def _layer(block: Block, dtype: torch.dtype) -> _Layer:
    width = block.out.weight.shape[0]
    attention, mixing = (norm.scale * width**0.5 for norm in (block.attention_norm, block.mix_norm))
    head_width = block.query.weight.shape[0] // block.heads
    query = block.query.weight * head_width**-0.5 * attention
    key_value = block.key_value.weight * attention

    def matrix(weights: Tensor) -> Tensor:
        return weights.t().contiguous().to(dtype)

    return _Layer(
        matrix(torch.cat([query, key_value])),
        matrix(key_value),
        matrix(block.out.weight),
        matrix(block.expand.weight * mixing),
        block.expand.bias.clone(),
        matrix(block.contract.weight),
        block.contract.bias.clone(),
    )
