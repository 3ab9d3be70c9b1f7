from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Good(_message.Message):
    __slots__ = ("name", "origin")
    class Origin(_message.Message):
        __slots__ = ("country",)
        COUNTRY_FIELD_NUMBER: _ClassVar[int]
        country: str
        def __init__(self, country: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    name: str
    origin: Good.Origin
    def __init__(self, name: _Optional[str] = ..., origin: _Optional[_Union[Good.Origin, _Mapping[str, object]]] = ...) -> None: ...
