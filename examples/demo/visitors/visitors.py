"""Greets visitors, remembers how often each came, and reads the guest book."""

from typing import Any, Dict, List

from ringfence import Plugin, host, tool


class Visitors(Plugin):
    def initialize(self, config: Dict[str, Any]) -> None:
        self.greeting = config.get("greeting", "Hello")

    config_changed = initialize

    @tool
    def greet(self, name: str = "stranger") -> Dict[str, Any]:
        """Greets somebody and counts the visit."""
        visits = host.load_plugin_data("visits:" + name, 0) + 1
        host.store_plugin_data("visits:" + name, visits)
        host.log("info", "a visit", name=name, visits=visits)
        return {"text": "%s, %s!" % (self.greeting, name), "visits": visits}

    @tool
    def guest_book(self, page: str = "/srv/guest-book/today.txt") -> List[str]:
        """The lines of a page of the guest book."""
        with open(page, encoding="utf-8") as opened:
            return opened.read().splitlines()
