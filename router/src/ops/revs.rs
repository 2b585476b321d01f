//! Which revisions are missing here: the question a replicator asks before it sends any.

use common::ids::{DbName, DocId};
use common::query::{Consistency, Revs};
use common::rev::Rev;
use common::rev_tree::RevTree;

use super::get::Wanted;
use super::{Error, Ops};

/// What is missing of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The document.
    pub id: DocId,
    /// The revisions asked for that are not known here.
    pub missing: Vec<Rev>,
    /// Leaves known here that are older than the newest missing one.
    pub possible_ancestors: Vec<Rev>,
}

impl Ops {
    /// Compares revisions with what is known here; documents of which nothing is missing are left out.
    pub async fn revs_diff(&self, name: &DbName, asked: Vec<(DocId, Vec<Rev>)>) -> Result<Vec<Missing>, Error> {
        let db = self.db(name).await?;
        // Whoever is told that a design document is not missing goes on as if it had been acknowledged.
        let unsettled = self.unsettled(name, asked.iter().map(|(id, _)| id));
        // A list of no revisions reads the tree and no body.
        let wanted = Wanted { revs: Revs::List { revs: Vec::new(), latest: false }, tree: true };
        let reads = asked.iter().map(|(id, _)| (id.clone(), wanted.clone())).collect();
        let (answers, _) = self.get_many(&db, reads, Consistency::Linearizable).await?;
        let compared = asked.into_iter().zip(answers).filter_map(|((id, revs), answer)| {
            let tree = answer.and_then(|doc| doc.tree).unwrap_or_default();
            compare(id, revs, &tree)
        });
        let compared = compared.collect();
        unsettled.settle().await?;
        Ok(compared)
    }
}

fn compare(id: DocId, revs: Vec<Rev>, tree: &RevTree) -> Option<Missing> {
    let missing: Vec<Rev> = revs.into_iter().filter(|rev| tree.get(rev).is_none()).collect();
    let newest = missing.iter().map(|rev| rev.generation).max()?;
    let older = tree.leaves().into_iter().filter(|leaf| leaf.rev.generation < newest);
    let possible_ancestors = older.map(|leaf| leaf.rev.clone()).collect();
    Some(Missing { id, missing, possible_ancestors })
}

#[cfg(test)]
mod tests {
    use common::ids::RequestId;

    use super::*;

    #[test]
    fn what_is_not_in_the_tree_is_missing_and_older_leaves_may_lead_to_it() {
        let rev = |text| Rev::parse(text).expect("valid");
        let id = DocId::parse("c").expect("valid");
        let mut tree = RevTree::default();
        tree.graft(&[rev("2-ccc"), rev("1-aaa")], false, RequestId(uuid::Uuid::nil()));
        tree.graft(&[rev("3-ddd"), rev("2-bbb"), rev("1-aaa")], false, RequestId(uuid::Uuid::nil()));
        let known = vec![rev("1-aaa"), rev("3-ddd")];
        assert_eq!(compare(id.clone(), known, &tree), None);
        let found = compare(id.clone(), vec![rev("4-eee"), rev("2-ccc")], &tree).expect("one is missing");
        assert_eq!(found.missing, [rev("4-eee")]);
        assert_eq!(found.possible_ancestors, [rev("3-ddd"), rev("2-ccc")]);
        let found = compare(id, vec![rev("1-x")], &RevTree::default()).expect("one is missing");
        assert!(found.possible_ancestors.is_empty());
    }
}
