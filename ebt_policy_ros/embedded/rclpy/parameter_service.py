"""The six parameter services of a node."""

from __future__ import annotations

import weakref
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)

from ebt_policy_ros.embedded.unsupported import module_getattr

from .exceptions import ParameterNotDeclaredException, ParameterUninitializedException
from .parameter import Parameter
from .qos import qos_profile_parameters


class ParameterService:
    """Answers `ros2 param`; refusals come back as results with a reason."""

    def __init__(self, node: Any) -> None:
        self._node_reference = weakref.ref(node)
        for kind, name, callback in (
            (DescribeParameters, "describe_parameters", self._describe),
            (GetParameters, "get_parameters", self._get),
            (GetParameterTypes, "get_parameter_types", self._get_types),
            (ListParameters, "list_parameters", self._list),
            (SetParameters, "set_parameters", self._set),
            (SetParametersAtomically, "set_parameters_atomically", self._set_atomically),
        ):
            node.create_service(kind, f"{node.get_name()}/{name}", callback, qos_profile=qos_profile_parameters)

    @property
    def _node(self) -> Any:
        node = self._node_reference()
        if node is None:
            raise ReferenceError("Expected valid node weak reference")
        return node

    def _describe(self, request: Any, response: Any) -> Any:
        try:
            response.descriptors = [self._node.describe_parameter(name) for name in request.names]
        except ParameterNotDeclaredException:
            response.descriptors = []
        return response

    def _get(self, request: Any, response: Any) -> Any:
        try:
            response.values = [self._node.get_parameter(name).get_parameter_value() for name in request.names]
        except (ParameterNotDeclaredException, ParameterUninitializedException):
            response.values = []
        return response

    def _get_types(self, request: Any, response: Any) -> Any:
        try:
            response.types = [self._node._rcl_type_number(name) for name in request.names]
        except ParameterNotDeclaredException:
            response.types = []
        return response

    def _list(self, request: Any, response: Any) -> Any:
        response.result = self._node.list_parameters(list(request.prefixes), request.depth)
        return response

    def _set(self, request: Any, response: Any) -> Any:
        response.results = [self._apply([item]) for item in request.parameters]
        return response

    def _set_atomically(self, request: Any, response: Any) -> Any:
        response.result = self._apply(request.parameters)
        return response

    def _apply(self, items: Any) -> Any:
        try:
            return self._node.set_parameters_atomically([Parameter.from_parameter_msg(item) for item in items])
        except ParameterNotDeclaredException as error:
            return SetParametersResult(successful=False, reason=str(error))


__getattr__ = module_getattr(__name__)
