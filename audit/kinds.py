"""What the log is told, kind by kind: the sentence for strangers, and which of its public fields they see as they are, or by magnitude.

A field that stands in neither is shown to nobody: the entry commits to it. A kind is a promise (docs/events.md): never renamed or reused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

HOUR, COUNTED, STARTED, ROTATED = "hour.passed.v1", "sign_ins.counted.v1", "log.started.v1", "log.key_rotated.v1"
FORGED = "event.forged.v1"
ROTATION: Final = "keychest log key rotation\n{}\n{}\n{}\n"
"""What the old and the new key sign of a rotation: origin, old vkey, new vkey."""
OWN: Final = frozenset({HOUR, COUNTED, STARTED, ROTATED, FORGED})
"""Kinds that the sequencer itself makes, and nobody else."""


@dataclass(frozen=True, slots=True)
class Kind:
    """`shown`: fields that strangers see as they are; `counted`: whole numbers of which they see the magnitude.

    `hourly`: counted together, in one entry for an hour ("signed_in", "signed_out", "failed"); "" for a kind with entries of its own.
    """

    says: str
    shown: tuple[str, ...] = ()
    counted: tuple[str, ...] = ()
    hourly: str = ""


_INCIDENT: Final = ("incident", "impact", "state", "components")
UNKNOWN: Final = Kind("Something happened that this version has no words for.")
KINDS: Final[Mapping[str, Kind]] = {
    "access.closed.v1": Kind("An access to production is over.", shown=("access", "ending")),
    "access.completed.v1": Kind("An access to production was of another kind than it first seemed.", shown=("access", "kind")),
    "access.opened.v1": Kind("Somebody has access to production.", shown=("access", "host", "kind", "role", "writing")),
    "access.reasoned.v1": Kind("Somebody said why they had access to production.", shown=("access", "late")),
    "access_report.lost.v1": Kind("A host numbered a report of an access and has it no more.", shown=("host", "number")),
    "access_report.refused.v1": Kind("Something came in a host's name that does not hold.", shown=("host",)),
    "account.factor_required.v1": Kind("An account asks its members for a second factor, or asks no more.", shown=("on",)),
    "account.made.v1": Kind("A person made another account of their own."),
    "account.removed.v1": Kind("An account was put into the bin with all that is in it.", counted=("names", "members")),
    "account.renamed.v1": Kind("An owner gave an account another name."),
    "account.restored.v1": Kind("An owner brought an account back from the bin.", counted=("names",)),
    "activity.downloaded.v1": Kind("Somebody downloaded what happened in their account, with its proofs.", counted=("entries",)),
    "alarm.closed.v1": Kind("Something that operators were told of is over.", shown=("alarm", "about")),
    "alarm.opened.v1": Kind("Operators are told that something is wrong.", shown=("alarm", "about")),
    "api_token.made.v1": Kind("A person made a token that reads an account.", shown=("days", "scopes")),
    "api_token.revoked.v1": Kind("A token was ended."),
    "backup.adopted.v1": Kind("A backup that lay at a target was entered into the book.", shown=("backup", "engine")),
    "backup.begun.v1": Kind("A backup began.", shown=("backup", "engine")),
    "backup.failed.v1": Kind("A backup did not come about.", shown=("backup",)),
    "backup.removed.v1": Kind("Retention removed a backup's files.", shown=("backup", "why")),
    "backup.requested.v1": Kind("An operator asked for a backup."),
    "backup.restored.v1": Kind("The terminal restored a backup into a new place, with the key that opens it.", shown=("backup", "same")),
    "backup.stored.v1": Kind("A backup is whole at one target at least.", shown=("backup", "engine", "targets", "accounts", "bytes")),
    "backup_hold.lifted.v1": Kind("An operator lifted a hold: retention goes on once no other is set.", shown=("hold",)),
    "backup_hold.set.v1": Kind("An operator set a hold: no backup is removed.", shown=("hold",)),
    "bin.purged.v1": Kind("What had lain in the bin for 30 days was deleted.", counted=("names", "domains", "members", "accounts")),
    "bundle_key.published.v1": Kind("A key that exports are signed with.", shown=("vkey",)),
    "calendar.opened.v1": Kind("An account opened a private calendar of when certificates end."),
    "calendar.revoked.v1": Kind("An account closed a private calendar."),
    "dates.chosen.v1": Kind("A person chose a time zone, and how dates are written."),
    "domains.added.v1": Kind("An account began to watch names.", counted=("added", "restored")),
    "domains.edited.v1": Kind("Somebody wrote on names: note, tags, or who is responsible.", counted=("names",)),
    "domains.removed.v1": Kind("An account put names into the bin.", counted=("removed",)),
    "domains.restored.v1": Kind("An account brought names back from the bin.", counted=("restored",)),
    "drill.begun.v1": Kind("A drill began: a backup is restored and compared.", shown=("drill", "backup")),
    "drill.ended.v1": Kind("A drill ended.", shown=("drill", "backup", "passed", "fidelity", "coverage", "accounts")),
    "drill.requested.v1": Kind("An operator asked for a drill.", shown=("backup",)),
    "email.changed.v1": Kind("A person's address is another one, confirmed by mail from both."),
    "email_change.asked.v1": Kind("A person asked for another address."),
    FORGED: Kind("Something wrote an event that no action writes. It is kept, and shown to nobody."),
    "export.asked.v1": Kind("Somebody asked for an export of their account."),
    "export.delivered.v1": Kind("An export was handed to a place of its account's own.", shown=("place",)),
    "export.downloaded.v1": Kind("Somebody downloaded an export of their account."),
    "export.failed.v1": Kind("An export did not come about, or reached its place in no try."),
    "export.made.v1": Kind("An export is whole.", counted=("names", "bytes")),
    "export_plan.made.v1": Kind("An account has exports made by themselves from now on.", shown=("every", "place")),
    "export_plan.removed.v1": Kind("An account has no more exports made by a plan."),
    "factor.added.v1": Kind("A person's authenticator app counts from now on."),
    "factor.begun.v1": Kind("A person began to set an authenticator app up."),
    "factor.dropped.v1": Kind("The terminal took a second factor away from somebody who had lost it."),
    "factor.failed.v1": Kind("Somebody knew a password and gave a wrong code.", hourly="failed"),
    "factor.removed.v1": Kind("A person has no authenticator app any more."),
    "host.fell_silent.v1": Kind("A host of production reports nothing any more.", shown=("host",)),
    "host.heard.v1": Kind("A host of production that was silent reports again.", shown=("host",)),
    "host.retired.v1": Kind("A host of production is believed no more.", shown=("host",)),
    "host.trusted.v1": Kind("A host of production is believed from now on: it reports who has access.", shown=("host",)),
    HOUR: Kind("Nothing happened for an hour. The log says that it is there."),
    "identity.connected.v1": Kind("A person may sign in by the identity provider from now on."),
    "identity.disconnected.v1": Kind("A person signs in by the identity provider no more."),
    "identity.failed.v1": Kind("What came from the identity provider did not hold.", hourly="failed"),
    "impersonation.begun.v1": Kind("An operator looks at an account as its viewer; its owners were told.", shown=("access", "minutes")),
    "impersonation.ended.v1": Kind("An operator's look at an account is over.", shown=("access", "by")),
    "import.applied.v1": Kind("A file was brought into an account.", shown=("form",), counted=("added", "changed", "skipped", "refused")),
    "import.dropped.v1": Kind("Somebody left a file that they had handed in."),
    "import.handed_in.v1": Kind("Somebody handed in a file for their account.", counted=("bytes",)),
    "import.undone.v1": Kind("What a file brought into an account was taken back.", counted=("names", "cards", "kept")),
    "import.wanted.v1": Kind("Somebody chose what to take from a file."),
    "installation.set_up.v1": Kind("The first operator set the installation up."),
    "installation_role.changed.v1": Kind("An operator gave or took a role on the installation.", shown=("from", "to")),
    "invitation.withdrawn.v1": Kind("An owner withdrew an invitation."),
    "keys.rotated.v1": Kind("The terminal made a new key for stored secrets.", counted=("secrets",)),
    "list.downloaded.v1": Kind("Somebody downloaded a list of their account.", shown=("list",), counted=("rows",)),
    "log.erased.v1": Kind("Private parts of entries were erased. Their proofs hold as before.", counted=("entries",)),
    ROTATED: Kind("The log has a new key; both keys signed this.", shown=("origin", "old", "new", "by_old", "by_new")),
    STARTED: Kind(
        "A log began.",
        shown=("origin", "vkey", "previous_origin", "previous_size", "previous_root", "previous_kept", "reason"),
    ),
    "member.invited.v1": Kind("An owner invited somebody to an account.", shown=("role",)),
    "member.joined.v1": Kind("A person accepted an invitation.", shown=("role",)),
    "member.left.v1": Kind("A person left an account.", shown=("role",)),
    "member.removed.v1": Kind("An owner removed a member from an account.", shown=("role",)),
    "member.restored.v1": Kind("An owner brought a member back.", shown=("role",)),
    "passkey.added.v1": Kind("A person added a passkey."),
    "passkey.begun.v1": Kind("A person asked their device for a passkey."),
    "passkey.failed.v1": Kind("Somebody tried to sign in by a passkey that does not hold.", hourly="failed"),
    "passkey.removed.v1": Kind("A person took a passkey away."),
    "password.changed.v1": Kind("A person changed their password."),
    "password.chosen.v1": Kind("A person chose a password by a one-time link."),
    "password.reset.v1": Kind("A person chose a new password by a link that was mailed to them."),
    "public_incident.accounted.v1": Kind("An operator told what had happened in a public incident, and why.", shown=_INCIDENT),
    "public_incident.opened.v1": Kind("An incident was opened. It may not be public yet.", shown=_INCIDENT),
    "public_incident.planned.v1": Kind("An operator told the public of planned work.", shown=_INCIDENT),
    "public_incident.published.v1": Kind("An incident became public.", shown=_INCIDENT),
    "public_incident.resolved.v1": Kind("An incident is over.", shown=_INCIDENT),
    "public_incident.updated.v1": Kind("Something was added to an incident.", shown=_INCIDENT),
    "public_incident.withheld.v1": Kind("An operator kept back what the watchdog had opened.", shown=_INCIDENT),
    "recovery_codes.made.v1": Kind("A person made new recovery codes."),
    "recovery_kit.written.v1": Kind("A recovery kit was written.", shown=("keys",)),
    "removal.approved.v1": Kind("A second person allowed a large removal.", shown=("account",), counted=("names",)),
    "removal.asked.v1": Kind("A person asked for a large removal, which waits for a second one.", shown=("account",), counted=("names",)),
    "removal.refused.v1": Kind("A large removal does not happen.", shown=("account", "withdrawn"), counted=("names",)),
    "role.changed.v1": Kind("An owner changed a member's role.", shown=("from", "to")),
    "scan.requested.v1": Kind("A person asked for scans ahead of their time.", counted=("names",)),
    "settings.changed.v1": Kind("The installation was started with other settings than before.", shown=("settings",)),
    "setup_link.issued.v1": Kind("The terminal made a link for the first operator."),
    "sign_in.failed.v1": Kind("Somebody tried to sign in with a wrong address or password.", hourly="failed"),
    COUNTED: Kind("Sign-ins of an hour, counted together.", shown=("hour", "digest"), counted=("signed_in", "signed_out", "failed")),
    "sign_ins.ended.v1": Kind("A person ended sign-ins of their own.", counted=("sign_ins",)),
    "user.created.v1": Kind("The terminal made a user.", shown=("operator",)),
    "user.disabled.v1": Kind("An operator keeps a user out."),
    "user.enabled.v1": Kind("An operator lets a user sign in again."),
    "user.signed_in.v1": Kind("A person signed in.", hourly="signed_in"),
    "user.signed_out.v1": Kind("A person signed out.", hourly="signed_out"),
    "user.signed_up.v1": Kind("Somebody new came in, with an account of their own."),
    "welcome_link.issued.v1": Kind("The terminal made a link by which somebody chooses a password."),
}
