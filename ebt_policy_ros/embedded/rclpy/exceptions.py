"""Exceptions under rclpy's names, with rclpy's constructor arguments."""

from __future__ import annotations

from typing import Any

from ebt_policy_ros.embedded.unsupported import module_getattr


class RCLError(RuntimeError):
    """What rclpy's native layer raises; not a public name there, so catch RuntimeError in portable code."""


class InvalidHandle(RuntimeError):  # rclpy's name
    """An entity was used after it was destroyed."""


class NotInitializedException(Exception):
    """rclpy was used before rclpy.init() or after rclpy.shutdown()."""

    def __init__(self, *args: Any) -> None:
        super().__init__("rclpy.init() has not been called" + (f". msg:{args[0]}" if args and args[0] else "."))


class NoTypeSupportImportedException(Exception):
    """Something that is not a ROS interface class was given as one."""

    def __init__(self, *args: Any) -> None:
        super().__init__("no type_support imported", *args)


class NameValidationException(Exception):
    """A topic name, node name or namespace is invalid; shows where."""

    def __init__(self, name_type: str, name: str, error_msg: str, invalid_index: int, *args: Any) -> None:
        super().__init__(f"Invalid {name_type}: {error_msg}:\n  '{name}'\n   {' ' * invalid_index}^", *args)


class InvalidNamespaceException(NameValidationException):
    """A namespace is invalid."""

    def __init__(self, name: str, error_msg: str, invalid_index: int, *args: Any) -> None:
        super().__init__("namespace", name, error_msg, invalid_index, *args)


class InvalidNodeNameException(NameValidationException):
    """A node name is invalid."""

    def __init__(self, name: str, error_msg: str, invalid_index: int, *args: Any) -> None:
        super().__init__("node name", name, error_msg, invalid_index, *args)


class InvalidTopicNameException(NameValidationException):
    """A topic name is invalid."""

    def __init__(self, name: str, error_msg: str, invalid_index: int, *args: Any) -> None:
        super().__init__("topic name", name, error_msg, invalid_index, *args)


class InvalidServiceNameException(NameValidationException):
    """A service name is invalid."""

    def __init__(self, name: str, error_msg: str, invalid_index: int, *args: Any) -> None:
        super().__init__("service name", name, error_msg, invalid_index, *args)


class ParameterException(Exception):
    """Base of parameter errors; the message ends in the names concerned."""

    def __init__(self, error_msg: str, parameters: Any, *args: Any) -> None:
        super().__init__(f"{error_msg}: {parameters}", *args)


class ParameterNotDeclaredException(ParameterException):
    """An undeclared parameter was used."""

    def __init__(self, parameters: Any, *args: Any) -> None:
        super().__init__("Invalid access to undeclared parameter(s)", parameters, *args)


class ParameterAlreadyDeclaredException(ParameterException):
    """A parameter was declared twice."""

    def __init__(self, parameters: Any, *args: Any) -> None:
        super().__init__("Parameter(s) already declared", parameters, *args)


class InvalidParameterException(ParameterException):
    """A parameter's name is invalid."""

    def __init__(self, parameter: str, *args: Any) -> None:
        super().__init__("Invalid parameter name", parameter, *args)


class InvalidParameterTypeException(ParameterException):
    """A parameter was given a value of another type than it was declared with."""

    def __init__(self, desired_parameter: Any, expected_type: Any, *args: Any) -> None:
        super().__init__(
            f"Trying to set parameter '{desired_parameter.name}' to '{desired_parameter.value}' of type "
            f"'{desired_parameter.type_.name}', expecting type '{expected_type}'",
            desired_parameter.name,
            *args,
        )


class InvalidParameterValueException(ParameterException):
    """A value was refused by the descriptor or a callback; the message gives the reason."""

    def __init__(self, parameter: Any, value: Any, reason: str, *args: Any) -> None:
        super().__init__(f"Invalid parameter value ({value}) for parameter. Reason: {reason}", parameter, *args)


class ParameterImmutableException(ParameterException):
    """A read-only parameter was to be changed."""

    def __init__(self, parameter: Any, *args: Any) -> None:
        super().__init__("Attempted to modify read-only parameter", parameter, *args)


class ParameterUninitializedException(ParameterException):
    """A parameter that was declared by type only has no value yet."""

    def __init__(self, parameter_name: str, *args: Any) -> None:
        super().__init__(f"The parameter '{parameter_name}' is not initialized", parameter_name, *args)


class ROSInterruptException(Exception):
    """A wait was ended by a shutdown."""

    def __init__(self, *args: Any) -> None:
        super().__init__("rclpy.shutdown() has been called", *args)


__getattr__ = module_getattr(__name__)
