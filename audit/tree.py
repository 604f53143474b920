"""The Merkle tree of RFC 6962, section 2.1, over SHA-256: hashes, roots, and both kinds of proofs.

Hashes are 32 bytes. `HashOf(level, index)` gives the hash of the complete subtree of 2**level leaves that begins at leaf index * 2**level;
where it comes from (leaves in memory, tiles in files) is the caller's matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final

HASH_BYTES: Final = 32
HashOf = Callable[[int, int], bytes]
_LEAF, _NODE = b"\x00", b"\x01"
EMPTY: Final = hashlib.sha256(b"").digest()
"""The root of a tree without leaves."""


def leaf_hash(entry: bytes) -> bytes:
    """The hash of an entry as a leaf."""
    return hashlib.sha256(_LEAF + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees beside each other."""
    return hashlib.sha256(_NODE + left + right).digest()


def extended(frontier: Sequence[bytes], size: int, hashes: Iterable[bytes]) -> list[bytes]:
    """The frontier after more leaves: roots of the complete subtrees that a tree consists of, the largest first.

    `size` is how many leaves the given frontier stands for. A frontier is all that is needed to go on, and it is log2(size) hashes long.
    """
    found = list(frontier)
    for each in hashes:
        found.append(each)
        full = size
        while full & 1:
            right, left = found.pop(), found.pop()
            found.append(node_hash(left, right))
            full >>= 1
        size += 1
    return found


def root_of(frontier: Sequence[bytes]) -> bytes:
    """The root of the tree that a frontier stands for."""
    if not frontier:
        return EMPTY
    found = frontier[-1]
    for left in reversed(frontier[:-1]):
        found = node_hash(left, found)
    return found


def subtree(hash_of: HashOf, begin: int, end: int) -> bytes:
    """MTH(D[begin:end]); `begin` is a multiple of the smallest power of two that is not less than the width."""
    width = end - begin
    if not width:
        return EMPTY
    if width & (width - 1) == 0:
        level = width.bit_length() - 1
        return hash_of(level, begin >> level)
    middle = begin + _split(width)
    return node_hash(subtree(hash_of, begin, middle), subtree(hash_of, middle, end))


def inclusion_proof(hash_of: HashOf, index: int, size: int) -> list[bytes]:
    """PATH(index, D[size]), from the leaf's sibling up to the root's child. Raises ValueError for a leaf that is not in the tree."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} has no leaf {index}")
    proof: list[bytes] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            proof.append(subtree(hash_of, middle, end))
            end = middle
        else:
            proof.append(subtree(hash_of, begin, middle))
            begin = middle
    return proof[::-1]


def consistency_proof(hash_of: HashOf, old: int, size: int) -> list[bytes]:
    """PROOF(old, D[size]); empty where both are the same. Raises ValueError unless 0 < old <= size: nothing is consistent with nothing."""
    if not 0 < old <= size:
        raise ValueError(f"there is no proof from {old} to {size}")
    proof: list[bytes] = []
    begin, end, whole = 0, size, True
    while old < end:
        middle = begin + _split(end - begin)
        if old <= middle:
            proof.append(subtree(hash_of, middle, end))
            end = middle
        else:
            proof.append(subtree(hash_of, begin, middle))
            begin, whole = middle, False
    if not whole:
        proof.append(subtree(hash_of, begin, end))
    return proof[::-1]


def included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the proof shows that a leaf hash stands at `index` of the tree of `size` with this root. RFC 9162, section 2.1.3.2."""
    if not 0 <= index < size or any(len(each) != HASH_BYTES for each in (leaf, root, *proof)):
        return False
    place, last, found = index, size - 1, leaf
    for each in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            found = node_hash(each, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, each)
        place, last = place >> 1, last >> 1
    return last == 0 and found == root


def consistent(old: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the proof shows that the tree of `size` begins with the tree of `old`. RFC 9162, section 2.1.4.2.

    A proof from a tree without leaves is an error: it would say nothing.
    """
    if not 0 < old <= size:
        return False
    if old == size:
        return not proof and old_root == root
    if any(len(each) != HASH_BYTES for each in (old_root, root, *proof)):
        return False
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    place, last = old - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    if not proof or not path:
        return False
    was = now = path[0]
    for each in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            was, now = node_hash(each, was), node_hash(each, now)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            now = node_hash(now, each)
        place, last = place >> 1, last >> 1
    return last == 0 and was == old_root and now == root


def hashes_of(leaves: Sequence[bytes]) -> HashOf:
    """`HashOf` over leaf hashes in memory; each inner hash is made once."""
    levels: list[list[bytes]] = [list(leaves)]

    def hash_of(level: int, index: int) -> bytes:
        while len(levels) <= level:
            below = levels[-1]
            levels.append([node_hash(below[each], below[each + 1]) for each in range(0, len(below) - 1, 2)])
        return levels[level][index]

    return hash_of


def _split(width: int) -> int:
    """The largest power of two that is less than the width."""
    return 1 << ((width - 1).bit_length() - 1)
