"""Who may what is told in words, and the words are those of the policy table."""

from core.actions.policy import INSTALLATION_POLICY, POLICY, ROLES, Permission
from core.actions.roles import WORDS, page
from tests.conftest import ROOT


def test_the_page_about_roles_is_made_from_the_policy_table() -> None:
    assert (ROOT / "docs" / "roles.md").read_text() == page(), "run: python -m core.actions.roles > docs/roles.md"


def test_every_permission_and_role_has_its_words() -> None:
    assert set(WORDS) == set(Permission)
    assert set(ROLES) == set(POLICY)
    assert "operator" in INSTALLATION_POLICY
