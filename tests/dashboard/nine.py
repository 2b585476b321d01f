"""The dashboard on nine nodes and two routers with an admin: nine.py URLS SERVERS PASSWORD

SERVERS is the cluster's folder, whose processes are found by their cluster files in it, killed, and started again; or
`compose:PROJECT`, and the containers of that compose project are.
"""

import base64
import ctypes
import http.client
import json
import os
import signal
import subprocess
import sys
import urllib.parse
import uuid

from selenium.webdriver.common.keys import Keys

from page import Page, run

ROUTERS, FOLDER, PASSWORD = sys.argv[1].split(","), sys.argv[2], sys.argv[3]
PROJECT = FOLDER.removeprefix("compose:") if FOLDER.startswith("compose:") else None
DB, DOC = "dash/test", "first:1"
# A revision that no other of its generation loses to: "4-0" would win against every fifth.
LEAST = "4-" + "0" * 32
restarted = []


# For one try of what an election may come in between of.
TRY_S = 10
LONG_S = 180


def api(method, path, body=None, key=None):
    """Asks the second router, as somebody else would: (status, answer)."""
    host = urllib.parse.urlsplit(ROUTERS[-1]).netloc
    basic = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
    headers = {"authorization": f"Basic {basic}", "content-type": "application/json"}
    if key:
        headers["idempotency-key"] = key
    connection = http.client.HTTPConnection(host, timeout=30)
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def written(page, method, path, body):
    """Writes until it is taken: an election on a busy machine is answered 503."""
    answers, key = [], uuid.uuid4().hex

    def taken():
        answers[:] = api(method, path, body, key)
        return answers[0] in (200, 201)

    page.until(f"{method} {path}", taken)
    return json.loads(answers[1])


def read(page, path):
    """Reads until there is an answer: see above."""
    answers = []

    def answered():
        answers[:] = api("GET", path)
        return answers[0] == 200

    page.until(f"GET {path}", answered)
    return answers[1]


def path_of(*segments):
    return "/" + "/".join(urllib.parse.quote(segment, safe="") for segment in segments)


# Servers


def container_of(node):
    filters = [f"label=com.docker.compose.project={PROJECT}", f"label=com.docker.compose.service={node}"]
    found = subprocess.run(
        ["docker", "ps", "-q", "--filter", filters[0], "--filter", filters[1]], check=True, capture_output=True, text=True
    ).stdout.split()
    assert len(found) == 1, f"{node} runs in {len(found)} containers"
    return found[0]


def process_of(node):
    """(pid, arguments) of a node's process."""
    mark = f"{FOLDER}/{node}.toml"
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                arguments = file.read().decode().split("\0")[:-1]
        except OSError:
            continue
        if mark in arguments and "--node" in arguments:
            return int(pid), arguments
    raise AssertionError(f"{node} does not run")


def kill(node):
    """Kills a node; what it returns is what `start` takes."""
    if PROJECT:
        container = container_of(node)
        subprocess.run(["docker", "kill", container], check=True, stdout=subprocess.DEVNULL)
        return [container]
    pid, arguments = process_of(node)
    os.kill(pid, signal.SIGKILL)
    return arguments


def start(arguments):
    if PROJECT:
        subprocess.run(["docker", "start", *arguments], check=True, stdout=subprocess.DEVNULL)
        return
    die_with_us = lambda: ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    with open(os.path.join(FOLDER, "restarted.log"), "a") as log:
        restarted.append(subprocess.Popen(arguments, cwd=FOLDER, stdout=log, stderr=log, preexec_fn=die_with_us))


def confirm(page, label, seen):
    """Says yes in a dialog until what it is about is seen; it stays open when the answer is 503."""

    def done():
        for button in page.all("dialog button"):
            if button.text == label and button.is_enabled():
                button.click()
        return seen()

    page.until(label, done)


def again_and_again(page, what, attempt):
    """Until it has worked: on a busy machine an election may come in between, and take a button away."""

    def worked():
        try:
            return attempt()
        except AssertionError as error:
            print(f"again: {what}: {error}", flush=True)
            for dialog in page.all("dialog"):
                page.script("arguments[0].close()", dialog)
            return False

    page.until(what, worked, LONG_S)


# Tests


def login_is_asked_for_and_lets_the_admin_in(page):
    page.open()
    page.fill("dialog input[name=name]", "admin")
    page.picture("login")
    for _ in range(3):
        page.press(Keys.ESCAPE)
    page.fill("dialog input[name=password]", "wrong")
    page.press(Keys.ENTER)
    page.sees("Name or password is incorrect.", "dialog")
    page.readable("login")
    assert not page.cards(), "nothing is shown to nobody"
    page.fill("dialog input[name=password]", PASSWORD)
    page.press(Keys.ENTER)
    page.until("no dialog", lambda: not page.all("dialog"))
    page.sees("admin", "#who")
    stored = page.script("return JSON.stringify([{...localStorage}, {...sessionStorage}])")
    assert PASSWORD not in stored and "Basic" not in stored, stored


def nine_replicas_are_shown(page):
    page.healthy()
    assert len(page.all(".card")) == 9
    assert len({card["node"] for card in page.cards()}) == 9
    page.sees("all healthy", "#health")
    page.sees("3 of 3", ".tiles")
    page.sees("9 of 9", ".tiles")
    labels = page.script("return [...document.querySelectorAll('svg[role=img]')].map((one) => one.getAttribute('aria-label'))")
    assert [label.split(",")[0].split(".")[0] for label in labels] == ["Throughput", "Latency", "Elections"], labels


def keys_reach_everything(page):
    page.script("document.activeElement.blur()")
    seen = []
    for _ in range(40):
        page.press(Keys.TAB)
        seen.append(page.script("const at = document.activeElement; return at.getAttribute('aria-label') ?? at.innerText ?? at.tagName"))
    wanted = ["Skip to content", "Cluster", "Databases", "Query", "Changes", "all healthy", "Log out"]
    order = [seen.index(name) for name in wanted if name in seen]
    assert len(order) >= len(wanted) - 1 and order == sorted(order), seen
    assert sum(name.startswith(("Promote ", "Drain ")) for name in seen) >= 6, seen
    ring = page.script("const b = document.querySelector('.card button:not([hidden])'); b.focus({focusVisible: true}); return getComputedStyle(b).outlineStyle")
    assert ring == "solid", "focus is to be seen"


def a_database_and_a_document_are_made_and_edited(page):
    page.go("#/databases")

    def made():
        page.fill("input[name=db]", DB)
        page.press(Keys.ENTER)
        page.until("an answer", lambda: page.all(".problem") or page.text("h1") == DB)
        if "file_exists" in page.text(".problem"):
            # The answer to an earlier try was lost in an election.
            page.go(f"#/db/{urllib.parse.quote(DB, safe='')}")
        return page.text("h1") == DB

    page.until("a database", made)
    page.sees("This database is empty.")
    page.click("a.button", "New document")
    page.fill("input[name=id]", DOC)
    page.fill("textarea[name=doc]", '{"price": 1.10, "big": 12345678901234567890')
    page.sees("Not valid yet", "#flaw")
    assert not page.all("button[type=submit]")[0].is_enabled(), "what is not valid cannot be saved"
    page.fill("textarea[name=doc]", '{"price": 1.10, "big": 12345678901234567890}')
    page.click("button[type=submit]")
    page.sees(f"Saved {DOC}, revision 1.", "#notices")
    page.sees("revision 1-", ".head")
    page.until("the text", lambda: '"big": 12345678901234567890' in page.all("textarea")[0].get_attribute("value"))
    text = page.all("textarea")[0].get_attribute("value")
    page.fill("textarea[name=doc]", text.replace("1.10", "2.50"))
    page.press(Keys.CONTROL, "s")
    page.sees("revision 2-", ".head")
    page.until("two revisions", lambda: len(page.all(".revs li")) == 2)
    stored = read(page, path_of(DB, DOC))
    assert '"price":2.50' in stored.replace(" ", "") and "12345678901234567890" in stored, stored


def a_conflict_is_shown_and_nothing_is_lost(page):
    mine = page.all("textarea")[0].get_attribute("value").replace("2.50", "3.75")
    rev = json.loads(read(page, path_of(DB, DOC)))["_rev"]
    theirs = written(page, "PUT", path_of(DB, DOC), {"_rev": rev, "price": 99})["rev"]
    page.fill("textarea[name=doc]", mine)
    page.click("button[type=submit]")
    page.sees("somebody else has changed this document", ".conflict")
    page.sees(theirs, ".conflict")
    assert "3.75" in page.all("textarea")[0].get_attribute("value"), "what was typed is still there"
    page.picture("conflict")
    page.readable("conflict")
    page.go("#/databases")
    page.sees("Leave without saving?", "dialog")
    page.click("dialog button", "Cancel")
    assert page.text("h1") == DOC, "still here"
    page.click(".conflict button", "Keep mine, on top of the current one")
    page.click("button[type=submit]")
    page.sees("revision 4-", ".head")
    assert '"price":3.75' in read(page, path_of(DB, DOC)).replace(" ", "")
    # A revision made elsewhere, beside ours.
    body = {"new_edits": False, "docs": [{"_id": DOC, "_rev": LEAST, "elsewhere": True}]}
    written(page, "POST", path_of(DB, "_bulk_docs"), body)
    page.click("button", "Reload")
    page.until("the conflict is listed", lambda: any(one.text.startswith("4-00000000") for one in page.all(".side ul li")))
    page.click(".side ul button", "Drop")
    confirm(page, "Drop", lambda: "deleted" in page.text(".side ul"))


def documents_are_browsed_in_pages_and_ranges(page):
    docs = [{"_id": f"row-{n:03}", "n": n, "html": "<b>bold</b>"} for n in range(60)]
    written(page, "POST", path_of(DB, "_bulk_docs"), {"docs": docs})
    page.go(f"#/db/{urllib.parse.quote(DB, safe='')}")
    page.sees(DOC, ".documents")
    page.sees("61 documents", ".head")
    page.sees("<b>bold</b>", ".documents")
    page.sees('"price":3.75,"big":12345678901234567890', ".documents")
    page.click("a", "Next page")
    page.until("the second page", lambda: page.text(".documents tbody th").startswith("row-024"))
    page.fill("input[name=from]", "row-010")
    page.fill("input[name=to]", "row-012")
    page.press(Keys.ENTER)
    page.until("three rows", lambda: len(page.all(".documents tbody tr")) == 3)
    page.readable("documents")
    page.picture("documents")


def queries_are_answered_or_ranges_are(page):
    page.go(f"#/query/{urllib.parse.quote(DB, safe='')}")
    page.until("a form", lambda: page.all("textarea[name=query]") or page.all("input[name=from]"))
    if page.all("textarea[name=query]"):
        page.fill("textarea[name=query]", '{"selector": {"n": {"$gte": 57}}}')
        page.click("button", "Run")
    else:
        page.sees("does not answer queries yet", ".note")
        page.fill("input[name=from]", "row-057")
        page.press(Keys.ENTER)
    page.until("three rows", lambda: len(page.all(".documents tbody tr")) == 3)
    page.readable("query")
    page.picture("query")


def changes_are_followed_paused_and_bounded(page):
    page.go(f"#/changes/{urllib.parse.quote(DB, safe='')}")
    page.sees("live", ".live")
    written(page, "PUT", path_of(DB, "followed"), {})
    page.until("the change", lambda: page.all("tr[data-id=followed]"))
    page.click("button", "Pause")
    page.sees("paused", ".live")
    written(page, "PUT", path_of(DB, "unseen"), {})
    assert not page.all("tr[data-id=unseen]")
    page.click("button", "Resume")
    page.until("what happened in the pause", lambda: page.all("tr[data-id=unseen]"))
    written(page, "POST", path_of(DB, "_bulk_docs"), {"docs": [{"_id": f"many-{n}"} for n in range(300)]})
    page.until("the last of many", lambda: page.script("return document.querySelectorAll('.changes tbody tr[data-id^=many]').length") == 200)
    assert page.script("return document.querySelectorAll('.changes tbody tr').length") == 200
    page.readable("changes")


def a_killed_primary_is_shown_and_another_leads(page):
    page.go("#/cluster")
    page.healthy()
    before = page.primary(1)
    arguments = kill(before)

    def moved():
        cards = {card["node"]: card for card in page.cards()}
        after = page.primary(1)
        return cards[before]["health"] == "unreachable" and after and after != before

    page.until("the role has moved, and the dead node is shown as such", moved)
    page.sees(f"{before} does not answer", ".alarms")
    page.sees("Was ", f".card[data-node={before}]")
    page.sees("is primary, term", ".events")
    page.sees("replicas unwell", "#health")
    page.readable("a dead node")
    start(arguments)
    page.healthy()
    page.until("no alarm", lambda: not page.all(".alarm"))


def a_shard_without_a_primary_is_shown_loudly(page):
    leader = page.primary(2)
    others = [card["node"] for card in page.cards() if card["shard"] == "2" and card["node"] != leader]
    lost = [kill(node) for node in (leader, others[0])]
    page.sees("Shard 2 has no primary: 1 of 3 replicas answer, 2 are needed", ".alarms")
    page.sees("1 of 3 shards without primary", "#health")
    page.until("the shard is marked", lambda: page.all(".shard[data-led=false]"))
    page.picture("no-primary")
    page.readable("a shard without a primary")
    for arguments in lost:
        start(arguments)
    page.healthy()


def promote_asks_first(page):
    def handed_over():
        before = page.primary(0)
        if not before:
            return False
        other = next(card["node"] for card in page.cards() if card["shard"] == "0" and card["node"] != before)
        page.click(f".card[data-node={other}] button", "Promote", TRY_S)
        page.sees(f"Make {other} the primary of shard 0?", "dialog", TRY_S)
        page.picture("promote")
        page.press(Keys.ESCAPE)
        page.until("Esc closes it", lambda: not page.all("dialog"))
        assert page.script("return document.activeElement.getAttribute('aria-label')").startswith(f"Promote {other}"), "focus comes back"
        page.click(f".card[data-node={other}] button", "Promote", TRY_S)
        page.click("dialog button", "Promote", TRY_S)
        page.until("an outcome", lambda: not page.all("dialog") or page.text("dialog .problem"))
        if page.all("dialog"):
            page.press(Keys.ESCAPE)
            return False
        return f"{other} is primary of shard 0." in page.text("#notices")

    again_and_again(page, "a promotion", handed_over)


def drain_hands_over_what_a_node_leads(page):
    def drained():
        node = page.primary(1)
        if not node:
            return False
        page.click(f".card[data-node={node}] button", "Drain", TRY_S)
        page.sees(f"Drain {node}?", "dialog", TRY_S)
        page.click("dialog button", "Drain", TRY_S)
        page.until("an outcome", lambda: not page.all("dialog") or page.text("dialog .problem"))
        if page.all("dialog"):
            page.press(Keys.ESCAPE)
            return False
        return f"{node} leads nothing now." in page.text("#notices")

    again_and_again(page, "a drained node", drained)
    page.healthy()
    # Where the server keeps a drained node from leading until it is told otherwise.
    if page.script("return [...document.querySelectorAll('.card button')].some((one) => one.textContent === 'Lead again' && !one.hidden)"):
        page.click(".card button", "Lead again")
        page.click("dialog button", "Lead again")
        page.sees("may lead again.", "#notices")


def light_and_dark_are_readable_and_the_choice_is_kept(page):
    background = "return getComputedStyle(document.body).backgroundColor"
    light = page.script(background)
    page.readable("light")
    page.media(scheme="dark")
    page.until("dark", lambda: page.script(background) != light)
    page.readable("dark")
    page.click("#theme", "Auto")
    page.sees("Light", "#theme")
    page.until("light", lambda: page.script(background) == light)
    assert page.script("return localStorage.getItem('quorate-theme')") == "light"
    page.click("#theme", "Light")
    page.media(scheme="light")
    page.until("dark, whatever the system says", lambda: page.script(background) != light)
    page.click("#theme", "Dark")
    page.media(motion="reduce")
    assert page.script("const c = document.querySelector('.card'); c.classList.add('changed'); const name = getComputedStyle(c).animationName; c.classList.remove('changed'); return name") == "none"
    page.media()


def a_narrow_window_is_enough(page):
    page.size(360, 800)
    database = urllib.parse.quote(DB, safe="")
    for path, mark in [("cluster", ".card"), ("databases", "table"), (f"db/{database}", ".documents"), (f"db/{database}/doc/{urllib.parse.quote(DOC)}", ".revs"), (f"query/{database}", ".documents, textarea"), (f"changes/{database}", ".changes")]:
        page.go(f"#/{path}")
        page.until(path, lambda: page.all(mark))
        page.sound(f"{path}, narrow")
        page.readable(f"{path}, narrow")
        page.picture(f"narrow-{path.split('/')[0]}{path.count('/')}")
    page.size(1400, 1000)


def deleting_wants_to_be_typed(page):
    page.go(f"#/db/{urllib.parse.quote(DB, safe='')}/doc/followed")
    page.click("button", "Delete")
    confirm(page, "Delete document", lambda: "followed is deleted." in page.text("#notices"))
    page.until("it is gone for others too", lambda: api("GET", path_of(DB, "followed"))[0] == 404)
    page.go("#/databases")
    page.click(f"tr[data-db='{DB}'] button", "Delete")
    assert not [one for one in page.all("dialog button") if one.text == "Delete database"][0].is_enabled()
    page.fill("dialog input", "dash")
    page.press(Keys.ENTER)
    assert page.all("dialog"), "not the whole name"
    page.fill("dialog input", DB)
    confirm(page, "Delete database", lambda: f"{DB} is deleted." in page.text("#notices"))
    page.until("it is gone for others too", lambda: api("GET", path_of(DB))[0] == 404)


def logging_out_forgets_who_it_was(page):
    page.click("#logout")
    page.until("the way in", lambda: page.all("dialog input[name=password]"))
    assert not page.cards()


def main():
    tests = [
        login_is_asked_for_and_lets_the_admin_in,
        nine_replicas_are_shown,
        keys_reach_everything,
        a_database_and_a_document_are_made_and_edited,
        a_conflict_is_shown_and_nothing_is_lost,
        documents_are_browsed_in_pages_and_ranges,
        queries_are_answered_or_ranges_are,
        changes_are_followed_paused_and_bounded,
        a_killed_primary_is_shown_and_another_leads,
        a_shard_without_a_primary_is_shown_loudly,
        promote_asks_first,
        drain_hands_over_what_a_node_leads,
        light_and_dark_are_readable_and_the_choice_is_kept,
        a_narrow_window_is_enough,
        deleting_wants_to_be_typed,
        logging_out_forgets_who_it_was,
    ]
    try:
        return run(Page(ROUTERS[0]), tests)
    finally:
        for process in restarted:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
