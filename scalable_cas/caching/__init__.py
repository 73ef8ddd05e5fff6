"""The decorator and the argument types, under the import path of the tutorial."""

from __future__ import annotations

from scalable_cas.caching.decorator import cacheable
from scalable_cas.keys.registry import register_key
from scalable_cas.keys.wrappers import DirType, FileType, GenericType, ObjectType, UtilityType, ValueType

__all__ = [
    "DirType",
    "FileType",
    "GenericType",
    "ObjectType",
    "UtilityType",
    "ValueType",
    "cacheable",
    "register_key",
]
