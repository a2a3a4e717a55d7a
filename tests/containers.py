"""A container of a manifest as a process of this machine: its user, capabilities, files, variables.

What a container runtime makes of the manifest, by mount(8), chroot(8) and setpriv(1). The machine's
own files, read-only where the manifest says so, stand in for the image's, and the interpreter that
runs the tests for the image's. Left out are cgroups and seccomp. Needs root.
"""

import os
import shlex
import sys
from pathlib import Path

from tests.kubernetes import ROOT, Object, environment

_KNOWN = {
    *("runAsUser", "runAsGroup", "runAsNonRoot", "fsGroup", "fsGroupChangePolicy"),
    *("seccompProfile", "allowPrivilegeEscalation", "readOnlyRootFilesystem", "capabilities"),
}
_IMAGE = {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]}
_HOME = "/var/lib/wakizashi"


def security_context(spec: Object, container: Object) -> Object:
    """What holds for a container: its own, over that of its pod."""
    context = {**spec.get("securityContext", {}), **container.get("securityContext", {})}
    assert set(context) <= _KNOWN, "what is not known here is not simulated either"
    return context


def container_command(
    spec: Object,
    container: Object,
    *,
    scratch: Path,
    volumes: dict[str, Path],
    hosts: Path,
    fields: dict[str, str],
    changes: dict[str, str],
    arguments: tuple[str, ...] = (),
) -> list[str]:
    """The command that runs a container.

    Args:
        spec, container: of the manifest.
        scratch: a directory for its root, empty.
        volumes: by name, the directories to mount.
        hosts: its ``/etc/hosts``.
        fields: of the pod, for the downward API.
        changes: variables that a test has otherwise than the manifest.
        arguments: of the program, instead of the image's.
    """
    program = container["image"].partition(":")[0].removeprefix("wakizashi-")
    file = f"/etc/wakizashi/{program}-config.yaml"
    context = security_context(spec, container)
    root = scratch / "root"
    steps = [
        "mount --make-rprivate /",
        f"mount -t tmpfs tmpfs {scratch}",
        f"mkdir {scratch}/up {scratch}/work {root}",
        f"mount -t overlay overlay {root} -o lowerdir=/,upperdir={scratch}/up,workdir={scratch}/work",
        # The interpreter may lie in somebody's home; here, and here alone, everybody may enter.
        *(f"mkdir -p {root}{place}; chmod a+rx {root}{place}" for place in _interpreter()),
        *(
            f"mount --rbind {place} {root}{place}"
            for place in (ROOT, sys.prefix, sys.base_prefix)
            if os.stat(place).st_dev != os.stat("/").st_dev
        ),
        f"mkdir -p {root}{_HOME} {root}/etc/wakizashi",
        f"echo '# the defaults' > {root}{file}",
        *(f"mount --rbind /{place} {root}/{place}" for place in ("dev", "proc", "sys")),
        f"touch {root}/etc/hosts; mount --bind {hosts} {root}/etc/hosts",
    ]
    for mount in container["volumeMounts"]:
        source, target = volumes[mount["name"]], f"{root}{mount['mountPath']}"
        steps.append(f"mkdir -p {target}; mount --bind {source} {target}")
        if mount.get("readOnly"):
            steps.append(f"mount -o remount,bind,ro {target}")
    if context["readOnlyRootFilesystem"]:
        steps.append(f"mount -o remount,ro {root}")
    given = _IMAGE | environment(container, fields) | changes
    command = [
        *("chroot", str(root), *_identity(context)),
        *("env", "-i", f"--chdir={_HOME}", *(f"{name}={value}" for name, value in given.items())),
        *(sys.executable, "-m", f"wakizashi.{program}", *(arguments or ("-c", file))),
    ]
    return ["unshare", "-m", "sh", "-ec", "\n".join([*steps, f"exec {shlex.join(command)}"])]


def _interpreter() -> list[str]:
    """The directories on the way to interpreter and source, from the top."""
    ends = (ROOT / "src", Path(sys.prefix), Path(sys.base_prefix))
    return sorted({str(place) for end in ends for place in (end, *end.parents)} - {"/"})


def _identity(context: Object) -> list[str]:
    """setpriv(1) for a security context, as a runtime does it: nothing is inherited, or ambient."""
    user, group = context["runAsUser"], context.get("runAsGroup", 0)
    assert user or not context.get("runAsNonRoot"), "the kubelet would not start it"
    assert context["capabilities"]["drop"] == ["ALL"], "else it has those of the runtime"
    kept = [f"+{name.lower()}" for name in context["capabilities"].get("add", [])]
    groups = f"--groups={context['fsGroup']}" if "fsGroup" in context else "--clear-groups"
    return [
        *("setpriv", f"--reuid={user}", f"--regid={group}", groups, "--inh-caps=-all"),
        *("--ambient-caps=-all", f"--bounding-set={','.join(['-all', *kept])}"),
        *(["--no-new-privs"] if context["allowPrivilegeEscalation"] is False else []),
    ]
