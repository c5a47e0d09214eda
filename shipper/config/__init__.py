"""The configuration: one TOML file and the environment become one frozen `Settings`.

It decides which values a setting can have, and which of two values wins. It reports all mistakes at
once, each with its origin. It must never show a secret.
"""

from shipper.config.loader import find, load
from shipper.config.secret import Secret, masked
from shipper.config.settings import (
    AlertSettings,
    DaemonSettings,
    DatabaseSettings,
    DestinationSettings,
    LogSettings,
    RetentionSettings,
    RetrySettings,
    ScheduleSettings,
    Settings,
    ValidationSettings,
    WebSettings,
)
from shipper.config.show import show

__all__ = [
    "AlertSettings",
    "DaemonSettings",
    "DatabaseSettings",
    "DestinationSettings",
    "LogSettings",
    "RetentionSettings",
    "RetrySettings",
    "ScheduleSettings",
    "Secret",
    "Settings",
    "ValidationSettings",
    "WebSettings",
    "find",
    "load",
    "masked",
    "show",
]
