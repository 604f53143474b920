from pathlib import Path

from cli import logs


def test_a_long_log_is_moved_aside_and_its_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "portal.log"
    with path.open("ab", buffering=0) as writer:
        writer.write(b"old\n" * 100)
        logs.trim(path, limit_bytes=100)
        writer.write(b"new\n")
    assert path.read_bytes() == b"new\n"
    assert (tmp_path / "portal.log.1").read_bytes() == b"old\n" * 100
    assert (tmp_path / "portal.log.1").stat().st_mode & 0o077 == 0


def test_a_short_log_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "portal.log"
    path.write_bytes(b"here\n")
    logs.trim(path, limit_bytes=100)
    assert path.read_bytes() == b"here\n"
    assert not (tmp_path / "portal.log.1").exists()


def test_the_tail_is_five_lines_without_control_characters(tmp_path: Path) -> None:
    path = tmp_path / "portal.log"
    assert logs.tail(path) == []
    path.write_bytes(b"\n".join(b"line %d\x1b[2J\xff" % number for number in range(9)) + b"\n\n")
    assert logs.tail(path) == [f"line {number}[2J\N{REPLACEMENT CHARACTER}" for number in range(4, 9)]


def test_the_tail_begins_where_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "portal.log"
    path.write_bytes(b"of an earlier life\n")
    since = path.stat().st_size
    assert logs.tail(path, since) == []
    with path.open("ab") as log:
        log.write(b"of this one\n")
    assert logs.tail(path, since) == ["of this one"]
