"""Peak memory of part of a program: of CUDA devices or, without one, of the process.

CUDA's allocator keeps its own peak and can reset it. Linux keeps a peak of the resident set too, but resetting it takes
rights that a process may lack, so a thread samples the current value instead.
"""

import threading
from collections.abc import Sequence
from typing import Protocol

import psutil
import torch

SAMPLING_SECONDS = 0.05


class MemoryPeak(Protocol):
    """The peak of memory since the last reading."""

    def start(self) -> None:
        """Start watching; earlier use does not count."""

    def take(self) -> int:
        """Return the peak in bytes since the last call or the start, and reset it."""

    def stop(self) -> None:
        """Stop watching."""


class CudaPeak:
    """Peak of the CUDA allocator on the device where it is highest."""

    def __init__(self, devices: Sequence[torch.device]) -> None:
        self._devices = devices

    def start(self) -> None:
        for device in self._devices:
            torch.cuda.reset_peak_memory_stats(device)

    def take(self) -> int:
        peak = max(torch.cuda.max_memory_allocated(device) for device in self._devices)
        self.start()
        return peak

    def stop(self) -> None:
        """Do nothing: the allocator watches by itself."""


class ResidentPeak:
    """Highest resident set size of this process (not of its children), sampled 20 times a second."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._peak = 0

    def start(self) -> None:
        self._peak = self._resident()
        self._stopped.clear()
        self._thread = threading.Thread(target=self._sample, name="memory-peak", daemon=True)
        self._thread.start()

    def take(self) -> int:
        now = self._resident()
        with self._lock:
            peak, self._peak = max(self._peak, now), now
        return peak

    def stop(self) -> None:
        if self._thread is not None:
            self._stopped.set()
            self._thread.join()
            self._thread = None

    def _resident(self) -> int:
        return int(self._process.memory_info().rss)

    def _sample(self) -> None:
        while not self._stopped.wait(SAMPLING_SECONDS):
            now = self._resident()
            with self._lock:
                self._peak = max(self._peak, now)
