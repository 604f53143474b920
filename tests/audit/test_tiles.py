"""Tiles: which files a log consists of, and what is in them."""

from __future__ import annotations

import pytest

from audit.tiles import ENTRIES, Tile, TileError, TileHashes, bundle, entry_at, read_bundle, read_hashes, tiles_of, top_of
from audit.tree import consistency_proof, consistent, hashes_of, included, inclusion_proof, leaf_hash, subtree

SIZE = 70_000


def files(size: int) -> tuple[dict[str, bytes], list[bytes]]:
    """A log of this size, made from the definition: a tile's hashes are those of complete subtrees."""
    entries = [f"{each}".encode() for each in range(size)]
    hash_of = hashes_of([leaf_hash(each) for each in entries])
    found = {}
    for tile in tiles_of(size):
        first = tile.number * 256
        if tile.kind == ENTRIES:
            found[tile.path] = bundle(entries[first : first + tile.width])
        else:
            found[tile.path] = b"".join(hash_of(8 * int(tile.kind), first + each) for each in range(tile.width))
    return found, entries


def test_a_log_of_70_000_entries_has_the_tiles_that_the_specification_says() -> None:
    tiles = list(tiles_of(SIZE))
    rows = {kind: [tile for tile in tiles if tile.kind == kind] for kind in (ENTRIES, "0", "1", "2")}
    assert sum(len(row) for row in rows.values()) == len(tiles)
    assert [(len(row), row[-1].width) for row in rows.values()] == [(274, 112), (274, 112), (2, 17), (1, 1)]
    assert rows["1"][0].width == 256
    assert [(tile.kind, tile.width) for tile in tiles_of(256)] == [(ENTRIES, 256), ("0", 256), ("1", 1)]
    assert list(tiles_of(0)) == []
    assert list(tiles_of(9, 9)) == []
    assert {*tiles_of(SIZE)} - {*tiles_of(69_990)} == {*tiles_of(SIZE, 69_990)} - {*tiles_of(69_990)}


def test_a_path_is_read_back_and_no_other_spelling_is() -> None:
    assert Tile("0", 1_234_067, 256).path == "tile/0/x001/x234/067"
    assert Tile(ENTRIES, 0, 3).path == "tile/entries/000.p/3"
    for tile in (*tiles_of(SIZE), Tile("63", 999_999, 255), Tile("1", 1_000, 256)):
        assert Tile.read(tile.path) == tile
    for path in ("tile/0/000.p/256", "tile/0/000.p/0", "tile/0/000.p/01", "tile/64/000", "tile/00/000", "tile/0/x000/000",
                 "tile/0/0",                  "tile/0/000/", "tile/0/../000", "tile/0/001/000", "checkpoint",
                 "tile/0/x001/x1/000", "tile/0/\u0660\u0660\u0660"):  # fmt: skip
        assert Tile.read(path) is None, path


@pytest.mark.slow
def test_proofs_from_tiles_are_those_from_leaves_and_read_a_few_files() -> None:
    kept, entries = files(SIZE)
    read: list[str] = []

    def fetch(path: str) -> bytes:
        read.append(path)
        return kept[path]

    hash_of = hashes_of([leaf_hash(each) for each in entries])
    root = subtree(hash_of, 0, SIZE)
    for index in (0, 255, 256, 65_535, 65_536, SIZE - 1):
        read.clear()
        proof = inclusion_proof(TileHashes(fetch, SIZE), index, SIZE)
        assert proof == inclusion_proof(hash_of, index, SIZE)
        assert len(read) <= 6
        assert included(leaf_hash(entry_at(fetch, index, SIZE)), index, SIZE, proof, root)
    for old in (1, 255, 256, 65_536, 69_999):
        proof = consistency_proof(TileHashes(fetch, SIZE), old, SIZE)
        assert consistent(old, SIZE, subtree(hash_of, 0, old), root, proof)


def test_a_tile_of_another_length_and_a_bundle_that_ends_early_are_told() -> None:
    tile = Tile(ENTRIES, 0, 2)
    whole = bundle([b"a", b""])
    assert whole == b"\x00\x01a\x00\x00"
    assert read_bundle(whole, tile) == [b"a", b""]
    for raw in (whole[:-1], whole[:2], whole + b"\x00\x00", b"", whole[:3]):
        with pytest.raises(TileError, match=r"tile/entries/000.p/2 (ends|holds)"):
            read_bundle(raw, tile)
    with pytest.raises(TileError, match="is 33 bytes long instead of 32"):
        read_hashes(bytes(33), Tile("0", 0, 1))
    with pytest.raises(TileError, match=r"65,535"):
        bundle([bytes(65_536)])
    assert top_of([bytes(32)]) == bytes(32)
