"""Every change of state: permission first, then the change, and the audit event last, in the same transaction.

A function here either checks policy and appends an event, or stands below with the reason why it does not; a rule test keeps it so.
"""

QUIET = {
    "ask_spot_check": "a stranger's question, deleted after a day; it touches nobody's data",
    "beat": "a process says that it is alive; nobody owns that",
    "begin_sign_in": "part of signing in, which appends the event",
    "cancel": "part of recording a scan",
    "cancel_notices": "part of removing names, which appends the event",
    "claim_due": "a lease is the clock's own book-keeping",
    "claim_notices": "a lease is the notifier's own book-keeping",
    "claim_spot_check": "a lease is the worker's own book-keeping",
    "end_chore": "a lease is the worker's own book-keeping",
    "close_incidents": "part of removing names, which appends the event",
    "follow_up": "part of recording a scan",
    "hand_alarm_mail": "a mail on its way; the alarm's opening is the event",
    "hand_over": "a notice on its way; it follows from what was seen",
    "keep_certificates": "part of recording a scan",
    "keep_late": "part of recording a scan",
    "note_drill_step": "how far a drill is; its end is the event",
    "note_step": "how far a backup is; its end is the event",
    "note_token_use": "when a token was used last is book-keeping; what it is used for changes nothing",
    "note_taken": "part of making a backup, whose end is the event",
    "pull_chores_in": "corrects a plan that a wrong clock made",
    "pull_in": "corrects a plan that a wrong clock made",
    "put_off": "a lease is the worker's own book-keeping",
    "record_alarm_mail": "a mail on its way; the alarm's opening is the event",
    "record_delivery": "a notice on its way; it follows from what was seen",
    "record_findings": "part of recording a scan",
    "record_observations": "part of recording a scan",
    "record_scans": "what a scan sees is no act of a person, and there are millions",
    "record_spot_check": "the answer to a stranger's question, deleted after a day",
    "release_claims": "a lease is the clock's own book-keeping",
    "release_notices": "a lease is the notifier's own book-keeping",
    "rescope_watches": "follows from a setting of the operator's; what is watched stays the same",
    "settle_notices": "part of recording a scan",
    "spot_check_may_dial": "counts what is dialled, so that nobody is dialled too often",
    "switch_account": "which of their accounts a person looks at is nobody else's matter",
    "take_chore": "a lease is the worker's own book-keeping",
    "want_chore": "part of asking, which appends the event",
    "write_notices": "part of recording a scan",
}
"""Actions that append no event, each with its reason."""

BY_TOKEN = {
    "accept_welcome": "a one-time link says who it is",
    "join_as_new": "an invitation's link says who it is",
    "set_up_operator": "a one-time link says who it is",
    "sign_in": "a password says who it is",
    "sign_out": "ends the actor's own sign-in and no other",
}
"""Actions that ask no policy, since they are how somebody comes to have a role at all, each with what they ask instead."""
