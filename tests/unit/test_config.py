"""Faults of a configuration, each with its place, and which source wins."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field, SecretStr

from wakizashi.config import load, variables
from wakizashi.errors import EXIT_CONFIG, ConfigError
from wakizashi.sections import LogLevel, PasswordSection, Port, Section, Size


class Influx(PasswordSection):
    """A section with a secret."""

    host: str = "http://localhost:8086"
    user: str = ""


class Backend(Section):
    """A section in a section."""

    type: str = "sqlite"
    timeout: Annotated[float, Field(gt=0)] = 5.0
    influxConfig: Influx = Influx()


class Sample(Section):
    """One key of each kind."""

    centerAddr: str = "127.0.0.1:10080"
    port: Port = 10080
    capInterval: int = 30
    autoClear: bool = True
    logLev: LogLevel = 1
    dumpLimit: Size = 1 << 30
    networkDevs: list[str] = []
    levels: Annotated[list[int], Field(min_length=1)] = [1]
    tags: dict[str, str] = {}
    token: SecretStr | None = None
    backendConfig: Backend = Backend()
    extra: Backend | None = None


class Strict(Section):
    """A key without default."""

    needed: str


def read(
    tmp_path: Path, text: str = "", *flags: str, environment: Mapping[str, str] | None = None
) -> Sample:
    """Load ``text`` as a file, without the environment of the test run."""
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return load(Sample, path, overrides=flags, environment=environment or {})


def faults(
    tmp_path: Path, text: str = "", *flags: str, environment: Mapping[str, str] | None = None
) -> list[str]:
    """The lines of the error, the directory left out."""
    with pytest.raises(ConfigError) as error:
        read(tmp_path, text, *flags, environment=environment)
    assert error.value.exit_code == EXIT_CONFIG
    return str(error.value).replace(f"{tmp_path}/", "").splitlines()


def test_defaults_without_a_file() -> None:
    assert load(Sample, None, environment={}) == Sample()


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "null\n", "port:\nextra:\n"])
def test_empty_file_is_defaults(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == Sample()


def test_an_empty_environment_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAKIZASHI_CAP_INTERVAL", "7")
    assert load(Sample, None, environment={}).capInterval == 30
    assert load(Sample, None).capInterval == 7


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("networkDev: [eth0]", "c.yaml:1: networkDev: unknown key; did you mean networkDevs?"),
        ("\nnetworkdevs: [eth0]", "c.yaml:2: networkdevs: unknown key; did you mean networkDevs?"),
        (
            "backendConfig:\n  influxConfig:\n    hots: x",
            "c.yaml:3: backendConfig.influxConfig.hots: unknown key; did you mean host?",
        ),
        ("extra: {tiemout: 3}", "c.yaml:1: extra.tiemout: unknown key; did you mean timeout?"),
    ],
)
def test_unknown_key_with_a_suggestion(tmp_path: Path, text: str, expected: str) -> None:
    assert faults(tmp_path, text) == [expected]


def test_unknown_key_that_resembles_none_lists_the_known(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, "backendConfig: {zzzzzz: 1}")
    assert fault == (
        "c.yaml:1: backendConfig.zzzzzz: unknown key; known are type, timeout, influxConfig"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("port: many", "port: 'many' is not a whole number"),
        ("port: 1.5", "port: 1.5 is not a whole number"),
        ("port: 0", "port: 0 is less than 1, the least allowed"),
        ("port: 65536", "port: 65536 is more than 65535, the most allowed"),
        ("port: [1]", "port: is not a whole number"),
        ("autoClear: maybe", "autoClear: 'maybe' is not true or false"),
        ("centerAddr: 5", "centerAddr: 5 is not text; put it in quotes"),
        ("networkDevs: eth0", "networkDevs: 'eth0' is not a list; write [a, b]"),
        ("levels: []", "levels: is empty; name at least 1"),
        ("tags: prod", "tags: 'prod' is not a section; write its keys below it, indented"),
        ("tags: {env: 5}", "tags.env: 5 is not text; put it in quotes"),
        ("backendConfig: x", "backendConfig: 'x' is not a section; write its keys below it"),
        ("backendConfig: [x]", "backendConfig: is not a section; write its keys below it"),
        ("backendConfig: {timeout: 0}", "backendConfig.timeout: 0 is not greater than 0"),
        ("backendConfig: {timeout: x}", "backendConfig.timeout: 'x' is not a number"),
        ("logLev: 5", "logLev: 5 is not a level; use 0 debug, 1 info"),
        ("logLev: true", "logLev: True is not a level"),
        ("logLev: debug", "logLev: 'debug' is not a level"),
        ("logLev: [1]", "logLev: is not a level"),
    ],
)
def test_wrong_type_or_value(tmp_path: Path, text: str, expected: str) -> None:
    (fault,) = faults(tmp_path, text)
    assert fault.startswith(f"c.yaml:1: {expected}")


def test_several_faults_at_once_each_with_its_line(tmp_path: Path) -> None:
    text = """\
port: many
capInterval: 30
networkDevs:
  - eth0
  - 5
  - [a]
backendConfig:
  timeout: -1
  tiem: 5
  influxConfig:
    host: 7
nonsense: 1
port: 10080
"""
    found = faults(tmp_path, text)
    places = [":".join(fault.split(":")[:3]) for fault in found]
    assert sorted(places) == sorted(
        [
            "c.yaml:13: port",
            "c.yaml:5: networkDevs.1",
            "c.yaml:6: networkDevs.2",
            "c.yaml:8: backendConfig.timeout",
            "c.yaml:9: backendConfig.tiem",
            "c.yaml:11: backendConfig.influxConfig.host",
            "c.yaml:12: nonsense",
        ]
    )


def test_duplicate_keys_at_any_depth(tmp_path: Path) -> None:
    text = "port: 1\nbackendConfig:\n  type: a\n  timeout: 1\n  type: b\nport: 2\n"
    assert faults(tmp_path, text) == [
        "c.yaml:5: backendConfig.type: stands already on line 3; keep one",
        "c.yaml:6: port: stands already on line 1; keep one",
    ]


def test_missing_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^defaults: needed: is missing; add it$"):
        load(Strict, None, environment={})
    path = tmp_path / "c.yaml"
    path.write_text("needed:\n")
    with pytest.raises(ConfigError, match=r"c\.yaml(:1)?: needed: is missing; add it$"):
        load(Strict, path, environment={})


def test_file_that_is_missing_or_unreadable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: No such file or directory; name a file"):
        load(Sample, tmp_path / "none.yaml", environment={})
    with pytest.raises(ConfigError, match=r"Is a directory"):
        load(Sample, tmp_path, environment={})
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"port: \xff")
    with pytest.raises(ConfigError, match=r"b\.yaml: is not UTF-8 text \(byte 6\)"):
        load(Sample, binary, environment={})


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("port: [1\nlogLev: 1\n", "c.yaml:2: is not YAML"),
        ("a: 1\n\tb: 2\n", "c.yaml:2: is not YAML"),
        ("port: 'x\n", "c.yaml:2: is not YAML"),
        ("a: 1\n---\nb: 2\n", "c.yaml:2: is not YAML"),
        ("a: !!python/object:os.system {}\n", "c.yaml:1: is not YAML"),
        ("a: \x01\n", "c.yaml: is not YAML"),
        ("a: 2026-13-45\n", "c.yaml: is not YAML"),
        ("a: " + "[" * 5000, "c.yaml: is not YAML"),
        ("- a\n", "c.yaml: holds no 'key: value' lines at its top level"),
        ("just text\n", "c.yaml: holds no 'key: value' lines at its top level"),
    ],
)
def test_not_yaml(tmp_path: Path, text: str, place: str) -> None:
    (fault, *_) = faults(tmp_path, text)
    assert fault.startswith(place)


@pytest.mark.parametrize("text", ["1: x\n", "a: &a {b: *a}\n", "a: &a [*a]\n"])
def test_odd_yaml_is_a_fault_and_no_crash(tmp_path: Path, text: str) -> None:
    assert faults(tmp_path, text)


def test_environment_beats_file_and_flags_beat_environment(tmp_path: Path) -> None:
    text = "capInterval: 1\nbackendConfig: {timeout: 1, type: a}\nnetworkDevs: [a]\n"
    environment = {
        "WAKIZASHI_CAP_INTERVAL": "2",
        "WAKIZASHI_BACKEND_CONFIG__TIMEOUT": "2.5",
        "WAKIZASHI_NETWORK_DEVS": "[eth0, tunl0]",
    }
    config = read(tmp_path, text, environment=environment)
    assert (config.capInterval, config.backendConfig.timeout) == (2, 2.5)
    assert config.backendConfig.type == "a"  # its neighbour stays
    assert config.networkDevs == ["eth0", "tunl0"]
    flags = ("capInterval=3", "backendConfig.timeout=3", "capInterval=4")
    config = read(tmp_path, text, *flags, environment=environment)
    assert (config.capInterval, config.backendConfig.timeout) == (4, 3.0)


def test_variables_of_every_key() -> None:
    found = variables(Sample)
    assert found["WAKIZASHI_CAP_INTERVAL"] == ("capInterval",)
    assert found["WAKIZASHI_BACKEND_CONFIG__INFLUX_CONFIG__PASSWORD"] == (
        "backendConfig",
        "influxConfig",
        "password",
    )
    assert found["WAKIZASHI_EXTRA__TIMEOUT"] == ("extra", "timeout")


def test_fault_in_the_environment_or_a_flag_names_it(tmp_path: Path) -> None:
    text = "port: 1\ncapInterval: 1\n"
    found = faults(
        tmp_path,
        text,
        "capInterval=x",
        "nosuch.key=1",
        "alone",
        environment={"WAKIZASHI_PORT": "0", "WAKIZASHI_BACKEND_CONFIG__TIMEOUT": "-1"},
    )
    assert sorted(found) == sorted(
        [
            "--set alone: has no '='; write --set KEY=VALUE",
            "WAKIZASHI_PORT: port: 0 is less than 1, the least allowed",
            "WAKIZASHI_BACKEND_CONFIG__TIMEOUT: backendConfig.timeout: -1 is not greater than 0.0",
            "--set: capInterval: 'x' is not a whole number",
            next(fault for fault in found if "nosuch" in fault),
        ]
    )
    assert any(fault.startswith("--set: nosuch: unknown key") for fault in found)


def test_flag_below_a_key_that_is_no_section(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, "", "port.x=1", "port=5", environment={"WAKIZASHI_PORT": "7"})
    assert fault == "--set: port is no section; it has no 'x'"


@pytest.mark.parametrize("link", ["tcp://10.0.0.1:10080", "udp://10.0.0.1:53", "sctp://[::1]:9"])
def test_kubernetes_service_link_is_not_ours(tmp_path: Path, link: str) -> None:
    assert read(tmp_path, "port: 5", environment={"WAKIZASHI_PORT": link}).port == 5


def test_variables_of_nobody_are_ignored(tmp_path: Path) -> None:
    environment = {"WAKIZASHI_NO_SUCH": "1", "CAP_INTERVAL": "9", "WAKIZASHI_PORT_80_TCP": "x"}
    assert read(tmp_path, "", environment=environment) == Sample()


@pytest.mark.parametrize("value", ["2026-13-01", "'open", "[" * 3000, "a: b: c"])
def test_a_value_that_is_no_yaml_is_text(tmp_path: Path, value: str) -> None:
    assert read(tmp_path, "", f"centerAddr={value}").centerAddr == value


SECRET = "hunter2"
SECRETS: list[tuple[str, tuple[str, ...], dict[str, str]]] = [
    (f"token: [{SECRET}]", (), {}),
    (f"token: {{a: {SECRET}}}", (), {}),
    (f"backendConfig: {{influxConfig: {{password: [{SECRET}]}}}}", (), {}),
    (f"backendConfig: {{influxConfig: {{password: {SECRET}, passwordFile: /x}}}}", (), {}),
    (f"backendConfig: {{influxConfig: {{pasword: {SECRET}}}}}", (), {}),
    ("", (f"token={SECRET}", "port=x"), {}),
    ("", (f"backendConfig.influxConfig.password={SECRET}", "port.x=1", "port=x"), {}),
    ("", (), {"WAKIZASHI_TOKEN": SECRET, "WAKIZASHI_PORT": "x"}),
    (f"token: {SECRET}\nport: x", (), {}),
]


@pytest.mark.parametrize(("text", "flags", "environment"), SECRETS)
def test_secrets_are_never_shown(
    tmp_path: Path, text: str, flags: tuple[str, ...], environment: dict[str, str]
) -> None:
    found = faults(tmp_path, text, *flags, environment=environment)
    assert found and SECRET not in "\n".join(found)


def test_a_numeric_secret_is_not_shown_either(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, "token: 123456")
    assert fault == "c.yaml:1: token: is not text; put it in quotes"


def test_a_secret_in_the_environment_is_taken_as_it_is(tmp_path: Path) -> None:
    name = "WAKIZASHI_BACKEND_CONFIG__INFLUX_CONFIG__PASSWORD"
    for secret in ("123456", "a #b", "a: b", "null", "'", "[x", "yes"):
        config = read(tmp_path, "", environment={name: secret})
        assert config.backendConfig.influxConfig.secret() == secret
        config = read(tmp_path, "", f"backendConfig.influxConfig.password={secret}")
        assert config.backendConfig.influxConfig.secret() == secret


def test_a_secret_does_not_show_in_repr(tmp_path: Path) -> None:
    config = read(
        tmp_path, f"token: {SECRET}\nbackendConfig: {{influxConfig: {{password: {SECRET}}}}}"
    )
    assert SECRET not in repr(config)
    assert config.backendConfig.influxConfig.secret() == SECRET


def test_password_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f" {SECRET} \r\n")
    text = f"backendConfig:\n  influxConfig:\n    passwordFile: {file}\n"
    section = read(tmp_path, text).backendConfig.influxConfig
    assert section.secret() == f" {SECRET} "
    file.write_text("changed\n")
    assert section.secret() == "changed"
    file.unlink()
    with pytest.raises(ValueError, match="passwordFile: .*No such file"):
        section.secret()
    (fault,) = faults(tmp_path, text)
    assert fault == (
        "c.yaml:2: backendConfig.influxConfig: passwordFile: password can't be read: "
        "No such file or directory; name a file that this user can read"
    )
    file.write_bytes(b"\xff")
    (fault,) = faults(tmp_path, text)
    assert fault.endswith("passwordFile: password is not UTF-8 text")
    file.unlink()
    os.mkfifo(file)
    (fault,) = faults(tmp_path, text)
    assert "passwordFile: password is a named pipe" in fault


def test_no_password_is_empty() -> None:
    assert Influx().secret() == ""


def test_password_and_password_file_exclude_each_other(tmp_path: Path) -> None:
    (fault,) = faults(
        tmp_path, "backendConfig:\n  influxConfig: {password: a, passwordFile: /dev/null}\n"
    )
    assert fault.startswith("c.yaml:2: backendConfig.influxConfig: password and passwordFile")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("512", 512),
        ("1KiB", 1 << 10),
        ("512MiB", 512 << 20),
        ("1 GiB", 1 << 30),
        ("2TiB", 2 << 40),
        ("1kB", 1000),
        ("3MB", 3_000_000),
        ("1GB", 10**9),
        ("1TB", 10**12),
        ("' 7MB '", 7_000_000),
    ],
)
def test_size_units(tmp_path: Path, text: str, size: int) -> None:
    assert read(tmp_path, f"dumpLimit: {text}").dumpLimit == size


@pytest.mark.parametrize("text", ["1gib", "1 M", "lots", "-5MB", "1.5GiB", "MiB", "''", "1e9"])
def test_no_size(tmp_path: Path, text: str) -> None:
    (fault,) = faults(tmp_path, f"dumpLimit: {text}")
    assert fault.startswith("c.yaml:1: dumpLimit: ") and "is not a size; try 512MiB" in fault


@pytest.mark.parametrize("text", ["0", "-5", "0MiB"])
def test_size_of_nothing(tmp_path: Path, text: str) -> None:
    (fault,) = faults(tmp_path, f"dumpLimit: {text}")
    assert "is less than 1, the least allowed" in fault


def test_values_never_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Sample().port = 5


def test_the_process_environment_is_left_alone(tmp_path: Path) -> None:
    before = dict(os.environ)
    read(tmp_path, "port: 5", environment={"WAKIZASHI_PORT": "6"})
    assert dict(os.environ) == before


BILLION = "a: &a0 [x]\n" + "".join(
    f"b{n}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(20)
)
MERGES = "m0: &m0 {port: 1}\n" + "".join(
    f"m{n + 1}: &m{n + 1}\n  <<: [{', '.join([f'*m{n}'] * 9)}]\n" for n in range(20)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BILLION, "it stands for more than 10000 values"),
        (MERGES, "it stands for more than 10000 values"),
        ("a: &a [*a]", "an alias (*NAME) stands inside what it names"),
        ("port: " + "[" * 1_600, "it is nested more than 32 deep"),
        ("port: 0x" + "f" * 5_000, "line 1: a value has 5002 characters, and 2048 are the most"),
        ("a: 1\n" * 13_108, "has more than 65536 bytes; is it a configuration?"),
        ("port: !!timestamp 1", "is not YAML"),
        ("port: !!int ''", "is not YAML"),
    ],
    ids=["aliases", "merges", "itself", "depth", "digits", "bytes", "time", "number"],
)
def test_a_file_that_would_take_for_ever_or_raise(tmp_path: Path, text: str, words: str) -> None:
    (fault,) = faults(tmp_path, text)
    assert words in fault
    assert len(fault) < 300


def test_a_file_without_end_is_not_read_to_it() -> None:
    with pytest.raises(ConfigError, match="has more than 65536 bytes"):
        load(Sample, Path("/dev/zero"), environment={})


def test_a_name_of_a_file_that_no_file_can_have() -> None:
    with pytest.raises(ConfigError, match="null byte; name a file that this user can read"):
        load(Sample, Path("a\0b"), environment={})


@pytest.mark.parametrize("key", ["list", "str", "dict", "a[b", "'['"])
def test_unknown_key_that_is_named_like_a_type(tmp_path: Path, key: str) -> None:
    (fault,) = faults(tmp_path, f"{key}: 5")
    assert f"{key.strip(chr(39))}: unknown key" in fault


def test_unknown_key_that_is_no_text_at_all(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, "? [a, b]\n: 5\n")
    assert "is not YAML" in fault


@pytest.mark.parametrize("value", [r'"a\0b"', r'"a\uD800b"'])
def test_characters_that_no_path_can_have(tmp_path: Path, value: str) -> None:
    for text in (f"centerAddr: {value}", f"networkDevs: [{value}]", f"tags: {{a: {value}}}"):
        (fault,) = faults(tmp_path, text)
        assert "has a zero byte, or is not UTF-8" in fault
        assert fault.isprintable()


def test_a_message_is_one_line_that_can_be_printed(tmp_path: Path) -> None:
    text = '"a\\nb": 1\n? "' + "x" * 2_000 + '"\n: 1\n'
    found = faults(tmp_path, text, "no\nequals\x1b[0m", "y" * 9_000, "centerAddr.x=1")
    found += faults(tmp_path, "port: \0")
    found += faults(tmp_path, "", "port=" + "9" * 3_000)
    assert len(found) >= 5
    assert all(line.isprintable() and len(line) < 1_100 for line in found)


def test_sections_that_share_an_alias_are_set_apart(tmp_path: Path) -> None:
    text = "backendConfig: &b {timeout: 1}\nextra: *b\n"
    config = read(tmp_path, text, "extra.timeout=2", "extra.influxConfig.user=u")
    assert config.extra is not None
    assert (config.backendConfig.timeout, config.extra.timeout) == (1, 2)
    assert config.backendConfig.influxConfig.user == ""


def test_a_key_that_stands_over_a_merged_one_is_no_duplicate(tmp_path: Path) -> None:
    text = "backendConfig: &b {timeout: 1, type: a}\nextra:\n  <<: *b\n  timeout: 3\n"
    config = read(tmp_path, text)
    assert config.extra is not None
    assert (config.extra.timeout, config.extra.type) == (3, "a")


def test_a_number_of_bytes_that_no_disk_has(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, f"dumpLimit: {2**62 + 1}")
    assert "the most allowed" in fault
