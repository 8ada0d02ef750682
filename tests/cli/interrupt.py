# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C at the worst moments: in the midst of every call by which a command writes its file, so that the old file is whole or the new one is, and
nothing lies beside it; and while what is printed waits for a slow reader.

usage: interrupt.py HEDDLE FOLDER_OF_TINY_MODELS LIBINTERRUPT_CALLS
"""
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time

from checks import check, finish

heddle, tiny, preload = sys.argv[1:]
model = os.path.join(tiny, "tiny-dense-q8_0.gguf")
work = tempfile.mkdtemp()
os.environ["XDG_CACHE_HOME"] = os.path.join(work, "cache")

module = os.path.join(work, "m.hdl")
subprocess.run([heddle, "compile", model, "-o", module], check=True, capture_output=True)
ids = os.path.join(work, "ids")
with open(ids, "wb") as file:
    file.write(bytes([5, 0, 0, 0, 9, 1, 0, 0]))

SAVE = "Who art thou?\n/save {target}\n/exit\n"
CHAT = ["chat", model, "--module", module, "--chat-template", "chatml", "--temp", "0", "-n", "2", "-c", "64"]
# arguments, what is typed, and how many Ctrl-C end the program
COMMANDS = [(["compile", model, "-o", "{target}"], "", 1),
            (["verify", model, "--module", module, "--ids-file", ids, "--write-golden", "{target}"], "", 1),
            (CHAT, SAVE, 2)]


def run(command, typed, target, **environment):
    """(exit status, what the program said) of a command that writes `target`"""
    done = subprocess.run([heddle] + [a.format(target=target) for a in command], input=typed.format(target=target).encode(), capture_output=True,
                          env={**os.environ, "LD_PRELOAD": preload, **environment})
    return done.returncode, done.stderr.decode(errors="replace")


def interrupt(command, typed, times, named, deadly):
    """Interrupts every call in turn; deadly: that ends the program at some of them."""
    folder = tempfile.mkdtemp(dir=work)
    target, count = os.path.join(folder, "target"), os.path.join(work, "count")
    how = {"INTERRUPT_FOLDER": folder, **({"INTERRUPT_NAMED": "1"} if named else {})}
    code, said = run(command, typed, target, INTERRUPT_COUNT=count, **how)
    check(code == 0, f"{command[0]}: {said}")
    with open(target, "rb") as file:
        new = file.read()
    with open(count) as file:
        calls = int(file.read())
    check(calls >= 3, f"{command[0]}: {calls} calls are seen")
    died = set()
    for old in (None, b"old"):
        for call in range(1, calls + 1):
            if old:
                with open(target, "wb") as file:
                    file.write(old)
            elif os.path.exists(target):
                os.unlink(target)
            what = f"{command[0]}, {times} x SIGINT at call {call} of {calls}, {'with' if named else 'without'} a name"
            code, said = run(command, typed, target, INTERRUPT_CALL=str(call), INTERRUPT_TIMES=str(times), **how)
            died.add(code in (-signal.SIGINT, 130))
            check(code in (0, -signal.SIGINT, 130), f"{what}: exit {code}, {said}")
            check(deadly or code == 0, f"{what}: one Ctrl-C ends no conversation")
            found = None
            if os.path.exists(target):
                with open(target, "rb") as file:
                    found = file.read()
            check(found in (old, new), f"{what}: the file is neither the old nor the new one")
            check(found == new or code, f"{what}: success without the new file")
            check(set(os.listdir(folder)) <= {"target"}, f"{what}: {os.listdir(folder)} is left")
    check((True in died) == deadly, f"{command[0]}, {times} x SIGINT: {died}")


for command, typed, times in COMMANDS:
    interrupt(command, typed, times, False, True)
    interrupt(command, typed, times, True, times == 1)     # while it has a name signals wait, and two that wait are one
interrupt(CHAT, SAVE, 1, False, False)


# nothing that was printed is lost when Ctrl-C comes while the reader is slow
def slowly(signals):
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    program = subprocess.Popen([heddle, "run", model, "--module", module, "-p", "In the beginning", "--temp", "0", "-c", "2048", "-n", "2000"],
                               stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    if signals:
        with open(f"/proc/{program.pid}/wchan") as file:        # until it waits for the pipe
            end = time.time() + 60
            while "pipe" not in file.read() and time.time() < end:
                time.sleep(0.01)
                file.seek(0)
        program.send_signal(signal.SIGINT)
        time.sleep(0.1)
    with os.fdopen(read, "rb") as file:
        text = file.read()
    said = program.stderr.read().decode()
    return program.wait(), text, said


code, whole, said = slowly(False)
check(code == 0 and len(whole) > 4096, f"a long text: {len(whole)} bytes, {said}")
code, text, said = slowly(True)
check(code == 0 and "stopped: interrupted" in said, f"Ctrl-C while the reader is slow: exit {code}, {said}")
check(4096 <= len(text) and whole.startswith(text.removesuffix(b"\n")), f"the text until then is whole: {len(text)} of {len(whole)} bytes")

finish()
