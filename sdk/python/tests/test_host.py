"""Each function of the host, granted and not; and what a plugin does by itself."""

import os
import sqlite3
import unittest

from support import PluginTest

from ringfence.fake_host import matches
from ringfence.testing import PluginHarness, matrix

SOURCE = """
from ringfence import HostError, PermissionDenied, host

ACTS = {
    "get_config": lambda: host.get_config(), "set_config": lambda: host.set_config({"a": 2}),
    "post_event": lambda: host.post_event("t", 1), "get_user_profile": lambda: host.get_user_profile(["name"]),
    "http_fetch": lambda: host.http_fetch("https://api.example.com/x"), "read_file": lambda: host.read_file("/srv/a.txt"),
    "write_file": lambda: host.write_file("/srv/b.bin", b"\\xff"), "delete_file": lambda: host.delete_file("/srv/a.txt"),
    "list_files": lambda: host.list_files("/srv"), "run_process": lambda: host.run_process(["/bin/date"]),
    "query_database": lambda: host.query_database("crm", "select 1 as one"),
    "execute_database": lambda: host.execute_database("crm", "insert into t values (?)", [1]),
    "register_hook": lambda: host.register_hook("onError", kind="observer"),
    "own": lambda: host.request("x_crm_export", {"customer": "acme"}), "all_fields": lambda: host.get_user_profile(),
    "email": lambda: host.get_user_profile(["email"]), "keep": lambda: host.write_file(host.data_dir + "/a", "b"),
}

def act(arguments):
    try:
        return {"result": ACTS[arguments["name"]]()}
    except HostError as error:
        return {"kind": type(error).__name__, "code": error.code, "grant": getattr(error, "grant", None)}

def data(arguments):
    host.store_plugin_data("k", {"v": 1})
    keys, more = host.list_plugin_data("k", limit=1)
    return [host.load_plugin_data("k"), host.load_plugin_data("x", 0), keys, more, host.delete_plugin_data("k")]

def fill(arguments):
    host.store_plugin_data("big", "x" * arguments["n"])

def uncaught(arguments):
    return host.read_file("/etc/shadow")

def about(arguments):
    return [host.available, host.plugin_name, host.permissions, host.config, host.limits["message_bytes"], host.data_dir]
"""

GRANTS = {
    "set_config": "config:write", "post_event": "event:post=t",
    "get_user_profile": "profile:read", "http_fetch": "network:request=*.example.com:443", "read_file": "file:read=/srv/**",
    "write_file": "file:write=/srv/*", "delete_file": "file:delete=/srv/a.txt", "list_files": "file:read=/srv/**",
    "run_process": "subprocess:execute=/bin/**", "query_database": "database:read=crm",
    "execute_database": "database:write=crm", "register_hook": "hook:register=onError",
}
RESULTS = {
    "get_config": {"a": 1}, "get_user_profile": {"name": "Ada"}, "read_file": "text", "delete_file": True,
    "http_fetch": {"status": 200, "headers": {}, "body": "ok", "url": "https://api.example.com/x"},
    "list_files": [{"name": "a.txt", "kind": "file", "size_bytes": 4}],
    "run_process": {"exit_code": 0, "stdout": "now", "stderr": ""}, "query_database": [{"one": 1}], "execute_database": 1,
}


class Host(PluginTest):
    def fakes(self):
        crm = sqlite3.connect(":memory:", check_same_thread=False)
        crm.execute("create table t (n)")
        self.addCleanup(crm.close)
        return {
            "config": {"a": 1}, "fakes": dict(
                files={"/srv/a.txt": "text"}, http={"https://api.example.com/x": {"body": "ok"}}, databases={"crm": crm},
                profile={"name": "Ada", "secret": 1}, processes=lambda command: RESULTS["run_process"]),
        }

    def test_a_method_of_the_application_is_requested_by_its_name(self):
        answers = {"x_crm_export": lambda params: {"result": [params["customer"]]}}
        with PluginHarness(self.package(SOURCE), answers=answers) as plugin:
            self.assertEqual(plugin.call("act", {"name": "own"}), {"result": ["acme"]})
        with PluginHarness(self.package(SOURCE)) as plugin:
            self.assertEqual(plugin.call("act", {"name": "own"})["code"], "not_found")

    def test_sensitive_fields_of_a_profile_need_a_grant_by_their_name(self):
        profile = {"name": "Ada", "email": "ada@example.com"}
        for grants, fields, denied in (
            (["profile:read"], {"name": "Ada"}, True), (["profile:read=*"], {"name": "Ada"}, True),
            (["profile:read=email"], {"email": "ada@example.com"}, False),
            (["profile:read", "profile:read=email"], profile, False),
        ):
            with self.subTest(grants), PluginHarness(self.package(SOURCE), grants=grants, profile=profile) as plugin:
                self.assertEqual(plugin.call("act", {"name": "all_fields"}), {"result": fields})
                asked = plugin.call("act", {"name": "email"})
                self.assertEqual(asked.get("grant"), "profile:read=email" if denied else None)

    def test_output_and_names_that_are_no_text_come_as_bytes(self):
        ran = {"exit_code": None, "signal": 9, "stdout_base64": "/w==", "stderr": "", "violation": "timeout"}
        source = SOURCE + (
            "\ndef raw(arguments):\n    ran = host.run_process(['/bin/date'], timeout_s=2)\n"
            "    assert ran == {'exit_code': None, 'signal': 9, 'stdout': b'\\xff', 'stderr': '', 'violation': 'timeout'}, ran\n"
            "    assert host.list_files('/srv')[0]['name'] == b'\\xff'\n"
        )
        seen = []
        answers = {
            "run_process": lambda params: seen.append(params) or {"result": ran},
            "list_files": lambda params: {"result": {"entries": [{"name_base64": "/w==", "kind": "file", "size_bytes": 0}]}},
        }
        with PluginHarness(self.package(source), answers=answers) as plugin:
            plugin.call("raw", {})
        self.assertEqual(seen, [{"command": ["/bin/date"], "timeout_s": 2}])

    def test_a_body_is_read_piece_by_piece_with_its_grant_and_not_without_it(self):
        source = """
            import threading
            from ringfence import Cancelled, HostError, host
            URL = "https://api.example.com/x"
            def lines(arguments):
                with host.http_fetch(URL, stream=True) as answer:
                    seen = list(answer.iter_lines())
                    return [answer.status, answer.headers, answer.url, answer.closed, answer.read().decode(), seen]
            def pieces(arguments):
                with host.http_fetch(URL, stream=True, max_bytes=9) as answer:
                    return [piece.hex() for piece in answer] + [answer.read(2).hex()]
            def some(arguments):
                with host.http_fetch(URL, stream=True) as answer:
                    return answer.read(2).hex()
            def whole(arguments):
                return host.http_fetch(URL)["body"]
            def many(arguments):
                opened = []
                try:
                    while True:
                        opened.append(host.http_fetch(URL, stream=True))
                except HostError as error:
                    opened[0].close()
                    opened[0].close()
                    return [len(opened), error.code, host.http_fetch(URL, stream=True).closed]
            def lost(arguments):
                with host.http_fetch(URL, stream=True) as answer:
                    answer.read()
            def until_cancelled(arguments):
                with host.http_fetch(URL, stream=True) as answer:
                    host.progress(1)
                    while not host.cancelled():
                        threading.Event().wait(0.01)
                    answer.read()
        """
        package = self.package(source)
        body = ["one\r\nt", "", "wo\n\nth", b"\xc3", b"\xa9"]
        fakes = {"http": {"https://api.example.com/x": {"status": 201, "headers": {"a": "b"}, "body": body}}}
        for case in matrix(["network:request=*.example.com:443"]):
            with self.subTest(off=case.off), PluginHarness(package, grants=case.grants, **fakes) as plugin:
                if case.off is not None:
                    self.assertEqual(self.failure(plugin.call, "lines").data["grant"], "network:request=api.example.com:443")
                    self.assertEqual(len(plugin.host.denials), 1)
                    continue
                self.assertEqual(plugin.call("lines"), [
                    201, {"a": "b"}, "https://api.example.com/x", True, "", ["one", "two", "", "thé"]])
                self.assertEqual(plugin.call("pieces"), [
                    "6f6e650d0a74", "776f0a0a7468", "c3", "a9", ""])
                self.assertEqual(plugin.call("whole"), "one\r\ntwo\n\nthé")
                self.assertEqual((plugin.call("some"), plugin.host.streams), ("6f6e", {}))
                self.assertEqual(plugin.host.requests[-1], ("http_fetch_close", {"stream": "stream-3"}))
                begun = plugin.start_call("until_cancelled")
                while not begun.progress:
                    plugin.ping()
                begun.cancel()
                self.assertEqual(self.failure(begun.result).code, "cancelled")
                self.assertEqual(plugin.host.streams, {}, "it is closed although its call was cancelled")
                self.assertEqual(plugin.call("many"), [8, "busy", False])
                answers = {"http_fetch_read": lambda params: {"result": {"body": "x", "offset": 1, "done": False}}}
                with PluginHarness(package, grants=case.grants, answers=answers, **fakes) as other:
                    self.assertEqual(self.failure(other.call, "lost").data["host_code"], "incomplete")
                    self.assertEqual(other.host.streams, {})

    def test_every_function_works_with_its_grant_and_is_denied_without_it(self):
        package = self.package(SOURCE)
        for name, grant in GRANTS.items():
            for case in matrix([grant]):
                given = self.fakes()
                with self.subTest(name, off=case.off), PluginHarness(
                        package, grants=case.grants, config=given["config"], **given["fakes"]) as plugin:
                    result = plugin.call("act", {"name": name})
                    if case.off is None:
                        self.assertEqual(result, {"result": RESULTS.get(name)})
                        self.assertEqual(plugin.host.denials, [])
                    else:
                        self.assertEqual((result["kind"], result["code"]), ("PermissionDenied", "permission_denied"))
                        self.assertEqual(result["grant"].partition("=")[0], grant.partition("=")[0])
                        self.assertEqual(len(plugin.host.denials), 1)

    def test_its_own_configuration_needs_no_grant_to_read(self):
        self.assertEqual(self.start(SOURCE, config={"a": 1}).call("act", {"name": "get_config"}), {"result": {"a": 1}})

    def test_own_data_needs_no_grant_and_has_a_quota(self):
        plugin = self.start(SOURCE)
        self.assertEqual(plugin.call("data"), [{"v": 1}, 0, ["k"], False, True])
        self.assertIsNone(plugin.call("fill", {"n": 1000}))
        self.assertEqual(self.failure(plugin.call, "fill", {"n": 2_000_000}).data["host_code"], "quota")
        self.assertEqual(self.failure(plugin.call, "fill", {"n": 5_000_000}).data["host_code"], "too_large")

    def test_what_the_host_does_not_offer_is_not_supported(self):
        plugin = self.start(SOURCE, grants=["file:read"])
        self.assertEqual(plugin.call("act", {"name": "read_file"})["kind"], "NotSupported")

    def test_a_refusal_that_nobody_catches_names_layer_object_and_grant(self):
        data = self.failure(self.start(SOURCE).call, "uncaught").data
        self.assertEqual((data["type"], data["layer"], data["object"], data["grant"]),
                         ("PermissionDenied", "host_api", "/etc/shadow", "file:read=/etc/shadow"))

    def test_what_is_known_of_the_host(self):
        plugin = self.start(SOURCE, grants=["event:post"], config={"x": 1})
        available, name, permissions, config, message_bytes, data_dir = plugin.call("about")
        self.assertEqual((available, name, permissions, config), (True, "under-test", ["event:post"], {"x": 1}))
        self.assertEqual((message_bytes, data_dir), (4194304, plugin.host.data_dir))

    def test_without_a_host_the_functions_say_so(self):
        from ringfence import HostError, host

        self.assertFalse(host.available)
        with self.assertRaises(HostError) as caught:
            host.read_file("/x")
        self.assertIn("no host", str(caught.exception))


class OwnActs(PluginTest):
    """What the harness makes of a Python plugin's own `open`, `subprocess` and `socket`."""

    SOURCE = """
        import os, subprocess
        def read(arguments): return open(arguments["path"]).read()
        def write(arguments): open(arguments["path"], "w").write("new")
        def delete(arguments): os.remove(arguments["path"])
        def run(arguments): return subprocess.run(["/bin/echo", "hi"], stdout=subprocess.PIPE).stdout.decode()
        def own(arguments):
            path = os.path.join(os.environ["RINGFENCE_DATA_DIR"], "x")
            open(path, "w").write("mine")
            return open(path).read()
    """

    def test_each_act_with_its_grant_and_without(self):
        package = self.package(self.SOURCE)
        path = os.path.join(self.folder, "note.txt")
        acts = {"read": ("file:read", "text"), "write": ("file:write", None), "delete": ("file:delete", None)}
        for tool, (permission, result) in acts.items():
            for case in matrix([permission + "=" + path]):
                with open(path, "w") as opened:
                    opened.write("text")
                with self.subTest(tool, off=case.off), PluginHarness(package, grants=case.grants) as plugin:
                    if case.off is None:
                        self.assertEqual(plugin.call(tool, {"path": path}), result)
                    else:
                        data = self.failure(plugin.call, tool, {"path": path}).data
                        self.assertEqual((data["type"], data["operation"], data["object"]), ("FileNotFoundError", tool, path))

    def test_a_readable_file_is_not_writable(self):
        path = os.path.join(self.folder, "note.txt")
        open(path, "w").close()
        plugin = self.start(self.SOURCE, grants=["file:read=" + path])
        self.assertEqual(self.failure(plugin.call, "write", {"path": path}).data["type"], "PermissionError")

    def test_processes(self):
        self.assertEqual(self.start(self.SOURCE, grants=["subprocess:execute"]).call("run"), "hi\n")
        self.assertEqual(self.failure(self.start(self.SOURCE).call, "run").data["type"], "PermissionError")

    def test_the_private_directory_is_always_there(self):
        self.assertEqual(self.start(self.SOURCE).call("own"), "mine")


class Scopes(unittest.TestCase):
    def test_scopes_are_matched_by_segments(self):
        for pattern, text, expected in (
            ("/a/*", "/a/b", True), ("/a/*", "/a/b/c", False), ("/a/**", "/a/b/c", True), ("/a/**", "/a", True),
            ("/a/**", "/ab", False), ("/a.b", "/axb", False), ("*.x.com:443", "a.x.com:443", True),
            ("*.x.com:443", "a.x.com:80", False), ("*.x.com:443", "a.b.x.com:443", False), ("crm", "crm2", False),
        ):
            with self.subTest(pattern=pattern, text=text):
                self.assertEqual(matches(pattern, text), expected)
