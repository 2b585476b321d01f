//! Whether two databases hold the same: every document's whole tree, bodies and attachments.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Acknowledged, Stubborn};
use crate::Result;

/// All leaves of all documents, by id and revision.
pub type Documents = BTreeMap<String, BTreeMap<String, Value>>;

/// Reads a whole database.
pub async fn documents(at: &Stubborn) -> Result<Documents> {
    let changes = at.get("/_changes?style=all_docs").await?;
    let rows = changes["results"].as_array().ok_or("no rows")?;
    let mut documents = Documents::new();
    for chunk in rows.chunks(20) {
        let wanted: Vec<Value> = chunk
            .iter()
            .flat_map(|row| {
                let leaves = row["changes"].as_array().cloned().unwrap_or_default();
                leaves.into_iter().map(|leaf| json!({ "id": row["id"], "rev": leaf["rev"] }))
            })
            .collect();
        let got = at.post("/_bulk_get?revs=true&attachments=true", &json!({ "docs": wanted })).await?;
        for doc in got["results"].as_array().into_iter().flatten().flat_map(|group| group["docs"].as_array()).flatten()
        {
            let doc = doc.get("ok").ok_or_else(|| format!("a leaf cannot be read: {doc}"))?;
            let text = |name: &str| doc[name].as_str().unwrap_or_default().to_owned();
            documents.entry(text("_id")).or_default().insert(text("_rev"), doc.clone());
        }
    }
    Ok(documents)
}

/// Leaves with what whoever wrote an attachment says of it: a client that never asked does not know what a server adds.
fn plain(leaves: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let mut leaves = leaves.clone();
    let attachments = leaves.values_mut().filter_map(|leaf| leaf.get_mut("_attachments")?.as_object_mut());
    for attachment in attachments.flat_map(|all| all.values_mut()) {
        *attachment = json!([attachment["content_type"], attachment["data"]]);
    }
    leaves
}

/// What two databases do not have in common, in words.
pub fn differences(one: (&str, &Documents), other: (&str, &Documents)) -> Vec<String> {
    let mut found = Vec::new();
    let ((one_name, one), (other_name, other)) = (one, other);
    let ids: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    for id in ids {
        match (one.get(id), other.get(id)) {
            (Some(here), Some(there)) if plain(here) == plain(there) => {}
            (Some(here), Some(there)) => {
                let revs = |leaves: &BTreeMap<String, Value>| leaves.keys().cloned().collect::<Vec<_>>().join(" ");
                let what = if here.keys().eq(there.keys()) { "contents or ancestors" } else { "leaves" };
                found.push(format!("{id}: other {what}: {one_name} {}, {other_name} {}", revs(here), revs(there)));
            }
            (Some(_), None) => found.push(format!("{id}: not in {other_name}")),
            (None, _) => found.push(format!("{id}: not in {one_name}")),
        }
    }
    found
}

/// Which acknowledged revisions a database does not know.
pub async fn lost(at: &Stubborn, acknowledged: &Acknowledged) -> Result<Vec<String>> {
    let mut lost = Vec::new();
    for chunk in acknowledged.chunks(500) {
        let mut asked: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (id, rev) in chunk {
            asked.entry(id).or_default().push(rev);
        }
        let diff = at.post("/_revs_diff", &json!(asked)).await?;
        for (id, missing) in diff.as_object().into_iter().flatten() {
            let revs = missing["missing"].as_array().into_iter().flatten();
            lost.extend(revs.map(|rev| format!("{} has lost {id} {rev}", at.db)));
        }
    }
    Ok(lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_told() {
        let leaf = |rev: &str, n: u32| (rev.to_owned(), json!({ "n": n }));
        let doc = |id: &str, leaves: &[(String, Value)]| (id.to_owned(), leaves.iter().cloned().collect());
        let one: Documents =
            [doc("a", &[leaf("1-a", 1)]), doc("b", &[leaf("1-b", 1)]), doc("c", &[leaf("1-c", 1)])].into();
        let other: Documents = [doc("a", &[leaf("1-a", 1)]), doc("b", &[leaf("1-b", 2)]), doc("d", &[])].into();
        assert_eq!(differences(("x", &one), ("y", &one)), [""; 0]);
        let attached = |attachment: Value| -> Documents {
            let leaf = json!({ "_attachments": { "f": attachment } });
            [doc("a", &[("1-a".to_owned(), leaf)])].into()
        };
        let sent = attached(json!({ "content_type": "t", "data": "eA==" }));
        let shown = attached(json!({ "content_type": "t", "data": "eA==", "revpos": 1, "digest": "md5-x" }));
        let changed = attached(json!({ "content_type": "t", "data": "eQ==" }));
        assert_eq!(differences(("x", &sent), ("y", &shown)), [""; 0], "what a server adds is passed over");
        assert_eq!(differences(("x", &sent), ("y", &changed)).len(), 1, "its bytes are not");
        let found = differences(("x", &one), ("y", &other));
        assert_eq!(found, ["b: other contents or ancestors: x 1-b, y 1-b", "c: not in y", "d: not in x"]);
    }
}
