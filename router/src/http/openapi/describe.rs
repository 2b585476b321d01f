//! What each route takes and gives. Matches without a rest: a new route does not compile until it is described.

use super::super::replication;
use super::super::target::{Part, Server};
use super::documents as doc;
use super::operation::{Kind, Op, Param, Shape, header, query};
use super::routes::{Named, Route};
use super::{shapes, views};
use crate::backup::catalog as backup;
use crate::replicator::{DocRow, JobRow};

const BINARY: &str = "application/octet-stream";

const CONSISTENCY: Param =
    query("consistency", Kind::OneOf(&["linearizable", "eventual"]), "How fresh the answer must be");
const LIMIT: Param = query("limit", Kind::Number, "Rows at most");
const SKIP: Param = query("skip", Kind::Number, "Rows to leave out at the start");
const DESCENDING: Param = query("descending", Kind::Flag, "Last first");
const INCLUSIVE_END: Param = query("inclusive_end", Kind::Flag, "Whether the end is part of the range");
const START_KEY: Param = query("start_key", Kind::Json, "Where to begin; also `startkey`");
const END_KEY: Param = query("end_key", Kind::Json, "Where to end; also `endkey`");
const INCLUDE_DOCS: Param = query("include_docs", Kind::Flag, "Whether documents are part of the rows");
const CONFLICTS: Param = query("conflicts", Kind::Flag, "Whether `_conflicts` is shown");
const REV: Param = query("rev", Kind::Text, "The revision");
const BATCH: Param = query("batch", Kind::OneOf(&["ok"]), "Answered with 202 and without a revision");
const IF_MATCH: Param = header("If-Match", "The revision, as `rev`");
const IF_NONE_MATCH: Param = header("If-None-Match", "What the client has");
const IDEMPOTENCY_KEY: Param = header("Idempotency-Key", "Names the request: repeated, it is done once");

const ATTACHMENTS: Param = query("attachments", Kind::Flag, "Whether the bytes of attachments are part of documents");
const ENCODING: Param = query("att_encoding_info", Kind::Flag, "Whether it is told how attachments are packed");

const LISTING: [Param; 13] = [
    LIMIT,
    SKIP,
    DESCENDING,
    INCLUSIVE_END,
    START_KEY,
    END_KEY,
    query("key", Kind::Json, "One id"),
    query("keys", Kind::Json, "Ids, in this order"),
    INCLUDE_DOCS,
    CONFLICTS,
    ATTACHMENTS,
    ENCODING,
    query("update_seq", Kind::Flag, "Whether the place in the feed is told"),
];
const VIEWING: [Param; 20] = [
    LIMIT,
    SKIP,
    DESCENDING,
    INCLUSIVE_END,
    START_KEY,
    END_KEY,
    query("startkey_docid", Kind::Text, "Among the rows of `start_key`, where to begin"),
    query("endkey_docid", Kind::Text, "Among the rows of `end_key`, where to end"),
    query("key", Kind::Json, "One key"),
    query("keys", Kind::Json, "Keys, in this order"),
    INCLUDE_DOCS,
    CONFLICTS,
    ATTACHMENTS,
    ENCODING,
    query("reduce", Kind::Flag, "Whether rows are reduced, if the view can"),
    query("group", Kind::Flag, "Whether rows of equal keys are reduced by themselves"),
    query("group_level", Kind::Number, "The same for keys that begin with so many equal items"),
    query("update", Kind::OneOf(&["true", "false", "lazy"]), "Whether the index is brought up to date before"),
    query("sorted", Kind::Flag, "Taken and not needed: rows are sorted"),
    query("update_seq", Kind::Flag, "Whether the place in the feed is told"),
];
const READING: [Param; 9] = [
    query("revs", Kind::Flag, "Shows `_revisions`"),
    query("revs_info", Kind::Flag, "Shows `_revs_info`"),
    CONFLICTS,
    query("deleted_conflicts", Kind::Flag, "Shows `_deleted_conflicts`"),
    query("local_seq", Kind::Flag, "Shows `_local_seq`"),
    query("meta", Kind::Flag, "`conflicts`, `deleted_conflicts` and `revs_info`"),
    query("latest", Kind::Flag, "The winner, or the leaves that came of the revisions named"),
    ATTACHMENTS,
    ENCODING,
];
const FEED: [Param; 6] = [
    query("feed", Kind::OneOf(&["normal", "longpoll", "continuous", "eventsource"]), "How it is delivered"),
    query("since", Kind::Text, "A place in the feed, `0` or `now`"),
    LIMIT,
    DESCENDING,
    query("timeout", Kind::Number, "Milliseconds to wait for news"),
    query("heartbeat", Kind::Text, "`true`, or milliseconds between signs of life"),
];
const CHANGES: [Param; 9] = [
    query("filter", Kind::Text, "`_doc_ids`, `_design`, or a filter function"),
    query("doc_ids", Kind::Json, "With `filter=_doc_ids`: the documents"),
    INCLUDE_DOCS,
    CONFLICTS,
    ATTACHMENTS,
    ENCODING,
    query("style", Kind::OneOf(&["main_only", "all_docs"]), "Whether all leaves are shown"),
    query("seq_interval", Kind::Number, "Of so many rows one tells its place"),
    header("Last-Event-ID", "Where an event source goes on"),
];

pub(super) fn ops(route: Route) -> Vec<Op> {
    match route {
        Route::Server(server) => server_ops(server),
        Route::Part(part) => part_ops(part),
        Route::Named(named) => named_ops(named),
    }
}

fn server_ops(server: Server) -> Vec<Op> {
    match server {
        Server::Root => vec![Op::get("Who answers").gives::<shapes::Welcome>(200)],
        Server::Up => vec![Op::get("Whether this router lives").gives::<shapes::Up>(200)],
        Server::Ready => {
            let ready = Op::get("Whether this router reaches a primary of every shard");
            vec![ready.gives::<shapes::Ready>(200).refuses(&[503])]
        }
        Server::AllDbs => {
            let params = [LIMIT, SKIP, DESCENDING, INCLUSIVE_END, START_KEY, END_KEY, CONSISTENCY];
            vec![Op::get("Names of databases").with(&params).gives::<shapes::DatabaseNames>(200)]
        }
        Server::DbsInfo => {
            let named = Op::post("What there is to say of some databases").with(&[CONSISTENCY]);
            let params = [LIMIT, SKIP, DESCENDING, INCLUSIVE_END, START_KEY, END_KEY, CONSISTENCY];
            vec![
                Op::get("What there is to say of all databases").with(&params).gives::<shapes::DatabaseRows>(200),
                named.takes::<shapes::DatabaseKeys>().gives::<shapes::DatabaseRows>(200),
            ]
        }
        Server::DbUpdates => {
            let feed = Op::get("Which databases were made, changed or removed").with(&FEED);
            vec![feed.gives::<shapes::DatabaseUpdates>(200).gives_as(200, "text/event-stream")]
        }
        Server::Uuids => {
            let count = query("count", Kind::Number, "How many, 1000 at most");
            vec![Op::get("Fresh ids").with(&[count]).gives::<shapes::Uuids>(200)]
        }
        Server::Metrics => {
            let text = Op::get("What is measured").gives_as(200, "text/plain");
            vec![text.gives_as(200, "application/openmetrics-text")]
        }
        Server::Session => session(),
        Server::Membership => vec![Op::get("The nodes of the cluster").gives::<shapes::Membership>(200)],
        Server::ActiveTasks => vec![Op::get("What is under way").gives::<shapes::ActiveTasks>(200)],
        Server::OpenApi => {
            let document = Op::get("This document").with(&[IF_NONE_MATCH]);
            vec![document.gives_as(200, super::operation::JSON).gives_nothing(304)]
        }
        Server::Replicate => {
            let replicate = Op::post("Replicate between two databases, or cancel that").takes::<shapes::Replicate>();
            vec![replicate.gives::<shapes::Replicated>(200).gives::<shapes::Replicating>(202).refuses(&[409, 502])]
        }
        Server::SchedulerJobs => {
            vec![Op::get("Replications under way").with(&[LIMIT, SKIP]).gives::<shapes::Jobs>(200)]
        }
        Server::SchedulerDocs => {
            let states = query("states", Kind::Text, "Only these states, with commas between");
            let docs = Op::get("Replications that documents ask for").with(&[LIMIT, SKIP, states]);
            vec![docs.gives::<shapes::ReplicatorDocs>(200)]
        }
        Server::ReplicationState => {
            vec![Op::get("What every replica says of itself").gives::<replication::State>(200)]
        }
        Server::ReplicationPromote => {
            let promote = Op::post("Ask a replica to campaign").takes::<replication::Promote>();
            vec![promote.gives::<shapes::Promoted>(200).refuses(&[409])]
        }
        Server::ReplicationDrain => {
            let drain = Op::post("Have a node give away what it leads, or lead again");
            vec![drain.takes::<replication::Drain>().gives::<shapes::Drained>(200)]
        }
        Server::ReplicationWal => {
            let params = [
                query("shard", Kind::Number, "Whose").required(),
                query("from", Kind::Number, "The first entry"),
                query("follow", Kind::Flag, "Whether to go on with what comes"),
            ];
            vec![Op::get("Committed entries, one a line").with(&params).gives_as(200, "application/x-ndjson")]
        }
        Server::BackupCatalog => {
            vec![Op::get("The databases with their settings, and the shards").gives::<backup::Catalog>(200)]
        }
        Server::BackupExport => {
            let export = Op::post("A shard's part of a backup").takes::<backup::Export>();
            vec![export.gives_as(200, common::wire::BACKUP)]
        }
        Server::BackupLoad => {
            let db = query("db", Kind::Text, "Where to").required();
            let load = Op::post("Write a batch of a restore").with(&[db]).takes_as(BINARY, None);
            vec![load.gives::<shapes::Loaded>(200)]
        }
    }
}

fn session() -> Vec<Op> {
    let next = query("next", Kind::Text, "A path of this server to go on with");
    let basic = query("basic", Kind::Flag, "Refuses nobody in particular, so that browsers ask for a name");
    let fail = query("fail", Kind::Text, "A path of this server to go on with if this fails");
    let login = Shape::of::<shapes::Login>();
    vec![
        Op::get("Who is asking").with(&[basic]).gives::<shapes::Session>(200),
        Op::post("Log in")
            .with(&[next, fail])
            .takes::<shapes::Login>()
            .takes_as("application/x-www-form-urlencoded", Some(login))
            .gives::<shapes::LoggedIn>(200)
            .gives::<shapes::LoggedIn>(302)
            .gives::<shapes::ErrorAnswer>(302)
            .refuses(&[401]),
        Op::delete("Log out").with(&[next]).gives::<shapes::Done>(200).gives::<shapes::Done>(302),
    ]
}

fn part_ops(part: Part) -> Vec<Op> {
    match part {
        Part::AllDocs => listing("Documents, sorted by id", "Documents of these ids"),
        Part::DesignDocs => listing("Design documents", "Design documents of these ids"),
        Part::LocalDocs => listing("Local documents", "Local documents of these ids"),
        Part::AllDocsQueries | Part::DesignDocsQueries | Part::LocalDocsQueries => {
            let several = Op::post("Several listings at once").with(&[CONSISTENCY]).takes::<doc::Queries>();
            vec![several.gives::<doc::QueriesRows>(200)]
        }
        Part::BulkDocs => {
            let write = Op::post("Write documents").with(&[IDEMPOTENCY_KEY]).takes::<doc::BulkDocs>();
            // With `atomic`, rows say why nothing was written.
            vec![[201, 403, 409, 500].into_iter().fold(write, |write, status| write.gives::<doc::BulkRows>(status))]
        }
        Part::BulkGet => {
            let read = Op::post("Read documents").with(&READING).with(&[CONSISTENCY]).takes::<doc::BulkGet>();
            vec![read.gives::<doc::BulkGot>(200)]
        }
        Part::Changes => {
            let feed = Op::get("What has changed").with(&FEED).with(&CHANGES);
            let filtered = Op::post("What has changed").with(&FEED).with(&CHANGES).takes::<doc::ChangesFilter>();
            let gives = |op: Op| op.gives::<doc::Changes>(200).gives_as(200, "text/event-stream");
            vec![gives(feed), gives(filtered)]
        }
        Part::RevsDiff => {
            let ask = Op::post("Which revisions are not here, and what is").takes::<doc::RevisionsById>();
            vec![ask.gives::<doc::RevisionsDiff>(200)]
        }
        Part::MissingRevs => {
            let ask = Op::post("Which revisions are not here").takes::<doc::RevisionsById>();
            vec![ask.gives::<doc::MissingRevisions>(200)]
        }
        Part::Security => {
            let put = Op::put("Say who is let in").takes::<shapes::Security>().gives::<shapes::Done>(200);
            vec![Op::get("Who is let in").gives::<shapes::Security>(200), put]
        }
        Part::RevsLimit => limit("How long histories are kept", "Say how long histories are kept"),
        Part::PurgedInfosLimit => limit("How many purges are remembered", "Say how many purges are remembered"),
        Part::Purge => {
            let purge = Op::post("Forget revisions for good").with(&[IDEMPOTENCY_KEY]);
            vec![purge.takes::<doc::RevisionsById>().gives::<doc::Purged>(201)]
        }
        Part::Shards => vec![Op::get("Which nodes have the database").gives::<shapes::Shards>(200)],
        Part::SyncShards => vec![Op::post("Have replicas agree, as they do").gives::<shapes::Done>(202)],
        Part::EnsureFullCommit => {
            vec![Op::post("Have writes durable, as they are").gives::<shapes::FullCommit>(201)]
        }
        Part::Compact => vec![Op::post("Drop bodies of old revisions").gives::<shapes::Done>(202)],
        Part::ViewCleanup => vec![Op::post("Drop what no view needs").gives::<shapes::Done>(202)],
        Part::Find => {
            let find = Op::post("Documents that a selector matches").with(&[CONSISTENCY]);
            vec![find.takes::<doc::Find>().gives::<doc::Found>(200)]
        }
        Part::Explain => {
            vec![Op::post("How a query would be done").takes::<doc::Find>().gives::<doc::Explained>(200)]
        }
        Part::Index => {
            let list = Op::get("The indexes").with(&[LIMIT, SKIP]).gives::<doc::Indexes>(200);
            let create = Op::post("Make an index").takes::<doc::IndexCreate>();
            vec![list, create.gives::<doc::IndexCreated>(200)]
        }
        Part::IndexBulkDelete => {
            let delete = Op::post("Delete the indexes of design documents").takes::<doc::IndexBulkDelete>();
            vec![delete.gives::<doc::IndexesDeleted>(200)]
        }
    }
}

fn listing(by_range: &'static str, by_ids: &'static str) -> Vec<Op> {
    let with = |op: Op| op.with(&LISTING).with(&[CONSISTENCY, IF_NONE_MATCH]);
    let gives = |op: Op| op.gives::<doc::Rows>(200).gives_nothing(304);
    vec![gives(with(Op::get(by_range))), gives(with(Op::post(by_ids)).takes::<doc::Listing>())]
}

fn limit(get: &'static str, put: &'static str) -> Vec<Op> {
    let put = Op::put(put).takes::<shapes::Limit>().gives::<shapes::Done>(200);
    vec![Op::get(get).gives::<shapes::Limit>(200), put]
}

fn named_ops(named: Named) -> Vec<Op> {
    match named {
        Named::Dashboard => {
            let file = Op::get("The dashboard").with(&[IF_NONE_MATCH]).gives_as(200, "text/html");
            let file = file.gives_as(200, "text/css").gives_as(200, "text/javascript").gives_as(200, "image/svg+xml");
            vec![file.gives_as(301, "text/html").gives_nothing(304).refuses(&[404])]
        }
        Named::Db => database(),
        Named::Doc => document(),
        Named::Local => local(),
        Named::Attachment => attachment(),
        Named::Index => vec![Op::delete("Delete an index").gives::<shapes::Done>(200)],
        Named::ShardOf => vec![Op::get("Which nodes have a document").gives::<shapes::ShardOf>(200)],
        Named::Partition => {
            vec![Op::get("What there is to say of a partition").with(&[CONSISTENCY]).gives::<shapes::Partition>(200)]
        }
        Named::PartitionAllDocs => listing("Documents of a partition, sorted by id", "Documents of these ids"),
        Named::PartitionChanges => part_ops(Part::Changes),
        Named::PartitionIndex => part_ops(Part::Index),
        Named::PartitionFind => part_ops(Part::Find),
        Named::PartitionExplain => part_ops(Part::Explain),
        Named::ScheduledJob => vec![Op::get("A replication under way").gives::<JobRow>(200).refuses(&[404])],
        Named::ScheduledDoc => vec![Op::get("A document's replication").gives::<DocRow>(200).refuses(&[404])],
        Named::PartitionView => view("A view's rows of a partition", "The same, with options in the body"),
        Named::View => view("A view", "A view, with options in the body"),
        Named::ViewQueries => {
            let several =
                Op::post("Several queries of a view at once").with(&[CONSISTENCY]).takes::<views::ViewQueries>();
            vec![several.gives::<views::ViewsRows>(200)]
        }
        Named::DesignInfo => {
            vec![Op::get("What there is to say of a design document's views").gives::<views::DesignInfo>(200)]
        }
    }
}

fn view(get: &'static str, post: &'static str) -> Vec<Op> {
    let with = |op: Op| op.with(&VIEWING).with(&[CONSISTENCY]);
    let gives = |op: Op| op.gives::<views::ViewRows>(200);
    vec![gives(with(Op::get(get))), gives(with(Op::post(post)).takes::<views::ViewOptions>())]
}

fn database() -> Vec<Op> {
    let partitioned = query("partitioned", Kind::Flag, "Whether documents are placed by partition");
    let post = Op::post("Write a document; without an id it gets one").with(&[BATCH, IDEMPOTENCY_KEY]);
    vec![
        Op::get("What there is to say of a database").with(&[CONSISTENCY]).gives::<shapes::Database>(200),
        Op::put("Make a database").with(&[partitioned]).gives::<shapes::Done>(201).refuses(&[412]),
        Op::delete("Remove a database").gives::<shapes::Done>(200),
        post.takes::<doc::Document>().gives::<doc::Written>(201).gives::<doc::Written>(202).refuses(&[409]),
    ]
}

fn document() -> Vec<Op> {
    let get = Op::get("A document").with(&READING).with(&[
        REV,
        query("open_revs", Kind::Text, "`all`, or revisions as a JSON array: these leaves instead"),
        query("deleted", Kind::Flag, "Whether a deleted winner is shown"),
        query("atts_since", Kind::Text, "Revisions as a JSON array: the bytes of attachments that came later"),
        CONSISTENCY,
        query("r", Kind::Number, "A read quorum; above one asks for a linearizable answer"),
        IF_NONE_MATCH,
    ]);
    let new_edits = query("new_edits", Kind::Flag, "`false` takes the revision as it was made elsewhere");
    let put = Op::put("Write a document").with(&[REV, IF_MATCH, BATCH, new_edits, IDEMPOTENCY_KEY]);
    let delete = Op::delete("Delete a document").with(&[REV, IF_MATCH, BATCH, IDEMPOTENCY_KEY]);
    let put = put.takes::<doc::Document>().takes_as("multipart/related", None);
    vec![
        get.gives::<doc::Document>(200)
            .gives::<doc::OpenRevisions>(200)
            .gives_as(200, "multipart/mixed")
            .gives_as(200, "multipart/related")
            .gives_nothing(304),
        written(put.gives::<doc::Written>(200).gives::<doc::Written>(201)).refuses(&[412, 413]),
        written(delete.gives::<doc::Written>(200)),
        copy(),
        Op::unserved("POST", "Write a document as a form"),
    ]
}

fn attachment() -> Vec<Op> {
    let get = Op::get("An attachment's bytes").with(&[
        REV,
        CONSISTENCY,
        IF_NONE_MATCH,
        header("Range", "One range of bytes"),
        header("Accept-Encoding", "`gzip`, if bytes that were sent so are taken so"),
    ]);
    let put = Op::put("Write an attachment").with(&[
        REV,
        IF_MATCH,
        IDEMPOTENCY_KEY,
        header("Content-Type", "Its media type"),
        header("Content-Encoding", "`gzip`, if it is packed"),
        header("Content-MD5", "Its digest, to be compared"),
    ]);
    let delete = Op::delete("Delete an attachment").with(&[REV, IF_MATCH, IDEMPOTENCY_KEY]);
    vec![
        get.gives_as(200, BINARY).gives_as(206, BINARY).gives_nothing(304).refuses(&[416]),
        put.takes_as(BINARY, None).gives::<doc::Written>(201).refuses(&[409, 413]),
        delete.gives::<doc::Written>(200).refuses(&[409]),
    ]
}

fn copy() -> Op {
    let destination = header("Destination", "Its id, perhaps with `?rev=`").required();
    let copy = Op::copy("Copy a document").with(&[destination, REV, IF_MATCH, BATCH, IDEMPOTENCY_KEY]);
    written(copy.gives::<doc::Written>(201))
}

/// What every write of a document may answer besides: taken and not waited for, or refused as a conflict.
fn written(op: Op) -> Op {
    op.gives::<doc::Written>(202).refuses(&[409])
}

fn local() -> Vec<Op> {
    let put = Op::put("Write a local document").with(&[REV, IF_MATCH, BATCH, IDEMPOTENCY_KEY]);
    let delete = Op::delete("Delete a local document").with(&[REV, IF_MATCH, BATCH, IDEMPOTENCY_KEY]);
    vec![
        Op::get("A local document").with(&[CONSISTENCY]).gives::<doc::Document>(200),
        written(put.takes::<doc::Document>().gives::<doc::Written>(200).gives::<doc::Written>(201)),
        written(delete.gives::<doc::Written>(200)),
        copy(),
        Op::unserved("POST", "Write a local document as a form"),
    ]
}
