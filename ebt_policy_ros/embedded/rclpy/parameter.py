"""Parameters: name, type and value."""

from __future__ import annotations

import array
from enum import Enum
from typing import Any

from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterType, ParameterValue

from ebt_policy_ros.embedded.unsupported import module_getattr

PARAMETER_SEPARATOR_STRING = "."

_FIELDS = {
    1: "bool_value",
    2: "integer_value",
    3: "double_value",
    4: "string_value",
    5: "byte_array_value",
    6: "bool_array_value",
    7: "integer_array_value",
    8: "double_array_value",
    9: "string_array_value",
}
_SCALARS: dict[int, type] = {1: bool, 2: int, 3: float, 4: str}
_ELEMENTS: dict[int, type] = {5: bytes, 6: bool, 7: int, 8: float, 9: str}


class Parameter:
    """One parameter; ValueError when type and value disagree, TypeError when no type fits the value."""

    class Type(Enum):
        """Types by the numbers of rcl_interfaces/msg/ParameterType."""

        NOT_SET = ParameterType.PARAMETER_NOT_SET
        BOOL = ParameterType.PARAMETER_BOOL
        INTEGER = ParameterType.PARAMETER_INTEGER
        DOUBLE = ParameterType.PARAMETER_DOUBLE
        STRING = ParameterType.PARAMETER_STRING
        BYTE_ARRAY = ParameterType.PARAMETER_BYTE_ARRAY
        BOOL_ARRAY = ParameterType.PARAMETER_BOOL_ARRAY
        INTEGER_ARRAY = ParameterType.PARAMETER_INTEGER_ARRAY
        DOUBLE_ARRAY = ParameterType.PARAMETER_DOUBLE_ARRAY
        STRING_ARRAY = ParameterType.PARAMETER_STRING_ARRAY

        @classmethod
        def from_parameter_value(cls, parameter_value: Any) -> Parameter.Type:
            """Type of a Python value; an empty list is a BYTE_ARRAY, as in rclpy."""
            if parameter_value is None:
                return cls.NOT_SET
            for number, kind in _SCALARS.items():
                if isinstance(parameter_value, kind):
                    return cls(number)
            if isinstance(parameter_value, (list, tuple, array.array)):
                for number, kind in _ELEMENTS.items():
                    if all(isinstance(value, kind) for value in parameter_value):
                        return cls(number)
                raise TypeError(f"The given value is not a list of one of the allowed types '{parameter_value}'.")
            raise TypeError(f"The given value is not one of the allowed types '{parameter_value}'.")

        def check(self, parameter_value: Any) -> bool:
            if self is Parameter.Type.NOT_SET:
                return parameter_value is None
            if self.value in _SCALARS:
                return isinstance(parameter_value, _SCALARS[self.value])
            numeric = self in (Parameter.Type.INTEGER_ARRAY, Parameter.Type.DOUBLE_ARRAY)
            if not isinstance(parameter_value, (list, tuple, array.array) if numeric else (list, tuple)):
                return False
            return all(isinstance(value, _ELEMENTS[self.value]) for value in parameter_value)

    @classmethod
    def from_parameter_msg(cls, param_msg: Any) -> Parameter:
        type_ = Parameter.Type(param_msg.value.type)
        value = None if type_ is Parameter.Type.NOT_SET else getattr(param_msg.value, _FIELDS[type_.value])
        return cls(param_msg.name, type_, value)

    def __init__(self, name: str, type_: Parameter.Type | None = None, value: Any = None) -> None:
        if type_ is None:
            type_ = Parameter.Type.from_parameter_value(value)
        if not isinstance(type_, Parameter.Type):
            raise TypeError(f"type must be an instance of '{Parameter.Type!r}'")
        if not type_.check(value):
            raise ValueError(f"Type '{type_}' and value '{value}' do not agree")
        self._type_ = type_
        self._name = name
        self._value = value

    @property
    def name(self) -> str:
        return self._name

    @property
    def type_(self) -> Parameter.Type:
        return self._type_

    @property
    def value(self) -> Any:
        return self._value

    def get_parameter_value(self) -> Any:
        message = ParameterValue(type=self._type_.value)
        if self._type_ is not Parameter.Type.NOT_SET:
            setattr(message, _FIELDS[self._type_.value], self._value)
        return message

    def to_parameter_msg(self) -> Any:
        return ParameterMessage(name=self._name, value=self.get_parameter_value())


def parameter_value_to_python(parameter_value: Any) -> Any:
    """The Python value in a ParameterValue; None when it is not set."""
    if parameter_value.type == ParameterType.PARAMETER_NOT_SET:
        return None
    if parameter_value.type not in _FIELDS:
        raise RuntimeError(f"unexpected parameter type {parameter_value.type}")
    value = getattr(parameter_value, _FIELDS[parameter_value.type])
    return value if parameter_value.type in _SCALARS else list(value)


__getattr__ = module_getattr(__name__)
