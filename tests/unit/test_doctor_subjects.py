"""Whose configuration a file is, and which variables are not heard."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from wakizashi.doctor import environment
from wakizashi.doctor.finding import Verdict
from wakizashi.doctor.subjects import CENTER, PROBE, VARIABLES, Ambiguous, subjects
from wakizashi.errors import ConfigError
from wakizashi.probe.config import ProbeConfig


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def kinds(*paths: Path, **more: Sequence[str]) -> list[str]:
    return [s.kind for s in subjects(paths, more.pop("overrides", ()), {}, **more)]


def test_a_file_is_told_by_its_keys(tmp_path: Path) -> None:
    probe = write(tmp_path, "a.yaml", "centerAddr: c:1\nlogLev: 2\n")
    center = write(tmp_path, "b.yaml", "backendConfig: {type: sqlite}\nhealthPort: 7\n")
    assert kinds(probe, center) == [PROBE, CENTER]
    # A flag is for the files that do not tell.
    assert kinds(probe, center, told=["center"]) == [PROBE, CENTER]


def test_a_file_that_does_not_tell(tmp_path: Path) -> None:
    empty = write(tmp_path, "a.yaml", "# the defaults\n")
    with pytest.raises(Ambiguous, match=r"a\.yaml: .*add --probe or --center") as caught:
        kinds(empty)
    assert caught.value.exit_code == 2
    assert kinds(empty, told=["center"]) == [CENTER]
    assert kinds(empty, overrides=["dumpDir=/d"]) == [PROBE]
    heard = {"WAKIZASHI_BACKEND_CONFIG__TYPE": "sqlite"}
    assert [s.kind for s in subjects([empty], (), heard)] == [CENTER]


def test_without_a_file_it_is_a_probe_unless_something_tells() -> None:
    assert kinds() == [PROBE]
    assert kinds(told=["center"]) == [CENTER]
    assert kinds(told=["probe", "center"]) == [PROBE, CENTER]
    assert kinds(overrides=["backendConfig.type=sqlite"]) == [CENTER]
    (found,) = subjects((), (), {"WAKIZASHI_CENTER_ADDR": "c:7"})
    assert isinstance(found.config, ProbeConfig)
    assert found.config.centerAddr == "c:7"


def test_set_is_for_the_one_that_has_the_key(tmp_path: Path) -> None:
    probe = write(tmp_path, "a.yaml", "centerAddr: c:1\n")
    center = write(tmp_path, "b.yaml", "host: '::'\n")
    a, b = subjects([probe, center], ["dumpDir=/d", "port=7", "logLev=3"], {})
    assert a.config.model_dump(include={"dumpDir", "logLev"}) == {
        "dumpDir": Path("/d"),
        "logLev": 3,
    }
    assert b.config.model_dump(include={"port", "logLev"}) == {"port": 7, "logLev": 3}
    with pytest.raises(ConfigError, match="port: unknown key"):
        subjects([probe], ["port=7"], {})


def test_faults_of_all_files_come_at_once(tmp_path: Path) -> None:
    probe = write(tmp_path, "a.yaml", "centerAddr: c:1\nmaxFlow: 1\n")
    center = write(tmp_path, "b.yaml", "host: '::'\nport: x\n")
    with pytest.raises(ConfigError) as caught:
        subjects([probe, center], (), {})
    assert "a.yaml:2: maxFlow: unknown key; did you mean maxFlows?" in str(caught.value)
    assert "b.yaml:2: port" in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff", b"a: [", b"- 1", b"a: 99999999999999999999-1-1"])
def test_a_file_that_is_no_configuration(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises((ConfigError, Ambiguous)):
        kinds(tmp_path / "x.yaml")
    with pytest.raises(ConfigError):
        kinds(tmp_path / "x.yaml", told=["probe"])


# -- variables -------------------------------------------------------------------------------


def looked(variables: dict[str, str], daemon: str = PROBE) -> list[tuple[Verdict, str, str]]:
    other = CENTER if daemon == PROBE else PROBE
    found = environment.look(variables, VARIABLES[daemon], VARIABLES[other], daemon)
    return [(f.verdict, f.text, f.remedy) for f in found]


def test_a_misspelt_variable_is_a_fault_with_what_was_meant() -> None:
    ((verdict, text, remedy),) = looked({"WAKIZASHI_CENTRE_ADDR": "secret"})
    assert verdict is Verdict.FAULT
    assert text == "WAKIZASHI_CENTRE_ADDR means no key, so it is not heard"
    assert remedy == "did you mean WAKIZASHI_CENTER_ADDR?"
    ((verdict, _, remedy),) = looked({"WAKIZASHI_BACKEND_CONFIG_TYPE": "x"}, CENTER)
    assert (verdict, remedy) == (Verdict.FAULT, "did you mean WAKIZASHI_BACKEND_CONFIG__TYPE?")


def test_a_variable_that_means_nothing_is_a_note() -> None:
    ((verdict, text, _),) = looked({"WAKIZASHI_NO_SUCH_THING": "x"})
    assert (verdict, text) == (Verdict.NOTE, "WAKIZASHI_NO_SUCH_THING means no key")
    ((verdict, text, _),) = looked({"WAKIZASHI_BACKEND_CONFIG__TYPE": "sqlite"})
    assert (verdict, text) == (
        Verdict.NOTE,
        "WAKIZASHI_BACKEND_CONFIG__TYPE is no key of a probe",
    )


def test_variables_of_services_in_a_pod_are_nobodys_mistake() -> None:
    services = {
        "WAKIZASHI_PORT": "tcp://10.0.0.1:10080",
        "WAKIZASHI_SERVICE_HOST": "10.0.0.1",
        "WAKIZASHI_SERVICE_PORT": "10080",
        "WAKIZASHI_CENTER_SERVICE_PORT_GRPC": "10080",
        "WAKIZASHI_CENTER_PORT": "tcp://10.0.0.1:10080",
        "WAKIZASHI_CENTER_PORT_10080_TCP": "tcp://10.0.0.1:10080",
        "WAKIZASHI_CENTER_PORT_10080_TCP_ADDR": "10.0.0.1",
        "WAKIZASHI_CENTER_PORT_10080_TCP_PROTO": "tcp",
        "OTHER": "x",
    }
    assert looked(services) == [(Verdict.OK, "no variable sets a key", "")]
    heard = services | {"WAKIZASHI_CENTER_ADDR": "c:1"}
    assert looked(heard) == [(Verdict.OK, "WAKIZASHI_CENTER_ADDR set", "")]
