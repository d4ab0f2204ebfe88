"""Drives the page in headless Chromium as a visitor would, with clicks. Needs only Python and Chromium.

    cargo xtask web
    python3 crates/web/tests/page.py web [--chromium PROGRAM] [--screenshots FOLDER] [--images FOLDER]

Fails if the console has an error, a request goes to another machine, or something is not as expected.
With --images, the folder of Fashion-MNIST's four files, it also trains on them for three epochs.
"""

import argparse
import base64
import functools
import http.server
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

FILES = [
    "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]


class Browser:
    """Chromium, which is told what to do through pipes (the Chrome DevTools Protocol)."""

    def __init__(self, program, profile):
        to_read, self.to = os.pipe()
        self.of, to_write = os.pipe()
        # Chromium reads from the file descriptor 3 and writes to 4.
        command = f'exec "$@" 3<&{to_read} 4>&{to_write}'
        arguments = [
            program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update",
            f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"]
        self.process = subprocess.Popen(
            ["bash", "-c", command, "bash", *arguments],
            pass_fds=[to_read, to_write], stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(to_write)
        self.ids = itertools.count(1)
        self.rest = b""
        self.session = None
        self.problems = []
        self.requests = []
        self.workers = 0
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network"]:
            self.call(f"{domain}.enable")
        self.call("Target.setAutoAttach", autoAttach=True, flatten=True, waitForDebuggerOnStart=True)

    def receive(self):
        while b"\0" not in self.rest:
            part = os.read(self.of, 1 << 16)
            if not part:
                sys.exit("Chromium has ended")
            self.rest += part
        message, self.rest = self.rest.split(b"\0", 1)
        message = json.loads(message)
        method, values = message.get("method"), message.get("params", {})
        if method == "Target.attachedToTarget" and values["targetInfo"]["type"] == "worker":
            # The worker waits until it is watched, too.
            self.workers += 1
            for command in ["Runtime.enable", "Log.enable", "Network.enable", "Runtime.runIfWaitingForDebugger"]:
                self.send(command, values["sessionId"])
        if method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(values["exceptionDetails"]))
        if method == "Runtime.consoleAPICalled" and values["type"] in ["error", "warning", "assert"]:
            self.problems.append(json.dumps(values["args"]))
        if method == "Log.entryAdded" and values["entry"]["level"] in ["error", "warning"]:
            self.problems.append(values["entry"]["text"])
        if method == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"])
        return message

    def send(self, method, session, **params):
        number = next(self.ids)
        message = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        return number

    def call(self, method, **params):
        number = self.send(method, self.session, **params)
        while True:
            answer = self.receive()
            if answer.get("id") == number:
                if "error" in answer:
                    sys.exit(f"{method}: {answer['error']}")
                return answer["result"]

    def evaluate(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            sys.exit(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, expression, seconds):
        end = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            if time.monotonic() > end:
                sys.exit(f"still not after {seconds} s: {expression}\n{self.evaluate('document.body.innerText')}")
            time.sleep(0.1)
        return value

    def point(self, selector):
        """The middle of an element, which is scrolled into view."""
        return self.evaluate(f"""(() => {{
            const element = document.querySelector({json.dumps(selector)});
            element.scrollIntoView({{ block: "center" }});
            const box = element.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        }})()""")

    def mouse(self, kind, x, y, buttons=1):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=buttons, clickCount=1)

    def click(self, selector):
        x, y = self.point(selector)
        self.mouse("mousePressed", x, y)
        self.mouse("mouseReleased", x, y, 0)

    def type(self, selector, text):
        self.click(selector)
        self.evaluate(f"document.querySelector({json.dumps(selector)}).select()")
        self.call("Input.insertText", text=text)
        self.evaluate(f"document.querySelector({json.dumps(selector)}).blur()")

    def give(self, selector, *files):
        """Chooses files, as in the browser's dialog."""
        document = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=document, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(Path(file).resolve()) for file in files])

    def text(self, selector):
        return self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")

    def picture(self, path, width, dark):
        scheme = "dark" if dark else "light"
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        time.sleep(0.5)
        height = self.evaluate("document.documentElement.scrollHeight")
        wide = self.evaluate("document.documentElement.scrollWidth")
        if wide > width:
            self.problems.append(f"at {width} px the page is {wide} px wide")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        data = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))


class Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm"}

    def end_headers(self):
        # As `cargo xtask web --serve` does, for the worker.
        page = (Path(self.directory) / "index.html").read_text()
        policy = page.split('http-equiv="Content-Security-Policy" content="')[1].split('"')[0]
        self.send_header("Content-Security-Policy", policy)
        super().end_headers()

    def log_message(self, *_):
        pass


def serve(folder):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/"


STEP = "state.last?.step ?? 0"

# What `cargo run -p train -- --device flex --set data.source=synthetic --set data.limit=6400` writes to
# steps.jsonl. A test of `train` compares it with the crate `web`, without a browser.
EXPECTED = [
    2.385209, 2.257384, 2.063952, 1.952394, 2.010557, 1.902661, 1.775781, 1.705621, 1.586682, 1.552708,
    1.522895, 1.406732, 1.424882, 1.347984, 1.331538, 1.306495, 1.198177, 1.125787, 1.047438, 1.115856]


def visit(browser, address, folder, options):
    # `debug` gives the page's state to this script.
    browser.call("Page.navigate", url=f"{address}?lang=en&debug")
    browser.wait("document.body?.dataset.ready === ''", 60)
    assert browser.text("#source") == "No images yet.", browser.text("#source")

    # Files that are not those of Fashion-MNIST: a sentence each, and the page goes on.
    wrong = {
        "photo.jpg": b"\xff\xd8\xff\xe0" + bytes(50_000_000), "train-images-idx3-ubyte.gz": b"\x1f\x8b\x08",
        "train-labels-idx1-ubyte": b"\0\0\x08\x01\0\0\0\x0c" + bytes(12)}
    for name, contents in wrong.items():
        (folder / name).write_bytes(contents)
        browser.evaluate("message.textContent = ''")
        browser.give("#files", folder / name)
        browser.wait("message.innerText", 20)
        print(browser.text("#message"))
        assert "is not the published Fashion-MNIST file" in browser.text("#message")

    browser.click("#synthetic")
    browser.wait("state.source?.classes?.length === 10", 60)
    browser.type("[name=images]", "6400")
    browser.click("#train")
    browser.wait(f"({STEP}) >= 60", 120)
    browser.click("#train")
    time.sleep(0.5)
    step = browser.evaluate(STEP)
    time.sleep(1)
    assert browser.evaluate(STEP) == step, "the pause does not pause"
    losses = browser.evaluate("state.losses")
    # Another processor rounds otherwise.
    assert all(abs(a - b) < 1e-3 for a, b in zip(losses, EXPECTED, strict=False)), losses[:20]
    print("losses of the first 20 steps:", " ".join(f"{loss:.6f}" for loss in losses[:20]))
    assert losses[59] < losses[0] / 2, losses
    assert browser.evaluate("state.validations.length") >= 1
    assert browser.evaluate("document.querySelectorAll('#filters canvas').length") == 6
    assert browser.evaluate("document.querySelectorAll('#features figure').length") == 2
    assert browser.evaluate("document.querySelectorAll('#statistics canvas').length") == 4
    browser.click("#train")
    browser.wait(f"({STEP}) > {step}", 20)
    browser.click("#train")

    # Draws a square frame, and asks what it is.
    browser.click("#clear")
    x, y = browser.point("#picture")
    corners = [(-60, -60), (60, -60), (60, 60), (-60, 60), (-60, -60)]
    browser.mouse("mousePressed", x - 60, y - 60)
    for (fromX, fromY), (toX, toY) in zip(corners, corners[1:]):
        for share in range(1, 11):
            browser.mouse("mouseMoved", x + fromX + (toX - fromX) * share / 10, y + fromY + (toY - fromY) * share / 10)
    browser.mouse("mouseReleased", x - 60, y - 60, 0)
    time.sleep(0.5)
    best = browser.text("#classes .best")
    assert "frame" in best, browser.text("#classes")
    print("a drawn frame:", " ".join(best.split()))

    # Downloads the weights, loads them, and refuses others.
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder / "downloads"))
    browser.click("#download")
    weights = folder / "downloads" / "lenet_bn.safetensors"
    end = time.monotonic() + 10
    while not (weights.exists() and weights.stat().st_size > 170_000) and time.monotonic() < end:
        time.sleep(0.1)
    print("downloaded:", weights.stat().st_size, "bytes")
    if options.keep:
        shutil.copy(weights, options.keep)
    browser.give("#load", weights)
    browser.wait("message.innerText.includes('lenet_bn.safetensors are loaded')", 10)
    (folder / "hostile.pth").write_bytes(b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R.")
    (folder / "cut.safetensors").write_bytes(weights.read_bytes()[:5000])
    for name in ["hostile.pth", "cut.safetensors"]:
        browser.give("#load", folder / name)
        browser.wait(f"message.innerText.includes('cannot read the weights {name}')", 10)
        print(browser.text("#message"))
    browser.evaluate("settings.elements.network.value = 'lenet'; settings.dispatchEvent(new Event('change'))")
    browser.wait("state.created", 10)
    browser.give("#load", weights)
    browser.wait("message.innerText.includes('it holds the weights of lenet_bn')", 10)
    print(browser.text("#message"))

    # A loss that is not finite ends the training with a sentence.
    browser.type("[name=learning_rate]", "1e38")
    browser.wait("state.created", 10)
    browser.click("#train")
    browser.wait("message.innerText.includes('learning rate is too high')", 30)
    browser.type("[name=learning_rate]", "0.1")


def real(browser, folder):
    """Three epochs on Fashion-MNIST."""
    browser.evaluate("settings.elements.network.value = 'lenet_bn'")
    browser.evaluate("settings.elements.images.value = 55000")
    browser.give("#files", *(Path(folder) / name for name in FILES))
    browser.wait("state.source?.synthetic === false", 60)
    print(browser.text("#source"))
    browser.wait("state.created", 20)
    began = time.monotonic()
    browser.click("#train")
    browser.wait("state.validations.length >= 3", 1000)
    browser.click("#train")
    print(f"three epochs: {time.monotonic() - began:.0f} s")
    assert browser.evaluate("state.validations[2].accuracy") > 0.85
    for it in browser.evaluate("state.validations"):
        print(f"epoch {it['epoch']}: validation loss {it['loss']:.4f}, accuracy {it['accuracy']:.4f}")
    print("losses of the first 20 steps:", " ".join(f"{loss:.6f}" for loss in browser.evaluate("state.losses")[:20]))
    print(browser.text("#status"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("page", type=Path)
    parser.add_argument("--chromium", default="chromium")
    parser.add_argument("--screenshots", type=Path)
    parser.add_argument("--images")
    parser.add_argument("--keep", type=Path, help="where to copy the downloaded weights")
    options = parser.parse_args()
    address = serve(options.page)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        browser = Browser(options.chromium, folder / "profile")
        visit(browser, address, folder, options)
        if options.images:
            real(browser, options.images)
        if options.screenshots:
            options.screenshots.mkdir(parents=True, exist_ok=True)
            for language in ["en", "zh"]:
                for width, dark in [(1280, False), (1280, True), (390, False), (390, True)]:
                    theme = "dark" if dark else "light"
                    browser.picture(options.screenshots / f"{language}-{width}-{theme}.png", width, dark)
                browser.call("Emulation.clearDeviceMetricsOverride")
                browser.click("#language")
        browser.session = None
        others = [url for url in browser.requests if not url.startswith((address, "about:", "data:", "blob:"))]
        browser.call("Browser.close")
        browser.process.wait()
    assert browser.workers == 1 and address + "web_bg.wasm" in browser.requests, browser.requests
    if others or browser.problems:
        sys.exit("\n".join(["requests to other machines:", *others, "problems:", *browser.problems]))
    print(f"{len(browser.requests)} requests, all to this machine; the console is clean")


if __name__ == "__main__":
    main()
