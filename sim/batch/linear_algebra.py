"""Addresses of the BLAS and LAPACK that numba calls: SciPy's, which is also what NumPy's own copy computes."""

from __future__ import annotations

import ctypes
import importlib

_ROUTINES = {
    "cython_blas": ("dgemm", "dgemv"),
    "cython_lapack": ("dgetrf", "dgetri", "dgesdd"),
}
"""In the order of `LinearAlgebra` in csrc/exact.hpp."""


def routines() -> ctypes.Array[ctypes.c_void_p]:
    """Entry points for the compiled kernel."""
    found = []
    for module, names in _ROUTINES.items():
        exported = importlib.import_module(f"scipy.linalg.{module}").__pyx_capi__
        found += [_address(exported[name]) for name in names]
    return (ctypes.c_void_p * len(found))(*found)


def _address(capsule: object) -> int | None:
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    address: int | None = api.PyCapsule_GetPointer(capsule, api.PyCapsule_GetName(capsule))
    return address
