"""The generated code is what its sources generate, and the contract is clean."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
GENERATED = ("traffic_pb2.py", "traffic_pb2.pyi", "traffic_pb2_grpc.py")


def test_regenerating_changes_nothing(tmp_path: Path) -> None:
    outputs = [f"--{kind}={tmp_path}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", *outputs]
    subprocess.run([*command, "wakizashi/v1/traffic.proto"], check=True)
    for name in GENERATED:
        made = (tmp_path / "wakizashi/v1" / name).read_text()
        assert made == (ROOT / "src/wakizashi/v1" / name).read_text(), (
            f"{name}: run `make generate`"
        )


def test_the_contract_is_lint_clean() -> None:
    buf = Path(sys.executable).with_name("buf")
    done = subprocess.run([buf, "lint"], cwd=ROOT / "proto", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_recompiling_the_program_changes_nothing(tmp_path: Path) -> None:
    folder = ROOT / "src/wakizashi/probe/bpf"
    made = tmp_path / "traffic.bpf.o"
    (flags,) = re.findall(r"^BPF_FLAGS := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    command = [sys.executable, *flags.split(), "-c", "traffic.bpf.c", "-o", str(made)]
    subprocess.run(command, cwd=folder, check=True)
    assert made.read_bytes() == (folder / made.name).read_bytes(), "run `make generate`"
