"""A disk in memory that keeps apart what was written and what is durable, as adverse as POSIX allows.

- A file's content is durable after its fsync; at a crash before, it is nothing, a
  prefix, zeros behind a prefix, or whole. After a failed fsync the same holds for ever.
- A name is durable after the fsync of its directory; at a crash before, any of the
  pending changes of a directory may have happened and any other not. A rename within
  a directory is one change. From one directory to another it is two, of which either,
  both or none may have happened. A new directory is a name in the one above.
- After a failed fsync of a directory any of its changes may be durable; the others
  are so after a later one that works.
- Every call, and every step inside of a write, may be the last one or fail.
"""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from wakizashi.filesystem import Filesystem


class Crash(BaseException):
    """The process ends here, and perhaps the power with it. No handler of errors sees it."""


@dataclass(eq=False)
class File:
    content: bytes = b""
    durable: bool = False


Tree = dict[str, "File | Folder"]
Change = Callable[[Tree], object]


@dataclass(eq=False)
class Folder:
    names: Tree = field(default_factory=dict)
    durable: Tree = field(default_factory=dict)
    pending: list[tuple[set[str], Change]] = field(default_factory=list)
    """What is not durable yet: the names that it touches, and how."""

    def change(self, touched: set[str], change: Change) -> None:
        change(self.names)
        self.pending.append((touched, change))


class Disk(Filesystem):
    """The disk. ``chance`` decides what a crash leaves, for Hypothesis to choose and to shrink."""

    def __init__(self) -> None:
        self.root = Folder()
        self.chance = Random(0)
        self.steps = 0
        self.crash_at = 0
        """The step that is not done any more; 0 for none."""
        self.fail_at = 0
        self.fail_for = 1
        """How many steps fail, from ``fail_at`` on."""
        self.error = errno.EIO
        self.locked = False

    def calm(self) -> None:
        """Nothing goes wrong from here on."""
        self.steps = self.crash_at = self.fail_at = 0

    def crash(self) -> None:
        """The power goes: what is left is what is durable, and what chance adds."""
        self._settle(self.root)
        self.locked = False

    def kill(self) -> None:
        """The process goes: what is written stays, durable or not."""
        self.locked = False

    def _settle(self, folder: Folder) -> None:
        for _, change in folder.pending:
            if self.chance.random() < 0.5:
                change(folder.durable)
        folder.pending = []
        folder.names = dict(folder.durable)
        for node in folder.names.values():
            if isinstance(node, Folder):
                self._settle(node)
            elif not node.durable:
                whole = node.content
                cut = self.chance.randrange(len(whole) + 1)
                node.content = self.chance.choice(
                    [b"", whole[:cut], whole[:cut] + bytes(len(whole) - cut), whole]
                )
                node.durable = True

    def _step(self) -> None:
        self.steps += 1
        if self.steps == self.crash_at:
            raise Crash
        if self.fail_at and self.fail_at <= self.steps < self.fail_at + self.fail_for:
            raise OSError(self.error, os.strerror(self.error))

    def _folder(self, path: Path) -> Folder:
        node: File | Folder = self.root
        for part in path.parts[1:]:
            if not isinstance(node, Folder) or part not in node.names:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            node = node.names[part]
        if not isinstance(node, Folder):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        return node

    def file(self, path: Path) -> File:
        node = self._folder(path.parent).names.get(path.name)
        if not isinstance(node, File):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return node

    def contents(self, path: Path) -> dict[str, bytes]:
        """The files in a directory, as they are seen now; for a test to look at."""
        try:
            names = self._folder(path).names
        except FileNotFoundError:
            return {}
        return {name: node.content for name, node in names.items() if isinstance(node, File)}

    def flip(self, path: Path) -> bytes:
        """Alter the last bit of a file, though not of another name of it; the new content."""
        old = self.file(path)
        file = File(old.content[:-1] + bytes([old.content[-1] ^ 1]), durable=True)
        folder = self._folder(path.parent)
        folder.change({path.name}, lambda names: names.__setitem__(path.name, file))
        folder.durable[path.name] = file
        return file.content

    # -- the system calls ----------------------------------------------------------------------

    def lock(self, path: Path) -> int:
        self._step()
        self._folder(path)
        if self.locked:
            raise BlockingIOError
        self.locked = True
        return 3

    def unlock(self, lock: int) -> None:
        self.locked = False

    def is_directory(self, path: Path) -> bool:
        try:
            self._folder(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def is_mount(self, path: Path) -> bool:
        return path == path.parent

    def make_directory(self, path: Path) -> None:
        self._step()
        parent = self._folder(path.parent)
        if path.name not in parent.names:
            folder = Folder()
            parent.change({path.name}, lambda names: names.__setitem__(path.name, folder))

    def names(self, path: Path) -> list[str]:
        self._step()
        try:
            return sorted(self._folder(path).names)
        except FileNotFoundError:
            return []

    def size(self, path: Path) -> int:
        self._step()
        return len(self.file(path).content)

    def write_new(self, path: Path, data: bytes) -> None:
        self._step()
        folder, file = self._folder(path.parent), File()
        if path.name in folder.names:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        folder.change({path.name}, lambda names: names.__setitem__(path.name, file))
        file.content = data[: self.chance.randrange(len(data) + 1)]  # where the write may end
        self._step()
        file.content = data
        self._step()
        file.durable = True

    def read(self, path: Path) -> bytes:
        self._step()
        return self.file(path).content

    def rename(self, source: Path, target: Path) -> None:
        self._step()
        file = self.file(source)
        here, there = self._folder(source.parent), self._folder(target.parent)

        def leave(names: Tree) -> None:
            if names.get(source.name) is file:
                del names[source.name]

        def arrive(names: Tree) -> None:
            names[target.name] = file

        def both(names: Tree) -> None:
            leave(names)
            arrive(names)

        if here is there:
            here.change({source.name, target.name}, both)
        else:
            there.change({target.name}, arrive)
            here.change({source.name}, leave)

    def link(self, source: Path, target: Path) -> None:
        self._step()
        file, folder = self.file(source), self._folder(target.parent)
        if target.name in folder.names:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        folder.change({target.name}, lambda names: names.__setitem__(target.name, file))

    def sync_directory(self, path: Path) -> None:
        folder = self._folder(path)
        try:
            self._step()
        except OSError:
            late: list[tuple[set[str], Change]] = []
            for touched, change in folder.pending:
                earlier = any(touched & names for names, _ in late)
                if not earlier and self.chance.random() < 0.5:
                    change(folder.durable)
                else:
                    late.append((touched, change))
            folder.pending = late
            raise
        folder.durable = dict(folder.names)
        folder.pending = []

    def remove(self, path: Path) -> None:
        self._step()
        folder = self._folder(path.parent)
        if path.name in folder.names:
            folder.change({path.name}, lambda names: names.pop(path.name, None))
