"""What a test needs of its machine, and what is said where that is missing.

Somebody's own machine may lack a tool: the test is skipped, and the reason says what to install.
Where $CI or $SHIPPER_TEST_REQUIRE is set, as `.ci/run` does, nothing may be missing: there the test
fails, so that no part of the suite is ever left out without anybody's notice.
"""

import os
import shutil
from typing import NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """End the test: something that it needs isn't here."""
    if os.environ.get("CI") or os.environ.get("SHIPPER_TEST_REQUIRE"):
        pytest.fail(f"{reason}; .ci/install-runtimes installs what is needed on Debian")
    pytest.skip(reason)


def program(name: str, package: str | None = None) -> str:
    """Return where a program is; `package` is Debian's that has it."""
    return shutil.which(name) or missing(f"{name} is missing: apt-get install {package or name}")


def root() -> None:
    """Go on only as root."""
    if os.geteuid() != 0:
        missing("only root may do this")
