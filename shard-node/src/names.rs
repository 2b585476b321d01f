//! Looks up the addresses of other servers without letting a name service that says nothing take all threads.
//!
//! The system's resolver keeps a thread until it has an answer or gives up, after ten seconds as a rule, and the name
//! of a container that is gone may well take that long. The same threads fold the log into documents. So callers that
//! want the same name share a lookup, and another one begins beside it only now and then: often enough that a server
//! that is back is found soon.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use hyper_util::client::legacy::connect::dns::Name;
use tokio::time::Instant;
use tower::Service;

/// A lookup that has no answer for so long gets company. Longer finds a server that is back later; shorter takes more
/// threads, which are ten seconds over this, for each name.
const STALE: Duration = Duration::from_millis(500);

/// What a lookup gives.
type Answer = Result<Vec<SocketAddr>, Failed>;
/// Asks the system; blocks.
type Ask = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Why a name has no address.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub struct Failed(Arc<io::Error>);

/// Looks names up; clones share their lookups.
#[derive(Clone)]
pub struct Names {
    ask: Arc<Ask>,
    lookups: Arc<Mutex<HashMap<String, Lookup>>>,
}

/// The newest lookup of a name.
struct Lookup {
    begun: Instant,
    answer: Shared<BoxFuture<'static, Answer>>,
}

impl Names {
    /// By the system's resolver: its hosts file, its name servers.
    pub fn system() -> Self {
        // The port is set by whoever connects.
        Self::new(|name| Ok((name, 0).to_socket_addrs()?.collect()))
    }

    fn new(ask: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static) -> Self {
        Self { ask: Arc::new(ask), lookups: Arc::default() }
    }

    /// The lookup to wait for: the newest one while it is fresh and unanswered, else a new one.
    fn lookup(&self, name: &str) -> Shared<BoxFuture<'static, Answer>> {
        let now = Instant::now();
        let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(newest) = lookups.get(name)
            && newest.answer.peek().is_none()
            && now < newest.begun + STALE
        {
            return newest.answer.clone();
        }
        let (ask, asked) = (self.ask.clone(), name.to_owned());
        let asking = tokio::task::spawn_blocking(move || ask(&asked));
        let answer = async move {
            let answer = asking.await.unwrap_or_else(|error| Err(io::Error::other(error)));
            answer.map_err(|error| Failed(Arc::new(error)))
        };
        let answer = answer.boxed().shared();
        lookups.insert(name.to_owned(), Lookup { begun: now, answer: answer.clone() });
        answer
    }
}

impl Service<Name> for Names {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Failed;
    type Future = BoxFuture<'static, Result<Self::Response, Failed>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let answer = self.lookup(name.as_str());
        async move { Ok(answer.await?.into_iter()) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    /// Names that count lookups, each of which waits for a permission to answer.
    fn held() -> (Names, Arc<AtomicUsize>, mpsc::Sender<()>) {
        let (permit, permits) = mpsc::channel();
        let (count, permits) = (Arc::new(AtomicUsize::new(0)), Mutex::new(permits));
        let counted = count.clone();
        let names = Names::new(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            // Whether permitted or at the end of the test, it answers.
            let _ = permits.lock().unwrap().recv();
            Ok(vec![ADDRESS])
        });
        (names, count, permit)
    }

    fn call(names: &Names) -> BoxFuture<'static, Result<std::vec::IntoIter<SocketAddr>, Failed>> {
        names.clone().call("n1".parse().expect("a name"))
    }

    #[tokio::test]
    async fn callers_share_a_lookup_and_a_later_one_asks_again() {
        let (names, count, permit) = held();
        let callers: Vec<_> = (0..100).map(|_| call(&names)).collect();
        permit.send(()).expect("held");
        for answer in futures::future::join_all(callers).await {
            assert_eq!(answer.expect("found").collect::<Vec<_>>(), [ADDRESS]);
        }
        assert_eq!(count.load(Ordering::SeqCst), 1);
        permit.send(()).expect("held");
        call(&names).await.expect("found");
        assert_eq!(count.load(Ordering::SeqCst), 2, "an answer is not kept");
    }

    #[tokio::test]
    async fn a_lookup_that_hangs_gets_company_now_and_then() {
        let (names, count, permit) = held();
        let first = call(&names);
        while count.load(Ordering::SeqCst) < 1 {
            tokio::task::yield_now().await;
        }
        names.lookups.lock().expect("no panic").get_mut("n1").expect("begun").begun -= STALE;
        let second = call(&names);
        drop(call(&names));
        permit.send(()).expect("held");
        permit.send(()).expect("held");
        first.await.expect("answered late");
        second.await.expect("found");
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_name_that_nobody_has_is_an_error_for_every_caller() {
        let names = Names::new(|name| Err(io::Error::other(format!("{name} is gone"))));
        for answer in futures::future::join_all([call(&names), call(&names)]).await {
            assert_eq!(answer.expect_err("gone").to_string(), "n1 is gone");
        }
        let localhost = Names::system().call("localhost".parse().expect("a name")).await.expect("found");
        assert!(localhost.into_iter().all(|address| address.ip().is_loopback()));
    }
}
