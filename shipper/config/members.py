"""What a section of the configuration can hold: values, sections, and tables with free names."""

import re
from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import cache
from types import MappingProxyType
from typing import Annotated, NamedTuple, TypeAlias, get_args, get_origin, get_type_hints

from shipper.config.types import ValueType


class Named(NamedTuple):
    """A table of tables: a section of this shape under each name."""

    shape: type


class Entries(NamedTuple):
    """A table of values of one type, under names that the operator chooses."""

    kind: ValueType
    names: re.Pattern[str]
    rule: str
    """What the names are made of, for a person."""


Member: TypeAlias = ValueType | Named | Entries | type


@cache  # reading annotations takes longer than the rest of a load
def members(shape: type) -> Mapping[str, Member]:
    """Return the members of a section: a type for a value, another class for a table."""
    found: dict[str, Member] = {}
    for name, hint in get_type_hints(shape, include_extras=True).items():
        if get_origin(hint) is Annotated:
            found[name] = get_args(hint)[1]
        elif isinstance(hint, type) and is_dataclass(hint):
            found[name] = hint
    return MappingProxyType(found)
