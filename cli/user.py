"""`./keychest user`: make one, a link for a lost password, and help for a lost device, all without a browser."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click

from cli import place
from cli.db import engine_for, make_ready, require_ready
from cli.words import USAGE, Sorry
from core.actions.accounts import create_user, issue_welcome_link
from core.actions.factors import drop_factor
from core.actions.policy import Actor, Refused
from core.store.db import Sessions


@click.group("user")
def user() -> None:
    """Look after users."""


@user.command("create")
@click.argument("email")
@click.option("--operator", is_flag=True, help="May run this installation.")
@place.data_option
def create(email: str, operator: bool, data: Path | None) -> None:
    """Make a user with an account, and print a link that works once: there they choose a password."""
    _print_link(data, functools.partial(create_user, email=email, operator=operator))


@user.command("link")
@click.argument("email")
@place.data_option
def link(email: str, data: Path | None) -> None:
    """Print a new link for a user: it works once, for 24 hours, and there they choose a new password."""
    _print_link(data, functools.partial(issue_welcome_link, email=email))


@user.command("drop-factor")
@click.argument("email")
@place.data_option
def drop_factor_command(email: str, data: Path | None) -> None:
    """Take the second factor of somebody away who lost device and recovery codes. Their sign-ins end; make sure that it is them."""
    settings = place.settings(data=data)
    require_ready(settings, data)
    try:
        with engine_for(settings, "portal") as engine, Sessions(engine).writing() as session:
            drop_factor(session, Actor(terminal=True), email=email, now=datetime.now(UTC))
    except Refused as refusal:
        raise Sorry(str(refusal), USAGE) from None
    print(f"The password of {email} alone signs them in now, and a mail tells them so.")


def _print_link(data: Path | None, issue: Callable[..., str]) -> None:
    settings = place.settings(data=data)
    place.make_private(settings.data)
    make_ready(settings, data)
    try:
        with engine_for(settings, "portal") as engine, Sessions(engine).writing() as session:
            token = issue(session, Actor(terminal=True), now=datetime.now(UTC))
    except Refused as refusal:
        raise Sorry(str(refusal), USAGE) from None
    print(f"{place.public_url(settings)}/welcome/{token}")
