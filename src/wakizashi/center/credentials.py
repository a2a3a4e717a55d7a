"""What a center shows its probes, and whose certificates it takes: TLS on its port.

The core asks for them before each handshake. So a new connection has the files
of now, and one that exists goes on with those that it began with, until the
server's ``max_connection_age``.
"""

import logging
import threading

import grpc

from wakizashi.center.config import Tls
from wakizashi.errors import ConfigError
from wakizashi.renewal import ExpiryTeller, FileWatch
from wakizashi.telemetry import Throttle
from wakizashi.tls import Authorities, Pair

_log = logging.getLogger(__name__)

_Loaded = tuple[Pair, Authorities | None]


class ServerCredentials:
    """The files of ``tls``, read again when they change; the core's threads share it.

    Raises:
        ConfigError: the files can't be used.
    """

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._throttle = Throttle(_log)
        self._lock = threading.Lock()
        self._watch = FileWatch(tls.cert, tls.key, tls.clientCA)
        self._watch.changed()
        try:
            self._loaded = self._load()
        except ValueError as error:
            raise ConfigError(f"tls.{error}") from error
        self._expiry = ExpiryTeller(tls.certificates(*self._loaded), _log.warning)

    def _load(self) -> _Loaded:
        return self._tls.load_pair(), self._tls.load_authorities()

    @property
    def end(self) -> float:
        """When the certificate shown ends, in seconds since 1970."""
        return self._loaded[0].certificate.not_after

    def for_server(self) -> grpc.ServerCredentials:
        """For ``server.add_secure_port``."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._loaded),
            self._fetch,  # type: ignore[arg-type] # None is what the documentation wants
            require_client_authentication=self._tls.clientCA is not None,
        )

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """What the next handshake takes; None for what the last one took."""
        with self._lock:
            self._expiry.look(self._tls.certificates(*self._loaded))
            if not self._watch.changed():
                return None
            try:
                loaded = self._load()
            except ValueError as error:
                self._watch.unusable()
                self._throttle.warning(
                    "files", f"tls.{error}; until then what was read before goes on"
                )
                return None
            self._throttle.clear("files")
            if loaded == self._loaded:
                return None
            self._loaded = loaded
            _log.info("tls: new files for new connections: %s", loaded[0].certificate)
            return _configuration(loaded)


def _configuration(loaded: _Loaded) -> grpc.ServerCertificateConfiguration:
    pair, authorities = loaded
    return grpc.ssl_server_certificate_configuration(
        [(pair.key, pair.chain)], root_certificates=authorities.pem if authorities else None
    )
