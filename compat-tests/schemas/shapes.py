#!/usr/bin/env python3
"""Write the shapes of every request from Apache Kafka's own schemas, as Rust tables.

    compat-tests/schemas/shapes.py path/to/kafka-clients-4.3.1.jar src/wire/shape

The jar of the Java client holds the schemas as common/message/*.json. Written are table.rs, the
index, and the shapes in two halves, table_low.rs and table_high.rs. Each struct of a request
becomes one static, each field one line; neighbouring fields of fixed size that live in the same
versions are merged into one line, because the walk only has to skip them.
"""

import json
import pathlib
import re
import sys
import zipfile

# Keys that the crate kafka-protocol does not decode: their structs are sized by `sketch_size`.
WITHOUT_DECODER = {88, 89}

FIXED = {"bool": 1, "int8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "int64": 8,
         "float64": 8, "uuid": 16}
END = "END"
KINDS = ["Blob", "Fixed", "FixedArray", "Struct", "StructArray", "Text", "TextArray"]
NAMES = ["END", "Shape", "field", "nullable", "shape", "sketch", "tag"]
# Keys from here on go into the second file, so that both stay readable.
HIGH = 45

GENERATED = """Generated, do not edit:
//! `compat-tests/schemas/shapes.py path/to/kafka-clients-{version}.jar src/wire/shape`
"""

INDEX = """\
//! Every request of Apache Kafka {version}. """ + GENERATED + """\

use super::schema::{{END, Request, request}};
use super::{{table_high as high, table_low as low}};

/// In the order of the API keys: key, first and last version, first flexible version, body.
pub(super) static REQUESTS: [Request; {count}] = ["""

HEAD = """\
//! Shapes of the requests {keys}, one line per field. """ + GENERATED + """\
//!
//! A struct is sized as kafka-protocol holds it in memory, as that is what decoding will allocate.
//! Fields of fixed size that follow one another in the same versions share a line.

use kafka_protocol::messages as m;

use super::schema::Kind::{{{kinds}}};
use super::schema::{{{names}}};
"""


def load(text):
    """JSON with // comments, as Kafka writes it."""
    strip = lambda m: m.group(0) if m.group(0).startswith('"') else ""
    return json.loads(re.sub(r'"(?:\\.|[^"\\])*"|//[^\n]*', strip, text))


def span(versions):
    """'3+' -> (3, END), '2-7' -> (2, 7), '0' -> (0, 0)."""
    first, plus, last = re.fullmatch(r"(\d+)(?:(\+)|-(\d+))?", versions).groups()
    return int(first), END if plus else int(last or first)


def snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def commented(line, kind, names):
    """The line with the field's name behind it; a struct's name is told by its static."""
    if str(kind).startswith("Struct"):
        return line
    names, line = ", ".join(names), f"{line:40} // "
    if len(line + names) > 100:
        names = names[: 97 - len(line)].rsplit(",", 1)[0] + ", …"
    return line + names


class Table:
    """Collects the statics of all requests, inner structs before those that use them."""

    def __init__(self):
        self.files = {"low": [], "high": []}
        self.requests = []

    def add_request(self, schema):
        key, name = schema["apiKey"], schema["name"].removesuffix("Request")
        first, last = span(schema["validVersions"])
        flexible = schema["flexibleVersions"]
        flexible = END if flexible == "none" else span(flexible)[0]
        self.file = "high" if key >= HIGH else "low"
        self.structs = self.files[self.file]
        self.structs.append(f"\n// {key} {name}\n")
        self.module = None if key in WITHOUT_DECODER else snake(schema["name"])
        self.common = {c["name"]: c for c in schema.get("commonStructs", [])}
        self.done, self.last, self.root = {}, last, snake(name).upper()
        top = self.add_struct(schema["name"], schema["fields"], self.root)
        body = f"&{self.file}::{top}"
        self.requests.append(f"    request({key}, {first}, {last}, {flexible}, {body}),")

    def add_struct(self, name, fields, static):
        if name in self.done:
            return self.done[name]
        self.done[name] = static
        plain, tagged = [], []
        for field in fields:
            first, last = span(field["versions"])
            if first > self.last:
                continue
            kind = self.kind(field, static)
            if "tag" in field:
                assert field["taggedVersions"] == field["versions"], field
                line = self.line(field, first, last, kind)
                tagged.append((field["tag"], line, kind, field["name"]))
            elif (isinstance(kind, int) and plain and isinstance(plain[-1][2], int)
                    and plain[-1][:2] == (first, last) and plain[-1][2] + kind < 256):
                before = plain[-1]
                plain[-1] = (first, last, before[2] + kind, before[3], before[4] + [field["name"]])
            else:
                plain.append((first, last, kind, field, [field["name"]]))
        self.emit(name, fields, static, plain, tagged)
        return static

    def emit(self, name, fields, static, plain, tagged):
        if self.module:
            size = f"shape::<m::{self.module}::{name}>("
        else:
            size = f"sketch({self.sketch_size(fields)}, "
        public = "pub(super) " if static == self.root else ""
        out = [f"{public}static {static}: Shape = {size}&["]
        if len(out[0]) > 100:
            out = [f"{public}static {static}: Shape =", f"    {size}&["]
        for first, last, kind, field, names in plain:
            line = f"    {self.line(field, first, last, kind)},"
            out.append(commented(line, kind, names))
        if tagged:
            out.append("], &[")
            for number, line, kind, name in sorted(tagged):
                out.append(commented(f"    tag({number}, {line}),", kind, [name]))
        out.append("]);" if tagged else "], &[]);")
        self.structs.append("\n".join(out) + "\n")

    def kind(self, field, static):
        """Bytes of a fixed field as a number, anything else as the Rust expression."""
        typ = field["type"]
        array = typ.startswith("[]")
        typ = typ.removeprefix("[]")
        assert field.get("flexibleVersions") is None, field
        if typ in FIXED:
            return f"FixedArray({FIXED[typ]})" if array else FIXED[typ]
        if typ == "string":
            return "TextArray" if array else "Text"
        if typ in ("bytes", "records"):
            assert not array, field
            return "Blob"
        if typ in self.common:
            inner, path = self.common[typ]["fields"], f"{self.root}_{snake(typ).upper()}"
        else:
            inner, path = field["fields"], f"{static}_{snake(field['name']).upper()}"
        path = self.add_struct(typ, inner, path)
        return f"StructArray(&{path})" if array else f"Struct(&{path})"

    @staticmethod
    def line(field, first, last, kind):
        kind = f"Fixed({kind})" if isinstance(kind, int) else kind
        null = field.get("nullableVersions")
        if null is None:
            return f"field({first}, {last}, {kind})"
        null_first, null_last = span(null)
        assert null_last == last, field
        return f"nullable({first}, {last}, {max(first, null_first)}, {kind})"

    def sketch_size(self, fields):
        """Roughly what a Rust struct of these fields takes: handles of 32 bytes for text, 24 for
        arrays and for the map of unknown tagged fields."""
        size = 24
        for field in fields:
            typ = field["type"]
            if typ.startswith("[]"):
                size += 24
            elif typ in FIXED:
                size += FIXED[typ]
            elif typ in ("string", "bytes", "records"):
                size += 32
            else:
                size += 8 + self.sketch_size(field.get("fields") or self.common[typ]["fields"])
        return (size + 7) // 8 * 8


def used(text, names):
    """Those of the names that a table uses, for its imports."""
    return ", ".join(name for name in names if re.search(rf"\b{name}\b", text))


def main():
    jar, folder = zipfile.ZipFile(sys.argv[1]), pathlib.Path(sys.argv[2])
    version = re.search(r"kafka-clients-([\d.]+)\.jar", sys.argv[1]).group(1)
    names = [n for n in jar.namelist() if re.fullmatch(r"common/message/\w+Request\.json", n)]
    schemas = [load(jar.read(name).decode()) for name in names]
    table = Table()
    for schema in sorted(schemas, key=lambda s: s["apiKey"]):
        if schema["validVersions"] != "none":
            table.add_request(schema)
    index = INDEX.format(version=version, count=len(table.requests))
    (folder / "table.rs").write_text("\n".join([index, *table.requests, "];"]) + "\n")
    for file, structs in table.files.items():
        text = "".join(structs)
        keys = f"from key {HIGH} on" if file == "high" else f"below key {HIGH}"
        head = HEAD.format(version=version, keys=keys, kinds=used(text, KINDS),
                           names=used(text, NAMES))
        (folder / f"table_{file}.rs").write_text(head + text)


main()
