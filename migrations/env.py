"""Runs migrations over a connection that the caller gives, or over the migrate login of the settings."""

import os

import sqlalchemy as sa
from alembic import context

import audit.tables
import core.store.access
import core.store.account_rules
import core.store.accounts
import core.store.approvals
import core.store.attempts
import core.store.backups
import core.store.cards
import core.store.disablings
import core.store.endpoints
import core.store.exports
import core.store.factors
import core.store.heartbeats
import core.store.identities
import core.store.impersonations
import core.store.imports
import core.store.incidents
import core.store.leaves
import core.store.letters
import core.store.observations
import core.store.passkeys
import core.store.preferences
import core.store.public_incidents
import core.store.spot_checks
import core.store.teams
import core.store.tokens
import core.store.watches
from config import Settings
from core.store.base import Base
from core.store.db import WRITING, make_engine
from core.store.schema import declared

MODULES = (
    audit.tables,
    core.store.access,
    core.store.account_rules,
    core.store.accounts,
    core.store.approvals,
    core.store.attempts,
    core.store.backups,
    core.store.cards,
    core.store.disablings,
    core.store.endpoints,
    core.store.exports,
    core.store.factors,
    core.store.heartbeats,
    core.store.impersonations,
    core.store.imports,
    core.store.identities,
    core.store.incidents,
    core.store.letters,
    core.store.leaves,
    core.store.observations,
    core.store.passkeys,
    core.store.preferences,
    core.store.public_incidents,
    core.store.spot_checks,
    core.store.teams,
    core.store.tokens,
    core.store.watches,
)
"""Every module that declares tables: importing it puts them into the metadata."""


def _run(connection: sa.Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=True,
        include_name=declared,
        transactional_ddl=True,
        user_module_prefix="",
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if isinstance(given, sa.Connection):
    _run(given)
else:
    engine = make_engine(Settings.from_environment(os.environ).database("migrate"))
    with engine.connect() as connection, connection.execution_options(**WRITING).begin():
        _run(connection)
    engine.dispose()
