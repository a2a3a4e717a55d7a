"""``backendConfig.mongoConfig``, and a center without pymongo."""

import subprocess
import sys
from pathlib import Path

import pytest

from wakizashi.center.config import CenterConfig, load_center
from wakizashi.center.mongo.config import Config
from wakizashi.errors import ConfigError


def loaded(*settings: str, environment: dict[str, str] | None = None) -> Config:
    flags = [f"backendConfig.mongoConfig.{setting}" for setting in settings]
    config: CenterConfig = load_center(
        None, ["backendConfig.type=mongodb", *flags], environment or {}
    )
    section = getattr(config.backendConfig, "mongoConfig")  # noqa: B009 - made at run time
    assert isinstance(section, Config)
    return section


@pytest.mark.parametrize(
    ("uri", "hosts", "who"),
    [
        ("mongodb://127.0.0.1:27017", "127.0.0.1:27017", ""),
        ("mongodb://db", "db", ""),
        ("mongodb://db/?replicaSet=rs0&tls=true", "db", ""),
        ("mongodb://a:1,b_c:65535,[::1]:7/admin?x=y", "a:1,b_c:65535,[::1]:7", ""),
        ("mongodb://ada:p%40ss%2Fw@db:1", "db:1", "ada"),
        ("mongodb://a%40b:@db", "db", "a@b"),
        ("mongodb+srv://ada:pass@cluster0.example.net/?w=1", "cluster0.example.net", "ada"),
        ("mongodb://CN%3Dada@db/?authMechanism=MONGODB-X509", "db", "CN=ada"),
        ("mongodb://%2Ftmp%2Fmongodb-27017.sock", "%2Ftmp%2Fmongodb-27017.sock", ""),
    ],
)
def test_uris(uri: str, hosts: str, who: str) -> None:
    config = loaded(f"mongoURI={uri}")
    assert (config.hosts, config.who) == (hosts, who)


@pytest.mark.parametrize(
    ("uri", "fault"),
    [
        ("db:27017", "starts with neither mongodb:// nor mongodb+srv://"),
        ("ada:hidden@db:27017", "starts with neither"),
        ("mongo://ada:hidden@db", "starts with neither"),
        ("mongodb://", "is no URI of MongoDB; write mongodb://HOST:PORT"),
        ("mongodb://ada:hid@den@db", "in a password %40 for @"),
        ("mongodb://ada:hid/den@db", "in a password %40 for @"),
        ("mongodb://ada:hid:den@db", "in a password %40 for @"),
        ("mongodb://ada:hid%zen@db", "in a password %40 for @"),
        ("mongodb://ada:hidden@db:0", "has no host and port where 'db' stands; write HOST:PORT"),
        ("mongodb://ada:hidden@db:65536", "has no host and port where 'db' stands"),
        ("mongodb://ada:hidden@a,,b", "has no host and port where '' stands"),
        ("mongodb://ada:hidden", "has no host and port where 'ada' stands"),
        ("mongodb+srv://ada:hidden@db:27017", "names a port or several hosts with mongodb+srv://"),
        ("mongodb+srv://ada:hidden@a,b", "names a port or several hosts with mongodb+srv://"),
    ],
)
def test_uris_that_are_none(uri: str, fault: str, tmp_path: Path) -> None:
    path = tmp_path / "center.yaml"
    path.write_text(f'backendConfig:\n  type: mongodb\n  mongoConfig: {{mongoURI: "{uri}"}}\n')
    with pytest.raises(ConfigError) as caught:
        load_center(path, (), {})
    text = str(caught.value)
    assert text.startswith(f"{path}:3: backendConfig.mongoConfig.mongoURI: ")
    assert fault in text
    assert "hid" not in text.replace(str(path), "")


def test_a_secret_is_never_shown() -> None:
    config = loaded("mongoURI=mongodb://ada:hidden@db")
    assert "hidden" not in repr(config) + str(config) + config.hosts + config.who


def test_the_uri_from_the_environment_is_taken_as_it_is() -> None:
    name = "WAKIZASHI_BACKEND_CONFIG__MONGO_CONFIG__MONGO_URI"
    config = loaded(environment={name: "mongodb://ada:a #b@db".replace(" #", "%20%23")})
    assert config.mongoURI.get_secret_value() == "mongodb://ada:a%20%23b@db"


def test_two_users() -> None:
    with pytest.raises(ConfigError, match="user and the user in mongoURI exclude each other"):
        loaded("mongoURI=mongodb://ada:x@db", "user=bob")
    with pytest.raises(ConfigError, match="there is a password without user; name the user"):
        loaded("password=hidden")
    assert loaded("user=bob", "password=hidden").who == "bob"


@pytest.mark.parametrize("ttl", ["-1", str(2**31), "1.5", "a week"])
def test_ttl_that_is_none(ttl: str) -> None:
    with pytest.raises(ConfigError, match=r"mongoConfig\.ttl"):
        loaded(f"ttl={ttl}")


def test_a_center_without_pymongo_says_so(tmp_path: Path) -> None:
    hide = "import sys; sys.modules['pymongo'] = sys.modules['bson'] = None; "
    run = "from wakizashi.center.cli import main; sys.argv[1:] = sys.argv[1:]; main()"
    command = [sys.executable, "-c", hide + run, "--set", "backendConfig.type=mongodb"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 78
    assert (
        "backendConfig.type: mongodb needs the package pymongo; pip install 'wakizashi[mongodb]'"
        in done.stderr
    )
    assert "Traceback" not in done.stderr
    checked = subprocess.run(
        [*command, "--check"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert checked.returncode == 0  # the configuration itself loads without it
