//! Design documents as they are used: read from their shard, and checked before they are written.

use std::sync::Arc;

use common::ids::{DbName, DocId};
use common::query::{Answer, Consistency, Query, Revs};
use common::view::design::{Invalid, Reduce, View};
use common::view::{Design, Group};

use super::{Error, Ops, sandbox, uncompiled};
use crate::cluster::catalog::DbEntry;
use crate::js::{self, Program, Sandbox};

/// A design document, read.
#[derive(Debug, Clone)]
pub struct Designed {
    /// Its database.
    pub db: Arc<DbEntry>,
    /// Its views.
    pub design: Design,
    /// Its body's text.
    pub json: bytes::Bytes,
}

impl Designed {
    /// What its index depends on.
    pub fn group(&self) -> Group {
        self.design.group_in(self.db.partitioned)
    }

    /// Whether its views are asked by partition.
    pub fn is_partitioned(&self) -> bool {
        self.design.is_partitioned(self.db.partitioned)
    }

    /// The view of that name.
    pub fn view(&self, name: &str) -> Result<&View, Error> {
        self.design.view(name).ok_or(Error::NoView)
    }
}

impl Ops {
    /// The design document of that id.
    pub async fn design(&self, name: &DbName, id: &DocId, consistency: Consistency) -> Result<Designed, Error> {
        let make = |db: &DbEntry| Query::Doc { db: db.uid, id: id.clone(), revs: Revs::Winner, tree: false };
        let (answer, _) = self.read_one(name, id, consistency, make).await?;
        let Answer::Doc(Some(doc)) = answer else { return Err(Error::Missing) };
        if doc.deleted {
            return Err(Error::Deleted);
        }
        let winner = doc.found.into_iter().next().ok_or(Error::Missing)?;
        let design = Design::parse(&winner.json).map_err(|Invalid(reason)| Error::Design(reason))?;
        Ok(Designed { db: self.db_for(name, consistency).await?, design, json: winner.json })
    }
}

/// Whether a design document may be written: its shape, and that its functions are functions.
pub async fn check(json: &[u8]) -> Result<(), Error> {
    let design = Design::parse(json).map_err(|Invalid(reason)| Error::Design(reason))?;
    if &*design.language != Design::JAVASCRIPT {
        return match Design::validation(json) {
            // It would hold everybody off.
            Some(_) => Err(Error::Unserved("Validation functions in other languages than JavaScript are not served.")),
            None => Ok(()),
        };
    }
    let compile = async |functions: Vec<Box<str>>| {
        let program = Program { design: design.group.library.clone(), functions };
        Sandbox::shared().check(Arc::new(program)).await
    };
    if !design.group.maps.is_empty() {
        match compile(design.group.maps.clone()).await {
            Err(js::Error::Uncompiled(why)) => {
                let at = u32::try_from(why.at).ok();
                let view = design.views.iter().find(|view| Some(view.map) == at);
                let name = view.map_or("", |view| &view.name);
                return Err(Error::Compilation(uncompiled("map", name, &why.reason)));
            }
            compiled => compiled.map_err(sandbox)?,
        }
    }
    if let Some(text) = Design::validation(json) {
        // It may read the whole of the document by `require`, though not before it is called.
        match compile(vec![text]).await {
            Err(js::Error::Uncompiled(why)) => {
                let reason = format!("Compilation of the validate_doc_update function failed: {}", why.reason);
                return Err(Error::Compilation(reason));
            }
            compiled => compiled.map_err(sandbox)?,
        }
    }
    for view in &design.views {
        let Some(Reduce::Function(text)) = &view.reduce else { continue };
        match compile(vec![text.clone()]).await {
            Err(js::Error::Uncompiled(why)) => {
                return Err(Error::Compilation(uncompiled("reduce", &view.name, &why.reason)));
            }
            compiled => compiled.map_err(sandbox)?,
        }
    }
    Ok(())
}
