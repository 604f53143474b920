"""The tree of RFC 6962, held to vectors of others and to itself."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from audit.tree import (
    EMPTY,
    consistency_proof,
    consistent,
    extended,
    hashes_of,
    included,
    inclusion_proof,
    leaf_hash,
    root_of,
    subtree,
)
from tests.conftest import SHARED

VECTORS = SHARED / "vectors" / "merkle"
LEAVES = [leaf_hash(f"entry {each}".encode()) for each in range(70)]


def vectors(kind: str) -> list[tuple[Path, dict[str, Any]]]:
    if not VECTORS.is_dir():
        pytest.skip("the vectors of transparency-dev/merkle are not here (../shared/vectors/merkle)")
    return [(path, json.loads(path.read_text())) for path in sorted((VECTORS / kind).rglob("*.json"))]


def decoded(hashes: Sequence[str] | str | None) -> Any:
    if isinstance(hashes, str):
        return base64.b64decode(hashes)
    return [base64.b64decode(each) for each in hashes or []]


def test_inclusion_proofs_are_judged_as_others_judge_them() -> None:
    found = vectors("inclusion")
    assert len(found) > 90
    for path, said in found:
        leaf, root = decoded(said["leafHash"] or ""), decoded(said["root"] or "")
        holds = included(leaf, said["leafIdx"], said["treeSize"], decoded(said["proof"]), root)
        assert holds is not said["wantErr"], path


def test_consistency_proofs_are_judged_as_others_judge_them() -> None:
    found = vectors("consistency")
    assert len(found) > 90
    for path, said in found:
        roots = decoded(said["root1"] or ""), decoded(said["root2"] or "")
        holds = consistent(said["size1"], said["size2"], *roots, decoded(said["proof"]))
        assert holds is not said["wantErr"], path


def test_a_root_is_the_same_by_frontier_by_definition_and_in_any_pieces() -> None:
    assert root_of(extended([], 0, [])) == EMPTY
    hash_of = hashes_of(LEAVES)
    for size in range(1, len(LEAVES) + 1):
        root = subtree(hash_of, 0, size)
        assert root_of(extended([], 0, LEAVES[:size])) == root
        for cut in (0, 1, size // 2, size - 1):
            assert root_of(extended(extended([], 0, LEAVES[:cut]), cut, LEAVES[cut:size])) == root


def test_every_proof_made_here_holds_and_holds_for_nothing_else() -> None:
    hash_of = hashes_of(LEAVES)
    roots = [subtree(hash_of, 0, size) for size in range(len(LEAVES) + 1)]
    for size in range(1, len(LEAVES) + 1, 3):
        for index in range(size):
            proof = inclusion_proof(hash_of, index, size)
            assert included(LEAVES[index], index, size, proof, roots[size])
            assert not included(LEAVES[index], (index + 1) % size, size, proof, roots[size]) or size == 1
            assert not included(LEAVES[index], index, size, [*proof, EMPTY], roots[size])
            assert not included(LEAVES[index], index, size, proof, roots[size - 1])
        for old in range(1, size + 1):
            proof = consistency_proof(hash_of, old, size)
            assert consistent(old, size, roots[old], roots[size], proof)
            assert not consistent(old, size, roots[old - 1], roots[size], proof)
            assert not consistent(old, size, roots[old], roots[size], [*proof, EMPTY])
            assert not proof or not consistent(old, size, roots[old], roots[size], proof[:-1])


def test_nothing_is_proven_from_or_about_what_is_not_there() -> None:
    hash_of = hashes_of(LEAVES)
    for index, size in ((-1, 5), (5, 5), (0, 0)):
        with pytest.raises(ValueError, match="no leaf"):
            inclusion_proof(hash_of, index, size)
        assert not included(LEAVES[0], index, size, [], LEAVES[0])
    for old, size in ((0, 5), (6, 5)):
        with pytest.raises(ValueError, match="no proof"):
            consistency_proof(hash_of, old, size)
        assert not consistent(old, size, EMPTY, LEAVES[0], [])
