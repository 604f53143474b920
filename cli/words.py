"""How a verb ends when it cannot go on: a sentence and an exit code of sysexits(3)."""

import click

USAGE, UNAVAILABLE, MISCONFIGURED = 64, 69, 78


class Sorry(click.ClickException):
    """Something that the person at the terminal has to know or do, in a sentence, and an exit code of sysexits(3)."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code
