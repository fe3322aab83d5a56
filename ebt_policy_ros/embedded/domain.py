"""The process's DDS domains: configuration from ROS's environment variables, one participant a context."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import quoteattr

from cyclonedds.domain import Domain

from .arguments import ArgumentsError
from .console import RcutilsLogger

_ANNOUNCE_EVERY = "2 s"
_LOOPBACK, _MULTICAST, _UP = 0x8, 0x1000, 0x1
_lock = threading.Lock()
_domains: dict[int, Domain] = {}
_participants: Counter[int] = Counter()


def domain_id(environment: Mapping[str, str]) -> int:
    """ROS_DOMAIN_ID, 0 when unset; ArgumentsError (a RuntimeError) when it is not a number from 0 to 232.

    As in rcl it may be written as C writes integers: 10, 0xa, 012.
    """
    text = environment.get("ROS_DOMAIN_ID", "") or "0"
    is_octal = len(text) > 1 and text[0] == "0" and text.isdigit()
    try:
        number = int(text, 8 if is_octal else 0)
    except ValueError:
        number = -1
    if not 0 <= number <= 232:
        raise ArgumentsError(f"ROS_DOMAIN_ID must be an integer from 0 to 232, got {text!r}")
    return number


def has_multicast() -> bool:
    """Whether any interface but loopback is up and can multicast (Linux; True where that cannot be told)."""
    found = list(Path("/sys/class/net").glob("*/flags"))
    flags = [int(path.read_text(), 16) for path in found]
    return not found or any(value & _UP and value & _MULTICAST and not value & _LOOPBACK for value in flags)


def _discovery(environment: Mapping[str, str]) -> tuple[str, list[str]]:
    """Range and static peers as rcl reads them: ROS_LOCALHOST_ONLY=1 overrules both, OFF has no peers."""
    if environment.get("ROS_LOCALHOST_ONLY", "").startswith("1"):
        return "LOCALHOST", []
    scope = environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "") or "SUBNET"
    if scope not in ("SUBNET", "LOCALHOST", "OFF", "SYSTEM_DEFAULT"):
        RcutilsLogger("rcl").warning(
            f"Invalid value '{scope}' specified for 'ROS_AUTOMATIC_DISCOVERY_RANGE', assuming localhost only"
        )
        scope = "LOCALHOST"
    peers = [peer for peer in environment.get("ROS_STATIC_PEERS", "").split(";") if peer]
    return scope, peers if scope in ("SUBNET", "LOCALHOST") else []


def configuration(environment: Mapping[str, str], *, multicast: bool) -> str:
    """Cyclone's configuration for ROS's discovery variables, as rmw_cyclonedds (Jazzy) writes it.

    Without a multicast interface SUBNET becomes LOCALHOST: participants of one machine still find each other.
    CYCLONEDDS_URI is added last and wins.
    """
    scope, peers = _discovery(environment)
    if scope == "SUBNET" and not multicast:
        scope = "LOCALHOST"
    general = discovery = ""
    if scope in ("LOCALHOST", "OFF"):
        # On this machine a datagram may be as large as UDP has it, and a fragment as large as a datagram: a picture is
        # 15 of them instead of 700 in 65, which takes less time.
        general = (
            "<General><AllowMulticast>false</AllowMulticast>"
            "<MaxMessageSize>65500B</MaxMessageSize><FragmentSize>65000B</FragmentSize></General>"
        )
    if scope == "OFF":
        discovery = f"<ParticipantIndex>none</ParticipantIndex><Tag>ros_discovery_off_{os.getpid()}</Tag>"
    elif scope != "SYSTEM_DEFAULT":
        discovery = "<ParticipantIndex>auto</ParticipantIndex><MaxAutoParticipantIndex>32</MaxAutoParticipantIndex>"
        # ROS 2's own Cyclone finds LOCALHOST and SUBNET of one machine; this newer one hears no unicast of the
        # former on the interface of the latter, so it speaks to them. It also falls silent towards peers that do not
        # answer at once, while ROS's goes on: whoever starts later must be found, too.
        discovery += f"<SPDPInterval>{_ANNOUNCE_EVERY}</SPDPInterval>"
        discovery += "<InitialLocatorPruneDelay>inf</InitialLocatorPruneDelay><Peers>"
        discovery += "".join(f"<Peer address={quoteattr(peer)}/>" for peer in ["localhost", *peers]) + "</Peers>"
    # Two 640x480 images fill the default receive buffer (1 MB): it loses some when the reader is busy.
    buffers = '<Internal><SocketReceiveBufferSize max="8MB"/><SocketSendBufferSize max="4MB"/></Internal>'
    discovery = f"<Discovery>{discovery}</Discovery>" if discovery else ""
    written = f'<CycloneDDS><Domain id="any">{general}{discovery}{buffers}</Domain></CycloneDDS>'
    given = environment.get("CYCLONEDDS_URI", "")
    return f"{written},{given}" if given else written


def enter_domain(number: int) -> None:
    """Creates domain `number` with ROS's configuration if this is its first participant here."""
    with _lock:
        if number not in _domains:
            _domains[number] = Domain(number, configuration(os.environ, multicast=has_multicast()))
        _participants[number] += 1


def leave_domain(number: int) -> None:
    """Deletes the domain with its last participant: its threads end, and a later one reads the environment anew."""
    with _lock:
        _participants[number] -= 1
        if _participants[number] == 0:
            _domains.pop(number).__del__()
