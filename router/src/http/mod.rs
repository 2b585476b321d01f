//! The HTTP API: CouchDB's, over the verbs of [`crate::ops`].
//!
//! A request is taken apart by `target`, let in or not by its user, and answered by one handler; whatever goes
//! wrong becomes an `error::Error`, and that file alone knows statuses. Nothing here has side effects of its own:
//! any listener may serve the routes.

mod accept;
mod access;
mod all_docs;
mod attachments;
mod backup;
mod body;
mod bulk;
mod bulk_get;
mod call;
mod changes;
mod cors;
mod dashboard;
mod databases;
mod db_updates;
mod doc;
mod documents;
mod error;
mod function_request;
mod gzip;
mod local;
mod mango;
mod open_revs;
mod openapi;
mod params;
mod partition;
mod purge;
mod read;
mod render;
mod replication;
mod replicator;
mod revs;
mod server;
mod session;
mod shards;
mod standing;
mod target;
mod unread;
mod vet;
mod views;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use futures::FutureExt;
use http::Method;
use tokio::time::Instant;
use tracing::Instrument;

use crate::app::App;
use crate::telemetry::{self, request};
use all_docs::Kind;
use call::Call;
use error::Error;
use target::{OfDesign, Part, Refused, Scheduled, Server, Target};

/// CouchDB's old user interface posted documents as forms; no client does.
const FORMS: &str = "Documents are not taken as forms.";

/// A handler's answer.
type Answer = Result<Response<Body>, Error>;

/// The routes of a router's HTTP API.
pub fn routes(app: Arc<App>) -> Router {
    // One handler for every path: CouchDB's paths (encoded slashes in names, endpoints and documents side by side)
    // are taken apart better by one pure function than by patterns.
    let cors = cors::layer(&app.config.cors);
    let routes = Router::new().fallback(handle).with_state(app);
    match cors {
        Some(cors) => routes.layer(cors),
        None => routes,
    }
}

/// The API as this process asks itself: whoever asks is in the request's extensions ([`crate::auth::Acting`]).
pub fn service(routes: &Router) -> crate::replicator::Service {
    let routes = routes.clone();
    Arc::new(move |request| {
        let answer = tower::ServiceExt::oneshot(routes.clone(), request);
        async move { answer.await.unwrap_or_else(|never| match never {}) }.boxed()
    })
}

async fn handle(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let started = Instant::now();
    let _in_flight = app.metrics.requests.begin();
    let target = Target::parse(request.uri().path());
    let (route, method) = (target.route(), request.method().clone());
    let id = request::id_of(request.headers(), rand::random);
    let span = telemetry::request_span(route, &method, request.headers(), Some(&id));
    // Boxed: in place it would be moved from one wrapper into the next, each with room for it.
    let answer = Box::pin(answer(Arc::clone(&app), target, request));
    let answer = AssertUnwindSafe(answer).catch_unwind().instrument(span.clone());
    let response = request::within(id.clone(), async {
        // The panic's message is logged by the panic hook, with its place.
        let answer = answer.await.unwrap_or(Err(Error::Internal("the request could not be completed")));
        let response = answer.unwrap_or_else(Error::into_response);
        let took = started.elapsed();
        app.metrics.requests.answered(route, &method, response.status(), took);
        telemetry::answered(&span, route, &method, response.status(), took);
        response
    });
    let mut response = response.await;
    response.headers_mut().insert(request::ID, id);
    response
}

async fn answer(app: Arc<App>, target: Target, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let body = unread::discarding(&parts.headers, body);
    let uri_bytes = parts.uri.path().len() + parts.uri.query().map_or(0, str::len);
    if uri_bytes > app.config.limits.headers_bytes_max {
        return Err(Error::UriTooLong);
    }
    let access::Admitted { user, level, renewal, standing } = access::admit(&app, &target, &parts).await?;
    let call = Call { app, parts, user, level };
    // The two that matter most are awaited in place; the rest are boxed, or the future of every request would be as
    // large as the largest of them.
    let answer = match (target, call.method()) {
        (Target::Doc(db, id), Method::PUT) => documents::put(&call, db, id, body).await,
        (Target::Doc(db, id), Method::GET) => read::get(&call, db, id).await,
        (target, method) => Box::pin(others(call, target, method, body)).await,
    };
    let answer = match standing {
        None => answer,
        Some(standing) => answer.map(|response| standing.guard(response)),
    };
    match renewal {
        None => answer,
        renewal => Ok(vet::renew(answer.unwrap_or_else(Error::into_response), renewal)),
    }
}

async fn others(call: Call, target: Target, method: Method, body: Body) -> Answer {
    let allow = target.allow();
    match target {
        Target::Server(server) => on_server(call, server, method, body).await,
        Target::Dashboard(file) => match method {
            Method::GET => dashboard::file(&call, &file),
            _ => Err(Error::Method(allow)),
        },
        Target::Part(db, part) => match part.takes(&method) {
            true => on_part(call, db, part, method, body).await,
            false => Err(Error::Method(allow)),
        },
        Target::Db(db) => match method {
            Method::GET => databases::info(&call, db).await,
            Method::PUT => databases::create(&call, db).await,
            Method::DELETE => databases::delete(&call, db).await,
            Method::POST => documents::post(&call, db, body).await,
            _ => Err(Error::Method(allow)),
        },
        Target::BadDb(invalid) => match method {
            Method::PUT => Err(invalid.into()),
            _ => Err(crate::ops::Error::NoDatabase.into()),
        },
        Target::Doc(db, id) => match method.as_str() {
            "DELETE" => documents::delete(&call, db, id).await,
            "COPY" => documents::copy(&call, db, id).await,
            "POST" => Err(Error::NotImplemented(FORMS)),
            _ => Err(Error::Method(allow)),
        },
        Target::Local(db, id) => match method.as_str() {
            "GET" => local::get(&call, db, id).await,
            "PUT" => local::put(&call, db, id, body).await,
            "DELETE" => local::delete(&call, db, id).await,
            "COPY" => documents::copy(&call, db, id).await,
            "POST" => Err(Error::NotImplemented(FORMS)),
            _ => Err(Error::Method(allow)),
        },
        Target::BadDoc(db, invalid) => documents::refuse(&call, db, invalid, &method).await,
        Target::BadLocal(db, reason) => local::refuse(&call, db, reason).await,
        Target::Attachment(db, id, name) => match method {
            Method::GET => attachments::get(&call, db, id, &name).await,
            Method::PUT => attachments::put(&call, db, id, &name, body).await,
            Method::DELETE => attachments::delete(&call, db, id, &name).await,
            _ => Err(Error::Method(allow)),
        },
        Target::Index(db, path) => match method {
            Method::DELETE => mango::delete(&call, db, path).await,
            _ => Err(Error::Method(allow)),
        },
        Target::OfDesign(db, id, asked) => match asked {
            OfDesign::View(name) if method == Method::GET || method == Method::POST => {
                views::view(&call, db, id, name, None, body).await
            }
            OfDesign::Queries(name) if method == Method::POST => views::queries(&call, db, id, name, body).await,
            OfDesign::Info if method == Method::GET => views::info(&call, db, id).await,
            _ => Err(Error::Method(allow)),
        },
        Target::PartitionView(db, partition, id, name) => match method {
            Method::GET | Method::POST => partition::view(&call, db, partition, (id, name), body).await,
            _ => Err(Error::Method(allow)),
        },
        Target::Partition(db, name, asked) => partition::answer(&call, db, name, asked, body).await,
        Target::ShardOf(db, id) => match method {
            Method::GET => shards::of(&call, db, id).await,
            _ => Err(Error::Method(allow)),
        },
        Target::Scheduled(scheduled) => match (scheduled, method) {
            (Scheduled::Job(id), Method::GET) => replicator::job(&call, &id).await,
            (Scheduled::Doc(db, id), Method::GET) => replicator::doc(&call, &db, &id).await,
            _ => Err(Error::Method(allow)),
        },
        Target::Refused(refused) => Err(match refused {
            Refused::NotImplemented => Error::NotImplemented("This endpoint is not served yet."),
            Refused::TemporaryView => Error::Gone,
            Refused::Search => Error::Search,
            Refused::Nothing => Error::Nothing,
        }),
    }
}

async fn on_server(call: Call, server: Server, method: Method, body: Body) -> Answer {
    match (server, method) {
        (Server::Root, Method::GET) => server::welcome(&call).await,
        (Server::Up, Method::GET) => server::up(),
        (Server::Ready, Method::GET) => server::ready(&call),
        (Server::AllDbs, Method::GET) => server::all_dbs(&call).await,
        (Server::DbUpdates, Method::GET) => db_updates::feed(&call).await,
        (Server::DbsInfo, Method::GET | Method::POST) => databases::dbs_info(&call, body).await,
        (Server::Uuids, Method::GET) => server::uuids(&call),
        (Server::Metrics, Method::GET) => server::metrics(&call),
        (Server::Session, Method::GET) => session::show(&call),
        (Server::Session, Method::POST) => session::login(&call, body).await,
        (Server::Session, Method::DELETE) => session::logout(&call),
        (Server::Membership, Method::GET) => server::membership(&call).await,
        (Server::ActiveTasks, Method::GET) => server::active_tasks(&call).await,
        (Server::OpenApi, Method::GET) => Ok(openapi::show(&call)),
        (Server::Replicate, Method::POST) => replicator::replicate(&call, body).await,
        (Server::SchedulerJobs, Method::GET) => replicator::jobs(&call).await,
        (Server::SchedulerDocs, Method::GET) => replicator::docs(&call).await,
        (Server::ReplicationState, Method::GET) => replication::state(&call).await,
        (Server::ReplicationPromote, Method::POST) => replication::promote(&call, body).await,
        (Server::ReplicationDrain, Method::POST) => replication::drain(&call, body).await,
        (Server::ReplicationWal, Method::GET) => replication::wal(&call).await,
        (Server::BackupCatalog, Method::GET) => backup::catalog(&call).await,
        (Server::BackupExport, Method::POST) => backup::export(&call, body).await,
        (Server::BackupLoad, Method::POST) => backup::load(&call, body).await,
        (server, _) => Err(Error::Method(Target::Server(server).allow())),
    }
}

async fn on_part(call: Call, db: common::ids::DbName, part: Part, method: Method, body: Body) -> Answer {
    match (part, method) {
        (Part::AllDocs, _) => all_docs::list(&call, db, Kind::All, body).await,
        (Part::DesignDocs, _) => all_docs::list(&call, db, Kind::Design, body).await,
        (Part::LocalDocs, _) => all_docs::list(&call, db, Kind::Local, body).await,
        (Part::AllDocsQueries, _) => all_docs::queries(&call, db, Kind::All, body).await,
        (Part::DesignDocsQueries, _) => all_docs::queries(&call, db, Kind::Design, body).await,
        (Part::LocalDocsQueries, _) => all_docs::queries(&call, db, Kind::Local, body).await,
        (Part::BulkDocs, _) => bulk::write(&call, db, body).await,
        (Part::BulkGet, _) => bulk_get::read(&call, db, body).await,
        (Part::Changes, _) => changes::feed(&call, db, None, body).await,
        (Part::RevsDiff, _) => revs::diff(&call, db, body).await,
        (Part::MissingRevs, _) => revs::missing(&call, db, body).await,
        (Part::Security, Method::PUT) => databases::set_security(&call, db, body).await,
        (Part::Security, _) => databases::security(&call, db).await,
        (Part::RevsLimit, Method::PUT) => databases::set_revs_limit(&call, db, body).await,
        (Part::RevsLimit, _) => databases::revs_limit(&call, db).await,
        (Part::EnsureFullCommit, _) => databases::ensure_full_commit(&call, db).await,
        (Part::Shards, _) => shards::all(&call, db).await,
        (Part::SyncShards, _) => shards::sync(&call, db).await,
        (Part::Purge, _) => purge::purge(&call, db, body).await,
        (Part::PurgedInfosLimit, Method::PUT) => purge::set_infos_limit(&call, db, body).await,
        (Part::PurgedInfosLimit, _) => purge::infos_limit(&call, db).await,
        (Part::Compact, _) => databases::compact(&call, db).await,
        (Part::ViewCleanup, _) => databases::view_cleanup(&call, db).await,
        (Part::Find, _) => mango::find(&call, db, None, body).await,
        (Part::Explain, _) => mango::explain(&call, db, None, body).await,
        (Part::Index, Method::POST) => mango::create(&call, db, body).await,
        (Part::Index, _) => mango::list(&call, db).await,
        (Part::IndexBulkDelete, _) => mango::bulk_delete(&call, db, body).await,
    }
}
