"""A ROS graph of one's own, so that a demo neither hears nor disturbs robots nearby."""

from __future__ import annotations

import random
import socket
from collections.abc import MutableMapping

LAST_DOMAIN = 101
"""Higher domains use ports that Linux gives to other programs."""


def isolate(environment: MutableMapping[str, str]) -> int:
    """Sets a free ROS_DOMAIN_ID and discovery on this machine only, unless a domain is set; returns the domain.

    A user who sets ROS_DOMAIN_ID wants to watch with ROS 2 tools: then discovery stays as it is, too.
    """
    if environment.get("ROS_DOMAIN_ID"):
        return int(environment["ROS_DOMAIN_ID"])
    domain = free_domain()
    environment["ROS_DOMAIN_ID"] = str(domain)
    environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    if environment.get("ROS_DISTRO") == "humble":  # its way to say it; later ones warn of it at every start
        environment.setdefault("ROS_LOCALHOST_ONLY", "1")
    return domain


def free_domain() -> int:
    """A domain whose first participant's ports nobody on this machine uses."""
    domains = list(range(1, LAST_DOMAIN + 1))
    random.SystemRandom().shuffle(domains)
    for domain in domains:
        if is_free_domain(domain):
            return domain
    return domains[0]


def is_free_domain(domain: int) -> bool:
    """Whether nobody on this machine uses the ports of the domain's first participants."""
    return all(_is_free(7400 + 250 * domain + offset) for offset in (10, 11, 12, 13))


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
