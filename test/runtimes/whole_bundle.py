"""A small bundle with critic and score heads, as a shipped one."""

import torch
from policy import small

from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.policy.critic import CriticNetwork
from ebt_policy_ros.policy.heads import ScoreHeads


def whole_bundle(seed: int = 0, **sizes: object) -> Bundle:
    """``sizes`` of the architecture that differ from ``small``'s."""
    net = small.network(seed, **sizes)
    net.log_step_size.data.fill_(-1.0)
    a = net.architecture
    critic = CriticNetwork(a).without_encoders()
    torch.manual_seed(seed)
    heads = ScoreHeads(len(a.cameras) * a.camera_features + a.joints, 5)
    heads.centres.normal_()
    tensors = dict(small.bundle_of(net).tensors)
    for prefix, module in (("critic.", critic), ("heads.", heads)):
        tensors |= {f"{prefix}{name}": value.detach().numpy().copy() for name, value in module.state_dict().items()}
    return small.bundle_of(net, tensors=tensors)
