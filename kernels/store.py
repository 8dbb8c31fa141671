"""The files of compiled kernels: the folders that keep them, which are read, and how they are written.

An entry is a file: a SHA-256, and the bytes that it covers. Entries are pickles, and so are code. An entry is
read only if it and its folder belong to this user or to root, and nobody else may write to either. So the
folders are leaves of their own, made without rights for others whatever the umask. An entry that is damaged
is as good as none.

Entries are kept in the first of `kept_folders` that takes them, and else in the private folder of a run,
which its processes share. Where that fails, too, the compiled code stays in the memory of the process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import tempfile
import time
import warnings
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from kseg_batch.errors import KernelCacheWarning
from kseg_batch.processes import PRIVATE_FOLDER

if TYPE_CHECKING:
    from filelock import BaseFileLock

SUFFIX = ".kernel"
"""Suffix of the entries."""
LEAF = "kseg-batch"
"""Name of the folders that keep entries."""
OLD_SECONDS = 28 * 24 * 3600
"""Age at which an entry of another version is removed, when an entry is written beside it."""
OTHERS_OWN, OTHERS_WRITE = "owned by another user", "writable by other users"
UNREADABLE = "not readable"
"""Reasons why entries are not read."""
COMPILING_SECONDS = 60.0
"""Most seconds to wait for other processes that compile. Compiling all kernels takes 10 to 20 seconds."""


class DamagedError(Exception):
    """An entry is not what was written."""


class UntrustedError(Exception):
    """An entry is not read, because somebody else may have written it; the message says who."""


# ---- folders ---------------------------------------------------------------------------------------------


def kept_folders() -> list[Path]:
    """Return the folders that keep entries from run to run, in the order in which they are tried."""
    if named := os.environ.get("NUMBA_CACHE_DIR"):
        return [Path(named).absolute() / LEAF]
    beside = Path(__file__).parent / "__pycache__" / LEAF
    users = _user_cache()
    return [beside] if users is None else [beside, users / LEAF]


def _user_cache() -> Path | None:
    """Return the cache folder of this user; None for a user without one, or with another user's home.

    Root with the home of another user, as by sudo, would leave files there that the user cannot replace.
    """
    try:
        home = Path.home()
        if os.geteuid() == 0 and home.stat().st_uid != 0:
            return None
        home.stat()
    except (OSError, RuntimeError):  # RuntimeError: the user has no name and no HOME
        return None
    named = os.environ.get("XDG_CACHE_HOME", "")
    return Path(named) if Path(named).is_absolute() else home / ".cache"


def all_folders() -> list[Path]:
    """Return the folders that keep entries, and the private folder of the run if there is one."""
    private = os.environ.get(PRIVATE_FOLDER)
    return [*kept_folders(), *([Path(private)] if private else [])]


def distrust(status: os.stat_result) -> str | None:
    """Return why a file or folder is not trusted; None if only this user and root can have written it."""
    if status.st_uid not in (os.geteuid(), 0):
        return OTHERS_OWN
    return OTHERS_WRITE if status.st_mode & 0o022 else None


def prepare(folder: Path) -> None:
    """Make a folder for entries if there is none.

    Raises:
        OSError: The folder cannot be made, or is not trusted; `strerror` says why.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(0o755)
    if reason := distrust(folder.stat()):
        raise PermissionError(None, reason, str(folder))


# ---- entries ---------------------------------------------------------------------------------------------


def read_entry(folder: Path, name: str) -> bytes | None:
    """Return the content of an entry; None if there is no such entry, or the folder cannot be read.

    Raises:
        DamagedError: The entry is incomplete or changed, or is another entry under this name.
        UntrustedError: The entry or its folder is not trusted, or the entry cannot be read.
    """
    try:
        reason = distrust(folder.stat())
        with (folder / name).open("rb") as file:
            reason = reason or distrust(os.fstat(file.fileno()))
            if reason:
                raise UntrustedError(reason)
            data = file.read()
    except PermissionError as error:
        if os.access(folder, os.X_OK):
            raise UntrustedError(UNREADABLE) from error
        return None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:  # such as a defect of the disk
        raise DamagedError from error
    digest, content = data[:32], data[32:]
    if digest != _digest(name, content):
        raise DamagedError
    return content


def entries_in(folder: Path) -> list[Path]:
    """Return the files of the entries in a folder, sound or not; none if there is no such folder."""
    try:
        return [path for path in folder.iterdir() if path.suffix == SUFFIX]
    except OSError:
        return []


def has_entry(prefix: str) -> bool:
    """Return whether there is a sound entry with a name that begins with the prefix."""
    for folder in all_folders():
        for path in entries_in(folder):
            with contextlib.suppress(DamagedError, UntrustedError):
                if path.name.startswith(prefix) and read_entry(folder, path.name) is not None:
                    return True
    return False


def write_entry(folder: Path, name: str, content: bytes) -> None:
    """Write an entry, so that other processes find it complete or not at all.

    Raises:
        OSError: The entry cannot be written, or the folder is not trusted.
    """
    prepare(folder)
    temporary = folder / f"{name}.{secrets.token_hex(8)}"
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as file:
            file.write(_digest(name, content) + content)
        temporary.replace(folder / name)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _digest(name: str, content: bytes) -> bytes:
    """Return the checksum of an entry. The name is in it, so that no entry passes for another one."""
    return hashlib.sha256(name.encode() + b"\0" + content).digest()


def refusal(folder: Path) -> str | None:
    """Return why entries cannot be written to a folder; None if they can, as far as an empty file shows."""
    if folder in STORE.refusals:
        return STORE.refusals[folder]
    try:
        prepare(folder)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or str(error)


def remove_old(folder: Path, version: str) -> None:
    """Remove the entries of other versions, and incomplete ones, that are older than `OLD_SECONDS`.

    Args:
        folder: The folder.
        version: The part of the names that all entries of this version have.
    """
    limit = time.time() - OLD_SECONDS
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            is_other = version not in path.name or path.suffix != SUFFIX
            if SUFFIX in path.name and is_other and path.stat().st_mtime < limit:
                path.unlink()


# ---- the store -------------------------------------------------------------------------------------------


class Store:
    """The entries of this process: where they were found and kept, and what the user has to know of it.

    Numba calls the methods one at a time, with a lock held.

    Attributes:
        loaded: Number of entries that were read, by folder.
        compiled: Number of kernels that were compiled.
        kept: Number of these that were written to a folder that keeps them, by folder.
        refusals: By folder, why entries cannot be written.
        unread: By folder, why entries are not read that are there.
    """

    def __init__(self) -> None:
        self.loaded: Counter[Path] = Counter()
        self.compiled = 0
        self.kept: Counter[Path] = Counter()
        self.refusals: dict[Path, str] = {}
        self.unread: dict[Path, str] = {}
        self._swept: set[Path] = set()

    def read(self, name: str) -> tuple[Path, bytes] | None:
        """Return the first sound entry of a name, with its folder; None if there is none."""
        damaged = []
        for folder in all_folders():
            try:
                content = read_entry(folder, name)
            except DamagedError:
                damaged.append(folder)
            except UntrustedError as error:
                self.unread[folder] = str(error)
            else:
                if content is not None:
                    return folder, content
        for folder in damaged:
            self.report_damage(folder)
        return None

    def report_damage(self, folder: Path) -> None:
        """Tell the user of damaged entries."""
        _warn(f"compiled kernels in {folder} are damaged: they are compiled anew")

    def write(self, name: str, version: str, content: bytes) -> None:
        """Keep the content of a compiled kernel in the first folder that takes it.

        Args:
            name: The name of the entry.
            version: The part of the names that all entries of this version have.
            content: The content.
        """
        self.compiled += 1
        kept = kept_folders()
        for folder in all_folders():
            if folder in self.refusals:
                continue
            try:
                write_entry(folder, name, content)
            except OSError as error:
                self.refusals[folder] = error.strerror or str(error)
                continue
            if folder in kept:
                self.kept[folder] += 1
                self._report_unread()
                if folder not in self._swept:
                    self._swept.add(folder)
                    remove_old(folder, version)
                return
            break
        reasons = " or ".join(f"{folder} ({self.refusals[folder]})" for folder in kept)
        _warn(
            f"the compiled kernels cannot be kept in {reasons}: they are compiled for this run alone; "
            "set NUMBA_CACHE_DIR to another folder"
        )

    def _report_unread(self) -> None:
        for folder, reason in self.unread.items():
            _warn(f"compiled kernels in {folder} are {reason}, and not read: they are compiled anew")


STORE = Store()
"""The store of this process."""


@cache
def _warn(text: str) -> None:
    """Warn once of each text: Python forgets what it has shown when Numba changes the filters."""
    warnings.warn(text, KernelCacheWarning, stacklevel=3)


# ---- one process compiles --------------------------------------------------------------------------------


class CompilerLock:
    """A lock that lets one process compile at a time, so that the others load what it has compiled.

    The lock is beside the entries. Where no folder can be written, there is none, and every process compiles.
    """

    def __init__(self) -> None:
        self._lock: BaseFileLock | None = None
        self._owner = ""
        self._seconds = COMPILING_SECONDS

    def acquire(self, name: str) -> bool:
        """Wait for the processes that compile, and let them wait from now on.

        A kernel may be compiled while another is, which calls it: the lock is that of the outer kernel.

        Args:
            name: The entry to be written.

        Returns:
            Whether this process holds the lock now, and did not before.
        """
        if self._lock is not None:
            return False
        from filelock import FileLock, Timeout

        for folder in all_folders():
            if folder in STORE.refusals:
                continue
            start = time.monotonic()
            try:
                prepare(folder)
                lock = FileLock(folder / ".lock", timeout=self._seconds)
                lock.acquire()
            except Timeout:  # its owner hangs: compiling twice is better than waiting again
                self._seconds = 0.0
                return False
            except (OSError, NotImplementedError):
                continue
            self._seconds = max(0.0, self._seconds - (time.monotonic() - start))
            self._lock, self._owner = lock, name
            return True
        return False

    def release(self, name: str) -> None:
        """Release the lock when the kernel for which it was acquired is compiled and written."""
        if self._lock is not None and self._owner == name:
            self._lock.release()
            self._lock = None


COMPILER_LOCK = CompilerLock()
"""The lock of this process."""
