"""``backendConfig.mongoConfig``: where the MongoDB is, who writes there, how long it keeps."""

import re
from typing import Annotated, Self
from urllib.parse import unquote

from pydantic import Field, SecretStr, field_validator, model_validator

from wakizashi.sections import PasswordSection

FOR_EVER_SECONDS = 2**31 - 1
"""The longest that a TTL index can have, 68 years; an index with it changes like any other."""

# https://www.mongodb.com/docs/manual/reference/connection-string/
_URI = re.compile(
    r"mongodb(?P<srv>\+srv)?://"
    r"((?P<user>([^:@/?#\[\]%]|%[0-9A-Fa-f]{2})+)(:([^:@/?#\[\]%]|%[0-9A-Fa-f]{2})*)?@)?"
    r"(?P<hosts>[^@/?#\s]+)(/[^/?#@\s]*)?(\?[^#\s]*)?"
)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:(?P<port>\d{1,5}))?|[^:]+\.sock")


class Config(PasswordSection):
    """``backendConfig.mongoConfig``. The URI is a secret: it may hold a password."""

    mongoURI: SecretStr = SecretStr("mongodb://127.0.0.1:27017")
    user: str = ""
    ttl: Annotated[int, Field(ge=0, le=FOR_EVER_SECONDS)] = 30 * 86_400

    @field_validator("mongoURI")
    @classmethod
    def _mongo_uri(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if not re.match(r"mongodb(\+srv)?://", text):
            raise ValueError("starts with neither mongodb:// nor mongodb+srv://; write one of them")
        uri = _URI.fullmatch(text)
        if not uri:
            raise ValueError(
                "is no URI of MongoDB; write mongodb://HOST:PORT, in a password %40 for @ and "
                "so on, or use the keys user and password"
            )
        hosts = uri["hosts"].split(",")
        for host in hosts:
            found = _HOST.fullmatch(host)
            if not found or (found["port"] and not 1 <= int(found["port"]) <= 65_535):
                name = host.partition(":")[0]  # behind it a password may stand, where @ lacks
                raise ValueError(
                    f"has no host and port where {name!r} stands; write HOST:PORT, "
                    "several with commas between"
                )
        if uri["srv"] and (len(hosts) > 1 or ":" in hosts[0]):
            raise ValueError("names a port or several hosts with mongodb+srv://; name one alone")
        return value

    @model_validator(mode="after")
    def _one_user(self) -> Self:
        if self.user and self._uri["user"]:
            raise ValueError("user and the user in mongoURI exclude each other; keep one of them")
        if not self.user and (self.password is not None or self.passwordFile is not None):
            raise ValueError("there is a password without user; name the user too")
        return self

    @property
    def _uri(self) -> re.Match[str]:
        found = _URI.fullmatch(self.mongoURI.get_secret_value())
        assert found  # noqa: S101 - validated
        return found

    @property
    def hosts(self) -> str:
        """Where the servers are, for messages."""
        return self._uri["hosts"]

    @property
    def who(self) -> str:
        """The user, for messages; empty without one."""
        return self.user or unquote(self._uri["user"] or "")
