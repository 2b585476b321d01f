//! A whole cluster in the test's own process: the catalog and feeds on real shards.

use std::time::Duration;

use bytes::Bytes;
use common::command::{Command, Edit, EditKind, Op, Outcome};
use common::config::{EngineKind, Storage};
use common::document::{self, ParseLimits};
use common::ids::{DbName, DocId, RequestId};
use common::query::{Answer, Consistency, Query, Revs};
use uuid::Uuid;

use super::*;
use crate::cluster::Cluster;
use crate::cluster::catalog::{Catalog, CatalogError, DbEntry};
use crate::feed::{self, Since, Token};

struct Fixture {
    embedded: Embedded,
    cluster: Cluster,
    catalog: Catalog,
    _data: tempfile::TempDir,
}

async fn fixture(shards: u32, replicas: u32) -> Fixture {
    let data = tempfile::tempdir().expect("a folder");
    let storage = Storage { engine: EngineKind::Memory, segment_bytes: 1 << 20, ..Storage::default() };
    let config = Config { storage, ..Config::default() };
    let fatal: Fatal = Arc::new(|reason| panic!("a replica stopped: {reason}"));
    let layout = Layout::of(data.path(), Some(shards), Some(replicas)).expect("a new folder");
    let embedded = Embedded::start(&config, layout, data.path(), fatal).await.expect("starts");
    let (cluster, catalog) = router(&embedded);
    Fixture { embedded, cluster, catalog, _data: data }
}

/// One more router of the same cluster.
fn router(embedded: &Embedded) -> (Cluster, Catalog) {
    let cluster = Cluster::start(&embedded.config, embedded.transports(), &embedded.config.shard);
    let catalog = Catalog::start(cluster.clone(), Arc::new(|| 1_700_000_000_000));
    (cluster, catalog)
}

fn name(text: &str) -> DbName {
    DbName::parse(text).expect("valid")
}

async fn put(cluster: &Cluster, db: &DbEntry, id: &str, n: u64) -> Outcome {
    let text = Bytes::from(format!("{{\"n\":{n}}}"));
    let body = document::parse(text, ParseLimits { depth_max: 8 }).expect("JSON").body;
    let (shard, doc) = cluster.locate(db.uid, db.partitioned, &DocId::parse(id).expect("valid"));
    let edit = Edit { doc, parent: None, kind: EditKind::Update, body, revs_limit: db.revs_limit };
    let command = Command { request: RequestId(Uuid::new_v4()), retry: false, op: Op::Edit(edit) };
    cluster.write(shard, command).await.expect("answered")
}

impl Fixture {
    async fn end(self) {
        self.cluster.stop().await;
        self.embedded.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_are_made_once_and_removed_for_all_routers() {
    let fixture = fixture(2, 3).await;
    let (cluster, second) = router(&fixture.embedded);
    let first = &fixture.catalog;
    assert_eq!(first.db(&name("a")).await.err(), Some(CatalogError::NotFound));
    let made = first.create(&name("a"), false).await.expect("made");
    assert_eq!(second.create(&name("a"), false).await.err(), Some(CatalogError::Exists));
    assert_eq!(second.db(&name("a")).await.expect("there").uid, made.uid);
    assert_eq!(first.create(&name("_replicator"), false).await.err(), Some(CatalogError::Exists), "it is always there");
    first.create(&name("_global_changes"), false).await.expect("made");
    assert_eq!(
        second.all(Consistency::Linearizable).await,
        Ok((["_global_changes", "_replicator", "_users", "a"].map(name).to_vec(), 0))
    );
    assert_eq!(first.cluster_uuid().await, second.cluster_uuid().await);

    assert!(matches!(put(&fixture.cluster, &made, "x", 1).await, Outcome::Written { .. }));
    second.delete(&name("a")).await.expect("removed");
    assert_eq!(second.delete(&name("a")).await, Err(CatalogError::NotFound));
    assert_eq!(put(&fixture.cluster, &made, "y", 1).await, Outcome::Dropped, "a stale entry does no harm");
    let again = second.create(&name("a"), true).await.expect("made again");
    assert_ne!(again.uid, made.uid);
    let seen = async {
        while first.db(&name("a")).await.expect("there").uid != again.uid {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), seen).await.expect("the catalog's feed drops stale entries");
    cluster.stop().await;
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_routers_that_make_one_database_at_once_make_one() {
    let fixture = fixture(1, 3).await;
    let (cluster, second) = router(&fixture.embedded);
    for n in 0..20 {
        let name = name(&format!("db{n}"));
        let (a, b) = tokio::join!(fixture.catalog.create(&name, false), second.create(&name, false));
        let made = usize::from(a.is_ok()) + usize::from(b.is_ok());
        assert_eq!(made, 1, "{a:?} {b:?}");
    }
    cluster.stop().await;
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_a_database_are_kept_and_seen() {
    let fixture = fixture(1, 1).await;
    let catalog = &fixture.catalog;
    catalog.create(&name("a"), false).await.expect("made");
    catalog.set_revs_limit(&name("a"), 7).await.expect("set");
    let security = serde_json::value::RawValue::from_string(r#"{"admins":{}}"#.to_owned()).expect("JSON");
    catalog.set_security(&name("a"), security).await.expect("set");
    let entry = catalog.db(&name("a")).await.expect("there");
    assert_eq!(entry.revs_limit, 7);
    assert_eq!(entry.security.as_ref().map(|raw| raw.get()), Some(r#"{"admins":{}}"#));
    assert_eq!(catalog.set_revs_limit(&name("b"), 7).await, Err(CatalogError::NotFound));
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_over_all_shards_shows_each_document_once_from_any_token() {
    let fixture = fixture(3, 1).await;
    let db = fixture.catalog.create(&name("a"), false).await.expect("made");
    for n in 0..60 {
        assert!(matches!(put(&fixture.cluster, &db, &format!("d{n}"), n).await, Outcome::Written { .. }));
    }
    let options = feed::Options { limit: Some(7), count_pending: true, ..feed::Options::default() };
    let mut since = Since::Zero;
    let mut seen = Vec::new();
    loop {
        let page = feed::page(&fixture.cluster, db.uid, &since, &options).await.expect("answered");
        seen.extend(page.rows.iter().map(|(_, row)| row.id.to_string()));
        assert_eq!(page.pending, 60 - seen.len() as u64);
        since = Since::Token(Token::parse(&page.last.to_string()).expect("our own"));
        if !page.more {
            break;
        }
    }
    let mut wanted: Vec<String> = (0..60).map(|n| format!("d{n}")).collect();
    seen.sort();
    wanted.sort();
    assert_eq!(seen, wanted);

    let newest = feed::Options { limit: Some(1), descending: true, ..feed::Options::default() };
    let page = feed::page(&fixture.cluster, db.uid, &Since::Zero, &newest).await.expect("answered");
    let rest = feed::page(&fixture.cluster, db.uid, &Since::Token(page.last), &options).await.expect("answered");
    assert!(rest.rows.is_empty(), "nothing is newer than the newest");
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_for_changes_ends_with_the_first_one() {
    let fixture = fixture(3, 1).await;
    let db = fixture.catalog.create(&name("a"), false).await.expect("made");
    let options = feed::Options::default();
    let timeout = Duration::from_secs(20);
    let waiting = feed::wait(&fixture.cluster, db.uid, &Since::Now, &options, timeout);
    let writing = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        put(&fixture.cluster, &db, "x", 1).await
    };
    let (page, outcome) = tokio::join!(waiting, writing);
    assert!(matches!(outcome, Outcome::Written { .. }));
    let page = page.expect("answered");
    assert_eq!(page.rows.iter().map(|(_, row)| row.id.as_str()).collect::<Vec<_>>(), ["x"]);
    let since = Since::Token(page.last);
    let nothing = feed::wait(&fixture.cluster, db.uid, &since, &options, Duration::from_millis(100)).await;
    assert!(nothing.expect("answered").rows.is_empty());
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_see_what_was_just_written() {
    let fixture = fixture(3, 3).await;
    let db = fixture.catalog.create(&name("a"), false).await.expect("made");
    for n in 0..30 {
        let id = DocId::parse(&format!("d{n}")).expect("valid");
        assert!(matches!(put(&fixture.cluster, &db, id.as_str(), n).await, Outcome::Written { .. }));
        let (shard, _) = fixture.cluster.locate(db.uid, false, &id);
        let query = Query::Doc { db: db.uid, id, revs: Revs::Winner, tree: false };
        let (answer, lag) = fixture.cluster.read(shard, Consistency::Linearizable, query).await.expect("answered");
        assert!(matches!(answer, Answer::Doc(Some(_))), "{answer:?}");
        assert_eq!(lag, 0);
    }
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_of_sessions_is_made_once_for_all_routers_and_outlives_primaries_and_restarts() {
    let data = tempfile::tempdir().expect("a folder");
    let config = Config { storage: Storage { segment_bytes: 1 << 20, ..Storage::default() }, ..Config::default() };
    let layout = Layout::of(data.path(), Some(1), Some(3)).expect("a new folder");
    let fatal = || -> Fatal { Arc::new(|reason| panic!("a replica stopped: {reason}")) };
    let key = async |catalog: &Catalog| loop {
        // No primary for a moment is no answer.
        match catalog.session_key().await {
            Ok(key) => return key.as_bytes().to_vec(),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let embedded = Embedded::start(&config, layout, data.path(), fatal()).await.expect("starts");
    let ((one, first), (two, second)) = (router(&embedded), router(&embedded));
    let (made, same) = tokio::join!(key(&first), key(&second));
    assert_eq!(made, same);
    assert_eq!(made.len(), 64, "256 bits in hexadecimal");
    one.promote(common::ids::ShardId(0), None).await.expect("another replica campaigns");
    let (three, third) = router(&embedded);
    assert_eq!(key(&third).await, made);
    for cluster in [one, two, three] {
        cluster.stop().await;
    }
    embedded.shutdown().await;
    // Whoever holds a node keeps its folder locked.
    drop((embedded, first, second, third));
    let embedded = Embedded::start(&config, layout, data.path(), fatal()).await.expect("starts again");
    let (cluster, catalog) = router(&embedded);
    assert_eq!(key(&catalog).await, made);
    cluster.stop().await;
    embedded.shutdown().await;
}

#[test]
fn a_folder_keeps_its_layout() {
    let data = tempfile::tempdir().expect("a folder");
    let made = Layout::of(data.path(), Some(2), None).expect("new");
    assert_eq!(made, Layout { shards: 2, replicas: 3 });
    assert_eq!(Layout::of(data.path(), None, None).expect("kept"), made);
    let refused = Layout::of(data.path(), Some(3), None).expect_err("another layout").to_string();
    assert!(refused.contains("--shards 2 --replicas 3"), "{refused}");
}
