"""`./keychest user`: make one, a link for a lost password, help for a lost device, and who is kept out, all without a browser."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click
from sqlalchemy.orm import Session

from cli import place
from cli.db import engine_for, make_ready, require_ready
from cli.words import USAGE, Sorry
from config import Settings
from core.actions.accounts import create_user, issue_welcome_link
from core.actions.factors import drop_factor
from core.actions.operators import disable_user, enable_user
from core.actions.policy import Actor, Refused
from core.store.accounts import user_by_email
from core.store.db import Sessions

T = TypeVar("T")


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
    _act(settings, functools.partial(drop_factor, email=email))
    print(f"The password of {email} alone signs them in now, and a mail tells them so.")


@user.command("disable")
@click.argument("email")
@place.data_option
def disable_command(email: str, data: Path | None) -> None:
    """Keep a user out: nothing lets them in from now on. What they did, and their places in accounts, stay."""
    _switch(data, email, disable_user)
    print(f"Nothing lets {email} in any more, and a mail tells them so. ./keychest user enable undoes it.")


@user.command("enable")
@click.argument("email")
@place.data_option
def enable_command(email: str, data: Path | None) -> None:
    """Let a disabled user in again. No sign-in from before is worth anything."""
    _switch(data, email, enable_user)
    print(f"{email} may sign in, and a mail tells who was kept out until now.")


def _switch(data: Path | None, email: str, act: Callable[..., str | None]) -> None:
    """Disable or enable whoever has this address."""
    settings = place.settings(data=data)
    require_ready(settings, data)

    def by_address(session: Session, actor: Actor, *, now: datetime) -> None:
        found = user_by_email(session, email)
        if found is None:
            raise Refused(f"There is no user with the address {email}. Nothing was changed.")
        act(session, actor, user_ref=found.ref, now=now)

    _act(settings, by_address)


def _print_link(data: Path | None, issue: Callable[..., str]) -> None:
    settings = place.settings(data=data)
    place.make_private(settings.data)
    make_ready(settings, data)
    print(f"{place.public_url(settings)}/welcome/{_act(settings, issue)}")


def _act(settings: Settings, act: Callable[..., T]) -> T:
    """What the act gives that is done from this terminal, in one transaction. Raises Sorry where it is refused."""
    try:
        with engine_for(settings, "portal") as engine, Sessions(engine).writing() as session:
            return act(session, Actor(terminal=True), now=datetime.now(UTC))
    except Refused as refusal:
        raise Sorry(str(refusal), USAGE) from None
