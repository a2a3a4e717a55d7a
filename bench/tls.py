"""What TLS costs a center without a database: ``python -m bench.tls``. Needs openssl.

CPU time of the center for deliveries of windows of 5,000 records over one
connection, and for windows of 200 records with a connection for each, in
plaintext, with TLS, and with mutual TLS as in production: with what the core
says of handshakes being read.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc

from bench.center.process import Center, share_cpus
from bench.center.windows import Windows, probe_name
from wakizashi.center.handshakes import ENVIRONMENT
from wakizashi.probe.addresses import Center as CenterName
from wakizashi.probe.channel import Credentials
from wakizashi.probe.config import Tls
from wakizashi.probe.transmit import METHOD
from wakizashi.v1 import traffic_pb2 as pb

HOST = "127.0.0.1"
START_MS = 1_700_000_000_000
LARGE, SMALL = (5_000, 400), (200, 400)
"""Records in a window, and windows."""


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _certificates(folder)
        files = {key: folder / f"{key}.pem" for key in ("ca", "server", "client")}
        keys = {key: folder / f"{key}.key" for key in ("server", "client")}
        tls = [f"tls.cert={files['server']}", f"tls.key={keys['server']}"]
        shown = Tls(ca=files["ca"], cert=files["client"], key=keys["client"])
        os.environ |= ENVIRONMENT
        for title, settings, own in (
            ("plaintext", [], None),
            ("TLS", tls, Tls(ca=files["ca"])),
            ("mutual TLS", [*tls, f"tls.clientCA={files['ca']}"], shown),
        ):
            for what, (records, number), reuse in (
                (f"windows of {LARGE[0]:,} records, one connection", LARGE, True),
                (f"windows of {SMALL[0]:,} records, a connection each", SMALL, False),
            ):
                seconds = _measure(
                    folder, settings, Credentials(own, server_name=HOST), records, number, reuse
                )
                print(f"{title}, {what}: {1000 * seconds / number:.2f} ms of CPU each")


def _measure(
    folder: Path,
    settings: list[str],
    credentials: Credentials,
    records: int,
    number: int,
    reuse: bool,
) -> float:
    """CPU seconds of a center's process for so many deliveries."""
    center = Center(folder, settings, share_cpus(os.sched_getaffinity(0)), kind="nothing")
    process = center.start()
    try:
        name = CenterName(f"{HOST}:{center.port}")
        windows = Windows(records, START_MS)
        windows.prepare(range(1))

        def channels() -> Iterator[grpc.Channel]:
            while True:
                channel = credentials.channel(f"ipv4:{HOST}:{center.port}", name)
                for _ in range(number + 10 if reuse else 1):
                    yield channel
                channel.close()

        opened = channels()
        before = 0.0
        for window in range(10 + number):
            if window == 10:  # by now all is imported and allocated
                before = process.cpu_seconds()
            call: grpc.StreamStreamMultiCallable[bytes, bytes] = next(opened).stream_stream(METHOD)
            (ack,) = call(iter([windows.chunk(0, window)]), timeout=30)
            if pb.WindowAck.FromString(ack).status != pb.WINDOW_STATUS_STORED:
                raise SystemExit(f"not stored: {ack!r}")
        return process.cpu_seconds() - before
    finally:
        process.stop()


def _certificates(folder: Path) -> None:
    new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    script = f"""
    openssl req -x509 {new} -keyout ca.key -out ca.pem -subj /CN=ca
    for side in server client; do
      openssl req -new {new} -keyout $side.key -out $side.csr -subj /CN={probe_name(0)}
      echo "subjectAltName=IP:{HOST}" > $side.ext
      openssl x509 -req -in $side.csr -CA ca.pem -CAkey ca.key -out $side.pem -extfile $side.ext
    done
    """
    subprocess.run(  # noqa: S603 - the text above
        ["/bin/sh", "-ec", script],
        cwd=folder,
        check=True,
        capture_output=True,
    )


if __name__ == "__main__":
    main()
