"""pgBackRest, the program: run as the owner of the data directory, and what its words mean. Written against 2.45.

The passphrase of the repository stands in its configuration file alone: pgBackRest reads it there. We look there for pg1-path and for
where the repository is, and hand on nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from configparser import ConfigParser
from configparser import Error as UnreadableConfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from core.backups.engine import BackupError, Trouble
from core.backups.owner import Owner, Ran, owner_of, run
from core.backups.repository_host import BY_SSH, RUN_THERE, RepositoryHost

LOOK_S: Final = 300.0
"""For commands that copy nothing."""
_WORDS_MOST: Final = 900
_NO_STANZA: Final = (1, 3)
"""Codes in `info`: no folder of this stanza, and a folder without its files."""
_UNREADABLE_STANZA: Final = 99
_S3_TALK: Final = re.compile(r"(?s)\*{3} Path/Query \*{3}:.*?(<Code>[A-Za-z0-9.]{1,64}</Code>|\Z).*?(</Error>|\Z)")
"""What was asked of S3 and what it answered, up to its code: some stores quote what was signed."""
_FULL: Final = "There is no room left. What was written of it has no use"
_NO_WRITE_S: Final = r"(?:2|11|17|20|25)"
"""Errors that no write(2) of a file gives: one that came to its end in the middle has none, and shows what was left from before."""
_DAMAGED: Final = "The repository is damaged"

MEANINGS: Final[tuple[tuple[frozenset[int], str, Trouble, str], ...]] = (
    # exit codes (none: any), what stands in the words, the trouble, how the sentence begins; the first that fits counts
    *BY_SSH,
    (
        frozenset(),
        r"unable to verify certificate|unable to find hostname '.*' in certificate",
        "refused",
        "The certificate that the repository's server shows is not trusted",
    ),
    (frozenset(), r"<Code>(ExpiredToken|TokenRefreshRequired)", "refused", "The credentials of the repository have expired"),
    (
        frozenset(),
        r"<Code>(InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken)",
        "refused",
        "The repository does not take the credentials in the configuration",
    ),
    (frozenset(), r"<Code>RequestTimeTooSkewed", "refused", "The clocks of this machine and of the repository differ too much"),
    (frozenset(), r"HTTP request failed with 403", "refused", "The credentials in the configuration may not do this"),
    (frozenset(), r"<Code>NoSuchBucket", "missing", "The repository's bucket does not exist"),
    (frozenset(), r"unable to (connect to|get address for) '[^'=]+'", "tool", "The repository cannot be reached"),  # with =: the database
    (frozenset(), r"\[28\] No space|No space left on device|Disk quota exceeded", "full", _FULL),
    (frozenset({64}), rf"unable to write '[^']*'(\s*$|: \[{_NO_WRITE_S}\])", "full", _FULL),
    (
        frozenset(),
        r"(?s)unable to load info file.*(Format|Crypto)Error",
        "wrong key",
        "The passphrase in the configuration does not open the repository (or both copies of its index are damaged)",
    ),
    (frozenset(), r"(?s)unable to load (info|backup manifest) file.*FileMissingError", "missing", "The repository does not hold it"),
    (frozenset({32, 75}), r"backup set .* is not valid|not a valid backup label", "missing", "The repository does not hold it"),
    (frozenset({55}), r"unable to open missing file", "damaged", _DAMAGED),
    (frozenset({26, 29, 95}), r"", "damaged", _DAMAGED),
    (frozenset({42}), r"(Format|Crypto|Checksum)Error", "damaged", _DAMAGED),
    (frozenset({99}), r"(?s)unable to load backup manifest file.*(Format|Crypto|Checksum)Error", "damaged", _DAMAGED),  # JSON in it
    (frozenset({44, 51, 58}), r"", "wrong database", "The repository is another database's"),
    (frozenset({82}), r"", "missing WAL", "WAL does not reach the repository"),
    (frozenset({38, 40}), r"", "refused", "Something is there already, and was left as it is"),
    (frozenset({50}), r"", "refused", "Another pgBackRest is at work"),
    (frozenset({62}), r"", "refused", "pgBackRest was stopped by `pgbackrest stop`"),
    (frozenset({70}), r"", "refused", "The backup has tablespaces, and is not restored"),
    (frozenset({72}), r"", "refused", "This has to be run where pgBackRest's configuration says"),
)


def trouble(code: int | None, words: str, *, doing: str) -> BackupError:
    """What a failure of pgBackRest means, with its own words. No `code` where the words come from its report or a server's log."""
    for codes, pattern, meant, sentence in MEANINGS:
        if (not codes or code in codes) and re.search(pattern, words):
            return BackupError(meant, f"{sentence}. pgBackRest's {doing} said: {readable(words)}")
    return BackupError(
        "tool", f"pgBackRest's {doing} failed{'' if code is None else f' with code {code}'}: {readable(words) or 'it said nothing'}"
    )


def readable(words: str) -> str:
    """A program's words as they may be shown: no control characters, not too many, and nothing of a key that a broken file quotes."""
    kept = _S3_TALK.sub(r"\1", words)
    kept = re.sub(r"(cipher-pass|section at line \d+).*", r"\1 ...", kept)
    kept = re.sub(r"[^\x20-\x7e\n]+", "?", kept)
    kept = " ".join(kept.split())
    return kept if len(kept) <= _WORDS_MOST else f"{kept[:_WORDS_MOST]} ..."


@dataclass(frozen=True, slots=True)
class Stored:
    """A backup in the repository. `prior`: the one it builds on, "" for a full one; `stored_bytes` are those of its own files."""

    label: str
    prior: str
    stored_bytes: int
    faulty_pages: bool


@dataclass(frozen=True, slots=True)
class Repository:
    """What `pgbackrest info` tells: backups, oldest first, and the newest WAL file. Without a stanza nothing was ever stored."""

    has_stanza: bool
    backups: tuple[Stored, ...]
    newest_segment: str

    @classmethod
    def from_info(cls, told: Sequence[Mapping[str, Any]]) -> Repository:
        """Raises BackupError for a stanza that pgBackRest could not read: it ends with code 0 even then."""
        (stanza,) = told
        status = stanza["status"]
        words = "; ".join(each["status"]["message"] for each in stanza.get("repo", ())) or status["message"]
        if status["code"] == _UNREADABLE_STANZA:
            raise trouble(None, words, doing="info")
        backups = tuple(
            Stored(
                label=each["label"],
                prior=each["prior"] or "",
                stored_bytes=each["info"]["repository"]["delta"],
                faulty_pages=bool(each.get("error")),
            )
            for each in stanza["backup"]
        )
        newest = max((each["max"] or "" for each in stanza["archive"][-1:]), default="")
        return cls(status["code"] not in _NO_STANZA, backups, newest)


@dataclass(frozen=True, slots=True)
class Program:
    """pgBackRest with one configuration and one stanza."""

    config: Path
    stanza: str

    def live(self) -> Path:
        """The data directory of the live cluster, as the configuration names it. Raises BackupError when it names none."""
        path = self._read().get(self.stanza, "pg1-path", fallback="")
        if not path:
            raise BackupError("refused", f"{self.config} names no pg1-path for the stanza {self.stanza}.")
        return Path(path)

    def kept_in(self) -> tuple[str, Path | None]:
        """Where the repository is, for people; and its folder where that is one on this machine. Raises BackupError."""
        said = self._said()
        if host := said("repo1-host", ""):
            return f"pgbackrest:{host}:{said('repo1-path', '')}", None  # what is not said here is said there
        path = said("repo1-path", "/var/lib/pgbackrest")
        if (kind := said("repo1-type", "posix")) not in {"posix", "cifs"}:
            return f"pgbackrest:{kind}:{said('repo1-s3-bucket', '')}{path}", None
        return f"pgbackrest:{path}", Path(path)

    def weaknesses(self) -> list[str]:
        """What is weak about how the repository is encrypted, in words. Raises BackupError."""
        said = self._said()
        if said("repo1-cipher-pass", ""):
            return []
        if said("repo1-host", ""):
            return [
                f"{self.config} does not hold the passphrase of the repository, so the recovery kit does not either: keep it elsewhere."
            ]
        return [f"The repository is not encrypted: set repo1-cipher-type and repo1-cipher-pass in {self.config} and begin a new one."]

    def _said(self) -> Callable[[str, str], str]:
        """Looks an option of the stanza up, or of all stanzas; where neither says it, gives its second argument."""
        found = self._read()
        return lambda name, otherwise: found.get(self.stanza, name, fallback=found.get("global", name, fallback=otherwise))

    def _read(self) -> ConfigParser:
        parser = ConfigParser(strict=False, interpolation=None, delimiters=("=",), comment_prefixes=("#",), default_section="\0")
        try:
            parser.read_string(self.config.read_text())
        except (OSError, UnicodeDecodeError, UnreadableConfig) as error:
            words = error.strerror if isinstance(error, OSError) else "it is no pgBackRest configuration"
            raise BackupError("refused", f"{self.config} cannot be read: {words}.") from None
        return parser

    def owner(self) -> Owner:
        """Who pgBackRest and restored servers run as."""
        return owner_of(self.live())

    def words(self, command: str, *options: str) -> tuple[str, ...]:
        """A command line for this machine. Nothing secret stands in it."""
        return self._words(("pgbackrest", f"--config={self.config}"), command, options)

    def _words(self, program: Sequence[str], command: str, options: Sequence[str]) -> tuple[str, ...]:
        return (*program, f"--stanza={self.stanza}", "--log-level-console=off", "--log-level-stderr=warn", command, *options)

    def attempt(self, command: str, *options: str, within_s: float = LOOK_S) -> Ran:
        """Run a command, whatever its end; on the repository's own host where it may run nowhere else."""
        host = RepositoryHost.named(self._said()) if command in RUN_THERE else None
        if host is None:
            return run(self.owner(), self.words(command, *options), within_s=within_s)
        return host.run(self.owner(), self._words((host.program, *host.config), command, options), within_s=within_s)

    def run(self, command: str, *options: str, within_s: float = LOOK_S) -> str:
        """Run a command and give what it printed. Raises BackupError by MEANINGS."""
        ran = self.attempt(command, *options, within_s=within_s)
        if ran.code != 0:
            raise trouble(ran.code, f"{ran.out}\n{ran.err}", doing=command)
        return ran.out

    def repository(self) -> Repository:
        """What is stored now."""
        printed = self.run("info", "--output=json")
        try:
            told = json.loads(printed, strict=False)
        except ValueError:  # it quotes bytes that a wrong passphrase made
            raise trouble(None, printed, doing="info") from None
        return Repository.from_info(told)
