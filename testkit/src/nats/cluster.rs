//! Several nodes of NATS, and the network between them.

use super::{ClusterNode, Nats, Passwords};
use crate::{
    free_port,
    proxy::{Proxy, Traffic},
    secrets,
};

/// What is between the nodes of a cluster: each connects to each through a proxy of its own.
pub struct Network {
    links: Vec<Link>,
}

struct Link {
    from: usize,
    to: usize,
    proxy: Proxy,
}

impl Network {
    /// What becomes of all traffic between this node and the others, in both directions.
    pub fn set(&self, node: usize, traffic: Traffic) {
        for link in self.links.iter().filter(|link| [link.from, link.to].contains(&node)) {
            link.proxy.set(traffic);
        }
    }
}

#[expect(clippy::expect_used, reason = "a test that cannot have its server is over")]
impl Nats {
    /// A cluster of `size` nodes with the same passwords, once it has a leader for its streams.
    ///
    /// # Panics
    /// When one does not start.
    pub async fn cluster(size: usize) -> Vec<Self> {
        let ports: Vec<_> = (0..size).map(|_| free_port::any().expect("a port")).collect();
        let (passwords, password) = (Passwords::random(), secrets::password());
        let mut nodes = Vec::with_capacity(size);
        for (index, &port) in ports.iter().enumerate() {
            let place = ClusterNode { port, routes: ports.clone(), gossip: true, password: password.clone() };
            let mut node = Self::new(&format!("nats-{index}"), passwords.clone(), Some(place));
            node.start_again().await;
            nodes.push(node);
        }
        for node in &nodes {
            node.wait_until_healthy().await;
        }
        nodes
    }

    /// The same, with a network between the nodes that can fail.
    ///
    /// # Panics
    /// When one does not start.
    pub async fn cluster_with_network(size: usize) -> (Vec<Self>, Network) {
        let ports: Vec<_> = (0..size).map(|_| free_port::any().expect("a port")).collect();
        let (passwords, password) = (Passwords::random(), secrets::password());
        let (mut nodes, mut links) = (Vec::with_capacity(size), Vec::new());
        for (from, &port) in ports.iter().enumerate() {
            let mut routes = Vec::new();
            for (to, &target) in ports.iter().enumerate().filter(|(to, _)| *to != from) {
                let proxy = Proxy::start(free_port::address(target)).await.expect("a proxy");
                routes.push(proxy.address().port());
                links.push(Link { from, to, proxy });
            }
            let place = ClusterNode { port, routes, gossip: false, password: password.clone() };
            nodes.push(Self::new(&format!("nats-{from}"), passwords.clone(), Some(place)));
        }
        for node in &mut nodes {
            node.start_again().await;
        }
        for node in &nodes {
            node.wait_until_healthy().await;
        }
        (nodes, Network { links })
    }
}
