"""A simulated arm behind the node's own types: robosuite tasks, scripted experts, demonstrations, a joint controller.

Needs the ``sim`` extra (robosuite, mujoco). Nothing here is imported by the node or by core.
"""
