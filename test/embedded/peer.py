"""The other process of the tests, in plain rclpy: `peer.py ROLE [ARGUMENT ...] [--ros-args ...]`."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from typing import Any

from . import provide  # noqa: F401  # isort: skip

import rclpy
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.utilities import remove_ros_args
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from .filled import USED_TYPES, message_class


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def profile(reliability: str, durability: str = "volatile") -> QoSProfile:
    return QoSProfile(
        depth=10,
        reliability=ReliabilityPolicy[reliability.upper()],
        durability=DurabilityPolicy[durability.upper()],
    )


class Echo(Node):  # type: ignore[misc]
    """Sends back what comes, of every type."""

    def __init__(self) -> None:
        super().__init__("echo")
        for name in USED_TYPES:
            topic = name.replace("/", "_")
            back = self.create_publisher(message_class(name), f"back/{topic}", 10)
            self.create_subscription(message_class(name), f"there/{topic}", back.publish, 10)


class Talker(Node):  # type: ignore[misc]
    """Publishes 'number' strings on `chatter` for as long as it lives; arguments: reliability, durability."""

    def __init__(self, reliability: str, durability: str = "volatile") -> None:
        super().__init__("talker")
        self.count = 0
        self.publisher = self.create_publisher(String, "chatter", profile(reliability, durability))
        self.create_timer(0.02, self.talk)

    def talk(self) -> None:
        self.count += 1
        self.publisher.publish(String(data=str(self.count)))


class Watcher(Node):  # type: ignore[misc]
    """Says which nodes it sees whenever that changes; argument: its name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.seen: list[str] = []
        self.create_timer(0.02, self.look)

    def look(self) -> None:
        now = sorted(self.get_node_names())
        if now != self.seen:
            self.seen = now
            say(f"SEES {' '.join(now)}")


class Historian(Node):  # type: ignore[misc]
    """Publishes once, transient local, before anybody can be there."""

    def __init__(self) -> None:
        super().__init__("historian")
        self.publisher = self.create_publisher(String, "history", profile("reliable", "transient_local"))
        self.publisher.publish(String(data="once"))


class Server(Node):  # type: ignore[misc]
    """Services and parameters to be used from outside."""

    def __init__(self) -> None:
        super().__init__("server")
        limits = IntegerRange(from_value=0, to_value=10, step=2)
        self.declare_parameter("steps", 2, ParameterDescriptor(integer_range=[limits], description="even"))
        gain = FloatingPointRange(from_value=0.0, to_value=1.0)
        self.declare_parameter("gain.value", 0.5, ParameterDescriptor(floating_point_range=[gain]))
        self.declare_parameter("fixed", "as it is", ParameterDescriptor(read_only=True))
        self.declare_parameter("names", ["a", "b"])
        self.create_service(SetBool, "~/negate", self.negate)
        self.create_service(Trigger, "who", self.tell_name)

    def negate(self, request: Any, response: Any) -> Any:
        response.success = not request.data
        response.message = "negated"
        return response

    def tell_name(self, request: Any, response: Any) -> Any:
        response.success = True
        response.message = self.get_fully_qualified_name()
        return response


class Managed(LifecycleNode):  # type: ignore[misc]
    """Its callbacks do what the parameter `outcome` says; it publishes its state on `said` whenever it may."""

    def __init__(self) -> None:
        super().__init__("managed")
        self.declare_parameter("outcome", "success")
        self.publisher = self.create_lifecycle_publisher(String, "said", 10)
        self.create_timer(0.02, lambda: self.publisher.publish(String(data="active")))

    def outcome(self) -> TransitionCallbackReturn:
        wanted = self.get_parameter("outcome").value
        if wanted == "raise":
            raise RuntimeError("as asked")
        return getattr(TransitionCallbackReturn, wanted.upper())

    def on_configure(self, state: Any) -> TransitionCallbackReturn:
        return self.outcome()

    def on_error(self, state: Any) -> TransitionCallbackReturn:
        say(f"ERROR FROM {state.label}")
        return TransitionCallbackReturn.SUCCESS


class Logging(Node):  # type: ignore[misc]
    """Says a few things at start."""

    def __init__(self) -> None:
        super().__init__("logging")
        logger = self.get_logger()
        logger.info("information")
        for _ in range(3):
            logger.warning("warning once", once=True)
            logger.error("throttled", throttle_duration_sec=1000.0)
        logger.debug("hidden")
        logger.get_child("child").debug("details")


ROLES: dict[str, Callable[..., Any]] = {
    "echo": Echo,
    "talker": Talker,
    "historian": Historian,
    "watcher": Watcher,
    "server": Server,
    "managed": Managed,
    "logging": Logging,
    **{name: lambda name=name: Node(name) for name in ("idle", "pool")},  # type: ignore[misc]
}


def spin(node: Node, role: str) -> None:
    """As most programs do, or in a pool."""
    if role == "pool":
        executor = MultiThreadedExecutor(num_threads=2)
        executor.add_node(node)
        executor.spin()
    else:
        rclpy.spin(node)


def main() -> None:
    rclpy.init(args=sys.argv)
    _, role, *arguments = remove_ros_args(sys.argv)
    node = ROLES[role](*arguments)
    ready = functools.partial(say, f"READY {node.get_fully_qualified_name()}")
    # Ready means spinning: a signal that comes earlier is another story. So is one to rclpy's pool while that is not
    # idle: it may end with an error, or before the context has heard of the signal.
    is_pool = role == "pool"
    node.create_guard_condition(threading.Timer(0.3, ready).start if is_pool else ready).trigger()
    try:
        spin(node, role)
        say("RETURNED")
    except KeyboardInterrupt:
        say("INTERRUPTED")
    except ExternalShutdownException:
        say("SHUT DOWN")
    say(f"OK {rclpy.ok()}")
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
