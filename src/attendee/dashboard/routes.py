"""Every page and every form of the dashboard, and who may use it."""

from attendee.dashboard import accounts, bots, calendars, deliveries, events, overview, people, projects, webhooks
from attendee.dashboard.visits import Action, Needs, Page

_PROJECT = "/projects/{project_id}"
_CALENDAR = f"{_PROJECT}/calendars/{{calendar_id}}"
_SETTINGS = f"{_PROJECT}/settings"
_WEBHOOKS = f"{_SETTINGS}/webhooks"
_WEBHOOK = f"{_WEBHOOKS}/{{webhook_id}}"

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
    Page("/delete-project/{project_id}", projects.show_delete, Needs.OWNER),
    Action("/delete-project/{project_id}", projects.delete_project, Needs.OWNER, on=projects.show_delete),
    Page(_PROJECT, overview.show_overview, Needs.VIEWER, is_live=True),
    Page(f"{_PROJECT}/find", events.find, Needs.VIEWER),
    Page(f"{_PROJECT}/calendars", calendars.show_calendars, Needs.VIEWER, is_live=True),
    Page(_CALENDAR, calendars.show_calendar, Needs.VIEWER, is_live=True),
    Action(f"{_CALENDAR}/sync", calendars.sync_now, Needs.ADMIN, on=calendars.show_calendar),
    Page(f"{_PROJECT}/events/{{event_id}}", events.show_event, Needs.VIEWER, is_live=True),
    Page(f"{_PROJECT}/bots", bots.show_bots, Needs.VIEWER, is_live=True),
    Page(f"{_PROJECT}/bots/{{bot_id}}", bots.show_bot_or_gone, Needs.VIEWER, is_live=True),
    Page(f"{_PROJECT}/deliveries", deliveries.show_deliveries, Needs.VIEWER, is_live=True),
    Action(
        f"{_PROJECT}/deliveries/redeliver-failed",
        deliveries.redeliver_failed,
        Needs.ADMIN,
        on=deliveries.show_deliveries,
    ),
    Page(f"{_PROJECT}/deliveries/{{delivery_id}}", deliveries.show_delivery, Needs.VIEWER, is_live=True),
    Action(
        f"{_PROJECT}/deliveries/{{delivery_id}}/redeliver",
        deliveries.redeliver,
        Needs.ADMIN,
        on=deliveries.show_delivery,
    ),
    Page(_WEBHOOKS, webhooks.show_webhooks, Needs.VIEWER, is_live=True),
    Page(f"{_WEBHOOKS}/new", webhooks.show_new, Needs.ADMIN),
    Action(_WEBHOOKS, webhooks.create, Needs.ADMIN, on=webhooks.show_new),
    Action(f"{_SETTINGS}/secret/show", webhooks.show_secret, Needs.ADMIN, on=webhooks.show_webhooks),
    Action(f"{_SETTINGS}/secret/rotate", webhooks.rotate_secret, Needs.ADMIN, on=webhooks.show_webhooks),
    Page(_WEBHOOK, webhooks.show_webhook, Needs.VIEWER),
    Action(_WEBHOOK, webhooks.change, Needs.ADMIN, on=webhooks.show_webhook),
    Action(f"{_WEBHOOK}/pause", webhooks.pause, Needs.ADMIN, on=webhooks.show_webhook),
    Action(f"{_WEBHOOK}/resume", webhooks.resume, Needs.ADMIN, on=webhooks.show_webhook),
    Action(f"{_WEBHOOK}/test", webhooks.send_test, Needs.ADMIN, on=webhooks.show_webhook),
    Action(f"{_WEBHOOK}/delete", webhooks.delete, Needs.ADMIN, on=webhooks.show_webhook),
    Page(f"{_SETTINGS}/keys", projects.show_keys, Needs.VIEWER, is_live=True),
    Action(f"{_SETTINGS}/keys", projects.create_key, Needs.ADMIN, on=projects.show_keys),
    Action(f"{_SETTINGS}/keys/{{key_id}}/disable", projects.disable_key, Needs.ADMIN, on=projects.show_keys),
    Page(f"{_SETTINGS}/members", people.show_members, Needs.VIEWER),
    Action(f"{_SETTINGS}/members", people.put_member, Needs.ADMIN, on=people.show_members),
    Action(f"{_SETTINGS}/members/{{user_id}}/remove", people.remove_member, Needs.ADMIN, on=people.show_members),
)
