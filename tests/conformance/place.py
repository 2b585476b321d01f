"""What the scenarios of all clients share: where the servers are, names, patience, and the runner."""

import faulthandler
import json
import os
import sys
import time
import traceback
import urllib.parse
import uuid

# A machine may be busy with other tests; what does not come in this time does not come.
PATIENCE_S = 60
WHOLE_S = 900


class Place:
    """The servers under test. `first` and `other` are routers of one cluster, or the same server twice."""

    def __init__(self, urls, password):
        self.first, self.other = urls[0], urls[-1]
        self.name, self.password = "admin", password

    @staticmethod
    def fresh(prefix):
        """A name nobody had before: for databases and users."""
        return f"{prefix}-{uuid.uuid4().hex[:12]}"

    def with_login(self, name=None, password=None, url=None):
        """A router's URL with a name and a password in it; the admin's unless told."""
        parts = urllib.parse.urlsplit(url or self.first)
        login = f"{urllib.parse.quote(name or self.name, safe='')}:{urllib.parse.quote(password or self.password, safe='')}"
        return f"{parts.scheme}://{login}@{parts.netloc}"


def until(what, check):
    """The first true value of `check`; a router may hear of a change a moment after another one made it."""
    end = time.monotonic() + PATIENCE_S
    while True:
        seen = check()
        if seen:
            return seen
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.05)


def equal(seen, wanted):
    assert seen == wanted, f"{json.dumps(seen, default=str)[:2000]} is not {json.dumps(wanted, default=str)[:2000]}"


def run(client, scenarios):
    """Runs all of them, also after one failed; the exit code. Arguments: URL[,URL…] PASSWORD [SCENARIO…]"""
    faulthandler.dump_traceback_later(WHOLE_S, exit=True)
    place, chosen = Place(sys.argv[1].split(","), sys.argv[2]), sys.argv[3:]
    failed = []
    for scenario in scenarios:
        name = scenario.__name__
        if chosen and name not in chosen:
            continue
        try:
            scenario(place)
            print(f"{client:<12} {name:<40} ok", flush=True)
        except Exception:
            failed.append(name)
            print(f"{client:<12} {name:<40} FAILED", flush=True)
            traceback.print_exc(file=sys.stdout)
    if failed:
        print(f"{client}: {len(failed)} of {len(scenarios)} scenarios failed: {', '.join(failed)}")
    # Threads that follow a feed are not waited for.
    sys.stdout.flush()
    os._exit(1 if failed else 0)
