"""Quality of service: what each policy does, what does not fit, and the events that tell of it."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Graph

pytestmark = pytest.mark.graph


def _profile(**policies: Any) -> Any:
    """A profile from policy names and seconds: reliability="BEST_EFFORT", deadline=0.5."""
    from rclpy import qos
    from rclpy.duration import Duration

    enums = {
        "reliability": qos.ReliabilityPolicy,
        "durability": qos.DurabilityPolicy,
        "history": qos.HistoryPolicy,
        "liveliness": qos.LivelinessPolicy,
    }
    made: dict[str, Any] = {"depth": 10}
    for name, value in policies.items():
        if name in enums:
            made[name] = enums[name][value]
        else:
            made[name] = value if name == "depth" else Duration(nanoseconds=round(value * 1e9))
    return qos.QoSProfile(**made)


def _event_callbacks() -> tuple[Any, Any]:
    """The classes for a publisher's and for a subscription's events; their module has another name in Humble."""
    try:
        from rclpy import event_handler
    except ImportError:
        from rclpy import qos_event as event_handler
    return event_handler.PublisherEventCallbacks, event_handler.SubscriptionEventCallbacks


def _listen(graph: Graph, profile: Any, topic: str = "words", **kwargs: Any) -> list[str]:
    from std_msgs.msg import String

    heard: list[str] = []
    node = graph.node(f"listener_{len(graph.nodes)}")
    node.create_subscription(String, topic, lambda message: heard.append(message.data), profile, **kwargs)
    return heard


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ({"depth": 3}, ["7", "8", "9"]),
        ({"depth": 20}, [str(number) for number in range(10)]),
        ({"history": "KEEP_ALL"}, [str(number) for number in range(10)]),
    ],
    ids=["last-3", "last-20", "all"],
)
def test_late_subscriptions_get_as_much_as_is_kept(graph: Graph, history: Any, expected: list[str]) -> None:
    from std_msgs.msg import String

    publisher = graph.node("talker").create_publisher(
        String, "words", _profile(durability="TRANSIENT_LOCAL", **history)
    )
    for number in range(10):
        publisher.publish(String(data=str(number)))
    heard = _listen(graph, _profile(durability="TRANSIENT_LOCAL", history="KEEP_ALL"))
    late_and_volatile = _listen(graph, _profile(history="KEEP_ALL"))
    graph.spin_until(lambda: len(heard) == len(expected) and publisher.get_subscription_count() == 2, "history")
    publisher.publish(String(data="new"))
    graph.spin_until(lambda: late_and_volatile and heard[-1] == "new", "the new one")
    assert heard == [*expected, "new"]
    assert late_and_volatile == ["new"]


def test_a_subscription_keeps_the_newest(graph: Graph) -> None:
    from std_msgs.msg import String

    talker, listener = graph.node("talker"), graph.node("listener")
    publisher = talker.create_publisher(String, "words", 100)
    heard: list[str] = []
    everything: list[str] = []
    listener.create_subscription(String, "words", lambda message: heard.append(message.data), _profile(depth=2))
    graph.node("other").create_subscription(
        String, "words", lambda message: everything.append(message.data), _profile(depth=100)
    )
    graph.spin_until(lambda: publisher.get_subscription_count() == 2, "the subscriptions")
    graph.executor.remove_node(listener)
    for number in range(10):
        publisher.publish(String(data=str(number)))
    graph.spin_until(lambda: len(everything) == 10, "all ten")
    graph.executor.add_node(listener)
    graph.spin_until(lambda: len(heard) == 2, "the last two")
    assert heard == ["8", "9"]


def test_what_has_outlived_its_span_is_not_delivered(graph: Graph) -> None:
    from std_msgs.msg import String

    talker = graph.node("talker")
    for text, seconds in (("brief", 0.05), ("lasting", 1e6)):
        profile = _profile(durability="TRANSIENT_LOCAL", lifespan=seconds)
        talker.create_publisher(String, "words", profile).publish(String(data=text))
    listener = graph.node("listener")

    def is_gone() -> bool:
        """Whether somebody who comes now gets what lasts and nothing else."""
        heard: list[str] = []
        subscription = listener.create_subscription(
            String, "words", lambda message: heard.append(message.data), _profile(durability="TRANSIENT_LOCAL")
        )
        graph.spin_until(lambda: "lasting" in heard, "what lasts")
        listener.destroy_subscription(subscription)
        return heard == ["lasting"]

    graph.spin_until(is_gone, "the end of what does not")


def test_policies_are_told_to_others(graph: Graph) -> None:
    from std_msgs.msg import String

    node = graph.node("talker")
    spans = {"deadline": 0.5, "lifespan": 2.25, "liveliness_lease_duration": 3.0}
    wanted = _profile(reliability="BEST_EFFORT", durability="TRANSIENT_LOCAL", liveliness="MANUAL_BY_TOPIC", **spans)
    node.create_publisher(String, "words", wanted)
    node.create_publisher(String, "plain", 10)
    graph.spin_until(lambda: node.count_publishers("words") and node.count_publishers("plain"), "the publishers")
    (told,) = (item.qos_profile for item in node.get_publishers_info_by_topic("words"))
    for name in ("reliability", "durability", "liveliness", *spans):
        assert getattr(told, name) == getattr(wanted, name), name
    (told,) = (item.qos_profile for item in node.get_publishers_info_by_topic("plain"))
    assert (told.reliability.name, told.durability.name, told.liveliness.name) == ("RELIABLE", "VOLATILE", "AUTOMATIC")
    assert {getattr(told, name).nanoseconds for name in spans} == {2**63 - 1}


INCOMPATIBLE = [
    ({"reliability": "BEST_EFFORT"}, {"reliability": "RELIABLE"}, "RELIABILITY"),
    ({}, {"durability": "TRANSIENT_LOCAL"}, "DURABILITY"),
    ({"deadline": 2.0}, {"deadline": 1.0}, "DEADLINE"),
    ({}, {"deadline": 1.0}, "DEADLINE"),
    ({"liveliness": "AUTOMATIC"}, {"liveliness": "MANUAL_BY_TOPIC"}, "LIVELINESS"),
    ({"liveliness_lease_duration": 2.0}, {"liveliness_lease_duration": 1.0}, "LIVELINESS"),
]


@pytest.mark.parametrize(("offered", "requested", "policy"), INCOMPATIBLE)
def test_what_does_not_fit_is_told_to_both(graph: Graph, offered: Any, requested: Any, policy: str) -> None:
    from rclpy.qos import QoSCompatibility, QoSPolicyKind, qos_check_compatible

    PublisherEventCallbacks, SubscriptionEventCallbacks = _event_callbacks()
    from std_msgs.msg import String

    told: list[Any] = []
    here, there = _profile(**offered), _profile(**requested)
    publisher = graph.node("talker").create_publisher(
        String, "words", here, event_callbacks=PublisherEventCallbacks(incompatible_qos=told.append)
    )
    heard = _listen(graph, there, event_callbacks=SubscriptionEventCallbacks(incompatible_qos=told.append))
    graph.spin_until(lambda: len(told) == 2, "both events")
    for event in told:
        assert (event.total_count, event.total_count_change) == (1, 1)
        assert event.last_policy_kind == QoSPolicyKind[policy]
    assert publisher.get_subscription_count() == 0
    assert heard == []
    compatibility, reason = qos_check_compatible(here, there)
    assert compatibility == QoSCompatibility.ERROR
    assert reason.startswith("ERROR: ")
    assert qos_check_compatible(there, here)[0] != QoSCompatibility.ERROR or policy == "LIVELINESS"


CLEAR = {"reliability": "RELIABLE", "durability": "VOLATILE", "liveliness": "AUTOMATIC"}


@pytest.mark.parametrize(
    ("offered", "requested", "is_clear"),
    [
        ({}, {}, True),
        ({}, {"reliability": "BEST_EFFORT"}, True),
        ({"reliability": "SYSTEM_DEFAULT"}, {"reliability": "SYSTEM_DEFAULT"}, False),
        ({"reliability": "SYSTEM_DEFAULT"}, {"reliability": "BEST_EFFORT"}, True),
        ({"reliability": "SYSTEM_DEFAULT"}, {"reliability": "RELIABLE"}, False),
        ({"reliability": "BEST_EFFORT"}, {"reliability": "UNKNOWN"}, False),
        ({"reliability": "RELIABLE"}, {"reliability": "SYSTEM_DEFAULT"}, True),
        ({"durability": "SYSTEM_DEFAULT"}, {"durability": "TRANSIENT_LOCAL"}, False),
        ({"durability": "VOLATILE"}, {"durability": "SYSTEM_DEFAULT"}, False),
        ({"durability": "TRANSIENT_LOCAL"}, {"durability": "SYSTEM_DEFAULT"}, True),
        ({"liveliness": "SYSTEM_DEFAULT"}, {"liveliness": "SYSTEM_DEFAULT"}, False),
        ({"liveliness": "MANUAL_BY_TOPIC"}, {"liveliness": "SYSTEM_DEFAULT"}, True),
    ],
)
def test_compatibility_may_be_left_to_the_system(offered: Any, requested: Any, is_clear: bool) -> None:
    from . import provide  # noqa: F401

    from rclpy.qos import QoSCompatibility, qos_check_compatible  # isort: skip

    compatibility, reason = qos_check_compatible(_profile(**{**CLEAR, **offered}), _profile(**{**CLEAR, **requested}))
    assert compatibility == (QoSCompatibility.OK if is_clear else QoSCompatibility.WARNING)
    assert reason == "" if is_clear else reason.startswith("WARNING: ")


def test_missed_deadlines_are_told_to_both(graph: Graph) -> None:
    PublisherEventCallbacks, SubscriptionEventCallbacks = _event_callbacks()
    from std_msgs.msg import String

    offered: list[Any] = []
    requested: list[Any] = []
    profile = _profile(deadline=0.05)
    publisher = graph.node("talker").create_publisher(
        String, "words", profile, event_callbacks=PublisherEventCallbacks(deadline=offered.append)
    )
    heard = _listen(graph, profile, event_callbacks=SubscriptionEventCallbacks(deadline=requested.append))
    graph.spin_until(publisher.get_subscription_count, "the subscription")
    publisher.publish(String(data="the only one"))
    graph.spin_until(lambda: len(offered) >= 2 and len(requested) >= 2, "missed deadlines")
    assert heard == ["the only one"]
    for events in (offered, requested):
        assert sum(event.total_count_change for event in events) == events[-1].total_count >= 2


def test_liveliness_comes_and_goes(graph: Graph) -> None:
    PublisherEventCallbacks, SubscriptionEventCallbacks = _event_callbacks()
    from std_msgs.msg import String

    changes: list[Any] = []
    losses: list[Any] = []
    profile = _profile(liveliness="MANUAL_BY_TOPIC", liveliness_lease_duration=0.1)
    talker = graph.node("talker")
    publisher = talker.create_publisher(
        String, "words", profile, event_callbacks=PublisherEventCallbacks(liveliness=losses.append)
    )
    _listen(graph, profile, event_callbacks=SubscriptionEventCallbacks(liveliness=changes.append))
    graph.spin_until(publisher.get_subscription_count, "the subscription")
    publisher.assert_liveliness()
    graph.spin_until(lambda: any(change.alive_count == 1 for change in changes), "a living publisher")
    graph.spin_until(lambda: losses and changes[-1].not_alive_count == 1, "its loss")
    assert losses[-1].total_count >= 1
    assert changes[-1].alive_count == 0
    count = len(changes)
    publisher.publish(String(data="here again"))
    graph.spin_until(lambda: any(change.alive_count == 1 for change in changes[count:]), "its return")
    talker.destroy_publisher(publisher)
    graph.spin_until(lambda: (changes[-1].alive_count, changes[-1].not_alive_count) == (0, 0), "its end")


def test_matches_are_told(graph: Graph) -> None:
    """Public since Jazzy."""
    import inspect

    PublisherEventCallbacks, SubscriptionEventCallbacks = _event_callbacks()
    from std_msgs.msg import String

    if "matched" not in inspect.signature(PublisherEventCallbacks).parameters:
        pytest.skip("since Jazzy")
    found: dict[str, list[Any]] = {"publisher": [], "subscription": []}
    talker, listener = graph.node("talker"), graph.node("listener")
    talker.create_publisher(
        String, "words", 10, event_callbacks=PublisherEventCallbacks(matched=found["publisher"].append)
    )
    subscription = listener.create_subscription(
        String,
        "words",
        lambda _: None,
        10,
        event_callbacks=SubscriptionEventCallbacks(matched=found["subscription"].append),
    )
    graph.spin_until(lambda: all(found.values()), "the match")
    for events in found.values():
        event = events[-1]
        counts = (event.total_count, event.total_count_change, event.current_count, event.current_count_change)
        assert counts == (1, 1, 1, 1)
    listener.destroy_subscription(subscription)
    graph.spin_until(lambda: found["publisher"][-1].current_count == 0, "its end")
    event = found["publisher"][-1]
    assert (event.total_count, event.total_count_change, event.current_count_change) == (1, 0, -1)


def test_reliable_publishers_know_when_all_is_acknowledged(graph: Graph) -> None:
    from rclpy.duration import Duration
    from std_msgs.msg import String

    publisher = graph.node("talker").create_publisher(String, "words", 10)
    heard = _listen(graph, 10)
    graph.spin_until(publisher.get_subscription_count, "the subscription")
    publisher.publish(String(data="hello"))
    assert publisher.wait_for_all_acked(Duration(seconds=60))
    graph.spin_until(lambda: heard, "the word")


@pytest.mark.parametrize("history", [{"depth": 7}, {"history": "KEEP_ALL"}])
def test_histories_are_told_to_others(graph: Graph, history: Any) -> None:
    from std_msgs.msg import String

    node = graph.node("talker")
    node.create_publisher(String, "words", _profile(durability="TRANSIENT_LOCAL", **history))
    graph.spin_until(lambda: node.count_publishers("words"), "the publisher")
    (told,) = (item.qos_profile for item in node.get_publishers_info_by_topic("words"))
    expected = ("KEEP_ALL", 0) if "history" in history else ("KEEP_LAST", 7)
    assert (told.history.name, told.depth) in (expected, ("UNKNOWN", 0))  # Cyclone tells it, others do not


def test_policies_are_overridden_by_parameters(graph: Graph) -> None:
    from rclpy.qos import QoSPolicyKind
    from rclpy.qos_overriding_options import InvalidQosOverridesError, QosCallbackResult, QoSOverridingOptions
    from std_msgs.msg import String

    prefix = "qos_overrides./words"
    node = graph.node(
        "tuned",
        *("-p", f"{prefix}.publisher.reliability:=best_effort", "-p", f"{prefix}.publisher.history:=keep_all"),
        *("-p", f"{prefix}.publisher.deadline:=500000000", "-p", f"{prefix}.publisher_second.depth:=3"),
        *("-p", f"{prefix}.subscription.depth:=77", "-p", "qos_overrides./bad.publisher.reliability:=nonsense"),
    )
    kinds = [QoSPolicyKind.RELIABILITY, QoSPolicyKind.HISTORY, QoSPolicyKind.DEADLINE, QoSPolicyKind.DEPTH]
    first = node.create_publisher(String, "words", 10, qos_overriding_options=QoSOverridingOptions(kinds))
    assert (first.qos_profile.reliability.name, first.qos_profile.history.name) == ("BEST_EFFORT", "KEEP_ALL")
    assert first.qos_profile.deadline.nanoseconds == 500_000_000
    second = node.create_publisher(
        String, "words", 10, qos_overriding_options=QoSOverridingOptions(kinds, entity_id="second")
    )
    assert (second.qos_profile.depth, second.qos_profile.reliability.name) == (3, "RELIABLE")
    assert node.get_parameter(f"{prefix}.publisher.history").value == "keep_all"

    def refuse(profile: Any) -> Any:
        return QosCallbackResult(successful=profile.depth < 10, reason="too deep")

    with pytest.raises(InvalidQosOverridesError, match="too deep"):
        node.create_subscription(
            String,
            "words",
            lambda _: None,
            5,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(callback=refuse),
        )
    with pytest.raises(RuntimeError, match="nonsense"):
        node.create_publisher(String, "bad", 5, qos_overriding_options=QoSOverridingOptions.with_default_policies())


def test_profiles_and_their_names() -> None:
    from . import provide  # noqa: F401

    from rclpy import qos  # isort: skip

    assert qos.QoSPresetProfiles.get_from_short_key("sensor_data") == qos.qos_profile_sensor_data
    assert qos.qos_profile_sensor_data.reliability == qos.ReliabilityPolicy.BEST_EFFORT
    assert qos.qos_profile_parameters.depth == 1000
    assert qos.qos_policy_name_from_kind(qos.QoSPolicyKind.DURABILITY) == "DURABILITY"
    assert qos.ReliabilityPolicy.get_from_short_key("best_effort") == qos.ReliabilityPolicy.BEST_EFFORT.value
    assert qos.HistoryPolicy.KEEP_LAST.short_key == "keep_last"
    assert "transient_local" in qos.DurabilityPolicy.short_keys()
    assert qos.QoSProfile(depth=3) == qos.QoSProfile(depth=3, history=qos.HistoryPolicy.KEEP_LAST)
    assert qos.QoSProfile(depth=3) != qos.QoSProfile(depth=4)
