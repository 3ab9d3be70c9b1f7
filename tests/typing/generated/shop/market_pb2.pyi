from dbgrains import grain_options_pb2 as _grain_options_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf import wrappers_pb2 as _wrappers_pb2
from . import goods_pb2 as _goods_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Offer(_message.Message):
    __slots__ = ("good", "price")
    GOOD_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    good: _goods_pb2.Good
    price: int
    def __init__(self, good: _Optional[_Union[_goods_pb2.Good, _Mapping[str, object]]] = ..., price: _Optional[int] = ...) -> None: ...
