"""The client against a real daemon: everything that an application does with plugins."""

import json
import os
import re
import ssl
import subprocess
import sys
import threading
import unittest

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__))]

from client_support import BINARY, ROOT, Case  # noqa: E402
from ringfence.client import (Conflict, Host, LimitBroken, NotFound, PluginFailed, Refused, RingfenceError, Unavailable,  # noqa: E402
                              Usage)
from ringfence.client import errors  # noqa: E402

# Operations of the document that no method reaches, each with the reason.
LEFT_OUT = {("GET", "/openapi.json"): "the document itself is for tools; the types of this client are made from it"}


class Shared(Case):
    """Tests that share one daemon: each has plugins to itself."""

    @classmethod
    def setUpClass(cls):
        if BINARY:
            cls.host = Host.start(BINARY)
            cls.addClassCleanup(cls.host.close)

    def setUp(self):
        super().setUp()
        self.addCleanup(self.remove)

    def remove(self):
        for plugin in self.host.list():
            self.host.uninstall(plugin["name"])

    def active(self, *grants):
        self.host.install(self.package(), grant=list(grants))
        self.host.activate("several")
        return self.host


class Life(Shared):
    def test_a_plugin_from_its_installation_to_its_end(self):
        host = self.host
        installed = host.install(self.package())
        self.assertEqual((installed["changed"], installed["plugin"]["state"]), (True, "installed"))
        refused = self.raises(Refused, "consent_required", host.activate, "several")
        self.assertEqual(refused.status, 403)
        self.assertTrue(refused.hint and refused.correlation_id)
        self.assertTrue(host.audit(correlation_id="nobody's")["records"] == [])
        host.grant("several")
        self.assertEqual(host.activate("several")["state"], "active")
        self.assertEqual([plugin["name"] for plugin in host.list()], ["several"])
        self.assertEqual(host.call("several", "echo", {"a": [1, None, "\u00e9"]}), {"a": [1, None, "\u00e9"]})
        self.assertEqual(host.show("several")["version"], "1.0.0")

        upgraded = host.upgrade("several", self.package("1.1.0"))
        self.assertEqual((upgraded["done"], upgraded["to_version"]), (True, "1.1.0"))
        self.assertEqual(host.call("several", "version"), "1.1.0")
        host.rollback("several")
        self.assertEqual(host.call("several", "version"), "1.0.0")
        self.raises(Usage, "usage", host.upgrade, "several", self.package("1.2.0"), grant=[], grant_requested=True)

        self.assertEqual(host.deactivate("several")["state"], "inactive")
        self.raises(Conflict, "not_active", host.call, "several", "version")
        host.uninstall("several")
        self.raises(NotFound, "not_found", host.show, "several")
        events = [record["event"] for record in host.activity("several")["records"]]
        self.assertTrue({"install", "uninstall", "call"} <= set(events), events)
        self.assertIsNone(host.verify_audit()["first_bad"])

    def test_what_is_not_granted_is_denied_and_what_is_granted_works(self):
        host, path = self.active(), os.path.join(self.data, "a.txt")
        self.raises(PluginFailed, "plugin_failed", host.call, "several", "read", {"path": path})
        denied = [denial["grant"] for denial in host.denials("several")]
        self.assertIn("file:read=" + path, denied)
        held = host.grant("several", denied[0])
        self.assertEqual([one["permission"] for one in held.value], denied[:1])
        self.assertEqual(host.call("several", "read", {"path": path}), "a note")
        host.revoke("several", denied[0])
        self.raises(PluginFailed, "plugin_failed", host.call, "several", "read", {"path": path})
        self.raises(NotFound, "not_found", host.revoke, "several", denied[0])

    def test_hooks_and_messages(self):
        host = self.active("hook:register=onRequest", "event:post=news")
        outcome = host.hook("onRequest", {"text": "x"}, {"user": 1}, trace=True)
        self.assertEqual((outcome["outcome"], outcome["body"], outcome["metadata"]), ("continue", {"text": "x", "seen": True}, {"user": 1}))
        self.assertEqual(outcome["trace"][0]["result"], "changed")
        self.assertEqual(host.hooks()[0]["plugin"], "several")
        report = host.post_event("news", {"n": 7}, wait=True)
        self.assertEqual(report["receivers"][0]["outcome"], "delivered")
        self.assertEqual(host.call("several", "heard"), {"n": 7})
        self.assertEqual(host.post_event("weather")["receivers"], [])

    def test_failures_of_a_plugin_are_its_own(self):
        host = self.active()
        failed = self.raises(PluginFailed, "plugin_failed", host.call, "several", "fail")
        self.assertIn("not today", failed.message)
        self.raises(PluginFailed, "plugin_failed", host.call, "several", "die")
        with host.events() as stream:
            if not host.show("several")["running"]:
                next(event for event in stream if event.data["kind"]["event"] == "started")
        self.assertEqual(host.call("several", "version"), "1.0.0", "it was started again")
        self.raises(LimitBroken, "timeout", host.call, "several", "sleep", {"seconds": 30}, timeout=0.3)
        self.assertIn("sleeping", [line["message"] for line in host.logs("several", lines=50)])
        self.raises(NotFound, "not_found", host.call, "several", "nothing")
        self.raises(Usage, "usage", host.call, "several", "echo", {"x": float("nan")})
        self.raises(NotFound, "not_found", host.show, "..")
        self.raises(NotFound, "not_found", host.show, "a/b?c")
        self.raises(NotFound, "path_not_found", host.install, os.path.join(self.directory, "nothing"))

    def test_figures(self):
        host = self.active()
        host.call("several", "version")
        self.assertEqual(host.health()["status"], "ok")
        self.assertIn("ringfence_", host.metrics())
        self.assertEqual(host.executions(plugin="several", limit=1)["executions"][0]["tool"], "version")
        self.assertIsInstance(host.resources("several", limit=3), list)
        self.assertEqual(host.scan()["broken"], [])
        page = host.audit(event="call", newest_first=True, limit=1)
        self.assertEqual(page["records"][0]["plugin"], "several")


class Together(Shared):
    def test_a_request_with_the_same_key_is_done_once(self):
        host = self.active()
        first = host.call("several", "count", idempotency_key="k")
        self.assertEqual(host.call("several", "count", idempotency_key="k"), first)
        self.assertEqual(host.call("several", "count"), first + 1, "each call has a key of its own")
        failed = self.raises(PluginFailed, "plugin_failed", host.call, "several", "fail")
        self.assertTrue(failed.idempotency_key)
        reused = self.raises(Conflict, "conflict", host.call, "several", "echo", idempotency_key="k")
        self.assertEqual(reused.status, 412)
        host.uninstall("several")
        installed = host.install(self.package(), idempotency_key="i")
        self.assertEqual(host.install(self.package(), idempotency_key="i"), installed)
        self.assertFalse(host.install(self.package())["changed"], "without the key it is another request")

    def test_two_administrators_do_not_overwrite_each_other(self):
        host = self.active()
        read = host.get_config("several")
        self.assertEqual(read.value["language"], "de")
        changed = host.set_config("several", {"language": "fr", "key": "secret"}, version=read.version)
        self.assertEqual(changed.value["key"], "***")
        self.raises(Conflict, "conflict", host.set_config, "several", {"language": "de"}, version=read.version)
        self.assertEqual(host.set_config("several", changed.value, version=changed.version).value["language"], "fr")
        held = host.grants("several")
        host.grant("several", "event:post=news")
        self.raises(Conflict, "conflict", host.set_grants, "several", [], version=held.version)
        host.set_grants("several", [], version=host.grants("several").version)
        self.assertEqual(host.grants("several").value, [])

    def test_grants_of_many_at_once_are_all_kept(self):
        host = self.active()
        wanted = ["file:read=%s/%d" % (self.data, number) for number in range(3)]
        threads = [threading.Thread(target=host.grant, args=("several", one)) for one in wanted]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(one["permission"] for one in host.grants("several").value), wanted)

    def test_a_grant_is_no_consent_to_an_upgrade_that_waits(self):
        host = self.active()
        more = "\n  - env:read=LANG"
        self.assertFalse(host.upgrade("several", self.package("2.0.0", more))["done"])
        self.raises(Conflict, "conflict", host.grant, "several", "event:post=news")
        self.raises(Conflict, "conflict", host.set_grants, "several", ["event:post=news"])
        self.assertEqual(host.show("several")["version"], "1.0.0")
        host.set_grants("several", ["env:read=LANG"], version=host.grants("several").version)
        self.assertEqual(host.call("several", "version"), "2.0.0")

    def test_an_upgrade_that_waits_is_refused(self):
        host = self.active()
        self.raises(NotFound, "not_found", host.abandon_upgrade, "several")
        self.assertFalse(host.upgrade("several", self.package("2.0.0", "\n  - env:read=LANG"))["done"])
        seen = host.grants("several").version
        self.assertFalse(host.upgrade("several", self.package("3.0.0", "\n  - env:read=LANG"))["done"])
        self.raises(Conflict, "conflict", host.abandon_upgrade, "several", version=seen)
        self.assertEqual(host.abandon_upgrade("several", version=host.grants("several").version)["version"], "1.0.0")
        self.assertIsNone(host.show("several")["pending"])
        self.assertEqual(host.call("several", "version"), "1.0.0")

    def test_events_go_on_behind_the_last_one_that_was_seen(self):
        host = self.host
        with host.events() as stream:
            self.active()
            first = next(event for event in stream if event.data["kind"]["event"] == "started")
        self.assertEqual((first.name, first.data["plugin"]), ("plugin", "several"))
        host.deactivate("several")
        with host.events(first.id) as stream:
            kinds = []
            for event in stream:
                kinds.append(event.data["kind"]["event"])
                if "ended" in kinds:
                    break
        self.assertIn("ended", kinds, "what happened while nobody listened is told")
        self.assertNotIn("started", kinds)

    def test_a_stream_is_closed_from_another_thread(self):
        stream = self.host.events()
        seen = []
        thread = threading.Thread(target=lambda: seen.append(list(stream)))
        thread.start()
        stream.close()
        thread.join(30)
        self.assertEqual((thread.is_alive(), seen), (False, [[]]))


class Commands(Shared):
    def test_output_comes_while_the_command_runs_and_then_the_report(self):
        go = os.path.join(self.data, "go")
        text = "echo one; while [ ! -e %s ]; do :; done; echo two >&2; exit 3" % go
        run = self.host.exec(["/bin/sh", "-c", text], read=[self.data], limits={"timeout_ms": 60000})
        seen = []
        for output in run:
            seen.append((output.stream, output.text))
            if len(seen) == 1:
                self.assertIsNone(run.report, "it still runs")
                open(go, "w").close()
        self.assertEqual(seen, [("stdout", "one\n"), ("stderr", "two\n")])
        report = run.wait()
        self.assertEqual((report["status"], report["exit_code"], run.stdout, run.stderr), ("exited", 3, "one\n", "two\n"))
        self.assertEqual(self.host.run(run.id)["report"], report)
        self.assertEqual(self.host.runs(limit=1)["runs"][0]["id"], run.id)

    def test_a_command_may_do_what_was_given_and_nothing_else(self):
        path = os.path.join(self.data, "a.txt")
        run = self.host.exec(["/bin/cat", path])
        self.assertEqual((run.wait()["exit_code"], run.stdout), (1, ""))
        explained = self.host.exec(["/bin/cat", path], explain=True).wait()["denials"]
        self.assertEqual([(one["object"], one["grant"]) for one in explained], [(path, "file:read=" + path)])
        run = self.host.exec(["/bin/cat", path], read=[path])
        self.assertEqual((run.wait()["exit_code"], run.stdout), (0, "a note"))

    def test_a_command_is_cancelled_limited_or_refused(self):
        run = self.host.exec(["/bin/sleep", "600"])
        run.cancel()
        self.assertEqual(run.wait()["status"], "cancelled")
        run.cancel()
        report = self.host.exec(["/bin/sleep", "600"], limits={"timeout_ms": 200}).wait()
        self.assertEqual((report["status"], report["violation"]), ("violation", "timeout"))
        self.raises(NotFound, "not_found", self.host.exec, ["no-such-program"])
        self.raises(Usage, "usage", self.host.exec, [])
        self.raises(Usage, "usage", self.host.exec, ["true"], read=["relative"])
        self.raises(Usage, "invalid_permission", self.host.exec, ["true"], grant=["file:raed"])
        with self.assertRaises(TypeError):
            self.host.exec("true")


class Tokens(Case):
    def serve(self, home):
        """A daemon at an address, which it gives."""
        words = [BINARY, "serve", "--listen", "127.0.0.1:0", "--until-stdin-closes", "--json"]
        daemon = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                  env=dict(os.environ, RINGFENCE_HOME=home))
        self.addCleanup(lambda: daemon.wait(60))
        self.addCleanup(daemon.stdout.close)
        self.addCleanup(daemon.stdin.close)
        return json.loads(daemon.stdout.readline())["addresses"][0]

    def test_a_certificate(self):
        home, folder = os.path.join(self.directory, "home"), os.path.join(ROOT, "crates", "host", "tests", "plugins", "fetch", "tls")
        os.mkdir(home)
        with open(os.path.join(home, "config.toml"), "w") as opened:
            opened.write('[server]\ntls_certificate = "%s/server.pem"\ntls_key = "%s/server.key"\n' % (folder, folder))
        url = self.serve(home)
        token = Host.connect(home=home).create_token("admin")["token"]
        context = ssl.create_default_context(cafile=os.path.join(folder, "ca.pem"))
        host = Host.connect(url, token, context=context)
        self.assertEqual(host.list(), [])
        host.events().close()
        strange = self.raises(Unavailable, "unavailable", Host.connect, url, token)
        self.assertIn("trusts", strange.hint)
        # Of another name, although somebody trusted has signed it.
        self.raises(Unavailable, "unavailable", Host.connect, url.replace("127.0.0.1", "localhost"), token, context=context)

    def test_an_address_and_a_token(self):
        home = os.path.join(self.directory, "home")
        url = self.serve(home)
        local = Host.connect(home=home)
        local.install(self.package(), grant=[])
        viewer = local.create_token("viewer", expires_in_s=600)
        host = Host.connect(url, viewer["token"])
        self.assertEqual([plugin["name"] for plugin in host.list()], ["several"])
        refused = self.raises(Refused, "forbidden", host.activate, "several")
        self.assertIn("operator", refused.message)
        self.assertNotIn(viewer["token"], repr(host) + repr(vars(refused)))
        admin = Host.connect(url, local.create_token("admin")["token"])
        elsewhere = self.raises(Refused, "forbidden", admin.install, self.package("1.1.0"))
        self.assertIn("install_from", elsewhere.hint)
        self.assertTrue(local.dashboard_link()["url"].startswith(url))
        self.raises(Refused, "forbidden", admin.dashboard_link)
        self.assertEqual([token["role"] for token in local.tokens()].count("viewer"), 1)
        with host.events(reconnect_s=5) as stream:
            local.revoke_token(viewer["id"])
            self.raises(Refused, "unauthenticated", list, stream)
        self.raises(Refused, "unauthenticated", host.list)
        self.assertEqual(Host.connect(url).health(), {"status": "ok"}, "a stranger is told one word")

    def test_addresses_that_are_none_and_nobody_there(self):
        for url in ("127.0.0.1:7700", "ftp://localhost", "http://", "http://localhost/api", "http://u:p@localhost"):
            self.raises(Usage, "usage", Host.connect, url)
        self.raises(Usage, "usage", Host.connect, "http://192.0.2.1:7700", "rf_secret")
        nobody = self.raises(Unavailable, "unavailable", Host.connect, home=self.directory)
        self.assertIn("ringfence serve", nobody.hint)
        self.raises(Unavailable, "unavailable", Host.connect, "http://127.0.0.1:1", "rf_x")


class Document(unittest.TestCase):
    """Held against schema/openapi.json, without a daemon."""

    @classmethod
    def setUpClass(cls):
        with open(os.path.join(ROOT, "schema", "openapi.json"), encoding="utf-8") as opened:
            cls.document = json.load(opened)

    def test_every_operation_is_reached_or_left_out_for_a_reason(self):
        there = {(method.upper(), path[len("/api/v1"):]) for path, methods in self.document["paths"].items() for method in methods}
        used = set()
        folder = os.path.join(ROOT, "sdk", "python", "src", "ringfence", "client")
        for name in os.listdir(folder):
            if name.endswith(".py"):
                with open(os.path.join(folder, name), encoding="utf-8") as opened:
                    text = opened.read()
                used |= set(re.findall(r'"(GET|POST|PUT|DELETE)",\s*(?:address_of\()?"(/[^"]*)"', text))
                used |= {("GET", path) for path in re.findall(r'EventStream\([^"]*address_of\("(/[^"]*)"', text)}
        self.assertEqual(used - there, set(), "the document does not have these")
        self.assertEqual(there - used, set(LEFT_OUT), "these are neither reached nor left out")

    def test_every_code_has_a_class(self):
        schema = self.document["components"]["schemas"]["ErrorCode"]
        codes = {one["const"] for one in schema["oneOf"]}
        self.assertEqual(codes - set(errors.CLASSES), set())
        self.assertEqual(set(errors.CLASSES) - codes, {"unavailable"})
        with open(os.path.join(ROOT, "docs", "host-clients.md"), encoding="utf-8") as opened:
            rows = re.findall(r"^\| `([A-Z]\w+)` \| (.*) \|$", opened.read(), re.MULTILINE)
        told = {name: set(re.findall(r"`(\w+)`", row)) for name, row in rows}
        families = {family.__name__: set(words.split()) for family, words in errors.FAMILIES.items()}
        self.assertEqual(families.pop("RingfenceError"), {"io", "internal"})
        self.assertEqual(told, families, "as the page says")
        self.assertIs(type(errors.made("of a later version", "x")), RingfenceError)

    def test_the_types_are_those_of_the_document(self):
        done = subprocess.run([sys.executable, "-B", os.path.join(ROOT, "sdk", "types_from_openapi.py"), "--check"], stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 0, done.stderr.decode())


if __name__ == "__main__":
    unittest.main()
