"""Every page and every form of the dashboard, and who may use it."""

from attendee.dashboard import accounts, people, projects
from attendee.dashboard.visits import Action, Needs, Page

_PROJECT = "/projects/{project_id}"
_SETTINGS = f"{_PROJECT}/settings"

ROUTES: tuple[Page | Action, ...] = (
    Page("/sign-in", accounts.show_sign_in, Needs.NOBODY),
    Action("/sign-in", accounts.sign_in, Needs.NOBODY, on=accounts.show_sign_in),
    Page("/links/{secret}", accounts.show_link, Needs.NOBODY),
    Action("/links/{secret}", accounts.use_link, Needs.NOBODY, on=accounts.show_link),
    Action("/sign-out", accounts.sign_out, Needs.USER, on=accounts.show_account),
    Action("/sign-out-everywhere", accounts.sign_out_everywhere, Needs.USER, on=accounts.show_account),
    Page("/account", accounts.show_account, Needs.USER),
    Action("/account/password", accounts.change_password, Needs.USER, on=accounts.show_account),
    Action("/account/zone", accounts.choose_zone, Needs.USER, on=accounts.show_account),
    Page("/users", people.show_users, Needs.OWNER),
    Action("/users", people.invite_owner, Needs.OWNER, on=people.show_users),
    Action("/users/{user_id}/link", people.make_link, Needs.OWNER, on=people.show_users),
    Action("/users/{user_id}/disable", people.disable_user, Needs.OWNER, on=people.show_users),
    Action("/users/{user_id}/enable", people.enable_user, Needs.OWNER, on=people.show_users),
    Page("/", projects.show_start, Needs.USER),
    Page("/projects", projects.show_projects, Needs.USER),
    Action("/projects", projects.create_project, Needs.OWNER, on=projects.show_projects),
    Page(f"{_SETTINGS}/keys", projects.show_keys, Needs.VIEWER, is_live=True),
    Action(f"{_SETTINGS}/keys", projects.create_key, Needs.ADMIN, on=projects.show_keys),
    Action(f"{_SETTINGS}/keys/{{key_id}}/disable", projects.disable_key, Needs.ADMIN, on=projects.show_keys),
    Page(f"{_SETTINGS}/members", people.show_members, Needs.VIEWER),
    Action(f"{_SETTINGS}/members", people.put_member, Needs.ADMIN, on=people.show_members),
    Action(f"{_SETTINGS}/members/{{user_id}}/remove", people.remove_member, Needs.ADMIN, on=people.show_members),
)
