//! A TCP proxy between two processes, to cut or slow what passes.
//!
//! Each ordered pair of processes has its own, so that a partition may be one-sided. A change takes hold of
//! connections that are open as well as of new ones.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::Result;

/// What a link does to what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Passes everything on.
    Open,
    /// Passes everything on, later by this much.
    Slow(Duration),
    /// Closes connections, open and new: the other side is dead.
    Closed,
    /// Accepts and holds everything back, as a network does that drops packets; goes on where it was when opened.
    Silent,
}

/// A proxy that runs until dropped.
#[derive(Debug)]
pub struct Proxy {
    address: String,
    link: watch::Sender<Link>,
    task: AbortHandle,
}

impl Proxy {
    /// Starts a proxy to `target` on a port of its own. Must be called within a runtime, which it lives in.
    pub async fn start(target: String) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let (link, seen) = watch::channel(Link::Open);
        let task = tokio::spawn(serve(listener, target, seen)).abort_handle();
        Ok(Self { address, link, task })
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Changes what it does.
    pub fn set(&self, link: Link) {
        self.link.send_replace(link);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Its connections are in a set that the task owns, and end with it.
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, target: String, link: watch::Receiver<Link>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((near, _)) => { connections.spawn(connection(near, target.clone(), link.clone())); }
                // Out of descriptors, or the peer has gone already: the next one may fare better.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
        }
    }
}

async fn connection(near: TcpStream, target: String, mut link: watch::Receiver<Link>) {
    if !passable(&mut link).await {
        return;
    }
    let Ok(far) = TcpStream::connect(&target).await else { return };
    if near.set_nodelay(true).is_err() || far.set_nodelay(true).is_err() {
        return;
    }
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    let mut closed = link.clone();
    // Both directions end together, so that neither side waits for a half that will never speak again.
    tokio::select! {
        () = pump(near_read, far_write, link.clone()) => {}
        () = pump(far_read, near_write, link) => {}
        _ = closed.wait_for(|link| *link == Link::Closed) => {}
    }
}

/// Waits while the link is silent; false when it is closed.
async fn passable(link: &mut watch::Receiver<Link>) -> bool {
    match link.wait_for(|link| *link != Link::Silent).await {
        Ok(link) => *link != Link::Closed,
        Err(_) => false,
    }
}

async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut link: watch::Receiver<Link>,
) {
    let mut buffer = vec![0u8; 64 << 10];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        if !passable(&mut link).await {
            return;
        }
        let now = *link.borrow();
        if let Link::Slow(by) = now {
            tokio::time::sleep(by).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    const SHORT: Duration = Duration::from_millis(100);

    async fn echo() -> (String, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound").to_string();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut byte = [0];
                while stream.read_exact(&mut byte).await.is_ok() && stream.write_all(&byte).await.is_ok() {}
            }
        });
        (address, tasks)
    }

    async fn round(stream: &mut TcpStream, byte: u8) -> std::io::Result<u8> {
        stream.write_all(&[byte]).await?;
        stream.read_u8().await
    }

    #[tokio::test]
    async fn a_silent_link_holds_back_and_a_closed_one_breaks() {
        let (target, _echo) = echo().await;
        let proxy = Proxy::start(target).await.expect("starts");
        let mut stream = TcpStream::connect(proxy.address()).await.expect("connects");
        assert_eq!(round(&mut stream, 1).await.expect("echoed"), 1);
        proxy.set(Link::Silent);
        assert!(timeout(SHORT, round(&mut stream, 2)).await.is_err());
        proxy.set(Link::Open);
        assert_eq!(stream.read_u8().await.expect("arrives late"), 2);
        proxy.set(Link::Closed);
        assert!(round(&mut stream, 3).await.is_err());
        let mut second = TcpStream::connect(proxy.address()).await.expect("accepted");
        assert!(round(&mut second, 4).await.is_err());
    }
}
