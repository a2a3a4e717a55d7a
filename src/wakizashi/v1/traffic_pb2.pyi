from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Direction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DIRECTION_UNSPECIFIED: _ClassVar[Direction]
    DIRECTION_OUT: _ClassVar[Direction]
    DIRECTION_IN: _ClassVar[Direction]
    DIRECTION_LOCAL: _ClassVar[Direction]
    DIRECTION_TRANSIT: _ClassVar[Direction]

class WindowStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WINDOW_STATUS_UNSPECIFIED: _ClassVar[WindowStatus]
    WINDOW_STATUS_STORED: _ClassVar[WindowStatus]
    WINDOW_STATUS_RETRY: _ClassVar[WindowStatus]
    WINDOW_STATUS_REJECTED: _ClassVar[WindowStatus]
DIRECTION_UNSPECIFIED: Direction
DIRECTION_OUT: Direction
DIRECTION_IN: Direction
DIRECTION_LOCAL: Direction
DIRECTION_TRANSIT: Direction
WINDOW_STATUS_UNSPECIFIED: WindowStatus
WINDOW_STATUS_STORED: WindowStatus
WINDOW_STATUS_RETRY: WindowStatus
WINDOW_STATUS_REJECTED: WindowStatus

class WindowChunk(_message.Message):
    __slots__ = ("probe", "start_unix_ms", "end_unix_ms", "number", "chunk_index", "chunk_count", "tags", "devices", "records", "windows")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROBE_FIELD_NUMBER: _ClassVar[int]
    START_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    END_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_INDEX_FIELD_NUMBER: _ClassVar[int]
    CHUNK_COUNT_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    probe: str
    start_unix_ms: int
    end_unix_ms: int
    number: int
    chunk_index: int
    chunk_count: int
    tags: _containers.ScalarMap[str, str]
    devices: _containers.RepeatedCompositeFieldContainer[Device]
    records: _containers.RepeatedCompositeFieldContainer[RawTrafficRecord]
    windows: int
    def __init__(self, probe: _Optional[str] = ..., start_unix_ms: _Optional[int] = ..., end_unix_ms: _Optional[int] = ..., number: _Optional[int] = ..., chunk_index: _Optional[int] = ..., chunk_count: _Optional[int] = ..., tags: _Optional[_Mapping[str, str]] = ..., devices: _Optional[_Iterable[_Union[Device, _Mapping]]] = ..., records: _Optional[_Iterable[_Union[RawTrafficRecord, _Mapping]]] = ..., windows: _Optional[int] = ...) -> None: ...

class Device(_message.Message):
    __slots__ = ("name", "primary_address", "ledger")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PRIMARY_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    LEDGER_FIELD_NUMBER: _ClassVar[int]
    name: str
    primary_address: bytes
    ledger: Ledger
    def __init__(self, name: _Optional[str] = ..., primary_address: _Optional[bytes] = ..., ledger: _Optional[_Union[Ledger, _Mapping]] = ...) -> None: ...

class Ledger(_message.Message):
    __slots__ = ("device", "counted", "own", "non_ip", "dropped", "other", "lost")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    COUNTED_FIELD_NUMBER: _ClassVar[int]
    OWN_FIELD_NUMBER: _ClassVar[int]
    NON_IP_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    OTHER_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    device: Tally
    counted: Tally
    own: Tally
    non_ip: Tally
    dropped: Tally
    other: Tally
    lost: Tally
    def __init__(self, device: _Optional[_Union[Tally, _Mapping]] = ..., counted: _Optional[_Union[Tally, _Mapping]] = ..., own: _Optional[_Union[Tally, _Mapping]] = ..., non_ip: _Optional[_Union[Tally, _Mapping]] = ..., dropped: _Optional[_Union[Tally, _Mapping]] = ..., other: _Optional[_Union[Tally, _Mapping]] = ..., lost: _Optional[_Union[Tally, _Mapping]] = ...) -> None: ...

class Tally(_message.Message):
    __slots__ = ("packets", "bytes")
    PACKETS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    packets: int
    bytes: int
    def __init__(self, packets: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class RawTrafficRecord(_message.Message):
    __slots__ = ("device", "direction", "source", "destination", "size", "packets")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    PACKETS_FIELD_NUMBER: _ClassVar[int]
    device: int
    direction: Direction
    source: bytes
    destination: bytes
    size: int
    packets: int
    def __init__(self, device: _Optional[int] = ..., direction: _Optional[_Union[Direction, str]] = ..., source: _Optional[bytes] = ..., destination: _Optional[bytes] = ..., size: _Optional[int] = ..., packets: _Optional[int] = ...) -> None: ...

class WindowAck(_message.Message):
    __slots__ = ("probe", "start_unix_ms", "status", "reason", "retry_delay_ms")
    PROBE_FIELD_NUMBER: _ClassVar[int]
    START_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RETRY_DELAY_MS_FIELD_NUMBER: _ClassVar[int]
    probe: str
    start_unix_ms: int
    status: WindowStatus
    reason: str
    retry_delay_ms: int
    def __init__(self, probe: _Optional[str] = ..., start_unix_ms: _Optional[int] = ..., status: _Optional[_Union[WindowStatus, str]] = ..., reason: _Optional[str] = ..., retry_delay_ms: _Optional[int] = ...) -> None: ...
