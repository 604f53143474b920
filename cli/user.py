"""`./keychest user create EMAIL --operator`: a user without a browser."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from cli import place
from cli.db import engine_for, make_ready
from cli.words import USAGE, Sorry
from core.actions.accounts import Refused, create_user
from core.actions.policy import Actor
from core.store.db import Sessions


@click.group("user")
def user() -> None:
    """Look after users."""


@user.command("create")
@click.argument("email")
@click.option("--operator", is_flag=True, help="May run this installation.")
def create(email: str, operator: bool) -> None:
    """Make a user with an account, and print a link that works once: there they choose a password."""
    settings = place.settings()
    place.make_private(settings.data)
    make_ready(settings)
    try:
        with engine_for(settings, "portal") as engine, Sessions(engine).writing() as session:
            token = create_user(session, Actor(terminal=True), email=email, operator=operator, now=datetime.now(UTC))
    except Refused as refusal:
        raise Sorry(str(refusal), USAGE) from None
    print(f"{settings.public_url}/welcome/{token}")
