"""A browser, for tests of pages."""

import base64
import fcntl
import io
import json
import os
import shutil
import subprocess
import time

import numpy as np
import pytest
from PIL import Image


class Browser:
    """Headless Chromium, driven by its DevTools protocol over a pipe; a test skips without it.

    Args:
        folder: for its profile.
    """

    def __init__(self, folder):
        program = shutil.which("chromium") or shutil.which("google-chrome")
        if not program:
            pytest.skip("no Chromium: apt-get install chromium")
        (asked, self.ask), (self.answers, answered) = os.pipe(), os.pipe()

        def as_3_and_4():
            copies = [fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in (asked, answered)]
            os.dup2(copies[0], 3)
            os.dup2(copies[1], 4)

        command = [program, "--headless=new", "--no-sandbox", "--window-size=1400,900"]
        command += ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        command += [f"--user-data-dir={folder / 'profile'}", "--remote-debugging-pipe"]
        self.process = subprocess.Popen(
            [*command, "about:blank"],
            preexec_fn=as_3_and_4,
            close_fds=False,
            stderr=subprocess.DEVNULL,
        )
        self.number, self.rest, self.session = 0, b"", {}
        targets = self("Target.getTargets")["targetInfos"]
        (target,) = (each["targetId"] for each in targets if each["type"] == "page")
        session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.session = {"sessionId": session}

    def __call__(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params, **self.session}
        os.write(self.ask, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.rest:
                self.rest += os.read(self.answers, 2**20)
            answer, _, self.rest = self.rest.partition(b"\0")
            answer = json.loads(answer)
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]

    def wait_for(self, text, seconds=120):
        """The middle of the innermost element with this text."""
        script = f"""(() => {{
            const found = [...document.querySelectorAll('*')].filter(
                each => each.innerText && each.innerText.includes({json.dumps(text)}));
            if (!found.length) return null;
            const box = found[found.length - 1].getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        }})()"""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = self("Runtime.evaluate", expression=script, returnByValue=True)["result"]
            if found.get("value"):
                return found["value"]
            time.sleep(1)
        raise AssertionError(f"the page does not show {text!r}")

    def click(self, text, times=1):
        x, y = self.wait_for(text)
        for count in range(1, times + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self(
                    "Input.dispatchMouseEvent",
                    **{"type": kind, "x": x, "y": y, "button": "left", "clickCount": count},
                )

    def run(self, script):
        """The value of an expression of JavaScript, or of its promise."""
        found = self("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, script, seconds=60):
        """The value of an expression, once it is true."""
        end = time.monotonic() + seconds
        while not (found := self.run(script)):
            assert time.monotonic() < end, script
            time.sleep(0.05)
        return found

    def picture(self):
        """What is seen, (H, W, 3)."""
        shot = base64.b64decode(self("Page.captureScreenshot")["data"])
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()
