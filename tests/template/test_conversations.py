#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random conversations through whole templates: the official one of Qwen3.5, variants of it, and templates of other makes. Jinja2
and Heddle must render the same bytes or both refuse.

    test_conversations.py HEDDLE MODEL.gguf FOLDER_OF_TEMPLATES [SEED [COUNT]]
"""
import pathlib
import random
import sys

import jinja

# Repairs and changes that published files make to the official template; each text occurs in it.
VARIANTS = {
    "thinking off unless asked for": [
        ("enable_thinking is defined and enable_thinking is false", "enable_thinking is not defined or not enable_thinking")],
    "arguments may be text, no filter safe": [
        ("{%- if tool_call.arguments is defined %}", "{%- if tool_call.arguments is string %}\n{{- tool_call.arguments }}\n"
         "{%- elif tool_call.arguments is mapping %}"),
        ("args_value | tojson | safe if", "args_value | tojson if"),
        ("tool_call.arguments|items", "tool_call.arguments.items()")],
    "system messages anywhere, developer is system": [
        ("{{- raise_exception('System message must be at the beginning.') }}",
         "{{- '<|im_start|>system\\n' + content + '<|im_end|>\\n' }}"),
        ('{%- if message.role == "system" %}', '{%- if message.role in ["system", "developer"] %}'),
        ("{{- raise_exception('Unexpected message role.') }}",
         "{{- '<|im_start|>' ~ message.role ~ '\\n' ~ content ~ '<|im_end|>\\n' }}")],
    "no query is no error": [
        ("{{- raise_exception('No user query found in messages.') }}", "{%- set ns.last_query_index = -1 %}")],
    "reasoning is preserved on demand": [
        ("{%- if loop.index0 > ns.last_query_index %}",
         "{%- if (preserve_thinking is defined and preserve_thinking) or loop.index0 > ns.last_query_index %}"),
        ("reasoning_content|trim", "reasoning_content|trim|replace('\\r', '')")],
    "loops that stop, tools with indentation": [
        ("{%- set ns.multi_step_tool = false %}\n            {%- set ns.last_query_index = index %}",
         "{%- set ns.multi_step_tool = false %}{%- set ns.last_query_index = index %}{%- break %}"),
        ("{{- tool | tojson }}", "{{- tool | tojson(indent=2, sort_keys=true) }}"),
        ("for message in messages[::-1]", "for message in messages|reverse")],
}

WORDS = [
    "hello", "World", "naïve", "漢字", "😀👨‍👩‍👧", "Ünï", "<|im_end|>", "<tool_response>", "</tool_response>", "<think>",
    "</think>", "{{ x }}", "{% if %}", "\n", "\n\n", "  ", "\t", "\u00a0", "\u3000", "\r\n", "'", '"', "\\", "&<>", "\u2028",
    "\x00", "\x7f", "e\u0301", "1.0", "None", "x" * 30,
]
NUMBERS = [0, 1, -1, 3, 10**6, 2**53, 2**63 - 1, 2**64, -2**70, 0.5, -0.0, 1.0, 1e16, 1e15, 1e-5, 123456.789, 1e300, 5e-324]
SWITCHES = ["add_generation_prompt", "enable_thinking", "preserve_thinking", "add_vision_id", "strict", "tools_in_user_message"]
NAMES = ["get_weather", "search", "天気", "items", "a-b", "pop"]


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def chance(self, share):
        return self.random.random() < share

    def text(self, most=8):
        return " ".join(self.random.choice(WORDS) for _ in range(self.random.randint(0, most)))

    def number(self):
        drawn = [self.random.uniform(-1, 1), self.random.uniform(-1e6, 1e6), self.random.getrandbits(62)]
        return self.random.choice(NUMBERS + drawn)

    def value(self, depth=0):
        kinds = ["text", "text", "number", "bool", "none"] + (["list", "dict"] if depth < 3 else [])
        kind = self.random.choice(kinds)
        if kind == "text":
            return self.text(3)
        if kind == "number":
            return self.number()
        if kind == "bool":
            return self.chance(0.5)
        if kind == "list":
            return [self.value(depth + 1) for _ in range(self.random.randint(0, 3))]
        if kind == "dict":
            return {self.random.choice(NAMES): self.value(depth + 1) for _ in range(self.random.randint(0, 3))}
        return None

    def arguments(self):
        return {self.random.choice(NAMES + [self.text(2)]): self.value() for _ in range(self.random.randint(0, 4))}

    def call(self):
        function = {"name": self.random.choice(NAMES), "arguments": self.arguments()}
        if self.chance(0.05):
            del function["arguments"]
        return {"type": "function", "id": "1", "function": function} if self.chance(0.7) else function

    def content(self):
        if self.chance(0.03):
            return self.random.choice([None, 5, {"text": "x"}, [], True])
        if self.chance(0.08):
            parts = [{"type": "text", "text": self.text()}, {"type": "image"}, {"type": "video", "video": "v"},
                     {"image_url": "u"}, {"type": "other"}, "text"]
            return [self.random.choice(parts[:2] if self.chance(0.8) else parts) for _ in range(self.random.randint(0, 3))]
        text = self.text()
        if self.chance(0.1):
            text = f"<tool_response>\n{text}\n</tool_response>"
        if self.chance(0.2):
            text = f"<think>\n{self.text()}\n</think>\n\n{text}"
        return text

    def message(self, role):
        made = {"role": role, "content": self.content()}
        if self.chance(0.03):
            del made["content"]
        if role == "assistant":
            if self.chance(0.3):
                made["reasoning_content"] = self.random.choice([self.text(), self.text(), None, 5])
            if self.chance(0.3):
                made["tool_calls"] = [self.call() for _ in range(self.random.randint(0, 4))]
        return made

    def schema(self, depth=0):
        kind = self.random.choice(["string", "integer", "number", "boolean", "array", "object", None])
        made = {} if kind is None else {"type": kind if self.chance(0.9) else [kind, "null"]}
        if self.chance(0.4):
            made["description"] = self.text()
        if kind == "array" and self.chance(0.8) and depth < 4:
            made["items"] = self.schema(depth + 1)
        if kind == "object" and depth < 4:
            made["properties"] = {self.random.choice(NAMES): self.schema(depth + 1) for _ in range(self.random.randint(0, 3))}
            made["required"] = NAMES[:self.random.randint(0, 3)]
        if self.chance(0.1):
            made["enum"] = ["a", 1, None]
        return made

    def tool(self):
        function = {"name": self.random.choice(NAMES), "description": self.text(), "parameters": self.schema()}
        if self.chance(0.2):
            del function["description"]
        return {"type": "function", "function": function}

    def conversation(self):
        roles = ["system"] if self.chance(0.5) else []
        for _ in range(self.random.randint(0, 4)):
            roles += ["user", "assistant"] if self.chance(0.6) else ["user", "assistant", "tool", "tool", "assistant"]
        roles += ["user"] if self.chance(0.7) else []
        if self.chance(0.1):
            self.random.shuffle(roles)
        if self.chance(0.05):
            roles.append(self.random.choice(["developer", "ipython", "", "system"]))
        return [self.message(role) for role in roles]

    def request(self):
        made = {"messages": self.conversation()}
        if self.chance(0.4):
            made["tools"] = self.random.choice([[self.tool() for _ in range(self.random.randint(1, 3))], [], None])
        for name in SWITCHES:
            if self.chance(0.4):
                made[name] = self.random.choice([True, False, True, False, None] if name == "enable_thinking" else [True, False])
        if self.chance(0.2):
            made["bos_token"] = "<|begin|>"
        if self.chance(0.2):
            made["date_string"] = self.text(2)
        return made


def templates(folder):
    found = {path.name: path.read_text(encoding="utf-8") for path in sorted(pathlib.Path(folder).glob("*.jinja"))}
    for name, changes in VARIANTS.items():
        text = found["qwen3.5.jinja"]
        for old, new in changes:
            assert old in text, (name, old)
            text = text.replace(old, new)
        found[name] = text
    return found


def main():
    heddle, model, folder, *rest = sys.argv[1:]
    seed, count = int(rest[0]) if rest else 20240501, int(rest[1]) if len(rest) > 1 else 300
    failed = 0
    for name, template in templates(folder).items():
        maker = Maker(f"{seed} {name}")
        requests = [maker.request() for _ in range(count)]
        ours, wanted = jinja.by_heddle(heddle, model, template, requests), jinja.by_jinja2(template, requests)
        rendered = sum(kind == "rendered" for kind, _ in wanted)
        assert len(ours) == len(requests), (name, len(ours))
        for request, (kind, text), (wanted_kind, wanted_text) in zip(requests, ours, wanted):
            if kind == wanted_kind and (text == wanted_text if kind == "rendered" else ", line " in text):
                continue
            failed += 1
            if failed < 5:
                print(f"FAILED {name}: {request!r}\n  Jinja2 {wanted_kind}: {wanted_text!r}\n  Heddle {kind}: {text!r}")
        print(f"{name}: {rendered} of {len(requests)} rendered, the others refused")
        failed += rendered < len(requests) // 4           # what is refused compares little
    print(f"{failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
