#!/usr/bin/env python3
"""How long small writes take while large attachments go in and out: attachments.py URL

    cargo build --release --workspace --bins
    target/release/cluster -- tests/benches/attachments.py '{urls}'

Four clients write documents of 900 bytes, one after the other, 2 ms apart; meanwhile three attachments of 64 MiB are
put, then read. Milliseconds of each small write.
"""

import http.client
import json
import os
import sys
import threading
import time
import urllib.parse

HOST = urllib.parse.urlsplit(sys.argv[1].split(",")[0]).netloc
CLIENTS, PAUSE_S, QUIET_S = 4, 0.002, 4
BLOB, BLOBS = os.urandom(64 << 20), 3


def ask(method, path, body=None, kind="application/json"):
    connection = http.client.HTTPConnection(HOST, timeout=120)
    connection.request(method, path, body, {"content-type": kind})
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    if answer.status >= 400:
        sys.exit(f"{method} {path}: {answer.status} {data[:200]}")
    return data


def write(client, took, stop):
    connection = http.client.HTTPConnection(HOST, timeout=120)
    body = json.dumps({"text": "x" * 880})
    while not stop.is_set():
        begun = time.perf_counter()
        path = f"/delays/{client}-{time.time_ns()}"
        connection.request("PUT", path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        data = answer.read()
        if answer.status != 201:
            sys.exit(f"a small write: {answer.status} {data[:200]}")
        took.append(1000 * (time.perf_counter() - begun))
        time.sleep(PAUSE_S)


def during(name, work):
    took, stop = [], threading.Event()
    clients = [threading.Thread(target=write, args=(client, took, stop)) for client in range(CLIENTS)]
    for client in clients:
        client.start()
    begun = time.perf_counter()
    work()
    seconds = time.perf_counter() - begun
    stop.set()
    for client in clients:
        client.join()
    took.sort()
    p50, p99 = took[len(took) // 2], took[int(0.99 * len(took))]
    print(f"{name:10} {seconds:5.1f} s {len(took):6} writes   p50 {p50:6.1f}   p99 {p99:6.1f}   max {took[-1]:6.1f} ms")


def put():
    for number in range(BLOBS):
        ask("PUT", f"/delays/large-{number}/blob", BLOB, "application/octet-stream")


def get():
    for number in range(BLOBS):
        if ask("GET", f"/delays/large-{number}/blob") != BLOB:
            sys.exit("what comes out is not what went in")


ask("PUT", "/delays")
during("nothing", lambda: time.sleep(QUIET_S))
during("put", put)
during("get", get)
