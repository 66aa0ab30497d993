//! A network between the test and the server that can be cut, or swallow everything.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    Works,
    /// Open connections are closed, new ones too.
    Cut,
    /// Nothing passes, and nobody is told.
    Swallows,
}

pub(crate) struct Proxy {
    port: u16,
    state: Arc<watch::Sender<Network>>,
}

impl Proxy {
    /// In front of a port of this machine.
    pub(crate) async fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let state = Arc::new(watch::Sender::new(Network::Works));
        let states = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((inside, _)) = listener.accept().await {
                let mut state = states.subscribe();
                tokio::spawn(async move {
                    if *state.borrow_and_update() == Network::Cut {
                        return;
                    }
                    let Ok(outside) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    tokio::select! {
                        () = pass(inside, outside, state.clone()) => {}
                        _ = state.wait_for(|state| *state == Network::Cut) => {}
                    }
                });
            }
        });
        Self { port: own, state }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn set(&self, network: Network) {
        self.state.send_replace(network);
    }
}

async fn pass(inside: TcpStream, outside: TcpStream, state: watch::Receiver<Network>) {
    let (mut from_inside, mut to_inside) = inside.into_split();
    let (mut from_outside, mut to_outside) = outside.into_split();
    tokio::select! {
        () = one_way(&mut from_inside, &mut to_outside, state.clone()) => {}
        () = one_way(&mut from_outside, &mut to_inside, state) => {}
    }
}

async fn one_way(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    mut state: watch::Receiver<Network>,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if *state.borrow() == Network::Works && to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
    // That the other side hung up does not pass either.
    let _ = state.wait_for(|state| *state != Network::Swallows).await;
}
