"""An agent runner whose tools and filters are plugins, each a class of the `type` in its plugin.yaml.

    python3 agent_runner.py PLAN.json [--grant PLUGIN:PERMISSION]...

A plan is a list of steps, `{"tool": NAME, "arguments": {...}}`; `"$LAST"` in the arguments stands for the result of the step before.
Nothing of a plugin runs in this process: Ringfence imports each in a sandbox of its own, with the base classes of `plugin-api` and
with what was granted.
"""

import argparse
import json
import os
import sys

from ringfence.client import Host, RingfenceError

HERE = os.path.dirname(os.path.abspath(__file__))
API = os.path.join(HERE, "plugin-api")
TYPES = {
    "tool": {"base_class": "agent.plugins.Tool", "path": API, "tools": ["describe", "run"]},
    "filter": {"base_class": "agent.plugins.Filter", "path": API, "tools": ["apply"]},
}


class Runner:
    """Plugins by their type, and a way to run a plan with them."""

    def __init__(self, host):
        self.host = host
        self.plugins = {kind: [] for kind in TYPES}

    def load(self, directory, grants):
        """Installs and starts every package of a directory, each with its grants and no others."""
        for name in sorted(os.listdir(directory)):
            plugin = self.host.install(os.path.join(directory, name), grant=grants.get(name, []))["plugin"]["name"]
            self.host.activate(plugin)
            self.plugins[self.host.show(plugin)["manifest"]["type"]].append(plugin)

    def tools(self):
        """What the agent can do, in the plugins' own words."""
        return {name: self.host.call(name, "describe") for name in self.plugins["tool"]}

    def step(self, tool, arguments):
        """One result, as all filters have left it. A filter that fails stops the step: what it did not see goes nowhere."""
        if tool not in self.plugins["tool"]:
            raise LookupError("there is no tool " + tool)
        message = {"tool": tool, "result": self.host.call(tool, "run", arguments)}
        for name in self.plugins["filter"]:
            message = self.host.call(name, "apply", message)
        return message["result"]

    def run(self, plan):
        """Each step with its result, or with why there is none; the plan ends there."""
        last = None
        for step in plan:
            arguments = {name: last if value == "$LAST" else value for name, value in step.get("arguments", {}).items()}
            try:
                last = self.step(step["tool"], arguments)
            except RingfenceError as error:
                yield step["tool"], {"error": error.code, "message": error.message, "hint": error.hint}
                return
            yield step["tool"], last


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("plan")
    parser.add_argument("--grant", action="append", default=[], metavar="PLUGIN:PERMISSION")
    given = parser.parse_args()
    grants = {}
    for one in given.grant:
        name, _, permission = one.partition(":")
        grants.setdefault(name, []).append(permission)
    with open(given.plan, encoding="utf-8") as opened:
        plan = json.load(opened)
    with Host.start(config={"plugin_types": TYPES}) as host:
        runner = Runner(host)
        runner.load(os.path.join(HERE, "plugins"), grants)
        for tool, result in runner.run(plan):
            print(json.dumps({tool: result}), flush=True)
            if isinstance(result, dict) and "error" in result:
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
