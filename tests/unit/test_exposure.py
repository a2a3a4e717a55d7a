"""What is told at the start: plaintext, who may write, files that others can read."""

import os
from pathlib import Path

import pytest

from tests.certificates import Authority
from wakizashi.center.config import CenterConfig, load_center
from wakizashi.config import load, refuse_listed_secrets
from wakizashi.errors import ConfigError
from wakizashi.exposure import is_loopback
from wakizashi.probe.channel import Credentials
from wakizashi.probe.config import ProbeConfig
from wakizashi.secret_files import exposed, read_bytes

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("a.localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("center.example", False),
        ("localhost.example", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def secret_file(folder: Path, content: str = TOKEN) -> Path:
    path = folder / "secret"
    path.write_text(content)
    path.chmod(0o600)
    return path


def probe_warnings(*settings: str) -> list[str]:
    return list(load(ProbeConfig, None, overrides=settings, environment={}).warnings())


def test_a_probe_that_sends_plaintext_to_another_machine_says_so(tmp_path: Path) -> None:
    assert probe_warnings() == []
    (warning,) = probe_warnings("centerAddr=center.example:1")
    assert warning == (
        "centerAddr: center.example:1 is another machine and tls is not set: whoever is on the "
        "way can read all windows; set tls"
    )
    (warning,) = probe_warnings("centerAddr=10.0.0.1:1", f"tokenFile={secret_file(tmp_path)}")
    assert "can read the token and all windows" in warning
    authority = Authority(tmp_path / "authority")
    assert probe_warnings("centerAddr=10.0.0.1:1", f"tls.ca={authority.cert}") == []


def center_warnings(*settings: str, path: Path | None = None) -> list[str]:
    return list(load_center(path, settings, {}).warnings(path))


def test_a_center_that_others_reach_says_what_they_can_do(tmp_path: Path) -> None:
    assert center_warnings() == []
    plain, anyone = center_warnings("host=0.0.0.0")
    assert plain.endswith("can read all windows; set tls.cert and tls.key")
    assert "can write under any probe's name; set one of them" in anyone
    tokens = secret_file(tmp_path, f"- {{probe: vm-1, token: '{TOKEN}'}}")
    (plain,) = center_warnings("host=0.0.0.0", f"tokensFile={tokens}")
    assert "can read tokens and all windows" in plain
    authority = Authority(tmp_path / "authority")
    server = authority.server()
    tls = (f"tls.cert={server.cert}", f"tls.key={server.key}")
    (anyone,) = center_warnings("host=0.0.0.0", *tls)
    assert "any probe's name" in anyone
    assert center_warnings("host=0.0.0.0", *tls, f"tls.clientCA={authority.cert}") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file to another group")
@pytest.mark.parametrize(("group", "told"), [(54_321, False), (0, True)])
def test_the_group_that_may_read_a_secret_is_that_of_the_user_to_become(
    group: int, told: bool, tmp_path: Path
) -> None:
    token = secret_file(tmp_path)
    os.chown(token, 0, group)
    token.chmod(0o640)
    warnings = probe_warnings("user='54321'", f"tokenFile={token}")
    assert [w for w in warnings if "can be read by others" in w] == warnings
    assert bool(warnings) is told


def test_a_certificate_that_has_expired_is_told(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    server, client = authority.server(days=-1), authority.client("vm-1", days=3)
    (expired,) = center_warnings(f"tls.cert={server.cert}", f"tls.key={server.key}")
    assert expired.startswith(f"tls.cert: {server.cert}: the certificate CN=center expired on 20")
    settings = [f"tls.{key}={path}" for key, path in vars(client).items()]
    (soon,) = probe_warnings(f"tls.ca={authority.cert}", *settings)
    assert "the certificate CN=vm-1 expires in 3 days, on" in soon


def test_a_key_that_is_replaced_meanwhile_is_no_defect(tmp_path: Path) -> None:
    """Of a pair one file changes first, and a reload may come between."""
    authority = Authority(tmp_path / "authority")
    server, client = authority.server(), authority.client("vm-1")
    settings = [f"tls.{key}={path}" for key, path in vars(client).items()]
    probe = load(ProbeConfig, None, overrides=["centerAddr=10.0.0.1:1", *settings], environment={})
    center = load_center(None, [f"tls.cert={server.cert}", f"tls.key={server.key}"], {})
    for key in (client.key, server.key):
        key.write_text("")
    assert list(probe.warnings()) == list(center.warnings()) == []


@pytest.mark.parametrize(
    ("mode", "group", "told"),
    [
        (0o600, None, False),
        (0o400, None, False),
        (0o640, None, False),  # a group that this process is in: as Kubernetes mounts with fsGroup
        (0o640, 54_321, True),
        (0o604, None, True),
        (0o644, None, True),
        (0o622, None, False),
    ],
)
def test_a_secret_that_others_can_read(
    tmp_path: Path, mode: int, group: int | None, told: bool
) -> None:
    path = secret_file(tmp_path)
    if group is not None:
        if os.geteuid() != 0:
            pytest.skip("only root gives a file to another group")
        os.chown(path, -1, group)
    path.chmod(mode)
    warnings = list(exposed([("tokenFile", path), ("tls.key", None)], ProbeConfig().groups()))
    assert (
        warnings
        == [
            f"tokenFile: {path} can be read by others than this user (mode {mode:04o}); "
            f"chmod 600 {path} (of a secret in Kubernetes: defaultMode: 0440, and fsGroup)"
        ]
        * told
    )


def test_a_pipe_that_nobody_writes_to_holds_up_nobody(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    client = authority.client("vm-1")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    fault = "is a named pipe; name a regular file, or a link to one"
    files = {"ca": authority.cert, "cert": client.cert, "key": client.key}
    for key in files:
        settings = [f"tls.{name}={path}" for name, path in (files | {key: pipe}).items()]
        with pytest.raises(ConfigError, match=f"{key}: {pipe} {fault}"):
            load(ProbeConfig, None, overrides=settings, environment={})
    token = secret_file(tmp_path)
    with pytest.raises(ConfigError, match=f": .*{fault}"):
        probe_warnings(f"tokenFile={pipe}")
    with pytest.raises(ConfigError, match=f": .*{fault}"):
        center_warnings(f"tokensFile={pipe}")
    credentials = Credentials(None, token)
    pipe.rename(token)  # under a probe at work: what it had goes on
    assert not credentials.renew()
    assert credentials.metadata == (("authorization", f"Bearer {TOKEN}"),)


def test_of_what_is_no_regular_file_nothing_is_read(tmp_path: Path) -> None:
    for path, kind in ((tmp_path, "a directory"), (Path("/dev/zero"), "a device")):
        with pytest.raises(ValueError, match=f"^is {kind}; name a regular file, or a link to one$"):
            read_bytes(path)


def test_a_secret_may_lie_behind_links(tmp_path: Path) -> None:
    """As Kubernetes mounts one: token -> ..data/token, ..data -> the folder of the day."""
    (tmp_path / "..2026").mkdir()
    secret_file(tmp_path / "..2026")
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "token").symlink_to("..data/secret")
    assert read_bytes(tmp_path / "token") == TOKEN.encode()


def test_every_secret_file_is_looked_at(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    server, client = authority.server(), authority.client("vm-1")
    tokens = secret_file(tmp_path, f"- {{probe: vm-1, token: '{TOKEN}'}}")
    password = tmp_path / "password"
    password.write_text("secret")
    config = tmp_path / "center-config.yaml"
    config.write_text("host: 127.0.0.1\nbackendConfig: {influxConfig: {password: secret}}\n")
    for path in (tokens, server.key, client.key, password, config):
        path.chmod(0o644)
    found = center_warnings(
        f"tokensFile={tokens}",
        f"tls.cert={server.cert}",
        f"tls.key={server.key}",
        f"backendConfig.redisConfig.passwordFile={password}",
        path=config,
    )
    assert [warning.partition(": ")[0] for warning in found] == [
        "tls.key",
        "tokensFile",
        "backendConfig.redisConfig.passwordFile",
        "backendConfig.influxConfig.password in -c",
    ]
    token = secret_file(tmp_path)
    token.chmod(0o644)
    settings = [f"tls.{key}={path}" for key, path in vars(client).items()]
    found = probe_warnings(f"tls.ca={authority.cert}", *settings, f"tokenFile={token}")
    assert [warning.partition(": ")[0] for warning in found] == ["tls.key", "tokenFile"]


@pytest.mark.parametrize(
    "flag",
    [
        "backendConfig.influxConfig.password=hunter2",
        "backendConfig.influxConfig.password=a://hunter2",
        "backendConfig.influxConfig={password: hunter2}",
        "backendConfig={influxConfig: {password: hunter2}}",
        "backendConfig.redisConfig.url=redis://:hunter2@db",
        "backendConfig.mongoConfig.mongoURI=mongodb://ada:hunter2@db",
        "backendConfig.influxConfig.host=http://ada:hunter2@db",
    ],
)
def test_a_secret_in_a_flag_is_refused(flag: str) -> None:
    with pytest.raises(ConfigError, match="shown in every list of processes; set it in the") as it:
        refuse_listed_secrets(CenterConfig, [flag])
    assert "hunter2" not in str(it.value) and flag.partition("=")[0] in str(it.value)


@pytest.mark.parametrize(
    "flag",
    [
        "backendConfig.influxConfig.passwordFile=/etc/password",
        "backendConfig.redisConfig.url=redis://db:6379/0",
        "backendConfig.mongoConfig.mongoURI=mongodb://db:27017",
        "backendConfig.influxConfig.user=ada",
        "no-such-key",
        "a.b={",
    ],
)
def test_other_flags_are_not(flag: str) -> None:
    refuse_listed_secrets(CenterConfig, [flag])


@pytest.mark.parametrize(
    "text",
    ["*hunter2", "!hunter2 x", "!!int hunter2", "&hunter2 a\nb: &hunter2 c", "!!float hunter2"],
)
def test_what_yaml_quotes_of_a_password_is_not_shown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"backendConfig: {{influxConfig: {{password: {text}}}}}\n")
    with pytest.raises(ConfigError, match="is not YAML|is not text|line") as caught:
        load_center(path, (), {})
    assert "hunter2" not in str(caught.value)


def test_who_only_reads_the_backend_needs_no_file_of_the_port(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("tls: {cert: /none, key: /none}\ntokensFile: /none\nreflection: true\n")
    assert load_center(path, (), {}, serves=False).tokensFile == Path("/none")
    with pytest.raises(
        ConfigError, match=r"tls: cert: /none can't be read.*\n.*2: tokensFile: can't be"
    ):
        load_center(path, (), {})


def test_reflection_wants_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"reflection: .*pip install 'wakizashi\[reflection\]'"):
        load_center(None, ["reflection=true"], {})
