"""Writes the types of both host clients from schema/openapi.json; with --check it only says whether they are up to date.

    python3 sdk/types_from_openapi.py [--check]

The document is made from the daemon's own table of routes, so the clients cannot describe answers that it does not give.
"""

import json
import keyword
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DOCUMENT = os.path.join(ROOT, "schema", "openapi.json")
PYTHON = os.path.join(ROOT, "sdk", "python", "src", "ringfence", "client", "types.py")
TYPESCRIPT = os.path.join(ROOT, "sdk", "typescript", "client", "types.d.ts")
MADE = "Made from schema/openapi.json by sdk/types_from_openapi.py."
WIDTH = 120


def reference(schema):
    return schema["$ref"].rsplit("/", 1)[1]


def choices(schema):
    """The words of an enumeration, or None."""
    words = schema.get("enum")
    if words is None and "oneOf" in schema:
        words = [one["const"] if "const" in one else None for one in schema["oneOf"]]
        if None in words:
            words = [word for one in schema["oneOf"] for word in one.get("enum", [one.get("const")])]
    return words if words and all(isinstance(word, str) for word in words) else None


class Language:
    """How one language writes a type."""

    def __init__(self, any_, null, words, items, mapping, union, plain):
        self.any, self.null, self.words, self.items, self.mapping = any_, null, words, items, mapping
        self.union, self.plain = union, plain

    def of(self, schema):
        if schema is True or not schema:
            return self.any
        if "$ref" in schema:
            return reference(schema)
        for key in ("anyOf", "oneOf"):
            if key in schema and choices(schema) is None:
                return self.union(list(dict.fromkeys(self.of(one) for one in schema[key])))
        words = choices(schema)
        if words is not None:
            return self.words(words)
        if "const" in schema:
            return self.words([schema["const"]])
        kinds = schema.get("type")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        return self.union([self.one(kind, schema) for kind in kinds])

    def one(self, kind, schema):
        if kind == "null":
            return self.null
        if kind == "array":
            return self.items(self.of(schema.get("items", True)))
        if kind == "object":
            return self.mapping(self.of(schema.get("additionalProperties", True)))
        return self.plain.get(kind, self.any)


def python_union(parts):
    rest = [part for part in parts if part != "None"]
    if "Any" in rest:
        return "Any"
    if not rest:
        return "None"
    text = rest[0] if len(rest) == 1 else "Union[%s]" % ", ".join(rest)
    return "Optional[%s]" % text if len(rest) < len(parts) else text


def typescript_union(parts):
    return "unknown" if "unknown" in parts else " | ".join(parts)


PYTHON_TYPES = Language("Any", "None", lambda words: "Literal[%s]" % ", ".join(json.dumps(word) for word in words),
                        "List[{}]".format, "Dict[str, {}]".format, python_union,
                        {"string": "str", "integer": "int", "number": "float", "boolean": "bool"})
TYPESCRIPT_TYPES = Language("unknown", "null", lambda words: " | ".join("'%s'" % word for word in words),
                            lambda item: "%s[]" % (item if re.match(r"^\w+$", item) else "(%s)" % item),
                            "Record<string, {}>".format, typescript_union,
                            {"string": "string", "integer": "number", "number": "number", "boolean": "boolean"})


def sentence(schema):
    text = " ".join((schema.get("description") or "").split("```")[0].split())
    text = re.sub(r"\[(`[^`]*`)\](\([^)]*\))?", r"\1", text).replace("`None`", "null")
    return re.split(r"(?<=[.!?]) (?=[A-Z`])", text)[0].replace("\\", "\\\\").replace("*/", "* /")


def is_object(schema):
    return schema.get("type") == "object" and "properties" in schema


def folded(head, words, tail, indent):
    """`head` and `tail` around comma-separated words, over as many lines as it takes."""
    line = head + ", ".join(words) + tail
    if len(line) <= WIDTH:
        return line
    lines, current = [head], " " * indent
    for word in words:
        if len(current) + len(word) + 2 > WIDTH:
            lines.append(current.rstrip())
            current = " " * indent
        current += word + ", "
    return "\n".join(lines + [current.rstrip(", ") + tail])


def commented(text, indent, prefix):
    """Lines of a comment that fit."""
    lines, current = [], ""
    for word in text.split():
        if len(indent) + len(prefix) + len(current) + len(word) + 1 > WIDTH:
            lines.append(current)
            current = ""
        current += (" " if current else "") + word
    return [indent + prefix + line for line in lines + [current] if line]


def python_object(name, schema):
    """A TypedDict; where some members may be missing, one of those that may not is its base (Python 3.9)."""
    needed = set(schema.get("required", []))
    properties = schema["properties"]
    for member in properties:
        assert member.isidentifier() and not keyword.iskeyword(member), (name, member)
    base = "TypedDict"
    out = []
    if needed and needed != set(properties):
        base = "_%sNeeded" % name
        out += ["", "", "class %s(TypedDict):" % base]
        out += ["    %s: %s" % (member, quoted(PYTHON_TYPES.of(value))) for member, value in properties.items() if member in needed]
        properties = {member: value for member, value in properties.items() if member not in needed}
    total = "" if needed and base == "TypedDict" else ", total=False"
    out += ["", "", "class %s(%s%s):" % (name, base, total)]
    text = sentence(schema)
    if text:
        out += ['    """%s"""' % text if len(text) < WIDTH - 12 else '    """%s\n    """' % "\n".join(commented(text, "    ", "")).strip(), ""]
    for member, value in properties.items():
        out += commented(sentence(value) if isinstance(value, dict) else "", "    ", "# ")
        out.append("    %s: %s" % (member, quoted(PYTHON_TYPES.of(value))))
    if not properties and not text:
        out.append("    pass")
    return out


def quoted(text):
    return '"%s"' % text.replace('"', "'")


def python(schemas):
    out = ['"""What the daemon answers and takes, as types.', "", MADE, '"""', "",
           "from typing import Any, Dict, List, Literal, Optional, TypedDict, Union"]
    names = sorted(schemas)
    plain = [name for name in names if not is_object(schemas[name])]
    for name in plain:
        schema = schemas[name]
        words = choices(schema)
        text = PYTHON_TYPES.of(schema)
        line = folded("%s = Literal[" % name, [json.dumps(word) for word in words], "]", 4) if words else "%s = %s" % (name, text)
        out += ["", line]
        if sentence(schema):
            out += ['"""%s"""' % sentence(schema)]
    for name in names:
        if name not in plain:
            out += python_object(name, schemas[name])
    out += ["", "", folded("__all__ = [", ['"%s"' % name for name in names], "]", 4)]
    return "\n".join(out) + "\n"


def typescript(schemas):
    out = ["// What the daemon answers and takes, as types.", "// " + MADE]
    for name in sorted(schemas):
        schema = schemas[name]
        out.append("")
        out += ["/** %s */" % sentence(schema)] if sentence(schema) else []
        if not is_object(schema):
            words = choices(schema)
            line = "export type %s = %s;" % (name, TYPESCRIPT_TYPES.of(schema))
            if words and len(line) > WIDTH:
                line = "export type %s =\n%s;" % (name, "\n".join("  | '%s'" % word for word in words))
            out.append(line)
            continue
        needed = set(schema.get("required", []))
        out.append("export interface %s {" % name)
        for member, value in schema["properties"].items():
            if isinstance(value, dict) and sentence(value):
                out.append("  /** %s */" % sentence(value))
            out.append("  %s%s: %s;" % (member, "" if member in needed else "?", TYPESCRIPT_TYPES.of(value)))
        out.append("}")
    return "\n".join(out) + "\n"


def main():
    with open(DOCUMENT, encoding="utf-8") as opened:
        schemas = json.load(opened)["components"]["schemas"]
    stale = []
    for path, text in ((PYTHON, python(schemas)), (TYPESCRIPT, typescript(schemas))):
        try:
            with open(path, encoding="utf-8") as opened:
                if opened.read() == text:
                    continue
        except FileNotFoundError:
            pass
        stale.append(os.path.relpath(path, ROOT))
        if "--check" not in sys.argv[1:]:
            with open(path, "w", encoding="utf-8") as opened:
                opened.write(text)
    if stale and "--check" in sys.argv[1:]:
        print("not up to date: %s; renew with python3 sdk/types_from_openapi.py" % ", ".join(stale), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
