"""The configuration: one TOML file and the environment become one frozen `Settings`.

It decides what each setting may be and which word about it wins. It reports every fault at once,
with its place, and never shows a secret. What a window or a certificate means is others' matter.
"""

from shipper.config.loader import find, load
from shipper.config.secret import Secret, masked
from shipper.config.settings import (
    AlertSettings,
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
