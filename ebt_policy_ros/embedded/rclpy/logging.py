"""Loggers and severities under rclpy's names."""

from __future__ import annotations

from ebt_policy_ros.embedded import console
from ebt_policy_ros.embedded.console import LoggingSeverity, RcutilsLogger
from ebt_policy_ros.embedded.unsupported import module_getattr


def get_logger(name: str) -> RcutilsLogger:
    if not name:
        raise ValueError("Logger name must not be empty.")
    return RcutilsLogger(name)


def set_logger_level(name: str, level: int) -> None:
    console.set_level(name, LoggingSeverity(level))


def get_logger_effective_level(name: str) -> LoggingSeverity:
    return console.effective_level(name)


def get_logging_severity_from_string(log_severity: str) -> LoggingSeverity:
    try:
        return LoggingSeverity[log_severity.upper()]
    except KeyError:
        raise RuntimeError(f"Failed to get log severity from string '{log_severity}'") from None


__getattr__ = module_getattr(__name__)
