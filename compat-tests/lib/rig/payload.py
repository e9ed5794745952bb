"""Test data in which a lost, repeated or moved block changes the digest."""

import hashlib
import random

BLOCK = 1 << 18
# The same in every process, so that each side can tell what the other should have sent.
_base = random.Random(10_0_2_2).randbytes(BLOCK - 8)


def blocks(total):
    """Yield `total` bytes in numbered blocks."""
    number = 0
    while total > 0:
        block = number.to_bytes(8, "big") + _base
        yield block if total >= BLOCK else block[:total]
        total -= BLOCK
        number += 1


def data(total):
    """The same bytes in one piece, for small sizes."""
    return b"".join(blocks(total))


def digest(total):
    """SHA-256 of `blocks(total)` in hexadecimal."""
    state = hashlib.sha256()
    for block in blocks(total):
        state.update(block)
    return state.hexdigest()
