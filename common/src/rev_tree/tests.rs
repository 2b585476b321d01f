//! What the accessors say about one small tree.

use super::*;

fn rev(text: &str) -> Rev {
    Rev::parse(text).expect("a revision")
}

fn revs(texts: &[&str]) -> Vec<Rev> {
    texts.iter().map(|text| rev(text)).collect()
}

fn request(n: u128) -> RequestId {
    RequestId(uuid::Uuid::from_u128(n))
}

/// ```text
/// 1-a ── 2-b ── 3-c
///   │      └─── 3-d!
///   └─── 2-x
/// ```
fn forked() -> RevTree {
    let mut tree = RevTree::default();
    tree.extend(None, rev("1-a"), false, request(1));
    tree.extend(Some(&rev("1-a")), rev("2-b"), false, request(2));
    tree.extend(Some(&rev("2-b")), rev("3-d"), true, request(3));
    assert!(tree.graft(&revs(&["2-x", "1-a"]), false, request(4)));
    tree.extend(Some(&rev("2-b")), rev("3-c"), false, request(5));
    tree
}

fn shown(nodes: &[&Node]) -> Vec<String> {
    nodes.iter().map(|node| node.rev.to_string()).collect()
}

#[test]
fn leaves_stand_winner_first_live_before_deleted() {
    let tree = forked();
    assert_eq!(tree.winner().map(|node| &node.rev), Some(&rev("3-c")), "3-d is higher, but deleted");
    assert_eq!(shown(&tree.leaves()), ["3-c", "2-x", "3-d"]);
    assert_eq!(tree.conflicts(), [rev("2-x")]);
    assert_eq!(tree.deleted_conflicts(), [rev("3-d")]);
    assert!(!tree.is_deleted());
}

#[test]
fn leaves_from_a_revision_are_those_below_it() {
    let tree = forked();
    assert_eq!(shown(&tree.leaves_from(&rev("2-b"))), ["3-c", "3-d"]);
    assert_eq!(shown(&tree.leaves_from(&rev("2-x"))), ["2-x"]);
    assert_eq!(shown(&tree.leaves_from(&rev("1-a"))), ["3-c", "2-x", "3-d"]);
    assert!(tree.leaves_from(&rev("2-nobody")).is_empty());
}

#[test]
fn a_revision_knows_its_ancestors_and_its_writer() {
    let tree = forked();
    assert_eq!(tree.path(&rev("3-d")), revs(&["3-d", "2-b", "1-a"]));
    assert_eq!(tree.parent(&rev("2-x")).map(|node| &node.rev), Some(&rev("1-a")));
    assert_eq!(tree.parent(&rev("1-a")), None);
    assert!(tree.path(&rev("9-z")).is_empty());
    assert_eq!(tree.written_by(request(2)), Some(&rev("2-b")));
    assert_eq!(tree.written_by(request(9)), None);
    assert!(tree.is_leaf(&rev("2-x")) && !tree.is_leaf(&rev("2-b")) && !tree.is_leaf(&rev("9-z")));
}

#[test]
fn a_document_is_deleted_when_all_its_leaves_are() {
    let mut tree = RevTree::default();
    assert!(tree.is_empty() && !tree.is_deleted() && tree.winner().is_none() && tree.leaves().is_empty());
    tree.extend(None, rev("1-a"), true, request(1));
    tree.graft(&revs(&["1-b"]), true, request(2));
    assert!(tree.is_deleted());
    assert_eq!(tree.winner().map(|node| &node.rev), Some(&rev("1-b")));
    tree.set_stored(&rev("1-b"), false);
    assert!(tree.get(&rev("1-b")).is_some_and(|node| !node.stored));
}

#[test]
fn a_graft_says_whether_it_brought_anything() {
    let mut tree = forked();
    let before = tree.clone();
    assert!(!tree.graft(&revs(&["3-c", "2-b", "1-a"]), false, request(6)));
    assert!(!tree.graft(&revs(&["2-b"]), true, request(6)), "what is stored stays as it is");
    assert!(!tree.graft(&[], false, request(6)));
    assert_eq!(tree, before);
    assert!(tree.graft(&revs(&["4-e", "3-c"]), false, request(6)));
    assert_eq!(tree.path(&rev("4-e")).len(), 4);
}

#[test]
fn a_contradicted_extension_is_left_out() {
    let mut tree = forked();
    let before = tree.clone();
    tree.extend(Some(&rev("3-c")), rev("3-z"), false, request(6));
    tree.extend(Some(&rev("3-c")), rev("2-x"), false, request(6));
    assert_eq!(tree, before);
}

/// A document that was updated so many times in a row, the n-th time by the n-th request.
fn long(updates: u64) -> RevTree {
    let mut tree = RevTree::default();
    let revs = (1..=updates).map(|generation| Rev {
        generation,
        hash: crate::rev::RevHash::Digest((u128::from(generation) << 64 | u128::from(!generation)).to_be_bytes()),
    });
    let mut parent: Option<Rev> = None;
    for rev in revs {
        tree.extend(parent.as_ref(), rev.clone(), false, request(u128::from(rev.generation)));
        tree.stem(1000);
        parent = Some(rev);
    }
    tree
}

#[test]
fn the_latest_requests_are_remembered_and_no_others() {
    let tree = long(REQUESTS_MAX as u64 + 10);
    let winner = tree.winner().expect("not empty").rev.clone();
    assert_eq!(tree.written_by(request(REQUESTS_MAX as u128 + 10)), Some(&winner));
    assert_eq!(tree.written_by(request(11)).map(|rev| rev.generation), Some(11));
    assert_eq!(tree.written_by(request(10)), None);
    assert!(tree.may_have_forgotten() && !long(REQUESTS_MAX as u64 - 1).may_have_forgotten());
}

#[test]
fn a_request_outlives_the_revision_it_wrote_and_a_losing_branch_is_remembered() {
    let mut tree = long(20);
    tree.graft(&revs(&["1-lost"]), false, request(100));
    let leaf = tree.winner().expect("not empty").rev.clone();
    tree.extend(Some(&leaf), rev("21-a"), false, request(101));
    assert_eq!(tree.stem(1).len(), 20);
    assert_eq!(tree.nodes().len(), 2);
    assert_eq!(tree.written_by(request(100)), Some(&rev("1-lost")));
    assert_eq!(tree.written_by(request(20)), Some(&leaf), "stemmed away");
    let bytes = postcard::to_stdvec(&tree).expect("a value");
    assert_eq!(postcard::from_bytes::<RevTree>(&bytes), Ok(tree), "and stored so");
}

#[test]
fn a_long_history_costs_no_more_than_its_names() {
    let bytes = |updates| postcard::to_stdvec(&long(updates)).expect("a value").len();
    let per_revision = (bytes(1000) - bytes(500)) / 500;
    assert!(per_revision <= 25, "{per_revision} bytes for each revision behind the latest");
    let requests = bytes(REQUESTS_MAX as u64) - REQUESTS_MAX * per_revision;
    assert!(requests <= REQUESTS_MAX * 20 + 8, "{requests} bytes for the requests");
    assert!(bytes(5000) < 27_000, "{} bytes with 1,000 revisions", bytes(5000));
    assert!(bytes(1) < 64, "{} bytes with one", bytes(1));
}

#[test]
fn bytes_that_are_no_tree_are_refused() {
    let node = |text: &str, parent| Node { rev: rev(text), parent, deleted: false, stored: true };
    for nodes in [
        vec![node("2-b", None), node("1-a", None)],
        vec![node("1-a", None), node("1-a", None)],
        vec![node("1-a", Some(1)), node("2-b", None)],
        vec![node("1-a", None), node("1-b", Some(0))],
        vec![node("1-a", None), node("2-b", Some(7))],
    ] {
        let bytes = postcard::to_stdvec(&(&nodes, [0u8; 0].as_slice())).expect("a value");
        assert!(postcard::from_bytes::<RevTree>(&bytes).is_err(), "{nodes:?}");
    }
}
