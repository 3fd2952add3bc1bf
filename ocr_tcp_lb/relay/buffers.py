"""Memory for bytes on their way: one scratch buffer for all reads, and a bounded store of slabs for held bodies.

The scratch buffer is valid until the next read anywhere: whoever keeps bytes copies them. Slabs are kept for
reuse, because touching fresh pages costs more than the copy into them (0.25 us a 4 KiB page); therefore all but the
small ones come in few sizes.
"""

from typing import Final

from ocr_tcp_lb.config import KIB, MIB

SCRATCH_BYTES = 256 * KIB  # 4 MB upload: 1,430 us with this size, 2,480 with 64 KiB, 1,350 with 1 MiB
SLAB_BYTES = 256 * KIB
SLAB_STEP_BYTES = 16 * KIB  # whatever is longer than this is a multiple of it
KEPT_BYTES = 48 * MIB  # of whole slabs: a burst of uploads stays warm
KEPT_BYTES_EACH = MIB  # of each smaller size

scratch = bytearray(SCRATCH_BYTES)
scratch_view: Final = memoryview(scratch)


class Slabs:
    """Hands out writable memory for held bodies, at most `capacity_bytes` in all."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.used_bytes = 0
        self._kept: list[list[memoryview]] = [[] for _ in range(SLAB_BYTES // SLAB_STEP_BYTES + 1)]  # by length

    def __repr__(self) -> str:
        return f"<Slabs {self.used_bytes / MIB:.1f}/{self.capacity_bytes / MIB:.0f} MiB>"

    def take(self, size: int, share: float = 1.0) -> memoryview | None:
        """Memory of `size` bytes or a little more, at most a slab; None when this share of the capacity is used up."""
        if size > SLAB_STEP_BYTES:
            size = min(-(-size // SLAB_STEP_BYTES) * SLAB_STEP_BYTES, SLAB_BYTES)
        if self.used_bytes + size > share * self.capacity_bytes:
            return None
        self.used_bytes += size
        kept = self._kept[size // SLAB_STEP_BYTES]
        return kept.pop() if kept else memoryview(bytearray(size))

    def reserve(self, size: int) -> bool:
        """Count memory that the caller makes itself; False, and nothing counted, when the capacity is used up."""
        if self.used_bytes + size > self.capacity_bytes:
            return False
        self.used_bytes += size
        return True

    def release(self, size: int) -> None:
        """Undo `reserve`."""
        self.used_bytes -= size

    def give_back(self, slab: memoryview) -> None:
        """Return memory taken before; nobody may use it afterwards."""
        size = len(slab)
        self.used_bytes -= size
        if size < SLAB_STEP_BYTES:
            return
        kept = self._kept[size // SLAB_STEP_BYTES]
        if len(kept) * size < (KEPT_BYTES if size == SLAB_BYTES else KEPT_BYTES_EACH):
            kept.append(slab)
