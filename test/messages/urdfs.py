"""URDF texts for tests, written as makers write them: meshes, transmissions and all that nobody here needs."""

from __future__ import annotations

from collections.abc import Sequence

PI = "1.5707963267948966"
MESH = '<visual><geometry><mesh filename="package://nowhere/meshes/{0}.dae"/></geometry></visual>'


def joint(name: str, kind: str, parent: str, child: str, xyz: str = "0 0 0", rpy: str = "0 0 0", more: str = "") -> str:
    """One joint; ``more`` are further elements, such as an axis. What moves gets a limit as URDF demands it."""
    limit = '<limit lower="-2" upper="2" effort="1" velocity="1"/>' if kind in ("revolute", "prismatic") else ""
    return (
        f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>'
        f'<origin xyz="{xyz}" rpy="{rpy}"/>{limit}{more}</joint>'
    )


def urdf(links: Sequence[str], joints: Sequence[str], more: str = "") -> str:
    """A robot."""
    bodies = "".join(f'<link name="{link}">{MESH.format(link)}</link>' for link in links)
    return f'<?xml version="1.0"?><robot name="robot">{bodies}{"".join(joints)}{more}</robot>'


def panda_urdf(prefix: str = "panda_", pedestal: str = "pedestal") -> str:
    """The Panda with its hand (franka_description), 0.5 m up on a link that has no part in its own kinematics."""
    z = '<axis xyz="0 0 1"/>'
    origins = [
        ("0 0 0.333", "0 0 0"),
        ("0 0 0", f"-{PI} 0 0"),
        ("0 -0.316 0", f"{PI} 0 0"),
        ("0.0825 0 0", f"{PI} 0 0"),
        ("-0.0825 0.384 0", f"-{PI} 0 0"),
        ("0 0 0", f"{PI} 0 0"),
        ("0.088 0 0", f"{PI} 0 0"),
    ]
    joints = [joint("stand", "fixed", pedestal, "panda_link0", "0 0 0.5")]
    joints += [
        joint(f"{prefix}joint{number}", "revolute", f"panda_link{number - 1}", f"panda_link{number}", xyz, rpy, z)
        for number, (xyz, rpy) in enumerate(origins, 1)
    ]
    follows = f'<mimic joint="{prefix}finger_joint1"/><axis xyz="0 -1 0"/>'
    joints += [
        joint("flange", "fixed", "panda_link7", "panda_link8", "0 0 0.107"),
        joint("mount", "fixed", "panda_link8", "panda_hand", "0 0 0", "0 0 -0.7853981633974483"),
        joint(
            f"{prefix}finger_joint1", "prismatic", "panda_hand", "panda_leftfinger", "0 0 0.0584",
            more='<axis xyz="0 1 0"/>',
        ),
        joint(f"{prefix}finger_joint2", "prismatic", "panda_hand", "panda_rightfinger", "0 0 0.0584", more=follows),
        joint("tcp", "fixed", "panda_hand", "panda_hand_tcp", "0 0 0.1034"),
    ]  # fmt: skip
    links = [pedestal, *(f"panda_link{number}" for number in range(9))]
    links += ["panda_hand", "panda_leftfinger", "panda_rightfinger", "panda_hand_tcp"]
    control = '<ros2_control name="x" type="system"><joint name="panda_joint1"/></ros2_control><transmission name="t"/>'
    return urdf(links, joints, control)
