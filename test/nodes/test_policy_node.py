"""policy_node over the real graph: an arm that answers by script on the other side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.graph


def enable(arm: Any, wanted: bool) -> Any:
    from std_srvs.srv import SetBool

    return arm.call(SetBool, "/ebt_policy/enable", SetBool.Request(data=wanted))


def trigger(arm: Any, name: str) -> Any:
    from std_srvs.srv import Trigger

    return arm.call(Trigger, f"/ebt_policy/{name}", Trigger.Request())


def test_comes_up_alone_and_commands_by_the_rules(arm: Any, start_node: Callable[..., Any]) -> None:
    start_node()
    arm.wait(lambda: len(arm.trajectories) >= 5, "five trajectories")
    arm.wait(lambda: arm.energies and arm.uncertainties and arm.plans and arm.diagnostics, "all other topics")
    assert arm.violations() == []
    status = arm.statuses[-1]
    assert status["state"] == "running", [told["reason"] for told in arm.statuses]
    assert status["network_evaluations"] == "2"
    assert float(status["threshold"]) == pytest.approx(0.95)
    assert 0.0 <= arm.uncertainties[-1] <= 1.0
    parts = [float(status[f"{part}_ms"]) for part in ("decode", "ahead", "wait", "think", "act", "send")]
    assert float(status["latency_ms"]) == pytest.approx(sum(parts), abs=0.01)
    assert min(parts) >= 0.0
    assert min(float(status[f"{part}_ms"]) for part in ("decode", "think", "act", "send")) > 0.0
    assert 0.0 < float(status["encode_ms"]) + float(status["descend_ms"]) < float(status["think_ms"])
    assert arm.plans[-1].markers[0].header.frame_id == "panda_link0"
    assert len(arm.plans[-1].markers[0].points) > 2
    assert int(arm.diagnostics[-1].get("front.refused", "0")) == 0


def test_holds_when_the_arm_falls_silent_and_goes_on_after(arm: Any, start_node: Callable[..., Any]) -> None:
    start_node(observe__max_receive_age_s=0.4)
    arm.wait(lambda: arm.state() == "running", "running")
    arm.is_muted = True
    arm.wait(lambda: arm.state() == "holding", "holding")
    assert any(word in arm.statuses[-1]["reason"] for word in ("joint", "front", "wrist")), arm.statuses[-1]
    arm.is_muted = False
    arm.wait(lambda: arm.state() == "running", "running again")
    assert arm.violations() == []


@pytest.mark.parametrize("source", ["joint_states", "wrist"])
def test_nonsense_is_counted_and_holds(arm: Any, start_node: Callable[..., Any], source: str) -> None:
    start_node(observe__max_receive_age_s=0.4)
    arm.wait(lambda: arm.state() == "running", "running")
    arm.corrupt.add(source)
    arm.wait(lambda: arm.state() == "holding", "holding")
    refused = f"{source}.refused"
    arm.wait(lambda: any(int(told.get(refused, "0")) for told in arm.diagnostics), "refused messages in /diagnostics")
    arm.corrupt.clear()
    arm.wait(lambda: arm.state() == "running", "running again")


def test_without_enable_it_is_a_dry_run(arm: Any, start_node: Callable[..., Any]) -> None:
    start_node(enabled_on_activate=False)
    arm.wait(lambda: len(arm.energies) >= 3, "energies of a dry run")
    assert arm.trajectories == []
    assert arm.statuses[-1]["enabled"] == "false"
    assert enable(arm, True).success
    arm.wait_for_new(arm.trajectories, "trajectories once enabled", 3)
    assert enable(arm, False).success
    arm.wait(lambda: arm.statuses[-1]["enabled"] == "false" and arm.statuses[-1]["commanded"] == "false", "dry run")
    number = len(arm.trajectories)
    arm.wait_for_new(arm.energies, "energies of the dry run", 3)
    assert len(arm.trajectories) == number
    assert arm.violations() == []


def test_a_hand_with_a_controller_of_its_own_gets_its_own_trajectory(arm: Any, start_node: Callable[..., Any]) -> None:
    from trajectory_msgs.msg import JointTrajectory

    from ebt_policy_ros.messages import read_trajectory

    hands: list[Any] = []
    arm.create_subscription(JointTrajectory, "gripper_trajectory", lambda m: hands.append(read_trajectory(m)), 10)
    start_node(gripper_output="own_trajectory")

    def partners() -> list[Any]:
        return [(hand, one) for hand in hands for one in arm.trajectories if one.start_ns == hand.start_ns]

    arm.wait(partners, "the arm's and the hand's part of one motion")
    hand, partner = partners()[0]
    assert hand.joint_names == ("panda_finger_joint1",)
    assert partner.joint_names == tuple(f"panda_joint{number}" for number in range(1, 8))
    np.testing.assert_array_equal(hand.times_s, partner.times_s)
    assert hand.positions.shape == hand.velocities.shape == (len(partner.times_s), 1)
    assert hand.velocities[-1, 0] == 0.0


def test_a_hand_of_its_own_needs_a_hand(ros: None, bundle_dir: Path, tmp_path: Path) -> None:
    import yaml
    from rclpy.lifecycle import TransitionCallbackReturn
    from rclpy.parameter import Parameter

    from ebt_policy_ros.nodes.policy_node import PolicyNode
    from ebt_policy_ros.resources import find_robot

    entries = yaml.safe_load(find_robot("panda_sim").read_text())
    del entries["gripper"]
    (tmp_path / "handless.yaml").write_text(yaml.safe_dump(entries))
    values = {"model": str(bundle_dir), "robot": str(tmp_path / "handless.yaml"), "gripper_output": "own_trajectory"}
    node = PolicyNode(parameter_overrides=[Parameter(name, value=value) for name, value in values.items()])
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    node.destroy_node()


def test_endpoints_of_another_qos_are_told(arm: Any, start_node: Callable[..., Any]) -> None:
    from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import JointState
    from trajectory_msgs.msg import JointTrajectory

    def told(name: str) -> bool:
        return any(int(values.get(name, "0")) for values in arm.diagnostics)

    start_node(**{"qos_overrides./joint_states.subscription.reliability": "reliable"})
    arm.wait(lambda: arm.diagnostics, "diagnostics")
    latched = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    arm.create_subscription(JointTrajectory, "joint_trajectory", lambda _message: None, latched)
    arm.create_publisher(JointState, "joint_states", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))
    for name in ("/joint_trajectory.incompatible_subscriptions", "/joint_states.incompatible_publishers"):
        arm.wait(lambda name=name: told(name), name)


def test_reset_and_retry_answer(arm: Any, start_node: Callable[..., Any]) -> None:
    start_node()
    arm.wait(lambda: arm.state() == "running", "running")
    assert trigger(arm, "reset").success
    arm.wait_for_new(arm.trajectories, "trajectories after a reset")
    assert trigger(arm, "retry").success
    arm.wait(lambda: any(status["state"] == "retreating" for status in arm.statuses), "a retreat")


def test_lifecycle_by_service(arm: Any, start_node: Callable[..., Any]) -> None:
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState, GetState

    def change(transition: int) -> bool:
        request = ChangeState.Request()
        request.transition.id = transition
        return bool(arm.call(ChangeState, "/ebt_policy/change_state", request).success)

    def state() -> str:
        return str(arm.call(GetState, "/ebt_policy/get_state", GetState.Request()).current_state.label)

    start_node(autostart=False)
    assert state() == "unconfigured"
    assert change(Transition.TRANSITION_CONFIGURE)
    assert not enable(arm, True).success
    assert change(Transition.TRANSITION_ACTIVATE)
    arm.wait(lambda: arm.state() == "running", "running")
    number = len(arm.trajectories)
    assert change(Transition.TRANSITION_DEACTIVATE)
    assert state() == "inactive"
    arm.wait(lambda: len(arm.trajectories) > number, "the hold")
    arm.wait(lambda: arm.state() == "holding", "holding")
    assert change(Transition.TRANSITION_ACTIVATE)
    arm.wait(lambda: arm.state() == "running", "running again")
    assert change(Transition.TRANSITION_DEACTIVATE)
    assert change(Transition.TRANSITION_CLEANUP)
    assert state() == "unconfigured"
    assert arm.violations() == []


def test_a_bad_model_stays_unconfigured_and_can_be_corrected(
    arm: Any, start_node: Callable[..., Any], bundle_dir: Path
) -> None:
    from rclpy.lifecycle import TransitionCallbackReturn
    from rclpy.parameter import Parameter

    node = start_node(autostart=False, model="no_such_model")
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert node.set_parameters([Parameter("model", value=str(bundle_dir))])[0].successful
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("observe.max_stamp_age_s", float("nan"), "observe.max_stamp_age_s"),
        ("retry.release", "perhaps", "when_empty"),
        ("minimise.steps", -1, "minimise.steps"),
        ("schedule.max_deviation_rad", 0.0, "more than 0"),
        ("model", "", "model"),
    ],
)
def test_a_bad_parameter_is_refused_by_name(
    start_node: Callable[..., Any], name: str, value: object, reason: str
) -> None:
    from rclpy.parameter import Parameter

    node = start_node(autostart=False)
    result = node.set_parameters([Parameter(name, value=value)])[0]
    assert not result.successful
    assert reason in result.reason


def test_parameters_of_a_configured_node_say_when_they_take_effect(start_node: Callable[..., Any]) -> None:
    from rclpy.parameter import Parameter

    node = start_node(autostart=False)
    assert node.set_parameters([Parameter("minimise.steps", value=3)])[0].successful
    node.trigger_configure()
    result = node.set_parameters([Parameter("minimise.steps", value=4)])[0]
    assert not result.successful
    assert "configure" in result.reason
