# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium, driven through its debugging pipe (the Chrome DevTools Protocol): messages are JSON, with a NUL behind each."""
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import time


def find():
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    def __init__(self, width=1600, height=1000):
        self.profile = tempfile.mkdtemp()
        from_us, self.write_end = os.pipe()
        self.read_end, from_it = os.pipe()
        # The browser reads at descriptor 3 and writes at 4. In a container there are often no user namespaces for its sandbox.
        to_read, to_write = (fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (from_us, from_it))
        script = f'exec "$@" 3<&{to_read} 4>&{to_write}'
        command = [find(), "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                   f"--user-data-dir={self.profile}", f"--window-size={width},{height}", "about:blank"]
        self.process = subprocess.Popen(["bash", "-c", script, "browser", *command], pass_fds=(to_read, to_write), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for end in (from_us, from_it, to_read, to_write):
            os.close(end)
        self.buffer, self.number, self.session, self.messages, self.errors = b"", 0, None, [], []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def receive(self):
        while b"\0" not in self.buffer:
            part = os.read(self.read_end, 1 << 20)
            if not part:
                raise RuntimeError("the browser has ended")
            self.buffer += part
        message, self.buffer = self.buffer.split(b"\0", 1)
        message = json.loads(message)
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append(params["exceptionDetails"].get("exception", {}).get("description", params["exceptionDetails"]["text"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(str(params["args"]))
        elif method == "Log.entryAdded":
            self.errors.append(params["entry"]["text"])
        if method:
            self.messages.append(message)
        return message

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write_end, json.dumps(message).encode() + b"\0")
        while (answer := self.receive()).get("id") != self.number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def open(self, url):
        """Seconds until the page has loaded and its script has run."""
        self.messages.clear()
        start = time.monotonic()
        self.call("Page.navigate", url=url)
        while not any(message["method"] == "Page.loadEventFired" for message in self.messages):
            self.receive()
        return time.monotonic() - start

    def requests(self):
        return [message["params"]["request"]["url"] for message in self.messages if message["method"] == "Network.requestWillBeSent"]

    def run(self, script):
        """The value of an expression in the page; promises are awaited."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails'].get('exception', {}).get('description')}")
        return answer["result"].get("value")

    def middle(self, selector):
        return self.run(f"""(() => {{ const box = document.querySelector({json.dumps(selector)}); box.scrollIntoView({{block: "center", inline: "center"}});
            const r = box.getBoundingClientRect(); return [r.x + r.width / 2, r.y + Math.min(r.height / 2, 8)]; }})()""")

    def hover(self, selector):
        x, y = self.middle(selector)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, selector):
        x, y = self.middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def dark(self, on):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if on else "light"}])

    def close(self):
        self.session = None
        try:
            self.call("Browser.close")
        except (RuntimeError, OSError):
            pass
        self.process.wait(timeout=30)
        os.close(self.read_end)
        os.close(self.write_end)
        shutil.rmtree(self.profile, ignore_errors=True)
