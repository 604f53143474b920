"""What botocore raises, as sentences. A store's own words are not passed on: some quote what was signed."""

from __future__ import annotations

import re
from typing import Any, Final

from botocore import exceptions as botocore  # type: ignore[import-untyped]  # ships no types

from core.targets.target import TargetError

_SHAPE: Final = re.compile(r"[A-Za-z0-9.]{1,64}")
_CREDENTIALS: Final = {
    "InvalidAccessKeyId": "does not know the key",
    "SignatureDoesNotMatch": "does not accept the secret that goes with the key",
    "ExpiredToken": "says that the credentials have expired",
    "ExpiredTokenException": "says that the credentials have expired",
    "TokenRefreshRequired": "says that the credentials have expired",
    "InvalidToken": "does not accept the credentials",
    "RequestTimeTooSkewed": "says that this machine's clock is wrong, and accepts no credentials from it",
    "AccessDenied": "does not allow this with these credentials",
    "NoSuchBucket": "says that there is no such bucket",
    "NotImplemented": "does not know If-None-Match, so it could overwrite a backup: it is too old for KeyChest",
    "PermanentRedirect": "says that the bucket is in another region",
    "AuthorizationHeaderMalformed": "says that the bucket is in another region",
}
_FULL: Final = frozenset({"QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "ServiceQuotaExceededException", "507"})
_DAMAGED: Final = frozenset({"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"})
_CUT: Final = frozenset({"RequestTimeout", "IncompleteBody"})
_BUSY: Final = frozenset({"SlowDown", "ConditionalRequestConflict", "OperationAborted", "429"})


def code_of(error: Any) -> str:
    """The store's code for a ClientError, such as "NoSuchKey"; the HTTP status where it gave none, or one that is no word."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    return code if _SHAPE.fullmatch(code) else str(_status(error))


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def told(error: Exception, shown: str, kept: str) -> TargetError:
    """What went wrong, from a ClientError (the store's answer) or a BotoCoreError (there was none)."""
    if isinstance(error, botocore.ClientError):
        return _answered(code_of(error), _status(error), shown, kept)
    if isinstance(error, botocore.ConnectionError):
        words = "See whether it is up, its certificate is good, and the network lets us through."
        return TargetError("unreachable", f"{shown} cannot be reached ({type(error).__name__}). {kept} {words}")
    if isinstance(error, botocore.HTTPClientError | botocore.IncompleteReadError):
        return TargetError("cut", f"The connection to {shown} ended on the way ({type(error).__name__}). {kept} It can be tried again.")
    words = "See that it has credentials: in its address, in the environment, or from the machine's role."
    return TargetError("refused", f"{shown} cannot be asked ({type(error).__name__}). {kept} {words}")


def _answered(code: str, status: int, shown: str, kept: str) -> TargetError:
    if code in _FULL or status == 507:  # noqa: PLR2004 - RFC 4918 section 11.5: insufficient storage
        return TargetError(
            "full", f"{shown} has no space left, or a quota is used up ({code}). {kept} Make room there, or name another target."
        )
    if code in _DAMAGED:
        return TargetError("damaged", f"What reached {shown} is not what was sent ({code}). {kept} It can be tried again.")
    if code in _CUT:
        return TargetError("cut", f"The connection to {shown} ended on the way ({code}). {kept} It can be tried again.")
    if code in _BUSY or (status >= 500 and code != "NotImplemented"):  # noqa: PLR2004 - RFC 9110 section 15.6: the server's fault
        return TargetError("unreachable", f"{shown} cannot do this now ({code}). {kept} It can be tried again.")
    words = _CREDENTIALS.get(code, f"refused ({code})")
    return TargetError("refused", f"{shown} {words}. {kept} Have it allowed there, or change the target's address.")
