"""Scenarios written with pycouchdb: with_pycouchdb.py URL[,URL…] PASSWORD [SCENARIO…]"""

import contextlib
import threading

import pycouchdb
from pycouchdb.exceptions import BadRequest, Conflict, FeedReaderExited, GenericError, NotFound
from pycouchdb.feedreader import BaseFeedReader

from place import equal, run, until


def server_of(place, **login):
    return pycouchdb.Server(place.with_login(**login) + "/")


@contextlib.contextmanager
def database(place):
    server, name = server_of(place), place.fresh("pycouchdb")
    db = server.create(name)
    try:
        yield db
    finally:
        server.delete(name)


def refused(error, call, *wanted):
    """The call raises this error, with these words in it."""
    try:
        answer = call()
    except error as refusal:
        missing = [words for words in wanted if words not in str(refusal)]
        assert not missing, f"{refusal!r} does not say {missing}"
        return refusal
    raise AssertionError(f"{answer!r} instead of {error.__name__}")


def databases(place):
    server, name = server_of(place), place.fresh("pycouchdb")
    equal(server.info()["couchdb"], "Welcome")
    assert server.version()[0].isdigit(), server.version()
    assert name not in server
    refused(NotFound, lambda: server.database(name))
    before = len(server)
    db = server.create(name)
    equal(len(server), before + 1)
    assert name in server and name in list(server)
    equal((db.config()["db_name"], db.config()["doc_count"], len(db)), (name, 0, 0))
    refused(Conflict, lambda: server.create(name), "the file already exists")
    refused(GenericError, lambda: server.create("Capital"), "illegal_database_name", "Must begin with a letter")
    # A change made through one router is seen through the other.
    other = pycouchdb.Server(place.with_login(url=place.other) + "/")
    until("the other router knows the database", lambda: name in other)
    server.delete(name)
    refused(NotFound, lambda: server.delete(name), "Database does not exist.")
    until("the other router forgets the database", lambda: name not in other)


def documents(place):
    with database(place) as db:
        first = db.save({"_id": "a", "n": 1, "text": "grün 🎷", "nested": {"list": [1, 2.5, None, True]}})
        assert first["_rev"].startswith("1-"), first
        equal(db.get("a"), first)
        second = db.save({**first, "n": 2})
        assert second["_rev"].startswith("2-"), second
        refused(Conflict, lambda: db.save({**first, "n": 3}), "Document update conflict.")
        refused(Conflict, lambda: db.save({"_id": "a"}), "Document update conflict.")
        equal(db.get("a")["n"], 2)
        equal(db.get("a", rev=first["_rev"])["n"], 1)
        equal([doc["_rev"] for doc in db.revisions("a")], [second["_rev"], first["_rev"]])
        refused(BadRequest, lambda: db.get("a", rev="no revision"), "Invalid rev format")
        refused(Conflict, lambda: db.delete(first))
        assert "a" in db
        db.delete("a")
        assert "a" not in db
        refused(NotFound, lambda: db.get("a"), "deleted")
        refused(NotFound, lambda: db.get("never"), "missing")
        again = db.save({"_id": "a", "n": 4})
        assert again["_rev"].startswith("4-"), again
        named = db.save({"n": 5})
        equal(db.get(named["_id"]), named)
        batched = db.save({"_id": "batched"}, batch=True)
        until("a batched document is there", lambda: batched["_id"] in db)
        refused(GenericError, lambda: db.save({"_id": "b", "_wrong": 1}), "doc_validation", "_wrong")
        equal(len(db), 3)


def bulk(place):
    with database(place) as db:
        docs = db.save_bulk([{"_id": f"doc-{n:03}", "n": n} for n in range(300)])
        equal((len(docs), len(db)), (300, 300))
        assert all(doc["_rev"].startswith("1-") for doc in docs)
        changed = db.save_bulk([{**doc, "n": -doc["n"]} for doc in docs[:10]])
        assert all(doc["_rev"].startswith("2-") for doc in changed)
        refused(Conflict, lambda: db.save_bulk([docs[0], {"_id": "new"}]))
        assert "new" in db, "a row that conflicts does not stop the others"
        db.delete_bulk(changed)
        equal(len(db), 291)
        refused(Conflict, lambda: db.delete_bulk([{"_id": "doc-020", "_rev": docs[21]["_rev"]}]))
        assert "doc-020" in db
        refused(BadRequest, lambda: db.resource.post("_bulk_docs", data=b"{}"), "`docs` parameter")


def all_docs_in_ranges(place):
    with database(place) as db:
        db.save_bulk([{"_id": f"doc-{n:02}", "n": n} for n in range(40)])
        ids = lambda **options: db.all(as_list=True, flat="id", **options)
        names = [f"doc-{n:02}" for n in range(40)]
        equal(ids(), names)
        equal(ids(descending="true"), names[::-1])
        equal(ids(startkey="doc-10", endkey="doc-15"), names[10:16])
        equal(ids(startkey="doc-10", endkey="doc-15", inclusive_end="false"), names[10:15])
        equal(ids(startkey="doc-15", endkey="doc-10", descending="true"), names[15:9:-1])
        equal(ids(startkey="doc-30", limit=3, skip=2), names[32:35])
        equal(ids(key="doc-07"), ["doc-07"])
        equal([row["doc"]["n"] for row in db.all(startkey="doc-38")], [38, 39])
        rows = db.all(as_list=True, keys=["doc-05", "nothing", "doc-03"])
        equal([row["key"] for row in rows], ["doc-05", "nothing", "doc-03"])
        equal(rows[1], {"key": "nothing", "error": "not_found"})
        db.delete("doc-03")
        row = db.all(as_list=True, keys=["doc-03"])[0]
        equal((row["doc"], row["value"]["deleted"]), (None, True))


def changes_in_one_answer(place):
    with database(place) as db:
        equal(db.changes_list()[1], [])
        db.save_bulk([{"_id": f"doc-{n}"} for n in range(20)])
        last, rows = db.changes_list()
        equal(sorted(row["id"] for row in rows), sorted(f"doc-{n}" for n in range(20)))
        equal(db.changes_list(since=last)[1], [])
        db.delete("doc-3")
        db.save({"_id": "later", "n": 1})
        after, rows = db.changes_list(since=last, include_docs="true")
        equal({row["id"]: (row.get("deleted"), row["doc"].get("n")) for row in rows}, {"doc-3": (True, None), "later": (None, 1)})
        seen, since = [], 0
        while True:
            since, rows = db.changes_list(since=since, limit=6)
            seen += [row["id"] for row in rows]
            if not rows:
                break
        equal(sorted(seen), sorted([f"doc-{n}" for n in range(20)] + ["later"]))
        equal(db.changes_list(since="now")[1], [])
        # The other router takes the same token.
        other = pycouchdb.Server(place.with_login(url=place.other) + "/").database(db.name)
        equal(other.changes_list(since=after)[1], [])
        equal(len(other.changes_list(since=last)[1]), 2)


class Follower(BaseFeedReader):
    """Reads a continuous feed until it has seen as many changes as it wants."""

    def __init__(self, wanted):
        self.wanted, self.seen, self.heartbeats, self.closed = wanted, [], threading.Event(), False

    def on_message(self, message):
        if "id" in message:
            self.seen.append(message["id"])
        if len(set(self.seen)) == self.wanted:
            raise FeedReaderExited()

    def on_heartbeat(self):
        self.heartbeats.set()

    def on_close(self):
        self.closed = True


def changes_as_they_happen(place):
    with database(place) as db:
        follower = Follower(60)
        reading = threading.Thread(target=lambda: db.changes_feed(follower, heartbeat=100, since=0), daemon=True)
        reading.start()
        assert follower.heartbeats.wait(60), "a quiet feed has heartbeats"
        for n in range(30):
            db.save({"_id": f"one-{n}"})
        db.save_bulk([{"_id": f"bulk-{n}"} for n in range(30)])
        reading.join(60)
        assert follower.closed, f"only {len(follower.seen)} changes came"
        equal(sorted(set(follower.seen)), sorted([f"one-{n}" for n in range(30)] + [f"bulk-{n}" for n in range(30)]))


def changes_of_the_server(place):
    server = server_of(place)
    # pycouchdb asks this feed by POST, which CouchDB does not take.
    refused(GenericError, lambda: server.changes_feed(lambda message: None), "method_not_allowed")
    with database(place) as db:
        db.save({"_id": "a"})
        names = lambda: {row["db_name"] for row in server.resource.get("_db_updates")[1]["results"]}
        until("the database is among the updates", lambda: db.name in names())


def find_with_and_without_an_index(place):
    with database(place) as db:
        db.save_bulk([{"_id": f"doc-{n:02}", "n": n, "kind": ["odd", "even"][n % 2 == 0]} for n in range(50)])
        selector = {"kind": "even", "n": {"$gte": 10, "$lt": 20}}
        wanted = [f"doc-{n}" for n in range(10, 20, 2)]
        equal(sorted(doc["_id"] for doc in db.find(selector)), wanted)
        _, plain = db.resource.post("_find", data=b'{"selector":{"n":{"$gt":48}}}')
        assert "No matching index found" in plain["warning"], plain
        refused(GenericError, lambda: list(db.find(selector, sort=[{"n": "desc"}])), "no_usable_index")
        _, made = db.resource.post("_index", data=b'{"index":{"fields":["n"]},"name":"by-n","ddoc":"indexes"}')
        equal((made["result"], made["id"], made["name"]), ("created", "_design/indexes", "by-n"))
        equal(db.resource.post("_index", data=b'{"index":{"fields":["n"]},"name":"by-n","ddoc":"indexes"}')[1]["result"], "exists")
        equal([doc["_id"] for doc in db.find(selector, sort=[{"n": "desc"}])], wanted[::-1])
        equal(list(db.find({"n": 7}, fields=["n", "kind"])), [{"n": 7, "kind": "odd"}])
        # An acknowledged write is seen at once.
        for n in range(100, 110):
            db.save({"_id": f"late-{n}", "n": n})
            equal([doc["_id"] for doc in db.find({"n": n})], [f"late-{n}"])
        pages = [[doc["n"] for doc in page] for page in db.mango_pages({"n": {"$lt": 23}}, 10)]
        equal(sorted(n for page in pages for n in page), list(range(23)))
        equal([len(page) for page in pages], [10, 10, 3])
        refused(GenericError, lambda: list(db.find({"n": {"$wrong": 1}})), "invalid_operator")


def upkeep(place):
    with database(place) as db:
        equal(db.cleanup()["ok"], True)
        equal(db.commit()["ok"], True)
        old = db.save({"_id": "a", "n": 1})
        new = db.save({**old, "n": 2})
        equal(db.compact()["ok"], True)
        # Compaction goes on after its answer.
        status = lambda: [one["status"] for one in db.get("a", revs_info="true")["_revs_info"]]
        until("old bodies are gone", lambda: status() == ["available", "missing"])
        equal([doc["_rev"] for doc in db.revisions("a")], [new["_rev"]])
        refused(NotFound, lambda: db.get("a", rev=old["_rev"]), "missing")
        equal(db.resource.get("_revs_limit")[1], 1000)
        equal(db.resource.put("_revs_limit", data=b"3")[1], {"ok": True})
        equal(db.resource.get("_revs_limit")[1], 3)
        for _ in range(6):
            new = db.save(new)
        equal(len(db.get("a", revs="true")["_revisions"]["ids"]), 3)
        refused(BadRequest, lambda: db.resource.put("_revs_limit", data=b"0"))


def purge(place):
    with database(place) as db:
        kept, gone = db.save({"_id": "kept"}), db.save({"_id": "gone"})
        ask = f'{{"gone":["{gone["_rev"]}"],"kept":["1-00000000000000000000000000000000"]}}'
        _, answer = db.resource.post("_purge", data=ask.encode())
        equal(answer["purged"], {"gone": [gone["_rev"]], "kept": []})
        refused(NotFound, lambda: db.get("gone"), "missing")
        equal((db.get("kept"), len(db)), (kept, 1))
        assert db.save({"_id": "gone"})["_rev"].startswith("1-"), "purged is not deleted: nothing is left of it"


def local_documents(place):
    with database(place) as db:
        path = ["_local", "checkpoint"]
        _, answer = db.resource.put(path, data=b'{"seq":1}')
        equal((answer["id"], answer["rev"]), ("_local/checkpoint", "0-1"))
        equal(db.get("_local/checkpoint"), {"_id": "_local/checkpoint", "_rev": "0-1", "seq": 1})
        equal(db.resource.put(path, data=b'{"_rev":"0-1","seq":2}')[1]["rev"], "0-2")
        equal((len(db), db.all(as_list=True), db.changes_list()[1]), (0, [], []))
        db.resource.delete(path)
        refused(NotFound, lambda: db.get("_local/checkpoint"))


def users_security_and_sessions(place):
    server, users = server_of(place), server_of(place).database("_users")
    name, other = place.fresh("jan"), place.fresh("eve")
    for user, roles in ((name, ["team"]), (other, [])):
        document = {"_id": f"org.couchdb.user:{user}", "name": user, "type": "user", "roles": roles, "password": "tea: cup"}
        assert "password" not in users.get(users.save(document)["_id"]), "passwords are not kept as text"
    with database(place) as db:
        db.save({"_id": "a", "n": 1})
        as_user = lambda user: pycouchdb.Server(place.with_login(user, "tea: cup") + "/")
        # A new database is for admins alone.
        refused(GenericError, lambda: as_user(name).resource.get(db.name), "forbidden")
        security = b'{"admins":{"names":[],"roles":[]},"members":{"names":[],"roles":["team"]}}'
        equal(db.resource.put("_security", data=security)[1], {"ok": True})
        equal(db.resource.get("_security")[1]["members"]["roles"], ["team"])
        theirs = as_user(name).database(db.name)
        equal(theirs.get("a")["n"], 1)
        assert theirs.save({"_id": "b"})["_rev"]
        refused(GenericError, lambda: theirs.resource.put("_security", data=security), "forbidden", "not a db or server admin")
        refused(GenericError, lambda: as_user(other).resource.get(db.name), "forbidden")
        refused(GenericError, lambda: as_user(name).create(place.fresh("theirs")), "unauthorized", "You are not a server admin.")
        # A session: made on one router, taken by all.
        session = pycouchdb.Server(place.with_login(name, "tea: cup") + "/", authmethod="session")
        equal(session.resource.get("_session")[1]["userCtx"], {"name": name, "roles": ["team"]})
        equal(session.database(db.name).get("a")["n"], 1)
        elsewhere = pycouchdb.Server(place.other + "/")
        elsewhere.resource.session.cookies = session.resource.session.cookies
        until("the other router takes the session", lambda: elsewhere.resource.get("_session")[1]["userCtx"]["name"] == name)
        session.resource.delete("_session")
        equal(session.resource.get("_session")[1]["userCtx"]["name"], None)
        refused(
            pycouchdb.exceptions.AuthenticationFailed,
            lambda: pycouchdb.Server(place.with_login(name, "wrong") + "/", authmethod="session"),
        )
        refused(GenericError, lambda: pycouchdb.Server(place.with_login(name, "wrong") + "/").info(), "Name or password is incorrect.")
        # Users see themselves and nobody else.
        user = lambda who: as_user(name).resource.get(["_users", f"org.couchdb.user:{who}"])[1]
        equal(user(name)["roles"], ["team"])
        refused(NotFound, lambda: user(other))
        refused(GenericError, lambda: as_user(name).resource.get(["_users", "_all_docs"]), "unauthorized", "You are not a server admin.")
    for user in (name, other):
        users.delete(f"org.couchdb.user:{user}")
    refused(GenericError, lambda: as_user(name).resource.get("_session"), "unauthorized")


def replication(place):
    """From name to name, within the cluster: no other server is allowed."""
    server = server_of(place)
    with database(place) as one, database(place) as other:
        docs = one.save_bulk([{"_id": f"d{n}", "n": n} for n in range(20)])
        one.delete_bulk(docs[:5])
        answer = server.replicate(one.name, other.name)
        equal((answer["ok"], answer["history"][0]["docs_written"], answer["replication_id_version"]), (True, 20, 4))
        equal(len(other), 15)
        equal(other.get("d7"), one.get("d7"))
        equal(server.replicate(one.name, other.name)["no_changes"], True)
        copy = place.fresh("copy")
        made = server.replicate(one.name, copy, create_target=True, doc_ids=["d7", "d8"])
        equal((made["history"][0]["docs_written"], len(server.database(copy))), (2, 2))
        server.delete(copy)
        refused(NotFound, lambda: server.replicate(one.name, place.fresh("none")), "could not open")
        refused(GenericError, lambda: server.replicate("http://db.example/a", other.name), "replicator.allow")


def attachments(place):
    large = bytes(range(256)) * 4096
    with database(place) as db:
        doc = db.put_attachment(db.save({"_id": "a"}), b"text", "a.txt", "text/plain")
        equal(db.get_attachment(doc, "a.txt"), b"text")
        doc = db.put_attachment(doc, large, "large.bin", "application/octet-stream")
        equal(b"".join(db.get_attachment(doc, "large.bin", stream=True).iter_content(chunk_size=4096)), large)
        refused(NotFound, lambda: db.get_attachment(doc, "none"), "Document is missing attachment")
        inline = {"_id": "b", "_attachments": {"a.txt": {"content_type": "text/plain", "data": "dGV4dA=="}}}
        equal(db.get_attachment(db.save(inline), "a.txt"), b"text")
        doc = db.delete_attachment(db.get("a"), "a.txt")
        equal(sorted(db.get("a")["_attachments"]), ["large.bin"])


def views(place):
    """A view by rows and by groups."""
    with database(place) as db:
        for n, id in enumerate("abcd"):
            db.save({"_id": id, "n": n % 2})
        view = {"map": "function (doc) { emit(doc.n, 1); }", "reduce": "_sum"}
        db.save({"_id": "_design/d", "views": {"v": view}})
        equal(list(db.query("d/v", group="true")), [{"key": 0, "value": 2}, {"key": 1, "value": 2}])
        equal([row["id"] for row in db.query("d/v", reduce="false", descending="true")], ["d", "b", "c", "a"])


if __name__ == "__main__":
    run("pycouchdb", [
        databases,
        documents,
        bulk,
        all_docs_in_ranges,
        changes_in_one_answer,
        changes_as_they_happen,
        changes_of_the_server,
        find_with_and_without_an_index,
        upkeep,
        purge,
        local_documents,
        users_security_and_sessions,
        replication,
        attachments,
        views,
    ])
