"""Errors of this package: every one says what was expected, what came and what to do next."""


class EbtPolicyError(Exception):
    """Base of every error this package raises on purpose."""


class ShapeError(EbtPolicyError, ValueError):
    """An array had the wrong shape, dtype or a non-finite value; the message names the field and both shapes."""


class SettingsError(EbtPolicyError, ValueError):
    """A setting is unknown, missing or out of range; the message names it, its value and what is allowed."""


class BundleError(EbtPolicyError):
    """A policy bundle is incomplete, altered, or does not fit the robot; the message names the file or the joint."""


class MessageError(EbtPolicyError, ValueError):
    """A ROS message cannot be read (encoding, step, sizes, names); the message names topic-independent evidence."""


class SafetyError(EbtPolicyError):
    """No safe command can be made from this input; carries the limit that refused it."""


class UnsupportedError(EbtPolicyError):
    """The embedded rclpy subset, a runtime or a launch file was asked for something it does not do; names it."""


class DatasetError(EbtPolicyError):
    """Demonstrations are missing, incomplete or inconsistent; the message names file, episode and field or topic."""
