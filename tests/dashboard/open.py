"""The dashboard of the embedded mode: no admin, no login. Started here, on a free port: open.py QUORATE-ROUTER"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request

from page import Page, run


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def nobody_has_to_log_in(page):
    page.open()
    page.healthy()
    assert not page.all("dialog"), "nobody has to log in"
    assert not page.all("#logout"), "and nobody can log out"
    page.sees("all healthy", "#health")


def pure_parts_are_right(page):
    numbers = page.module("metrics.js", """
        const counted = (n, slow) => m.parse([
            `quorate_http_requests_total{route="/{db}/{doc}",method="GET",status="200"} ${n}`,
            `quorate_http_requests_total{method="PUT",status="503",route="/{db}/{doc}"} 1`,
            `quorate_http_requests_total{route="/v1/_replication/state",method="GET",status="200"} 99`,
            `quorate_http_request_duration_seconds_bucket{le="0.001",route="/{db}/{doc}",method="GET"} ${n - slow}`,
            `quorate_http_request_duration_seconds_bucket{le="0.002",route="/{db}/{doc}",method="GET"} ${n}`,
            `quorate_http_request_duration_seconds_bucket{le="+Inf",route="/{db}/{doc}",method="GET"} ${n}`,
        ].join('\\n'));
        const [first, then] = [counted(100, 0), counted(200, 50)];
        const now = m.between(first, then);
        return [now.read, now.write, now.failed, m.quantile(0.5, now.buckets.read), m.quantile(0.75, now.buckets.read),
            m.quantile(0.5, now.buckets.write), m.between(then, first).read, m.classOf('/{db}/_find', 'POST'),
            m.classOf('/{db}/_changes', 'GET'), m.classOf('/{db}/_bulk_docs', 'POST')];
    """)
    assert numbers == [100, 0, 0, 1, 1.5, None, 100, "read", None, "write"], numbers
    texts = page.module("json.js", """
        const text = '{"a":1.10,"n":12345678901234567890,"_rev":"1-a","o":{"_rev":"x"},"e":[],"s":"{\\\\"_rev\\\\":1}"}';
        return [m.pretty(text), m.withMember(text, '_rev', '2-b'), m.withMember('{}', '_rev', '2-b'),
            m.withMember('{"o":{"_rev":"x"}}', '_rev', '2-b'), m.flaw('[1]'), m.flaw('{"a":1}'), typeof m.flaw('{')];
    """)
    assert texts[0] == '{\n  "a": 1.10,\n  "n": 12345678901234567890,\n  "_rev": "1-a",\n  "o": {\n    "_rev": "x"\n  },\n  "e": [],\n  "s": "{\\"_rev\\":1}"\n}', texts[0]
    assert texts[1] == '{"a":1.10,"n":12345678901234567890,"_rev":"2-b","o":{"_rev":"x"},"e":[],"s":"{\\"_rev\\":1}"}', texts[1]
    assert texts[2] == '{\n  "_rev": "2-b"\n}', texts[2]
    assert texts[3] == '{\n  "_rev": "2-b","o":{"_rev":"x"}}', texts[3]
    assert texts[4] and texts[5] is None and texts[6] == "string", texts
    alarms = page.module("state.js", """
        const row = (node, role, health, term) => ({shard: 0, node, role, health, term, committed: 5, applied: 5, last_index: 5, lag_entries: 0, lag_ms: 0});
        const nodes = (gone) => ['n1', 'n2', 'n3'].map((node) => ({node, reachable: !gone.includes(node)}));
        const state = (gone, replicas) => m.understand({cluster: 'c', shards: [{shard: 0, replicas: ['n1', 'n2', 'n3']}], nodes: nodes(gone), replicas});
        const before = state(['n3'], [row('n1', 'primary', 'ok', 1), row('n2', 'replica', 'ok', 1)]);
        const after = state(['n1', 'n3'], [row('n1', 'primary', 'unreachable', 1), row('n2', 'candidate', 'ok', 2)]);
        return [before.shards[0].primary.node, before.replicas.length, before.healthy, after.led, after.alarms.map((alarm) => alarm.text),
            m.events(before, after, 0).map((event) => event.text),
            m.events(after, before, 0, m.reigns(new Map(), state([], [row('n2', 'primary', 'ok', 1)]), 0, 0)).map((event) => event.text)];
    """)
    assert alarms[:4] == ["n1", 3, 2, 0], alarms
    assert "Shard 0 has no primary: 1 of 3 replicas answer, 2 are needed" in alarms[4][0], alarms
    assert alarms[4][1].startswith("n1, n3 do not answer"), alarms
    assert alarms[5] == ["Shard 0 has lost its primary n1", "n1 does not answer (shard 0)"], alarms
    assert alarms[6] == ["Shard 0: n1 is primary, term 1; before, n2", "n1 is well again (shard 0)"], alarms


def reigns_tell_elections_from_losing_sight(page):
    reigns = page.module("state.js", """
        const view = (node, term) => {
            const replicas = ['n1', 'n2'].map((name) => ({node: name, term}));
            return {shards: [{id: 0, replicas, primary: replicas.find((one) => one.node === node) ?? null}]};
        };
        const looks = [['n1', 1], ['n1', 1], [null, 1], ['n1', 1], [null, 1], ['n2', 2], ['n2', 3]];
        let known = new Map();
        looks.forEach(([node, term], at) => { known = m.reigns(known, view(node, term), at, 0); });
        const all = known.get(0).map((reign) => [reign.node, reign.term, reign.from, reign.to, reign.elected]);
        return [all, m.reigns(known, view('n2', 3), 9, 6).get(0).map((reign) => reign.from)];
    """)
    wanted = [
        ["n1", 1, 0, 2, False],
        [None, None, 2, 3, False],
        ["n1", 1, 3, 4, False],
        [None, None, 4, 5, False],
        ["n2", 2, 5, 6, True],
        ["n2", 3, 6, 6, True],
    ]
    assert reigns == [wanted, [5, 6]], reigns


def files_are_kept_and_asked_about(page):
    with urllib.request.urlopen(f"{page.url}/_utils/main.js") as answer:
        etag = answer.headers["etag"]
    asked = urllib.request.Request(f"{page.url}/_utils/main.js", headers={"if-none-match": etag})
    try:
        urllib.request.urlopen(asked)
        raise AssertionError("not modified")
    except urllib.error.HTTPError as answer:
        assert answer.code == 304, answer.code
    # From the address without the slash to the page.
    page.driver.get(f"{page.url}/_utils")
    assert page.driver.current_url.split("#")[0].endswith("/_utils/"), page.driver.current_url
    page.healthy()


def main():
    program = os.path.abspath(sys.argv[1])
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="quorate-") as folder:
        die_with_us = lambda: ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        arguments = [program, "--listen", f"127.0.0.1:{port}", "--data", os.path.join(folder, "data")]
        with open(os.path.join(folder, "log"), "w") as log:
            server = subprocess.Popen(arguments, cwd=folder, stdout=log, stderr=log, preexec_fn=die_with_us)
        try:
            page = Page(f"http://127.0.0.1:{port}")
            page.until("the server answers", lambda: server.poll() is None and socket.create_connection(("127.0.0.1", port), 1).close() is None)
            return run(page, [nobody_has_to_log_in, pure_parts_are_right, reigns_tell_elections_from_losing_sight, files_are_kept_and_asked_about])
        finally:
            server.kill()
            server.wait()


if __name__ == "__main__":
    sys.exit(main())
