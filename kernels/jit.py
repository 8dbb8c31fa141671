"""The decorators of the CPU kernels, and the cache of what Numba compiles.

Numba's own cache is not used: it reads no folder to which it cannot write, raises an error where there is no
such folder, where an entry is damaged and where the disk is full, and trusts every file that it finds.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import pickle
import platform
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llvmlite
import numba
import numpy as np
from numba import njit
from numba.core import compiler, registry, serialize

from kseg_batch.kernels.store import COMPILER_LOCK, STORE, SUFFIX, all_folders, has_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

_compiler: Any = compiler
_serialize: Any = serialize  # both have no types

DIGITS = 16
"""Hexadecimal digits of a hash in the name of an entry."""


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls, when it is called, and keep the compiled code in the cache."""
    dispatcher: Any = njit(nogil=True)(function)
    if hasattr(dispatcher, "enable_caching"):  # with NUMBA_DISABLE_JIT, it is the plain function
        dispatcher._cache = KernelCache(function)
    return dispatcher


function = njit(nogil=True)
"""Compile a function that only kernels call, with each kernel."""

inlined = njit(nogil=True, forceinline=True)
"""The same, for a function whose code becomes part of its callers."""


def is_cached(dispatcher: Any) -> bool:
    """Return whether the cache has a kernel for this version and this processor, for some argument types."""
    if not isinstance(getattr(dispatcher, "_cache", None), KernelCache):
        return False
    return bool(has_entry(dispatcher._cache.prefix(dispatcher.targetctx)))


def version_of_host() -> str:
    """Return the part of the names that the entries for this version and this processor have."""
    return environment(registry.cpu_target.target_context.codegen().magic_tuple())


class KernelCache:
    """The cache of one kernel, with the methods of `numba.core.caching.FunctionCache`, for its dispatcher."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        self._enabled = True

    @property
    def cache_path(self) -> str:
        """The first folder that is tried."""
        return str(all_folders()[0])

    def enable(self) -> None:
        """Read and write entries."""
        self._enabled = True

    def disable(self) -> None:
        """Read and write no entries."""
        self._enabled = False

    def flush(self) -> None:
        """Read no entries any more: Numba is about to compile the kernel anew."""
        self._enabled = False

    def prefix(self, target_context: Any) -> str:
        """Return the beginning of the names of this kernel's entries for a target."""
        return f"{self._function}-{environment(target_context.codegen().magic_tuple())}-"

    def _entry(self, signature: Any, target_context: Any) -> str:
        types = hashlib.sha256(str(signature).encode()).hexdigest()[:DIGITS]
        return f"{self.prefix(target_context)}{types}{SUFFIX}"

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Return the compiled code for the types of arguments; None if Numba has to compile."""
        with _without_garbage_collection():
            target_context.refresh()
            if not self._enabled:
                return None
            name = self._entry(signature, target_context)
            result = _load(name, target_context)
        if result is None and COMPILER_LOCK.acquire(name):  # another process may have compiled meanwhile
            result = _load(name, target_context)
            if result is not None:
                COMPILER_LOCK.release(name)
        return result

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep compiled code."""
        if not self._enabled:
            return
        name = self._entry(signature, result.target_context)
        version = environment(result.codegen.magic_tuple())
        try:
            STORE.write(name, version, _serialize.dumps(result._reduce()))
        finally:
            COMPILER_LOCK.release(name)


@contextlib.contextmanager
def _without_garbage_collection() -> Generator[None]:
    """Let Python look for no garbage: a search takes 40 ms, and what Numba makes at its start is none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _load(name: str, target_context: Any) -> Any:
    """Return the compiled code of an entry; None if there is no sound entry."""
    found = STORE.read(name)
    if found is None:
        return None
    folder, content = found
    try:
        result = _compiler.CompileResult._rebuild(target_context, *pickle.loads(content))
    except Exception:  # noqa: BLE001 - an entry that is no use, whatever its error, must not end a run
        STORE.report_damage(folder)
        return None
    STORE.loaded[folder] += 1
    return result


@cache
def environment(target: tuple[str, ...]) -> str:
    """Return a hash of all that compiled code depends on, but for the kernel and the types of its arguments.

    Args:
        target: The target of the compiler: triple, name of the processor and its features.
    """
    versions = (numba.__version__, llvmlite.__version__, np.__version__, sys.implementation.cache_tag)
    parts = [repr((versions, platform.python_version(), target)).encode()]
    parts += [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py*"))]
    hashes = b"".join(hashlib.sha256(part).digest() for part in parts)
    return hashlib.sha256(hashes).hexdigest()[:DIGITS]
