"""Scenarios written with aiocouch: with_aiocouch.py URL[,URL…] PASSWORD [SCENARIO…]"""

import asyncio
import contextlib
import functools

import aiocouch
import aiohttp
from aiocouch.event import ChangedEvent, DeletedEvent

from place import PATIENCE_S, equal, run


def server_of(place, name=None, password=None, url=None):
    return aiocouch.CouchDB(url or place.first, user=name or place.name, password=password or place.password)


@contextlib.asynccontextmanager
async def database(place):
    async with server_of(place) as server:
        db = await server.create(place.fresh("aiocouch"))
        try:
            yield db
        finally:
            await db.delete()


async def refused(error, awaited, *wanted):
    """Awaiting it raises this error, with these words in it."""
    try:
        answer = await awaited
    except error as refusal:
        missing = [words for words in wanted if words not in str(refusal)]
        assert not missing, f"{refusal!r} does not say {missing}"
        return refusal
    raise AssertionError(f"{answer!r} instead of {error.__name__}")


async def not_implemented(awaited):
    refusal = await refused(aiohttp.ClientResponseError, awaited)
    equal(refusal.status, 501)


async def until(what, check):
    """The first true value that `check` gives."""
    for _ in range(PATIENCE_S * 20):
        seen = await check()
        if seen:
            return seen
        await asyncio.sleep(0.05)
    raise AssertionError(f"never: {what}")


async def listed(several):
    return [one async for one in several]


async def names(documents):
    return [doc.id async for doc in documents]


def scenario(function):
    """For the runner, which knows nothing of loops."""

    @functools.wraps(function)
    def ran(place):
        asyncio.run(asyncio.wait_for(function(place), 5 * PATIENCE_S))

    return ran


@scenario
async def logins(place):
    async with server_of(place) as server:
        await server.check_credentials()
        equal((await server.info())["couchdb"], "Welcome")
        assert "_users" in await server.keys()
    async with server_of(place, password="wrong") as server:
        await refused(aiocouch.UnauthorizedError, server.check_credentials())
        await refused(aiocouch.UnauthorizedError, server.keys())
    async with aiocouch.CouchDB(place.first) as nobody:
        await nobody.check_credentials()
        await refused(aiocouch.UnauthorizedError, nobody.create(place.fresh("aiocouch")))


@scenario
async def databases(place):
    async with server_of(place) as server:
        name = place.fresh("aiocouch")
        await refused(aiocouch.NotFoundError, server[name])
        db = await server.create(name)
        await refused(aiocouch.PreconditionFailedError, server.create(name))
        await server.create(name, exists_ok=True)
        assert name in await server.keys()
        equal((await db.info())["db_name"], name)
        equal((await server[name]).id, name)
        await refused(ValueError, server.create("Capital"), "Invalid database name")
        await db.delete()
        await refused(aiocouch.NotFoundError, db.delete())
        await refused(aiocouch.NotFoundError, db.info())


@scenario
async def documents(place):
    async with database(place) as db:
        # Ids with whatever a path could trip over.
        for id in ("plain", "with/slash", "grün 🎷", "a+b?c#d&e%2F", "_design/d"):
            doc = await db.create(id, data={"n": 1})
            await doc.save()
            equal((await db[id]).json, {"n": 1})
            await refused(aiocouch.ConflictError, db.create(id))
        doc = await db["plain"]
        info = await doc.info()
        equal((info["id"], info["rev"]), ("plain", doc.rev))
        stale = await db["plain"]
        doc["n"] = 2
        answer = await doc.save()
        equal((answer.status, answer.etag), (201, doc.rev))
        assert await doc.save() is None, "nothing has changed"
        stale["n"] = 3
        await refused(aiocouch.ConflictError, stale.save())
        await stale.fetch(discard_changes=True)
        equal((stale["n"], stale.rev), (2, doc.rev))
        revs = await doc.revs()
        equal((len(revs), revs[0]), (2, doc.rev))
        equal((await db.get("plain", rev=revs[1]))["n"], 1)
        answer = await doc.copy("copied")
        equal((await db["copied"]).json, {"n": 2})
        equal((await db["copied"]).rev, answer.etag)
        await refused(aiocouch.ConflictError, doc.copy("with/slash"))
        equal((await doc.delete()).status, 200)
        assert not doc.exists
        await refused(aiocouch.NotFoundError, db["plain"])
        equal((await db.get("plain", default={"n": 0})).json, {})
        async with await db.create("plain") as again:
            again["n"] = 5
        assert (await db["plain"]).rev.startswith("4-")
        await refused(aiocouch.BadRequestError, db.get("plain", rev="x"))


@scenario
async def conflicts(place):
    async with database(place) as db:
        doc = await db.create("a", data={"from": "here"})
        await doc.save()
        equal(await doc.conflicts(), [])
        # What a replicator does: a revision of another tree.
        foreign = "1-ffffffffffffffffffffffffffffffff"
        equal(await db._bulk_docs([{"_id": "a", "_rev": foreign, "from": "elsewhere"}], new_edits=False), [])
        mine, theirs = doc.rev, (await db["a"]).rev
        equal(theirs, foreign)
        equal(await (await db["a"]).conflicts(), [mine])
        # Merged: the loser is deleted.
        loser = await db.get("a", rev=mine)
        await loser.delete()
        equal(await (await db["a"]).conflicts(), [])
        equal((await db["a"])["from"], "elsewhere")


@scenario
async def bulk(place):
    async with database(place) as db:
        ids = [f"doc-{n:03}" for n in range(200)]
        async with db.create_docs(ids) as created:
            async for doc in created:
                doc["n"] = int(doc.id[4:])
            created.create("one-more", data={"n": -1})
        equal((len(created.ok), created.error), (201, []))
        before = await db["doc-007"]
        async with db.update_docs(ids[:20] + ["new"], create=True) as updated:
            async for doc in updated:
                doc["touched"] = True
            # Somebody is faster with one of them.
            before["touched"] = "by somebody else"
            await before.save()
        equal(([doc.id for doc in updated.error], len(updated.ok)), (["doc-007"], 20))
        equal([row["error"] for row in updated.response if "error" in row], ["conflict"])
        equal((await db["doc-007"])["touched"], "by somebody else")
        equal((await db["new"])["touched"], True)
        equal((await db.info())["doc_count"], 202)
        await refused(aiocouch.NotFoundError, listed(db.docs(["doc-001", "nothing"])))
        read = await db._bulk_get([{"id": "doc-001"}, {"id": "nothing"}])
        equal(read["results"][0]["docs"][0]["ok"]["n"], 1)
        equal(read["results"][1]["docs"][0]["error"]["error"], "not_found")


@scenario
async def all_docs_in_ranges(place):
    async with database(place) as db:
        async with db.create_docs([f"{kind}:{n}" for kind in "abc" for n in range(5)]) as created:
            async for doc in created:
                doc["n"] = int(doc.id[2:])
        async with await db.create("_design/d") as design:
            design["language"] = "query"
        equal(await names(db.docs(prefix="b:")), [f"b:{n}" for n in range(5)])
        equal(await names(db.docs(["c:1", "a:1"])), ["c:1", "a:1"])
        equal(len(await names(db.docs())), 15)
        equal(len(await names(db.docs(include_ddocs=True))), 16)
        equal(await listed(db.akeys(limit=2, descending=True)), ["c:4", "c:3"])
        equal(await listed(db.akeys(start_key='"b:4"', end_key='"c:1"')), ["b:4", "c:0", "c:1"])
        rows = await db.all_docs.get(skip=14, update_seq=True)
        equal((rows.total_rows, len(rows.rows)), (16, 2))
        assert rows.update_seq is not None


@scenario
async def changes(place):
    async with database(place) as db:
        for n in range(5):
            await (await db.create(f"doc-{n}", data={"n": n})).save()
        await (await db["doc-4"]).delete()
        events = await listed(db.changes(include_docs=True))
        equal(sorted(event.id for event in events), [f"doc-{n}" for n in range(5)])
        deleted = [event.id for event in events if isinstance(event, DeletedEvent)]
        equal(deleted, ["doc-4"])
        kept = {event.id: (await event.doc())["n"] for event in events if isinstance(event, ChangedEvent)}
        equal(kept, {f"doc-{n}": n for n in range(4)})
        last = events[-1].sequence
        assert int(last.split("-")[0]) > 0, last
        equal(await listed(db.changes(last_event_id=last)), [])
        equal(len(await listed(db.changes(limit=3))), 3)
        equal(len(await listed(db.changes(descending=True))), 5)
        await refused(aiocouch.BadRequestError, listed(db.changes(since="nonsense")))


@scenario
async def changes_as_they_happen(place):
    async with database(place) as db, server_of(place, url=place.other) as elsewhere:
        await (await db.create("before")).save()
        # Through another router than the writes.
        followed = aiocouch.database.Database(elsewhere, db.id)
        await until("the other router knows the database", followed._exists)

        async def follow(feed):
            seen = []
            async for event in feed:
                seen.append(event.id)
                if len(set(seen)) == 41:
                    return set(seen)

        following = asyncio.create_task(follow(followed.changes(feed="continuous", since=0, heartbeat=200)))
        for n in range(20):
            await (await db.create(f"one-{n}")).save()
        async with db.create_docs([f"bulk-{n}" for n in range(20)]):
            pass
        seen = await asyncio.wait_for(following, PATIENCE_S)
        equal(seen, {"before"} | {f"one-{n}" for n in range(20)} | {f"bulk-{n}" for n in range(20)})
        # A long poll waits for what comes, and answers with it.
        waiting = asyncio.create_task(listed(followed.changes(feed="longpoll", since="now", timeout=50_000)))
        n = 0
        while not waiting.done():
            await (await db.create(f"late-{n}")).save()
            n += 1
            await asyncio.wait([waiting], timeout=0.2)
        assert {event.id for event in waiting.result()} <= {f"late-{i}" for i in range(n)} and waiting.result()


@scenario
async def find_with_and_without_an_index(place):
    async with database(place) as db:
        async with db.create_docs([f"doc-{n:02}" for n in range(60)]) as created:
            async for doc in created:
                doc.update({"n": int(doc.id[4:]), "tags": ["all", f"t{int(doc.id[4:]) % 3}"], "at": {"x": int(doc.id[4:]) // 10}})
        plain = await listed(db.find({"at.x": 2}))
        equal(sorted(doc["n"] for doc in plain), list(range(20, 30)))
        answer = await db.index({"fields": ["at.x", "n"]}, name="places")
        equal(answer["result"], "created")
        indexed = await listed(db.find({"at.x": 2, "n": {"$gt": None}}, sort=["at.x", "n"]))
        equal([doc["n"] for doc in indexed], list(range(20, 30)))
        equal([doc["n"] async for doc in db.find({"at.x": {"$gte": 0}, "n": {"$gt": None}}, sort=["at.x", "n"], limit=3, skip=7)], [7, 8, 9])
        several = {"$or": [{"tags": {"$all": ["t1"]}, "n": {"$lt": 5}}, {"n": {"$in": [50, 51]}}], "$nor": [{"n": 4}]}
        equal(sorted([doc["n"] async for doc in db.find(several)]), [1, 50, 51])
        equal(sorted([doc["n"] async for doc in db.find({"_id": {"$regex": "5[0-2]$"}})]), [50, 51, 52])
        # What was found can be written back.
        async for doc in db.find({"n": 30}):
            doc["n"] = 3000
            await doc.save()
        equal([doc.id async for doc in db.find({"n": 3000})], ["doc-30"])
        await refused(aiocouch.BadRequestError, listed(db.find({"n": {"$nothing": 1}})))
        partial = {"fields": ["n"], "partial_filter_selector": {"tags": {"$elemMatch": {"$eq": "t0"}}}}
        equal((await db.index(partial, ddoc="partial", name="t0"))["result"], "created")
        await refused(aiocouch.BadRequestError, db.index({"fields": [{"n": "asc"}, {"at": "desc"}]}))


@scenario
async def security(place):
    async with database(place) as db, server_of(place) as server:
        doc = await db.create("a", data={"n": 1})
        await doc.save()
        rules = await db.security()
        equal((rules.admin_roles, rules.member_roles), (["_admin"], ["_admin"]))
        users, name = await server["_users"], place.fresh("jan")
        user = await users.create(f"org.couchdb.user:{name}", data={"name": name, "type": "user", "roles": [], "password": "tee"})
        await user.save()
        async with server_of(place, name, "tee") as theirs:
            await refused(aiocouch.ForbiddenError, theirs[db.id])
            rules.add_member(name)
            rules.remove_member_role("_admin")
            await rules.save()
            equal((await db.security()).members, [name])
            mine = await theirs[db.id]
            equal((await mine["a"])["n"], 1)
            rules = await mine.security()
            rules.add_admin(name)
            await refused((aiocouch.ForbiddenError, aiocouch.UnauthorizedError), rules.save())
            await refused(aiocouch.UnauthorizedError, mine.delete())
            design = await mine.create("_design/d", data={"language": "query"})
            await refused((aiocouch.ForbiddenError, aiocouch.UnauthorizedError), design.save())
            rules = await db.security()
            rules.add_admin(name)
            await rules.save()
            await design.save()
        # A session by its cookie, on the other router.
        async with aiohttp.ClientSession() as session:
            answer = await session.post(f"{place.first}/_session", data={"name": name, "password": "tee"})
            equal((answer.status, (await answer.json())["name"]), (200, name))
            cookie = answer.cookies["AuthSession"]
            assert cookie["httponly"], cookie
        async with aiocouch.CouchDB(place.other, cookie=cookie.value) as known:
            async def read():
                try:
                    return (await (await known[db.id])["a"])["n"]
                except (PermissionError, aiocouch.NotFoundError):
                    return None

            equal(await until("the other router takes the session", read), 1)
        async with aiocouch.CouchDB(place.first, cookie="amFuOjY1:forged") as forged:
            await refused(PermissionError, forged[db.id])
        await user.fetch(discard_changes=True)
        await user.delete()
        async with server_of(place, name, "tee") as gone:
            await refused(aiocouch.UnauthorizedError, gone.check_credentials())


@scenario
async def purge(place):
    async with database(place) as db:
        doc = await db.create("a", data={"n": 1})
        await doc.save()
        equal((await db._purge({"a": [doc.rev]}))["purged"], {"a": [doc.rev]})
        await refused(aiocouch.NotFoundError, db["a"])
        equal((await db.info())["doc_count"], 0)
        equal(await listed(db.akeys()), [])


@scenario
async def attachments(place):
    large = bytes(range(256)) * 4096
    async with database(place) as db:
        doc = await db.create("a")
        await doc.save()
        text = doc.attachment("a.txt")
        await text.save(b"text", "text/plain")
        equal((await text.fetch(), text.content_type), (b"text", "text/plain"))
        await doc.fetch()
        await doc.attachment("dir/large.bin").save(large, "application/octet-stream")
        equal(await doc.attachment("dir/large.bin").fetch(), large)
        await refused(aiocouch.NotFoundError, doc.attachment("none").fetch())
        inline = await db.create("b", data={"_attachments": {"a.txt": {"content_type": "text/plain", "data": "dGV4dA=="}}})
        await inline.save()
        equal(await inline.attachment("a.txt").fetch(), b"text")
        # Stubs are kept when the document is written again.
        doc = await db["a"]
        doc["n"] = 1
        await doc.save()
        equal(await doc.attachment("dir/large.bin").fetch(), large)
        await doc.attachment("a.txt").delete()
        doc = await db["a"]
        equal(sorted(doc["_attachments"]), ["dir/large.bin"])


@scenario
async def views(place):
    """A view by range and by keys, with documents, as it follows them."""
    async with database(place) as db:
        for n, id in enumerate("abcd"):
            doc = await db.create(id, data={"n": n % 2})
            await doc.save()
        design = await db.design_doc("d")
        view = await design.create_view("v", map_function="function (doc) { emit(doc._id, doc.n); }")
        seen = await view.get()
        equal((seen.total_rows, list(seen.items())), (4, [("a", 0), ("b", 1), ("c", 0), ("d", 1)]))
        equal([id async for id in view.ids(ids=["d", "x", "a"])], ["d", "a"])
        equal([doc.id async for doc in view.docs(prefix="c")], ["c"])
        doc = await db["b"]
        await doc.delete()
        equal([value async for value in view.avalues()], [0, 0, 1])


if __name__ == "__main__":
    run("aiocouch", [
        logins,
        databases,
        documents,
        conflicts,
        bulk,
        all_docs_in_ranges,
        changes,
        changes_as_they_happen,
        find_with_and_without_an_index,
        security,
        purge,
        attachments,
        views,
    ])
