"""What goes into a wheel beside the package itself: the example application and its client, for `attendee demo`."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_EXAMPLE = {
    "examples/notetaker/notetaker": "attendee/demo/example/notetaker",
    "clients/python/src/attendee_client": "attendee/demo/example/attendee_client",
}


class ExampleHook(BuildHookInterface[Any]):
    """An editable installation needs none of it: the demo finds the example beside the package there."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            build_data["force_include"] |= _EXAMPLE
