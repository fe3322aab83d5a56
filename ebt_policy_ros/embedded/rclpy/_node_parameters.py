"""The parameter side of a node: declaration, overrides, checks, callbacks, events."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import (
    ListParametersResult,
    ParameterDescriptor,
    ParameterEvent,
    ParameterValue,
    SetParametersResult,
)

from ._parameter_ranges import double_problem, integer_problem
from .exceptions import (
    InvalidParameterException,
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterAlreadyDeclaredException,
    ParameterImmutableException,
    ParameterNotDeclaredException,
    ParameterUninitializedException,
)
from .parameter import PARAMETER_SEPARATOR_STRING, Parameter, parameter_value_to_python

_OK = {"successful": True}


def _refused(reason: str) -> Any:
    return SetParametersResult(successful=False, reason=reason)


class NodeParameters:
    """Mixin of Node; same rules, names and errors as rclpy's."""

    PARAM_REL_TOL = 1e-6

    def _rcl_init_parameters(self, overrides: dict[str, Parameter], allow_undeclared: bool) -> None:
        self._parameters: dict[str, Parameter] = {}
        self._descriptors: dict[str, Any] = {}
        self._parameter_overrides = overrides
        self._allow_undeclared_parameters = allow_undeclared
        self._pre_set_parameters_callbacks: list[Callable[[list[Parameter]], list[Parameter]]] = []
        self._on_set_parameters_callbacks: list[Callable[[list[Parameter]], Any]] = []
        self._post_set_parameters_callbacks: list[Callable[[list[Parameter]], None]] = []

    def declare_parameter(
        self, name: str, value: Any = None, descriptor: Any = None, ignore_override: bool = False
    ) -> Parameter:
        if value is None and descriptor is None:
            return self.declare_parameters("", [(name,)], ignore_override)[0]
        given = ParameterDescriptor() if descriptor is None else descriptor
        return self.declare_parameters("", [(name, value, given)], ignore_override)[0]

    def declare_parameters(self, namespace: str, parameters: Any, ignore_override: bool = False) -> list[Parameter]:
        """Declares (name[, value or type[, descriptor]]) tuples; values of overrides come first."""
        declared: list[Parameter] = []
        descriptors: dict[str, Any] = {}
        for index, entry in enumerate(parameters):
            parameter, descriptor = self._rcl_read_declaration(namespace, index, entry, ignore_override)
            declared.append(parameter)
            descriptors[parameter.name] = descriptor
        known = [parameter.name for parameter in declared if parameter.name in self._parameters]
        if known:
            raise ParameterAlreadyDeclaredException(known)
        for parameter in declared:
            self._rcl_declare(parameter, descriptors)
        return [self._parameters[parameter.name] for parameter in declared]

    def _rcl_declare(self, parameter: Parameter, descriptors: dict[str, Any]) -> None:
        result = self._rcl_set_atomically([parameter], descriptors, allow_not_set_type=True)
        if result.successful:
            return
        if result.reason.startswith("Wrong parameter type"):
            expected = Parameter.Type(descriptors[parameter.name].type).name
            raise InvalidParameterTypeException(parameter, expected)
        raise InvalidParameterValueException(parameter.name, parameter.value, result.reason)

    def _rcl_read_declaration(
        self, namespace: str, index: int, entry: Any, ignore_override: bool
    ) -> tuple[Parameter, Any]:
        if not 1 <= len(entry) <= 3:
            raise TypeError(
                f"Invalid parameter tuple length at index {index} in parameters list: {entry}; "
                "expecting length between 1 and 3"
            )
        name = entry[0]
        if not isinstance(name, str):
            raise TypeError(f"First element {name} at index {index} in parameters list is not a str.")
        name = f"{namespace}.{name}" if namespace else name
        if not name:
            raise InvalidParameterException(name)
        second = entry[1] if len(entry) > 1 else None
        descriptor = entry[2] if len(entry) > 2 else ParameterDescriptor()
        if not isinstance(descriptor, ParameterDescriptor):
            raise TypeError(
                f"Third element {descriptor} at index {index} in parameters list is not a ParameterDescriptor."
            )
        if len(entry) == 1:
            warnings.warn(
                f"declaring parameter '{name}' by its name only is deprecated: give a default value or a type",
                stacklevel=4,
            )
            descriptor.dynamic_typing = True
        value = self._rcl_typed_default(name, second, descriptor)
        if not ignore_override and name in self._parameter_overrides:
            value = self._parameter_overrides[name].value
        return Parameter(name, value=value), descriptor

    def _rcl_typed_default(self, name: str, second: Any, descriptor: Any) -> Any:
        """Writes the declared type into the descriptor; the default value, None when only a type was given."""
        if isinstance(second, Parameter.Type):
            if second is Parameter.Type.NOT_SET:
                raise ValueError(f"Cannot declare parameter {{{name}}} as statically typed of type NOT_SET")
            if descriptor.dynamic_typing:
                raise ValueError(
                    f"When declaring parameter {{{name}}} passing a descriptor with `dynamic_typing=True` is not "
                    "allowed when the parameter type is provided"
                )
            descriptor.type = second.value
            return None
        value = parameter_value_to_python(second) if isinstance(second, ParameterValue) else second
        if not descriptor.dynamic_typing:
            descriptor.type = Parameter.Type.from_parameter_value(value).value
            if value is None:
                raise ValueError(
                    "Cannot declare a statically typed parameter with default value of type PARAMETER_NOT_SET"
                )
        return value

    def undeclare_parameter(self, name: str) -> None:
        if not self.has_parameter(name):
            raise ParameterNotDeclaredException(name)
        if self._descriptors[name].read_only:
            raise ParameterImmutableException(name)
        del self._parameters[name], self._descriptors[name]

    def has_parameter(self, name: str) -> bool:
        return name in self._parameters

    def _rcl_type_number(self, name: str) -> int:
        if name not in self._parameters and not self._allow_undeclared_parameters:
            raise ParameterNotDeclaredException(name)
        return int(self._parameters[name].type_.value) if name in self._parameters else 0

    def get_parameter_type(self, name: str) -> Any:
        if not self.has_parameter(name) and self._allow_undeclared_parameters:
            return Parameter.Type.NOT_SET
        return self._rcl_type_number(name)

    def get_parameter_types(self, names: list[str]) -> list[Any]:
        return [self.get_parameter_type(name) for name in _strings(names)]

    def get_parameters(self, names: list[str]) -> list[Parameter]:
        return [self.get_parameter(name) for name in _strings(names)]

    def get_parameter(self, name: str) -> Parameter:
        if self.has_parameter(name):
            parameter = self._parameters[name]
            if parameter.type_ is Parameter.Type.NOT_SET and not self._descriptors[name].dynamic_typing:
                raise ParameterUninitializedException(name)
            return parameter
        if self._allow_undeclared_parameters:
            return Parameter(name, Parameter.Type.NOT_SET, None)
        raise ParameterNotDeclaredException(name)

    def get_parameter_or(self, name: str, alternative_value: Parameter | None = None) -> Parameter:
        if self.has_parameter(name) and self._parameters[name].type_ is not Parameter.Type.NOT_SET:
            return self._parameters[name]
        return Parameter(name, Parameter.Type.NOT_SET) if alternative_value is None else alternative_value

    def get_parameters_by_prefix(self, prefix: str) -> dict[str, Parameter]:
        start = f"{prefix}." if prefix else ""
        return {name[len(start) :]: item for name, item in self._parameters.items() if name.startswith(start)}

    def set_parameters(self, parameter_list: list[Parameter]) -> list[Any]:
        return [self.set_parameters_atomically([parameter]) for parameter in parameter_list]

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> Any:
        if self._pre_set_parameters_callbacks:
            # Each callback gets the list as it was asked for; what they return is set together.
            parameter_list = [
                item for callback in self._pre_set_parameters_callbacks for item in callback(parameter_list)
            ]
            if not parameter_list:
                return _refused("parameter list cannot be empty: a pre_set_parameters_callback may have emptied it")
        self._rcl_check_declared(parameter_list)
        return self._rcl_set_or_create(parameter_list)

    def _rcl_set_or_create(self, parameters: list[Parameter]) -> Any:
        new = {}
        if self._allow_undeclared_parameters:
            for parameter in parameters:
                if parameter.name not in self._parameters:
                    new[parameter.name] = ParameterDescriptor(dynamic_typing=True)
        return self._rcl_set_atomically(parameters, {**self._descriptors, **new}, is_declared=True)

    def _rcl_check_declared(self, parameters: list[Parameter]) -> None:
        if not all(isinstance(parameter, Parameter) for parameter in parameters):
            raise TypeError(f"parameter must be instance of type '{Parameter!r}'")
        missing = [parameter.name for parameter in parameters if parameter.name not in self._parameters]
        if missing and not self._allow_undeclared_parameters:
            raise ParameterNotDeclaredException(missing)

    def _rcl_set_atomically(
        self,
        parameters: list[Parameter],
        descriptors: dict[str, Any],
        allow_not_set_type: bool = False,
        is_declared: bool = False,
    ) -> Any:
        for parameter in parameters:
            result = self._rcl_check(parameter, descriptors[parameter.name], check_read_only=is_declared)
            if not result.successful:
                return result
        for callback in self._on_set_parameters_callbacks:
            result = callback(parameters)
            if not isinstance(result, SetParametersResult):
                warnings.warn(
                    f"on-set callback {callback} must return SetParametersResult, got {result!r}", stacklevel=2
                )
                return _refused(f"Callback returned an invalid type: {type(result)}")
            if not result.successful:
                return result
        event = ParameterEvent(node=self._rcl_full_name())
        for parameter in parameters:
            self._rcl_store(parameter, descriptors[parameter.name], allow_not_set_type, event)
        event.stamp = self._rcl_event_stamp()
        self._rcl_publish_parameter_event(event)
        for tell in self._post_set_parameters_callbacks:
            tell(parameters)
        return SetParametersResult(**_OK)

    def _rcl_store(self, parameter: Parameter, descriptor: Any, allow_not_set: bool, event: Any) -> None:
        name, is_set = parameter.name, parameter.type_ is not Parameter.Type.NOT_SET
        if not is_set and not allow_not_set:
            event.deleted_parameters.append(parameter.to_parameter_msg())
            self._parameters.pop(name, None)
            self._descriptors.pop(name, None)
            return
        had_value = name in self._parameters and self._parameters[name].type_ is not Parameter.Type.NOT_SET
        changes = event.changed_parameters if had_value else event.new_parameters
        changes.append(parameter.to_parameter_msg())
        descriptor.name = name
        self._parameters[name] = parameter
        self._descriptors[name] = descriptor

    def add_on_set_parameters_callback(self, callback: Callable[[list[Parameter]], Any]) -> None:
        self._on_set_parameters_callbacks.insert(0, callback)

    def remove_on_set_parameters_callback(self, callback: Callable[[list[Parameter]], Any]) -> None:
        self._on_set_parameters_callbacks.remove(callback)

    def add_pre_set_parameters_callback(self, callback: Callable[[list[Parameter]], list[Parameter]]) -> None:
        """`callback` gets the parameters that are to be set and returns those that are set instead."""
        self._pre_set_parameters_callbacks.insert(0, callback)

    def remove_pre_set_parameters_callback(self, callback: Callable[[list[Parameter]], list[Parameter]]) -> None:
        self._pre_set_parameters_callbacks.remove(callback)

    def add_post_set_parameters_callback(self, callback: Callable[[list[Parameter]], None]) -> None:
        """`callback` gets the parameters that have been set."""
        self._post_set_parameters_callbacks.insert(0, callback)

    def remove_post_set_parameters_callback(self, callback: Callable[[list[Parameter]], None]) -> None:
        self._post_set_parameters_callbacks.remove(callback)

    def list_parameters(self, prefixes: list[str], depth: int) -> Any:
        """Names that begin with one of `prefixes` (all when there is none) and the groups they are in.

        `depth` is how many levels below a prefix count; 0 for any number.
        """
        if not isinstance(depth, int) or not isinstance(prefixes, list):
            raise TypeError(f"expected a list of prefixes and a depth, got {prefixes!r} and {depth!r}")
        _strings(prefixes)
        if depth < 0:
            raise ValueError("The depth must be greater than or equal to zero")
        found = [name for name in self._parameters if _is_listed(name, prefixes, depth)]
        groups = dict.fromkeys(group for name in found if (group := name.rpartition(PARAMETER_SEPARATOR_STRING)[0]))
        return ListParametersResult(names=found, prefixes=list(groups))

    def describe_parameter(self, name: str) -> Any:
        if name in self._descriptors:
            return self._descriptors[name]
        if self._allow_undeclared_parameters:
            return ParameterDescriptor()
        raise ParameterNotDeclaredException(name)

    def describe_parameters(self, names: list[str]) -> list[Any]:
        return [self.describe_parameter(name) for name in names]

    def set_descriptor(self, name: str, descriptor: Any, alternative_value: Any = None) -> Any:
        if not self.has_parameter(name):
            if not self._allow_undeclared_parameters:
                raise ParameterNotDeclaredException(name)
            return self.get_parameter(name).get_parameter_value()
        if self._descriptors[name].read_only:
            raise ParameterImmutableException(name)
        current = self._parameters[name]
        if alternative_value is not None:
            value = Parameter(name, value=parameter_value_to_python(alternative_value))
        else:
            value = current
        result = self._rcl_set_atomically([value], {name: descriptor})
        if not result.successful:
            raise InvalidParameterValueException(name, value.value, result.reason)
        return self._parameters[name].get_parameter_value()

    def _rcl_check(self, parameter: Parameter, descriptor: Any, check_read_only: bool) -> Any:
        """Read-only flag, type and range."""
        name = parameter.name
        if check_read_only and descriptor.read_only:
            return _refused(f"Trying to set a read-only parameter: {name}.")
        if descriptor.dynamic_typing:
            descriptor.type = parameter.type_.value
        elif self.has_parameter(name) and parameter.type_ is Parameter.Type.NOT_SET:
            return _refused("Static parameter cannot be undeclared")
        elif parameter.type_ is not Parameter.Type.NOT_SET and parameter.type_.value != descriptor.type:
            expected = Parameter.Type(descriptor.type)
            return _refused(f"Wrong parameter type, expected '{expected}' got '{parameter.type_}'")
        if parameter.type_ is Parameter.Type.INTEGER and descriptor.integer_range:
            reason = integer_problem(parameter.name, parameter.value, descriptor.integer_range[0])
            return _refused(reason) if reason else SetParametersResult(**_OK)
        if parameter.type_ is Parameter.Type.DOUBLE and descriptor.floating_point_range:
            allowed = descriptor.floating_point_range[0]
            reason = double_problem(parameter.name, parameter.value, allowed, self.PARAM_REL_TOL)
            return _refused(reason) if reason else SetParametersResult(**_OK)
        return SetParametersResult(**_OK)

    def _rcl_full_name(self) -> str:
        raise NotImplementedError

    def _rcl_event_stamp(self) -> Any:
        raise NotImplementedError

    def _rcl_publish_parameter_event(self, event: Any) -> None:
        raise NotImplementedError


def _strings(names: list[str]) -> list[str]:
    if not all(isinstance(name, str) for name in names):
        raise TypeError("All names must be instances of type str")
    return names


def _is_listed(name: str, prefixes: list[str], depth: int) -> bool:
    def is_shallow(rest: str) -> bool:
        return depth == 0 or rest.count(PARAMETER_SEPARATOR_STRING) < depth

    if not prefixes:
        return is_shallow(name)
    return any(
        name == prefix
        or (name.startswith(f"{prefix}{PARAMETER_SEPARATOR_STRING}") and is_shallow(name[len(prefix) + 1 :]))
        for prefix in prefixes
    )
