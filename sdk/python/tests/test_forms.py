"""Modules, files, classes, decorators: what may be a plugin, and how its functions are found and called."""

import json
import os
import subprocess
import sys

from support import SRC, PluginTest


class Forms(PluginTest):
    def test_a_function_of_the_tools_name_takes_the_arguments_object(self):
        plugin = self.start("""
            def greet(arguments):
                return "Hello, " + arguments["name"]
            def nothing():
                return None
        """)
        self.assertEqual(plugin.call("greet", {"name": "Ada"}), "Hello, Ada")
        self.assertIsNone(plugin.call("nothing", {"ignored": 1}))

    def test_a_module_in_a_folder_and_a_file_in_a_folder(self):
        for entry in ("inner.main", "inner/main.py"):
            with self.subTest(entry):
                plugin = self.start(None, entry, files={
                    "inner____init__": "", "inner__main": "import inner\ndef where(a): return __name__",
                })
                self.assertIn("main", plugin.call("where"))

    def test_a_class_of_our_base(self):
        plugin = self.start("""
            from ringfence import Plugin
            class Greeter(Plugin):
                def initialize(self, config):
                    self.word = config["word"]
                def greet(self, arguments):
                    return self.word + ", " + arguments["name"]
                def config_changed(self, config):
                    self.word = config["word"]
        """, "plugin:Greeter", config={"word": "Hello"})
        self.assertEqual(plugin.call("greet", {"name": "Ada"}), "Hello, Ada")
        plugin.change_config({"word": "Bye"})
        self.assertEqual(plugin.call("greet", {"name": "Ada"}), "Bye, Ada")

    def test_the_only_class_of_a_module_is_found_without_naming_it(self):
        plugin = self.start("""
            from ringfence import Plugin
            class Base(Plugin):
                def greet(self, arguments): return "base"
            class Real(Base):
                def greet(self, arguments): return "real"
        """)
        self.assertEqual(plugin.call("greet"), "real")

    def test_two_classes_that_could_be_meant_are_an_error_naming_both(self):
        error = self.failure(self.start, """
            from ringfence import Plugin
            class One(Plugin): pass
            class Two(Plugin): pass
        """)
        self.assertIn("One, Two", error.message)

    def test_a_constructor_with_one_parameter_gets_the_configuration(self):
        plugin = self.start("""
            class Old:
                def __init__(self, config): self.config = config
                def show(self, arguments): return self.config
        """, "plugin:Old", config={"a": 1})
        self.assertEqual(plugin.call("show"), {"a": 1})

    def test_decorated_tools_take_their_parameters_by_name(self):
        plugin = self.start("""
            from ringfence import tool
            @tool
            def add(a: int, b: int = 2): return a + b
            @tool(name="whole-thing")
            def other(arguments): return arguments
            @tool
            def mapping(values: dict): return sorted(values)
        """)
        self.assertEqual(plugin.initialized["tools"], ["add", "whole-thing", "mapping"])
        self.assertEqual(plugin.call("add", {"a": 1}), 3)
        self.assertEqual(plugin.call("whole-thing", {"x": 1}), {"x": 1})
        self.assertEqual(plugin.call("mapping", {"b": 1, "a": 2}), ["a", "b"])
        self.assertEqual(self.failure(plugin.call, "add", {}).number, -32602)
        self.assertIn("c", self.failure(plugin.call, "add", {"a": 1, "c": 2}).message)

    def test_a_tools_hyphens_are_underscores_in_the_function(self):
        plugin = self.start("def to_upper(arguments): return 'A'")
        self.assertEqual(plugin.call("to-upper"), "A")

    def test_unknown_private_and_reserved_names_are_no_tools(self):
        plugin = self.start("def _hidden(a): return 1\ndef shutdown(): return 1\ndef seen(a): return 1")
        for name in ("missing", "_hidden", "shutdown", "__import__", ""):
            with self.subTest(name):
                self.assertEqual(self.failure(plugin.call, name).number, -32602)
        self.assertEqual(plugin.call("seen"), 1)

    def test_async_functions(self):
        plugin = self.start("""
            import asyncio
            from ringfence import host
            ready = False
            async def initialize(config):
                global ready
                await asyncio.sleep(0.01)
                ready = host.load_plugin_data("k", "none")
            async def ask(arguments):
                await asyncio.sleep(0)
                host.store_plugin_data("k", ready)
                return [await asyncio.to_thread(host.load_plugin_data, "k"), host.correlation_id() is not None]
            async def fails(arguments):
                raise ValueError("no")
        """)
        self.assertEqual(plugin.call("ask"), ["none", True])
        self.assertEqual(self.failure(plugin.call, "fails").data["type"], "ValueError")

    def test_hooks_by_name_in_snake_case_and_by_decorator(self):
        plugin = self.start("""
            from ringfence import hook
            def onRequest(ctx):
                return {"body": ctx.body + 1, "metadata": {"event": ctx["event"], "id": ctx.correlation_id is not None}}
            def on_response(ctx): return None
            @hook("onError", kind="guard", priority=10, timeout_ms=200)
            def refuse(ctx): return {"blocked": True, "reason": "no"}
            def onStreamEnd(ctx): return 7
        """)
        self.assertEqual(plugin.hook("onRequest", 1), {"body": 2, "metadata": {"event": "onRequest", "id": True}})
        self.assertIsNone(plugin.hook("onResponse"))
        self.assertTrue(plugin.hook("onError")["blocked"])
        declared = [{"event": "onError", "kind": "guard", "priority": 10, "timeout_ms": 200}]
        self.assertEqual(plugin.initialized["hooks"], declared)
        self.assertEqual(self.failure(plugin.hook, "onStreamEnd").data["type"], "TypeError")
        self.assertEqual(self.failure(plugin.hook, "onNothing").number, -32602)

    def test_events_and_shutdown(self):
        plugin = self.start("""
            from ringfence import host
            def handle_event(topic, payload): host.store_plugin_data(topic, payload)
            def shutdown(): host.store_plugin_data("stopped", True)
        """)
        plugin.event("a", {"b": 1})
        plugin.close()
        self.assertEqual(plugin.host.data, {"a": {"b": 1}, "stopped": True})

    def test_a_venv_of_the_package_is_used(self):
        package = self.package("import helper\ndef ask(a): return helper.answer()")
        site = os.path.join(package, ".venv", "lib", "python%d.%d" % sys.version_info[:2], "site-packages")
        os.makedirs(site)
        with open(os.path.join(site, "helper.py"), "w") as opened:
            opened.write("def answer(): return 42\n")
        from ringfence.testing import PluginHarness

        with PluginHarness(package) as plugin:
            self.assertEqual(plugin.call("ask"), 42)


class BadStarts(PluginTest):
    def refused(self, source, entry_point="plugin.py"):
        return self.failure(self.start, source, entry_point)

    def test_entry_points_that_lead_nowhere(self):
        for entry, text in (("missing.py", "no file missing.py"), ("missing", "missing"), ("plugin:Missing", "no class Missing"),
                            ("json", "not in the package"), ("plugin:answer", "no class answer"), ("a b", "names no module")):
            with self.subTest(entry):
                self.assertIn(text, self.refused("answer = 1", entry).message)

    def test_exit_on_import_says_so(self):
        for source in ("import sys; sys.exit(3)", "exit(3)", "raise SystemExit(3)"):
            with self.subTest(source):
                error = self.refused(source)
                self.assertEqual((error.number, error.data["type"]), (-31008, "SystemExit"))
                self.assertIn("exit(3) while it started", error.message)

    def test_an_exception_on_import_names_type_and_message(self):
        self.assertIn("ZeroDivisionError: division by zero", self.refused("1 / 0").message)
        self.assertIn("SyntaxError", self.refused("def (").message)
        self.assertIn("ValueError: bad", self.refused("def initialize(config): raise ValueError('bad')").message)
        self.assertIn("KeyError", self.refused("async def initialize(config): raise KeyError('x')").message)

    def test_calls_before_it_is_ready_are_refused(self):
        from ringfence.testing import PluginHarness

        plugin = PluginHarness(self.package("def f(a): return 1"))
        self.addCleanup(plugin.close)
        plugin.launch()
        self.assertEqual(self.failure(plugin.call, "f").code, "not_ready")
        plugin.begin("initialize", plugin.parameters()).result()
        self.assertEqual(plugin.call("f"), 1)
        self.assertEqual(self.failure(plugin.begin("initialize", plugin.parameters()).result).number, -32600)

    def test_a_protocol_version_that_is_not_ours(self):
        from ringfence.testing import PluginHarness

        plugin = PluginHarness(self.package("def f(a): return 1"))
        self.addCleanup(plugin.close)
        plugin.launch()
        parameters = dict(plugin.parameters(), protocol_versions=["9"])
        self.assertIn("version 1", self.failure(plugin.begin("initialize", parameters).result).message)


class Describe(PluginTest):
    def describe(self, source, entry_point="plugin.py", types=None):
        package = self.package(source, entry_point)
        command = [sys.executable, "-I", "-S", "-B", os.path.join(SRC, "ringfence_runner.py"), "--describe", package, entry_point]
        if types is not None:
            path = os.path.join(self.folder, "types.json")
            with open(path, "w") as opened:
                json.dump(types, opened)
            command += ["--types", path]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
        return json.loads(done.stdout)

    def test_tools_and_hooks_of_decorators_with_schemas_from_annotations(self):
        found = self.describe('''
            from typing import Dict, List, Optional
            from ringfence import tool, hook
            @tool
            def search(query: str, limit: int = 10, tags: Optional[List[str]] = None) -> List[Dict[str, int]]:
                """Finds notes.

                More words."""
            @tool(input_schema={"type": "object"}, description="Given.")
            def given(arguments): ...
            @hook("onRequest", kind="mutator")
            def handle(ctx): ...
            def not_a_tool(arguments): ...
        ''')
        self.assertEqual([one["name"] for one in found["tools"]], ["search", "given"])
        search = found["tools"][0]
        self.assertEqual(search["description"], "Finds notes.")
        self.assertEqual(search["input_schema"], {
            "type": "object", "required": ["query"], "additionalProperties": False, "properties": {
                "query": {"type": "string"}, "limit": {"type": "integer", "default": 10},
                "tags": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}], "default": None},
            },
        })
        self.assertEqual(search["output_schema"]["items"]["additionalProperties"], {"type": "integer"})
        self.assertEqual(found["hooks"], [{"event": "onRequest", "kind": "mutator", "priority": 50}])
        self.assertFalse(found["class_found"])

    def test_the_bases_of_a_class(self):
        found = self.describe("""
            from ringfence import Plugin, tool
            class Mine(Plugin):
                def __init__(self, needed): ...
                @tool
                def go(self, x: int) -> int: ...
        """, "plugin:Mine")
        self.assertTrue(found["class_found"])
        self.assertEqual(found["bases"], ["ringfence.Plugin"])
        self.assertEqual(found["tools"][0]["input_schema"]["required"], ["x"])

    def test_base_classes_of_the_host_application(self):
        types = {"bases": {"filter": "app.plugins.Filter"}, "sources": {"app.plugins": "class Filter:\n    pass\n"}}
        good = self.describe("from app.plugins import Filter\nclass Mine(Filter): pass\n", "plugin:Mine", types)
        self.assertEqual(good["bases"], ["app.plugins.Filter"])
        other = self.describe("class Mine: pass\n", "plugin:Mine", types)
        self.assertEqual((other["class_found"], other["bases"]), (True, []))

    def test_a_broken_plugin_is_described_with_its_error(self):
        self.assertIn("exit(2)", self.describe("import sys; print('noise'); sys.exit(2)")["error"])
        missing = self.describe("x = 1", "plugin:Gone")
        self.assertFalse(missing["class_found"])
        self.assertIn("no class Gone", missing["error"])
