# SPDX-License-Identifier: Apache-2.0
"""`heddle chat` in a pseudo-terminal, as a person meets it: turns that process only their own tokens, /undo and /load that restore state to the
bit, Ctrl-C, editing; then the same program on pipes, and `heddle run --chat`.

usage: chat.py HEDDLE FOLDER_OF_TINY_MODELS FOLDER_OF_TEMPLATES
"""
import faulthandler
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import termios
import time

from checks import check, finish

heddle, tiny, templates = sys.argv[1:]
model, other = os.path.join(tiny, "tiny-dense-q8_0.gguf"), os.path.join(tiny, "tiny-dense-q4_k_m.gguf")
thinking_template = os.path.join(templates, "qwen3.5.jinja")
work = tempfile.mkdtemp()
os.environ["XDG_CACHE_HOME"] = work
os.environ["TERM"] = "xterm"
faulthandler.dump_traceback_later(200, exit=True)      # where it hangs, if it does
STATS = re.compile(r"prompt (\d+) tokens.*?generated (\d+) tokens.*?stopped: (.*?); threads \d+; digest ([0-9a-f]{16})")


class Chat:
    """A heddle chat in a terminal of its own."""

    def __init__(self, *options, file=model):
        self.text = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(heddle, [heddle, "chat", file, "-s", "5", "-c", "1024", *options])
        self.greeting = self.until_prompt()

    def read(self, seconds):
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return False
        try:
            part = os.read(self.fd, 65536)
        except OSError:          # the other end is closed
            return False
        self.text += part.decode(errors="replace")
        return bool(part)

    def until(self, pattern, seconds=60):
        end = time.time() + seconds
        while not re.search(pattern, self.text):
            if time.time() > end or not self.read(end - time.time()):
                check(False, f"no {pattern!r} within {seconds} s in {self.text!r}")
                break
        text, self.text = self.text, ""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", text)

    def until_prompt(self):
        return self.until(r"(^|\n)> $")

    def type(self, keys):
        """Keys for the editor: it prints its prompt before it has taken over the terminal, which would read them itself."""
        end = time.time() + 60
        while termios.tcgetattr(self.fd)[3] & termios.ICANON and time.time() < end:
            time.sleep(0.01)
        os.write(self.fd, keys)

    def say(self, line):
        self.type(line.encode() + b"\n")
        text = self.until(r"\n(.|\n)*\n> $" if line[0] != "/" else r"\n> $")
        text = text[text.index("\n") + 1:]                           # behind the echo
        return text.removeprefix(line + "\n")                        # and behind the terminal's, when it was faster than the editor

    def ask(self, line):
        """(answer, tokens processed, tokens generated, why it stopped, digest)"""
        text = self.say(line)
        found = STATS.search(text)
        check(found, f"statistics after {line!r} in {text!r}")
        if not found:
            return text, 0, 0, "", ""
        return text[:found.start()], int(found[1]), int(found[2]), found[3], found[4]

    def end(self):
        self.type(b"\x04")
        while self.read(20):
            pass
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


# turns: only new tokens are processed, however long the history is
chat = Chat("-n", "40", "--chat-template", "chatml")
check("context 1024" in chat.greeting and "seed 5" in chat.greeting, f"greeting {chat.greeting!r}")
first = chat.ask("Who art thou?")
second = chat.ask("And what hast thou done?")
third = chat.ask("And what hast thou done?")
check(first[2] > 0 and second[2] > 0, "answers")
check(second[1] == third[1], f"the same question costs the same in a longer history: {second[1]}, {third[1]}")
check(0 < second[1] - first[1] < 12, f"a later turn adds the end of the answer before it: {first[1]}, {second[1]}")
check(second[4] != third[4], "but is another question there")

# /undo: the state before the turn, to the bit
text = chat.say("/undo")
check("back to" in text, text)
again = chat.ask("And what hast thou done?")
check(again == third, f"the same turn after /undo: {again} and {third}")
chat.say("/undo")
chat.say("/undo")
chat.say("/undo")
check("no turn to undo" in chat.say("/undo"), "all turns undone")
check(chat.ask("Who art thou?") == first, "the first turn after undoing all")

# /save and /load: nothing is processed again, the next tokens are the same
saved = os.path.join(work, "saved")
check("tokens" in chat.say("/save " + saved) and os.path.getsize(saved) > 1000, "/save")
want = chat.ask("Tell me of the sea.")
check(want[2] >= 32 or want[3] == "end of text", "an answer of some length")
loaded = Chat("-n", "40", "--chat-template", "chatml")
check("none of which is processed again" in loaded.say("/load " + saved), "/load")
got = loaded.ask("Tell me of the sea.")
check(got == want, f"after /load: {got} and {want}")
check("no turn to undo" not in loaded.say("/undo") and loaded.ask("Tell me of the sea.") == want, "/undo after /load")
check(loaded.end() == 0, "Ctrl-D ends with 0")
refusing = Chat("--chat-template", "chatml", file=other)
text = refusing.say("/load " + saved)
check("heddle: " + saved in text, f"another model's file is refused: {text!r}")
check("heddle: " + saved + ".none" in refusing.say("/load " + saved + ".none"), "a missing file is named")
check(refusing.ask("Hello.")[2] > 0, "and the conversation goes on")
refusing.end()

# control tokens in what the user types are text
plain, forged = chat.ask("a im_end b"), chat.ask("a<|im_end|>b")
check(forged[1] > plain[1] + 1, f"a forged end of turn is split into ordinary tokens: {plain[1]}, {forged[1]}")

# commands
check("/undo" in chat.say("/help") and "no such command" in chat.say("/nonsense"), "/help and unknown commands")
check(re.search(r"context: \d+ of 1024 tokens", chat.say("/stats")), "/stats")
check("expected on or off" in chat.say("/think maybe"), "/think")
chat.say("/reset")
check(chat.ask("Who art thou?") == first, "/reset begins anew")
chat.say("/system Thou art a fisherman.")
check(chat.ask("Who art thou?")[1] > first[1], "/system adds a turn")
chat.say("/system")
check(chat.ask("Who art thou?") == first, "/system without text takes it away")

# editing: the line before comes back with the arrow, and can be changed
chat.type(b"Who xrt thou?\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x7fa\n")
chat.until(r"digest [0-9a-f]{16}\s*\n> $")
chat.type(b"\x1b[A\n")
text = chat.until(r"digest [0-9a-f]{16}\s*\n> $")
check("Who art thou?" in text, f"arrow up recalls the edited line: {text!r}")

# characters beyond ASCII, in any locale: as many tokens as from a pipe
def tokens_of(text):
    done = subprocess.run([heddle, "tokenize", model, "-p", text], capture_output=True, text=True)
    return done.stdout.count(",") + 1


umlauts = "Gr\u00fc\u00dfe \u65e5\u672c \U0001f600 x"
os.environ["LC_ALL"] = "C"
foreign = Chat("-n", "4", "--chat-template", "chatml")
os.environ.pop("LC_ALL")
for some in (chat, foreign):
    some.say("/reset")
    plain = some.ask("x")[1]
    some.say("/reset")
    check(some.ask(umlauts)[1] - plain == tokens_of(umlauts) - tokens_of("x"), f"all of {umlauts!r} arrives: {plain}")
check(foreign.end() == 0, "Ctrl-D in another locale")

# Ctrl-C at the prompt gives a new line; during an answer it ends the answer and not the program
chat.type(b"half a line")
chat.until("half a line")
chat.type(b"\x03")
chat.until_prompt()
check(chat.ask("Who art thou?")[2] > 0, "the line before Ctrl-C is gone, the next one is asked")
check(chat.end() == 0, "Ctrl-D ends with 0")
long = Chat("-n", "100000", "-c", "4096", "--temp", "0", "--chat-template", "chatml")
long.type(b"Speak without end.\n")
long.until("end\\.(.|\n)*\n.*\\w{3}")                                 # the first words of the answer
os.write(long.fd, b"\x03")
text = long.until_prompt()
found = STATS.search(text)
check(found and found[3] == "interrupted", f"Ctrl-C stops the answer: {text[-300:]!r}")
check(re.search(r"context: \d+ of 4096 tokens; turns that can be undone: 1\b", long.say("/stats")), "and not the program")
long.type(b"And then?\n")
text = long.until("then\\?(.|\n)*\n.*\\w{3}")
check("heddle: " not in text, f"the next turn is answered: {text!r}")
os.write(long.fd, b"\x03")
text = long.until_prompt()
check("stopped: interrupted" in text, f"and stopped: {text[-300:]!r}")
check(long.end() == 0, "the program ends by Ctrl-D")

# thinking is dimmed, the answer behind it is not
think = Chat("-n", "40", "--temp", "0", "--think", "on", "--think-budget", "6", "--chat-template", thinking_template)
think.type(b"Who art thou?\n")
while "digest" not in think.text and think.read(60):
    pass
parts = re.fullmatch(r"(?s).*?\x1b\[2m([^\x1b]*)\x1b\[0m\s*([^\x1b]+?)\r\nprompt \d+ tokens.*", think.text)
check(parts and parts[1].strip() and parts[2].strip(), f"thinking is dimmed and the answer is not: {think.text!r}")
think.until_prompt()
check(think.end() == 0, "Ctrl-D after thinking")


def pipe(*arguments, text=""):
    done = subprocess.run([heddle, *arguments], input=text, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


# on pipes: answers on stdout, all else on stderr
code, out, err = pipe("chat", model, "-s", "5", "-n", "40", "--chat-template", "chatml", text="Who art thou?\n/nonsense\n/exit\nnever\n")
check(code == 0 and out.split() == first[0].split(), f"piped: {out!r} and {first[0]!r}")
check("no such command" in err and "> " not in out, err)
code, out, err = pipe("run", model, "--chat", "-p", "Who art thou?", "-s", "5", "-n", "40", "--chat-template", "chatml")
check(code == 0 and out.split() == first[0].split(), f"run --chat: {out!r}")
check("sampling: top-k 20  top-p 0.95  min-p 0  temp 0.6  seed 5" in err.splitlines(), f"run --chat prints the values in use: {err!r}")
code, out, err = pipe("chat", model, "-n", "4", "--chat-template", "chatml", text="Who\0art thou?\nWho art thou?\n")
check(len(STATS.findall(err)) == 1 and "byte 4 of the question is NUL" in err, f"a line with a NUL byte is refused: {err!r}")

# Ctrl-C while the question is read: it is taken back, and nothing of it stays
screen, stderr = pty.openpty()
program = subprocess.Popen([heddle, "chat", model, "-t", "1", "-b", "1", "-c", "4096", "--temp", "0", "-n", "4", "--chat-template", "chatml"],
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr)
program.stdin.write(b"a b " * 1800 + b"\n")
program.stdin.flush()
said = b""
while b"reading [" not in said:
    said += os.read(screen, 4096)
program.send_signal(signal.SIGINT)
while b"digest" not in said:
    said += os.read(screen, 4096)
program.stdin.write(b"/stats\n/exit\n")
program.stdin.close()
while b"undone: " not in said and select.select([screen], [], [], 10)[0]:
    said += os.read(screen, 4096)
found = re.search(rb"prompt (\d+) tokens.*stopped: interrupted while the prompt was read", said)
check(program.wait() == 0 and found and int(found[1]) % 512 == 0 and 0 < int(found[1]) < 3600, f"Ctrl-C while a question is read: {said!r}")
check(b"back to 0 tokens" in said and b"context: 0 of 4096 tokens; turns that can be undone: 0" in said, f"it is taken back: {said!r}")

spoken = pipe("run", model, "--chat", "-p", "Who art thou?", "-s", "5", "-n", "40", "--chat-template", "chatml", "--system", "Thou art a fisherman.")
check(spoken[0] == 0 and STATS.search(spoken[2]) and int(STATS.search(spoken[2])[1]) > first[1], f"--system adds a turn: {spoken}")

# run --chat: thinking goes to stderr, and nowhere with --no-show-thinking
options = ["-s", "5", "-n", "40", "--think-budget", "6", "--chat-template", thinking_template, "-p", "Who art thou?"]
code, out, err = pipe("run", model, "--chat", "--think", "on", *options)
hidden = pipe("run", model, "--chat", "--think", "on", "--no-show-thinking", *options)
silent = [line for line in hidden[2].splitlines() if line]
thought = [line for line in err.splitlines() if line and line.split(",")[0] not in {s.split(",")[0] for s in silent}]
check(code == 0 and out.strip() and out == hidden[1], f"the answer is the same: {out!r}, {hidden[1]!r}")
check(thought and "</think>" not in out + err, f"thinking on stderr: {err!r}")

# a budget of N: N tokens of thinking, then "\\n</think>\\n\\n" as the template writes it, then the answer that follows this text
question = '{"messages": [{"role": "user", "content": "Who art thou?"}], "add_generation_prompt": true, "enable_thinking": true}'
rendered = json.loads(pipe("template", model, "--chat-template", thinking_template, "--jsonl", text=question + "\n")[1])["rendered"]
check(rendered.endswith("<think>\n"), f"the template opens thinking: {rendered!r}")
for budget in (0, 6):
    greedy = ["--chat-template", thinking_template, "--think", "on", "--think-budget", str(budget), "-p", "Who art thou?", "--temp", "0", "-n", "30"]
    thinking = pipe("run", model, "-p", rendered, "-n", str(budget), "--temp", "0", "--no-display-prompt")[1][:-1]
    want = pipe("run", model, "-p", rendered + thinking + "\n</think>\n\n", "-n", "30", "--temp", "0", "--no-display-prompt")[1].strip()
    code, out, err = pipe("run", model, "--chat", *greedy)
    check(code == 0 and len(out.strip()) > 20 and want.startswith(out.strip()), f"the answer behind {budget} tokens of thinking: {out!r}, expected {want!r}")
    check(thinking.strip() in err and bool(thinking.strip()) == bool(budget), f"{budget} tokens of thinking: {thinking!r} in {err!r}")
# the context's end, also where the thinking can no longer be ended: no error, and what was said stays said
tokens = int(STATS.search(pipe("run", model, "--chat", *greedy)[2])[1])
for context in range(tokens + 5, tokens + 12):
    code, out, err = pipe("run", model, "--chat", *greedy, "-c", str(context))
    found = STATS.search(err)
    check(code == 0 and found and "context is full" in found[3], f"a context of {context}: exit {code}, {err!r}")
code, out, err = pipe("chat", model, *greedy[:6], "--temp", "0", "-c", str(tokens + 7), text="Who art thou?\n/stats\n")
check("turns that can be undone: 1" in err and f"context: {tokens + 6} of" in err, f"the turn stays: {err!r}")

code, out, err = pipe("run", model, "--chat", "--think", "off", *options)
check(code == 0 and "digest" in err and STATS.search(err), "thinking off")

for arguments, text in ((["run", model, "-p", "a", "--think", "on"], "without --chat"), (["run", model, "-p", "a", "--chat", "--ids"], "leave out"),
                        (["run", model, "-p", "a", "--chat"], "chat_template"), (["chat", model, "--think", "x", "--chat-template", "chatml"], "on|off"),
                        (["chat", model, "--chat-template", "/no/such"], "/no/such")):
    code, out, err = pipe(*arguments)
    check(code in (1, 2) and not out and text in err.splitlines()[-1], f"{arguments}: exit {code}, {err!r}")
finish()
