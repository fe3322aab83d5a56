"""Where links are according to MuJoCo, in a process of its own: whoever imports it first chooses its OpenGL.

Standard input: {"robots": [{"urdf": ..., "links": [...], "positions": [{joint: position}, ...]}, ...]}, and for each of
them on standard output: (N, number of links, 3) positions in the world.
"""

import json
import sys

import mujoco

COMPILER = '<mujoco><compiler fusestatic="false" discardvisual="true" strippath="false"/></mujoco>'
BODY = '<inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial>'


def positions_of(robot):
    text = robot["urdf"].replace("</robot>", f"{COMPILER}</robot>").replace("</link>", f"{BODY}</link>")
    model = mujoco.MjModel.from_xml_string(text)
    state = mujoco.MjData(model)
    found = []
    for positions in robot["positions"]:
        for name, position in positions.items():
            state.joint(name).qpos[0] = position
        mujoco.mj_kinematics(model, state)
        found.append([state.body(link).xpos.tolist() for link in robot["links"]])
    return found


json.dump([positions_of(robot) for robot in json.load(sys.stdin)["robots"]], sys.stdout)
