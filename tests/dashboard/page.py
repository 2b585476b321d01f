"""The dashboard in a headless Chromium: what the tests do to it and see of it.

Waits are for states, with patience for a busy machine; nothing here asserts how long anything takes.
"""

import json
import os
import re
import sys
import time
import traceback

from selenium import webdriver
from selenium.common.exceptions import JavascriptException, StaleElementReferenceException, WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

PATIENCE_S = 60
PICTURES = os.environ.get("HARNESS_PICTURES")
# Answers of the API that tests provoke, or that a killed primary does; the browser notes each as an error.
EXPECTED = re.compile(r"^http://[^ ]*/(?!_utils)[^ ]* - Failed to load resource: the server responded with a status of (401|404|405|409|412|429|501|503) ")

WATCH = """
window.violations = [];
document.addEventListener('securitypolicyviolation', (event) => window.violations.push(event.violatedDirective + ' ' + event.blockedURI));
"""

# Elements whose own text is too faint on what is behind it, by WCAG's ratio for text of any size.
FAINT = """
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const rgba = (text) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
const light = (rgb) => rgb.slice(0, 3).map((c) => c / 255).map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = rgba(getComputedStyle(at).backgroundColor);
    if (colour[3] === 255) return colour;
  }
  return [255, 255, 255, 255];
};
const faint = [];
for (const element of document.querySelectorAll('body *')) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!own || !element.checkVisibility() || element.closest(':disabled, noscript, .unseen')) continue;
  const style = getComputedStyle(element);
  const text = element.namespaceURI.endsWith('svg') ? style.fill : style.color;
  const [a, b] = [light(rgba(text)), light(behind(element))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < 4.5) faint.push(`${element.tagName}.${element.getAttribute('class')} ${element.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
}
return [...new Set(faint)];
"""

# Controls a screen reader could only call "button".
NAMELESS = """
return [...document.querySelectorAll('button, a, input, select, textarea, [role=img]')].filter((element) => element.checkVisibility())
  .filter((element) => !(element.getAttribute('aria-label') || element.textContent.trim() || element.labels?.length))
  .map((element) => element.outerHTML.slice(0, 100));
"""


# Values of the script that were shown as text.
STRAY = """
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const stray = [];
while (walker.nextNode()) if (/^(null|false|undefined|NaN|\\[object .*\\])$/.test(walker.currentNode.data.trim())) stray.push(walker.currentNode.parentElement.outerHTML.slice(0, 200));
return stray;
"""


class Page:
    """One browser window on the dashboard of one router."""

    def __init__(self, url):
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
        options = Options()
        options.binary_location = "/usr/bin/chromium"
        arguments = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server", "--hide-scrollbars"]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")
        for argument in arguments:
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        self.driver.set_script_timeout(PATIENCE_S)
        self.url = url
        self.noted = []
        self.pictures = 0
        self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
        self.media()
        self.size(1400, 1000)

    # What is done

    def open(self, path=""):
        self.driver.get(f"{self.url}/_utils/{path}")

    def go(self, path):
        self.driver.execute_script("location.hash = arguments[0]", path)

    def size(self, width, height):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def media(self, scheme="light", motion="no-preference"):
        features = [{"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": motion}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def press(self, *keys):
        self.driver.switch_to.active_element.send_keys(*keys)

    def click(self, css, text=None, patience=PATIENCE_S):
        """Clicks the first visible match, when there is one and it is enabled."""

        def clicked():
            found = [one for one in self.all(css) if (text is None or one.text == text) and one.is_enabled()]
            if not found:
                return False
            # As a person does: one scrolls to it, and it must not be covered.
            self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", found[0])
            found[0].click()
            return True

        self.until(f"click {css} {text or ''}", clicked, patience)

    def fill(self, css, text):
        def filled():
            found = self.all(css)
            if not found:
                return False
            found[0].send_keys(Keys.CONTROL, "a")
            found[0].send_keys(Keys.DELETE)
            found[0].send_keys(text)
            return found[0].get_attribute("value") == text

        self.until(f"fill {css}", filled)

    # What is seen

    def all(self, css):
        return [one for one in self.driver.find_elements(By.CSS_SELECTOR, css) if one.is_displayed()]

    def text(self, css="body"):
        return self.driver.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", css)

    def script(self, text, *arguments):
        return self.driver.execute_script(text, *arguments)

    def module(self, name, body):
        """Runs `body` with the module's exports in `m`; gives what it returns."""
        source = f"const done = arguments[0]; import(new URL('{name}', location.origin + '/_utils/')).then((m) => {{ {body} }}).then(done, (error) => done('' + error));"
        return self.driver.execute_async_script(source)

    def until(self, what, is_so, patience=PATIENCE_S):
        """Waits until `is_so()` is true-like and gives that; fails with `what` was waited for.

        An election in between is answered 503 (the machine may be busy): then the page offers to try again, and we do.
        """
        end = time.monotonic() + patience
        while True:
            try:
                seen = is_so()
            except (StaleElementReferenceException, JavascriptException, WebDriverException) as error:
                seen, last = None, error
            else:
                last = seen
            if seen:
                return seen
            if time.monotonic() > end:
                raise AssertionError(f"waited {patience} s in vain for: {what} (last: {last})")
            self.script("document.querySelector('.retry')?.click()")
            time.sleep(0.1)

    def sees(self, text, css="body", patience=PATIENCE_S):
        self.until(f"{text!r} in {css}", lambda: text in self.text(css), patience)

    def cards(self):
        """All replicas: [{shard, node, role, health}]."""
        return self.script("return [...document.querySelectorAll('.card')].map((card) => ({...card.dataset}))")

    def primary(self, shard):
        """The node that is shown as primary of a shard, or None."""
        found = [card["node"] for card in self.cards() if int(card["shard"]) == shard and card["role"] == "primary" and card["health"] == "ok"]
        return found[0] if len(found) == 1 else None

    def healthy(self, replicas=9):
        def is_so():
            cards = self.cards()
            well = [card for card in cards if card["health"] == "ok"]
            return len(well) == len(cards) == replicas and all(self.primary(shard) for shard in range(3))

        self.until(f"{replicas} healthy replicas", is_so)

    # What must hold all the time

    def sound(self, where):
        """No error in the console, nothing against the policy, nothing nameless, nothing stray, nothing wider."""
        self.noted += self.driver.get_log("browser")
        wrong = [entry["message"] for entry in self.noted if entry["level"] in ("SEVERE", "WARNING") and not EXPECTED.match(entry["message"])]
        assert not wrong, f"{where}: console: {wrong}"
        assert self.script("return window.violations") == [], f"{where}: {self.script('return window.violations')}"
        nameless = self.script(NAMELESS)
        assert not nameless, f"{where}: without a name: {nameless}"
        stray = self.script(STRAY)
        assert not stray, f"{where}: shown as text: {stray}"
        wide, window = self.script("return [document.documentElement.scrollWidth, innerWidth]")
        assert wide <= window, f"{where}: {wide} pixels wide in a window of {window}"

    def readable(self, where):
        faint = self.until(f"{where}: colours", lambda: {"faint": self.script(FAINT)})["faint"]
        assert not faint, f"{where}: too faint: {faint}"

    def picture(self, name):
        if PICTURES:
            os.makedirs(PICTURES, exist_ok=True)
            self.driver.save_screenshot(os.path.join(PICTURES, f"{name}.png"))


def run(page, tests):
    """Runs the tests in order, on one page; ends the process with how it went."""
    began = time.monotonic()
    try:
        for test in tests:
            test(page)
            page.sound(test.__name__)
            print(f"ok {test.__name__.replace('_', ' ')} ({time.monotonic() - began:.0f} s)", flush=True)
    except BaseException:
        traceback.print_exc()
        try:
            page.picture("failed")
            print(f"the page:\n{page.text()}\nconsole: {json.dumps(page.noted + page.driver.get_log('browser'), indent=1)}", file=sys.stderr)
        except WebDriverException as error:
            print(f"the browser does not answer: {error}", file=sys.stderr)
        return 1
    finally:
        page.driver.quit()
    return 0
