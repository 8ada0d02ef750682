# SPDX-License-Identifier: Apache-2.0
"""Templates rendered twice: by Jinja2, set up as Hugging Face's apply_chat_template does it, and by `heddle template --jsonl`."""
import json
import os
import subprocess
import tempfile
from datetime import datetime

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    """{% generation %} renders what is in it."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("render"), [], [], body).set_lineno(line)

    def render(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = lambda format: datetime.now().strftime(format)
    return made


def by_jinja2(template, requests):
    """What Jinja2 makes of each request: ("rendered", text) or ("error", message)."""
    try:
        compiled = environment().from_string(template)
    except Exception as error:
        return [("error", str(error))] * len(requests)
    results = []
    for request in requests:
        try:
            text = compiled.render(**{"tools": None, "documents": None, "add_generation_prompt": False, **request})
            text.encode("utf-8")
            results.append(("rendered", text))
        except Exception as error:
            results.append(("error", str(error)))
    return results


def by_heddle(heddle, model, template, requests):
    """The same by the program. A template that it refuses is an error for every request."""
    with tempfile.NamedTemporaryFile("w", suffix=".jinja", encoding="utf-8", newline="", delete=False) as file:
        file.write(template)
    try:
        lines = "".join(json.dumps(request) + "\n" for request in requests)
        done = subprocess.run([heddle, "template", model, "--chat-template", file.name, "--jsonl"], input=lines.encode(),
                              capture_output=True, timeout=120)
    finally:
        os.unlink(file.name)
    if done.returncode == 0:
        replies = [json.loads(line) for line in done.stdout.decode("ascii").split("\n") if line]
        return [next(iter(reply.items())) for reply in replies]
    message = done.stderr.decode("utf-8")
    assert done.returncode in (1, 2) and message.startswith("heddle: ") and message.count("\n") == 1, (done.returncode, message)
    return [("error", message)] * len(requests)
