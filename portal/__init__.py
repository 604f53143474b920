"""HTTP: parse, gate, act or ask, render."""

from __future__ import annotations

from flask import Flask

from core.render import STATIC
from portal import frame, htmx, identity, limits, security
from portal.parts import Parts, connect
from portal.storm import FeedFiles
from portal.views import (
    access,
    account,
    activity,
    api,
    approvals,
    backups,
    certificates,
    domains,
    doors,
    endpoints,
    errors,
    exports,
    factors,
    health,
    imports,
    invitations,
    log,
    mails,
    oidc,
    operations,
    operations_access,
    operations_accounts,
    operations_log,
    operations_status,
    operations_users,
    overview,
    passkeys,
    patterns,
    sign_in,
    sign_ins,
    spot_checks,
    status,
    status_mail,
    team,
    tokens,
)
from portal.views import bin as bin_views

__all__ = ["Parts", "create_app"]

_VIEWS = (
    health.blueprint,
    sign_in.views,
    doors.views,
    factors.views,
    passkeys.views,
    oidc.views,
    overview.views,
    domains.views,
    endpoints.views,
    certificates.views,
    mails.views,
    bin_views.views,
    approvals.views,
    account.views,
    activity.views,
    exports.views,
    imports.views,
    backups.views,
    operations.views,
    operations_access.views,
    operations_accounts.views,
    operations_users.views,
    operations_log.views,
    operations_status.views,
    status_mail.views,
    sign_ins.views,
    tokens.views,
    api.views,
    team.views,
    invitations.views,
    spot_checks.views,
    status.views,
    log.views,
    access.views,
    patterns.views,
)


def create_app(parts: Parts) -> Flask:
    """The portal as a WSGI application. It dials nothing until it is asked for a page."""
    app = Flask("portal", static_folder=STATIC, static_url_path="/static", template_folder=None)
    app.url_map.strict_slashes = False
    htmx.install(app)
    connect(app, parts)
    security.install(app, parts)
    identity.install(app, parts)
    limits.install(app, parts.redis_url)
    frame.install(app, parts)
    errors.install(app)
    for views in _VIEWS:
        app.register_blueprint(views)
    api.describe(app)
    if parts.demo is None:  # a demonstration's pages say that they are made up: the view puts that in
        always = security.headers_of_all(parts.public_url) | {htmx.OURS: "1"}
        app.wsgi_app = FeedFiles(app.wsgi_app, parts.status_folder, always, parts.now)  # type: ignore[method-assign]
    return app
