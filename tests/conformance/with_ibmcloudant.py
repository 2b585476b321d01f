"""Scenarios written with IBM's SDK: with_ibmcloudant.py URL[,URL…] PASSWORD [SCENARIO…]"""

import contextlib
import email
import email.policy
import io
import json
import threading

from ibm_cloud_sdk_core import ApiException
from ibm_cloud_sdk_core.authenticators import BasicAuthenticator, NoAuthAuthenticator
from ibmcloudant.cloudant_v1 import (
    AllDocsQuery,
    BulkDocs,
    BulkGetQueryDocument,
    CloudantV1,
    DesignDocument,
    DesignDocumentViewsMapReduce,
    Document,
    IndexDefinition,
    IndexField,
    ReplicationDatabase,
    ReplicationDocument,
    SecurityObject,
)
from ibmcloudant.couchdb_session_authenticator import CouchDbSessionAuthenticator
from ibmcloudant.features.changes_follower import ChangesFollower
from ibmcloudant.features.pagination import PagerType, Pagination

from place import PATIENCE_S, equal, run, until


def client_of(place, name=None, password=None, url=None, session=False):
    login = CouchDbSessionAuthenticator if session else BasicAuthenticator
    client = CloudantV1(authenticator=login(name or place.name, password or place.password))
    client.set_service_url(url or place.first)
    # As the SDK makes its clients when it reads their configuration.
    client.set_enable_gzip_compression(True)
    return client


@contextlib.contextmanager
def database(place):
    client, db = client_of(place), place.fresh("ibmcloudant")
    equal(client.put_database(db).get_status_code(), 201)
    try:
        yield client, db
    finally:
        client.delete_database(db)


def refused(status, call, *wanted):
    """The call is answered with this status, and with these words."""
    try:
        answer = call()
    except ApiException as refusal:
        told = f"{refusal.status_code} {refusal.message}"
        assert refusal.status_code == status and all(words in told for words in wanted), f"{told} is not {status} {wanted}"
        return refusal
    raise AssertionError(f"{answer.get_result()!r} instead of {status}")


def result(answer):
    return answer.get_result()


def fill(client, db, docs):
    rows = result(client.post_bulk_docs(db, BulkDocs(docs=[Document.from_dict(doc) for doc in docs])))
    assert all(row["ok"] for row in rows), rows
    return rows


def parts(answer):
    """The documents in a multipart answer, read by a library that knows nothing of CouchDB."""
    head = f"content-type: {answer.get_headers()['content-type']}\r\n\r\n"
    whole = email.message_from_bytes(head.encode() + result(answer).content, policy=email.policy.HTTP)
    assert whole.is_multipart() and not whole.defects, (whole.defects, result(answer).content)
    return [json.loads(part.get_payload(decode=True)) for part in whole.iter_parts()]


def server(place):
    client = client_of(place)
    information = result(client.get_server_information())
    equal((information["couchdb"], information["vendor"]["name"]), ("Welcome", "Quorate"))
    equal(result(client_of(place, url=place.other).get_server_information())["uuid"], information["uuid"])
    equal(len(set(result(client.get_uuids(count=5))["uuids"])), 5)
    equal(result(client.get_up_information())["status"], "ok")
    assert result(client.get_membership_information())["all_nodes"]
    assert isinstance(result(client.get_active_tasks()), list)
    equal(client.head_up_information().get_status_code(), 200)


def databases(place):
    client, db = client_of(place), place.fresh("ibmcloudant")
    refused(404, lambda: client.head_database(db))
    equal(client.put_database(db).get_status_code(), 201)
    refused(412, lambda: client.put_database(db), "file_exists")
    refused(400, lambda: client.put_database("Capital"), "illegal_database_name")
    assert db in result(client.get_all_dbs())
    equal(result(client.get_all_dbs(start_key=json.dumps(db), end_key=json.dumps(db))), [db])
    information = result(client.get_database_information(db))
    equal((information["db_name"], information["doc_count"], information["doc_del_count"]), (db, 0, 0))
    rows = result(client.post_dbs_info([db, "nothing"]))
    equal((rows[0]["info"]["db_name"], rows[1]["error"]), (db, "not_found"))
    shards = result(client.get_shards_information(db))["shards"]
    assert shards, shards
    assert result(client.get_document_shards_info(db, "a"))["range"] in shards
    equal(result(client.delete_database(db)), {"ok": True})
    refused(404, lambda: client.delete_database(db), "Database does not exist.")


def documents(place):
    with database(place) as (client, db):
        made = result(client.put_document(db, "a", Document(name="jan", n=1)))
        equal((made["ok"], made["id"]), (True, "a"))
        equal(client.head_document(db, "a").get_headers()["etag"], f'"{made["rev"]}"')
        refused(304, lambda: client.get_document(db, "a", if_none_match=f'"{made["rev"]}"'))
        refused(409, lambda: client.put_document(db, "a", Document(n=2)), "conflict: Document update conflict.")
        changed = result(client.put_document(db, "a", Document(n=2), if_match=made["rev"]))
        refused(409, lambda: client.put_document(db, "a", Document(n=3), rev=made["rev"]))
        read = result(client.get_document(db, "a", revs=True, revs_info=True, conflicts=True, local_seq=True))
        equal((read["n"], read["_rev"], read["_revisions"]["start"]), (2, changed["rev"], 2))
        equal([one["rev"] for one in read["_revs_info"]], [changed["rev"], made["rev"]])
        equal(result(client.get_document(db, "a", rev=made["rev"]))["name"], "jan")
        posted = result(client.post_document(db, Document(_id="posted", n=9)))
        equal(posted["id"], "posted")
        assert len(result(client.post_document(db, Document(n=10)))["id"]) == 32
        text = io.BytesIO(json.dumps({"_id": "raw", "number": 1.10, "large": 12345678901234567890}).encode())
        client.post_document(db, text, content_type="application/json")
        equal(result(client.get_document(db, "raw"))["large"], 12345678901234567890)
        raw = result(client.get_document_as_stream(db, "raw")).content
        assert b"1.1" in raw, raw
        refused(409, lambda: client.delete_document(db, "a", rev=made["rev"]))
        equal(result(client.delete_document(db, "a", rev=changed["rev"]))["ok"], True)
        refused(404, lambda: client.get_document(db, "a"), "not_found: deleted")
        refused(404, lambda: client.get_document(db, "never"), "not_found: missing")
        # Every revision of a foreign tree.
        client.put_document(db, "b", Document(_id="b", _rev="2-bbb", _revisions={"start": 2, "ids": ["bbb", "aaa"]}, n=1), new_edits=False)
        client.put_document(db, "b", Document(_id="b", _rev="2-ccc", _revisions={"start": 2, "ids": ["ccc", "aaa"]}, n=2), new_edits=False)
        read = result(client.get_document(db, "b", conflicts=True))
        equal((read["_rev"], read["_conflicts"], read["n"]), ("2-ccc", ["2-bbb"], 2))
        missing = result(client.post_revs_diff(db, {"b": ["2-bbb", "3-ddd"], "z": ["1-x"]}))
        equal((missing["b"]["missing"], missing["z"]["missing"]), (["3-ddd"], ["1-x"]))


def bulk(place):
    with database(place) as (client, db):
        rows = fill(client, db, [{"_id": f"doc-{n:03}", "n": n} for n in range(250)])
        equal([row["id"] for row in rows], [f"doc-{n:03}" for n in range(250)])
        docs = [Document(_id="doc-001", n=0), Document(_id="new", n=0), Document(_id="doc-002", _rev=rows[2]["rev"], _deleted=True)]
        mixed = result(client.post_bulk_docs(db, BulkDocs(docs=docs)))
        equal([(row["id"], row.get("error")) for row in mixed], [("doc-001", "conflict"), ("new", None), ("doc-002", None)])
        refused(400, lambda: client.post_bulk_docs(db, BulkDocs(docs=[Document(_id="_wrong")])), "illegal_docid")
        grafted = BulkDocs(docs=[Document(_id="doc-003", _rev="1-" + "f" * 32, n=-3)], new_edits=False)
        equal(result(client.post_bulk_docs(db, grafted)), [])
        wanted = [BulkGetQueryDocument(id="doc-003"), BulkGetQueryDocument(id="doc-003", rev=rows[3]["rev"]), BulkGetQueryDocument(id="doc-002")]
        read = result(client.post_bulk_get(db, wanted, revs=True))["results"]
        equal([one["docs"][0]["ok"].get("n") for one in read[:2]], [-3, 3])
        equal(read[2]["docs"][0]["ok"]["_deleted"], True)
        leaves = [("doc-003", -3), ("doc-003", 3)]
        for answer in (client.post_bulk_get_as_mixed(db, wanted), client.post_bulk_get_as_related(db, wanted)):
            read = parts(answer)
            equal([(doc["_id"], doc.get("n")) for doc in read], leaves + [("doc-003", 3), ("doc-002", None)])


def all_docs_in_ranges(place):
    with database(place) as (client, db):
        fill(client, db, [{"_id": f"doc-{n:03}", "n": n} for n in range(100)])
        ids = lambda answer: [row["id"] for row in result(answer)["rows"]]
        names = [f"doc-{n:03}" for n in range(100)]
        equal(ids(client.post_all_docs(db)), names)
        equal(ids(client.post_all_docs(db, start_key="doc-010", end_key="doc-013")), names[10:14])
        equal(ids(client.post_all_docs(db, start_key="doc-010", end_key="doc-013", inclusive_end=False)), names[10:13])
        equal(ids(client.post_all_docs(db, descending=True, limit=3, skip=1)), names[-2:-5:-1])
        equal(ids(client.post_all_docs(db, key="doc-050")), ["doc-050"])
        rows = result(client.post_all_docs(db, keys=["doc-002", "nothing"], include_docs=True))["rows"]
        equal((rows[0]["doc"]["n"], rows[1]["error"]), (2, "not_found"))
        queries = [AllDocsQuery(keys=["doc-005"]), AllDocsQuery(start_key="doc-098"), AllDocsQuery(limit=1)]
        answers = result(client.post_all_docs_queries(db, queries))["results"]
        equal([[row["id"] for row in answer["rows"]] for answer in answers], [["doc-005"], names[98:], names[:1]])
        client.put_design_document(db, "d", DesignDocument(language="query"))
        equal(ids(client.post_design_docs(db)), ["_design/d"])
        equal(client.head_design_document(db, "d").get_status_code(), 200)
        design = result(client.get_design_document(db, "d"))
        equal(result(client.delete_design_document(db, "d", rev=design["_rev"]))["ok"], True)
        pages = Pagination.new_pagination(client, PagerType.POST_ALL_DOCS, db=db, limit=30, include_docs=True)
        equal([[row.doc.n for row in page] for page in pages.pages()], [list(range(n, min(n + 30, 100))) for n in range(0, 100, 30)])


def changes(place):
    with database(place) as (client, db):
        fill(client, db, [{"_id": f"doc-{n}", "n": n} for n in range(25)])
        answer = result(client.post_changes(db, include_docs=True, limit=10))
        equal((len(answer["results"]), answer["pending"]), (10, 15))
        rest = result(client.post_changes(db, since=answer["last_seq"], style="all_docs"))
        equal((len(rest["results"]), rest["pending"]), (15, 0))
        seen = sorted(row["id"] for row in answer["results"] + rest["results"])
        equal(seen, sorted(f"doc-{n}" for n in range(25)))
        some = result(client.post_changes(db, doc_ids=["doc-3", "doc-7", "nothing"], filter="_doc_ids"))
        equal(sorted(row["id"] for row in some["results"]), ["doc-3", "doc-7"])
        empty = result(client.post_changes(db, since=rest["last_seq"], feed="longpoll", timeout=100))
        equal(empty["results"], [])
        lines = result(client.post_changes_as_stream(db, feed="continuous", timeout=100)).iter_lines()
        lines = [json.loads(line) for line in lines if line]
        equal((len(lines), lines[-1]["pending"]), (26, 0))
        refused(400, lambda: client.post_changes(db, since="nonsense"))
        equal(sorted(change.id for change in ChangesFollower(client, db=db).start_one_off()), seen)


def changes_follower(place):
    with database(place) as (client, db):
        # Of another router than the writes.
        reader = client_of(place, url=place.other)
        until("the other router knows the database", lambda: db in result(reader.get_all_dbs()))
        follower, seen, enough = ChangesFollower(reader, db=db, since="0", error_tolerance=1_000 * PATIENCE_S), {}, threading.Event()

        def follow():
            for change in follower.start():
                seen[change.id] = change.deleted
                if len(seen) == 60 and seen.get("doc-0"):
                    enough.set()

        threading.Thread(target=follow, daemon=True).start()
        for n in range(10):
            client.put_document(db, f"doc-{n}", Document(n=n))
        for batch in range(5):
            fill(client, db, [{"_id": f"bulk-{batch}-{n}"} for n in range(10)])
        client.delete_document(db, "doc-0", rev=result(client.get_document(db, "doc-0"))["_rev"])
        assert enough.wait(PATIENCE_S), f"only {len(seen)} came: {sorted(seen)}"
        limited = ChangesFollower(client, db=db, limit=7)
        equal(len(list(limited.start_one_off())), 7)
        # Ends the poll that waits.
        threading.Thread(target=follower.stop, daemon=True).start()


def find_with_and_without_an_index(place):
    with database(place) as (client, db):
        fill(client, db, [{"_id": f"doc-{n:02}", "n": n, "name": ["ada", "Bo", "çe", "Dan"][n % 4]} for n in range(80)])
        found = result(client.post_find(db, {"n": {"$lt": 3}}, execution_stats=True))
        equal(sorted(doc["n"] for doc in found["docs"]), [0, 1, 2])
        equal((found["execution_stats"]["results_returned"], "No matching index" in found["warning"]), (3, True))
        equal(result(client.post_explain(db, {"n": 1}))["index"]["name"], "_all_docs")
        refused(400, lambda: client.post_find(db, {"n": 1}, sort=[{"n": "asc"}]), "no_usable_index")
        fields = IndexDefinition(fields=[IndexField(name="asc"), IndexField(n="asc")])
        made = result(client.post_index(db, fields, ddoc="people", name="by-name", type="json"))
        equal((made["result"], made["id"]), ("created", "_design/people"))
        equal(result(client.post_index(db, fields, ddoc="people", name="by-name", type="json"))["result"], "exists")
        listed = result(client.get_indexes_information(db))
        equal([(index["name"], index["type"]) for index in listed["indexes"]], [("_all_docs", "special"), ("by-name", "json")])
        selector = {"name": {"$gte": "Bo"}, "n": {"$gte": 0}}
        sort = [{"name": "asc"}, {"n": "asc"}]
        equal(result(client.post_explain(db, selector, sort=sort))["index"]["name"], "by-name")
        found = result(client.post_find(db, selector, sort=sort, fields=["name", "n"], limit=3, use_index=["people", "by-name"]))
        equal(found["docs"], [{"name": "Bo", "n": n} for n in (1, 5, 9)])
        assert "warning" not in found, found
        more = result(client.post_find(db, selector, sort=sort, fields=["n"], limit=2, bookmark=found["bookmark"]))
        equal(more["docs"], [{"n": 13}, {"n": 17}])
        pages = Pagination.new_pagination(client, PagerType.POST_FIND, db=db, selector=selector, sort=sort, limit=25)
        equal([doc.name for doc in pages.rows()], ["Bo"] * 20 + ["çe"] * 20 + ["Dan"] * 20)
        refused(400, lambda: client.post_find(db, {"n": {"$wrong": 1}}), "invalid_operator")
        equal(result(client.delete_index(db, "people", "json", "by-name")), {"ok": True})
        refused(404, lambda: client.delete_index(db, "people", "json", "by-name"))
        refused(503, lambda: client.post_index(db, fields, type="text"))


def local_documents(place):
    with database(place) as (client, db):
        made = result(client.put_local_document(db, "checkpoint", Document(seq=1)))
        equal((made["id"], made["rev"]), ("_local/checkpoint", "0-1"))
        equal(result(client.get_local_document(db, "checkpoint"))["seq"], 1)
        equal(client.head_local_document(db, "checkpoint").get_status_code(), 200)
        equal(result(client.put_local_document(db, "checkpoint", Document(_rev="0-1", seq=2)))["rev"], "0-2")
        equal(result(client.get_database_information(db))["doc_count"], 0)
        equal(client.delete_local_document(db, "checkpoint").get_status_code(), 200)
        refused(404, lambda: client.get_local_document(db, "checkpoint"))


def security(place):
    with database(place) as (client, db):
        client.put_document(db, "a", Document(n=1))
        name = place.fresh("jan")
        id = f"org.couchdb.user:{name}"
        made = result(client.put_document("_users", id, Document(name=name, type="user", roles=["team"], password="tea")))
        for theirs in (client_of(place, name, "tea"), client_of(place, name, "tea", session=True)):
            equal(result(theirs.get_session_information())["userCtx"], {"name": name, "roles": ["team"]})
            client.put_security(db, admins=SecurityObject(names=[], roles=[]), members=SecurityObject(names=["somebody"], roles=[]))
            equal(result(client.get_security(db))["members"]["names"], ["somebody"])
            refused(403, lambda: theirs.get_document(db, "a"), "forbidden")
            client.put_security(db, members=SecurityObject(names=[], roles=["team"]))
            equal(result(theirs.get_document(db, "a"))["n"], 1)
            refused(401, lambda: theirs.put_database(place.fresh("theirs")), "You are not a server admin.")
            refused(403, lambda: theirs.put_design_document(db, "d", DesignDocument(language="query")))
        nobody = CloudantV1(authenticator=NoAuthAuthenticator())
        nobody.set_service_url(place.first)
        equal(result(nobody.get_session_information())["userCtx"]["name"], None)
        refused(401, lambda: nobody.get_document(db, "a"), "You are not authorized to access this db.")
        refused(401, lambda: client_of(place, name, "wrong").get_document(db, "a"), "Name or password is incorrect.")
        # The other router takes a session as well as a password, and hears of a new one.
        elsewhere = client_of(place, name, "tea", url=place.other, session=True)
        until("the other router knows", lambda: result(elsewhere.get_session_information())["userCtx"]["name"] == name)
        changed = result(client.put_document("_users", id, Document(_rev=made["rev"], name=name, type="user", roles=[], password="coffee")))
        refused(401, lambda: client_of(place, name, "tea").get_session_information())
        equal(result(client_of(place, name, "coffee").get_session_information())["userCtx"]["roles"], [])
        client.delete_document("_users", id, rev=changed["rev"])


def replication(place):
    """By documents, on whichever router takes them; the other one shows them as well."""
    with database(place) as (client, one), database(place) as (_, other):
        docs = [Document(_id=f"d{n}", n=n) for n in range(30)]
        client.post_bulk_docs(one, BulkDocs(docs=docs))
        elsewhere = client_of(place, url=place.other)
        ends = {"source": ReplicationDatabase(url=one), "target": ReplicationDatabase(url=other)}
        state = lambda id: result(elsewhere.get_scheduler_document(id))["state"]
        once, live = place.fresh("once"), place.fresh("live")
        equal(client.put_replication_document(once, ReplicationDocument(**ends)).get_status_code(), 201)
        until("it is complete", lambda: state(once) == "completed")
        equal(result(client.get_database_information(other))["doc_count"], 30)
        document = result(client.get_replication_document(once))
        equal((document["owner"], document["_replication_stats"]["docs_written"]), (place.name, 30))
        client.put_replication_document(live, ReplicationDocument(continuous=True, **ends))
        until("it runs", lambda: state(live) == "running")
        client.put_document(one, "new", Document(n=1))
        until("what is new arrives", lambda: result(client.get_database_information(other))["doc_count"] == 31)
        shown = lambda: [job for job in result(elsewhere.get_scheduler_jobs())["jobs"] if job["doc_id"] == live]
        equal([(job["database"], job["source"]) for job in shown()], [("_replicator", one)])
        refused(403, lambda: client.put_replication_document(place.fresh("far"), ReplicationDocument(
            source=ReplicationDatabase(url="https://db.example/a"), target=ReplicationDatabase(url=other))), "replicator.allow")
        for id in (once, live):
            client.delete_replication_document(id, rev=result(client.get_replication_document(id))["_rev"])
        until("it is cancelled", lambda: not shown())


def attachments(place):
    large = bytes(range(256)) * 4096
    with database(place) as (client, db):
        made = result(client.put_document(db, "a", Document(n=1)))
        put = lambda name, data, rev: result(client.put_attachment(db, "a", name, io.BytesIO(data), "text/plain", rev=rev))
        made = put("a.txt", b"text", made["rev"])
        equal(result(client.get_attachment(db, "a", "a.txt")).content, b"text")
        made = put("large.txt", large, made["rev"])
        equal(result(client.get_attachment(db, "a", "large.txt")).content, large)
        equal(client.head_attachment(db, "a", "large.txt").get_status_code(), 200)
        refused(404, lambda: client.get_attachment(db, "a", "none"), "Document is missing attachment")
        refused(409, lambda: put("b.txt", b"text", None), "Document update conflict.")
        inline = Document(_id="b", n=2, _attachments={"b.txt": {"content_type": "text/plain", "data": "dGV4dA=="}})
        equal([row.get("ok") for row in result(client.post_bulk_docs(db, BulkDocs(docs=[inline])))], [True])
        shown = result(client.get_document(db, "b", attachments=True))["_attachments"]["b.txt"]
        equal((shown["data"], shown["revpos"]), ("dGV4dA==", 1))
        made = result(client.delete_attachment(db, "a", "a.txt", rev=made["rev"]))
        equal(sorted(result(client.get_document(db, "a"))["_attachments"]), ["large.txt"])


def views(place):
    """A view with a reduce, by groups and by rows, and what is not there yet."""
    with database(place) as (client, db):
        for n, id in enumerate("abcd"):
            client.put_document(db, id, Document(n=n % 2))
        views = {"v": DesignDocumentViewsMapReduce(map="function (doc) { emit(doc.n, 1); }", reduce="_count")}
        client.put_design_document(db, "d", DesignDocument(views=views))
        groups = result(client.post_view(db, "d", "v", group=True))
        equal(groups["rows"], [{"key": 0, "value": 2}, {"key": 1, "value": 2}])
        rows = result(client.post_view(db, "d", "v", reduce=False, key=1, include_docs=True))
        equal([row["doc"]["_id"] for row in rows["rows"]], ["b", "d"])
        equal(result(client.get_design_document_information(db, "d"))["name"], "d")
        refused(400, lambda: client.get_partition_information(db, "p"), "database is not partitioned")


if __name__ == "__main__":
    run("ibmcloudant", [
        server,
        databases,
        documents,
        bulk,
        all_docs_in_ranges,
        changes,
        changes_follower,
        find_with_and_without_an_index,
        local_documents,
        security,
        replication,
        attachments,
        views,
    ])
