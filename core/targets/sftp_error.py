"""What asyncssh raises, as sentences. A server's own words are not passed on."""

from __future__ import annotations

from pathlib import Path

import asyncssh

from core.targets.target import TargetError


def dial_error(error: Exception, shown: str, key: Path | None, known_hosts: Path) -> TargetError:
    """Why there is no connection. A ValueError is asyncssh's for a file of keys that cannot be read."""
    if isinstance(error, OSError) and error.filename in {str(key), str(known_hosts)}:
        words = f"The file {error.filename} cannot be read: {error.strerror}. Nothing was sent. Put it there, readable by KeyChest's user."
    elif isinstance(error, asyncssh.HostKeyNotVerifiable):
        words = (
            f"{shown} shows a host key that {known_hosts} does not name. Nothing was sent. Somebody may be in between: ask the server's "
            "owner for its fingerprint, and change the file only when it is the right one."
        )
    elif isinstance(error, asyncssh.PermissionDenied):
        what = f"the key {key}" if key else "the password"
        words = f"{shown} does not accept {what}. Nothing was sent. Have it allowed there, or name another."
    elif isinstance(error, asyncssh.KeyExchangeFailed | asyncssh.ProtocolNotSupported | asyncssh.IllegalUserName):
        words = f"{shown} and KeyChest find no common way to speak ({type(error).__name__}). Nothing was sent. Ask the server's owner."
    elif isinstance(error, asyncssh.KeyEncryptionError):
        words = f"The private key {key} is locked with a passphrase. Nothing was sent. Name a key of KeyChest's own without one."
    elif isinstance(error, ValueError):
        files = f"{key} is no private key, or {known_hosts}" if key else f"{known_hosts}"
        words = f"{files} is no list of host keys, that OpenSSH would read. Nothing was sent. Name the right files."
    else:
        words = f"{shown} does not answer: {_words(error)}. Nothing was sent. See whether it is up and the network lets us through."
        return TargetError("unreachable", words)
    return TargetError("refused", words)


def told(error: Exception, shown: str, *, putting: bool) -> TargetError:
    """What went wrong on an open connection."""
    kept = "Nothing was stored." if putting else "Nothing was changed."
    match error:
        case asyncssh.SFTPNoSpaceOnFilesystem() | asyncssh.SFTPQuotaExceeded():
            return TargetError("full", f"{shown} has no space left, or a quota is used up. {kept} Make room there, or name another target.")
        case asyncssh.SFTPFailure() if putting:  # version 3 of the protocol, which OpenSSH speaks, has no other word for a full disk
            return TargetError(
                "full", f"{shown} cannot write: most likely it has no space left, or a quota is used up. {kept} Make room there."
            )
        case asyncssh.SFTPConnectionLost() | asyncssh.SFTPNoConnection() | asyncssh.SFTPBadMessage():
            pass
        case asyncssh.SFTPError() | asyncssh.ChannelOpenError():
            words = type(error).__name__.removeprefix("SFTP")
            return TargetError("refused", f"{shown} does not allow this ({words}). {kept} Let the user read and write below that folder.")
    return TargetError("cut", f"The connection to {shown} ended on the way: {_words(error)}. {kept} It can be tried again.")


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
