//! Hosts on one machine: network namespaces joined by a bridge. What one host sends to another can be
//! made to vanish, as on a network that is cut: nobody is told, and connections stay up.

use crate::shell;
use std::{
    process,
    sync::atomic::{AtomicU8, Ordering},
};

/// The hardware address of nobody.
const NOBODY: &str = "02:00:00:00:00:01";

/// Hosts of one test, gone with it.
#[derive(Debug)]
pub(super) struct Hosts {
    bridge: String,
    network: String,
    hosts: Vec<Host>,
}

/// One host.
#[derive(Debug, Clone)]
pub struct Host {
    namespace: String,
    address: String,
}

impl Hosts {
    /// A network without hosts. Needs root.
    pub(super) fn new() -> Hosts {
        static NUMBER: AtomicU8 = AtomicU8::new(0);
        let (pid, number) = (process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let bridge = format!("dfs{pid}b{number}");
        let network = format!("10.213.{}", (pid + u32::from(number)) % 256);
        shell::ok(&format!(
            "ip link add {bridge} type bridge && ip addr add {network}.254/24 dev {bridge} \
             && ip link set {bridge} up"
        ));
        Hosts {
            bridge,
            network,
            hosts: Vec::new(),
        }
    }

    /// One more host.
    pub(super) fn add(&mut self) -> Host {
        let number = self.hosts.len() + 1;
        let Hosts {
            bridge, network, ..
        } = self;
        let (namespace, address) = (format!("{bridge}h{number}"), format!("{network}.{number}"));
        let port = format!("{bridge}p{number}");
        self.hosts.push(Host {
            namespace: namespace.clone(),
            address: address.clone(),
        });
        shell::ok(&format!(
            "ip netns add {namespace} \
             && ip link add {port} type veth peer name eth0 netns {namespace} \
             && ip link set {port} master {bridge} up \
             && ip -n {namespace} addr add {address}/24 dev eth0 \
             && ip -n {namespace} link set eth0 up && ip -n {namespace} link set lo up"
        ));
        self.hosts[number - 1].clone()
    }
}

impl Default for Hosts {
    fn default() -> Hosts {
        Hosts::new()
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in &self.hosts {
            shell::run(&format!("ip netns del {}", host.namespace));
        }
        shell::run(&format!("ip link del {}", self.bridge));
    }
}

impl Host {
    /// Its address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The words before a command that runs on it, with the files and mounts of everybody.
    pub fn runs(&self) -> [String; 2] {
        let namespace = format!("--net=/run/netns/{}", self.namespace);
        ["nsenter".to_owned(), namespace]
    }

    /// What it sends to `other` vanishes from now on.
    pub fn lose(&self, other: &Host) {
        let Host { namespace, .. } = self;
        let to = &other.address;
        shell::ok(&format!(
            "ip -n {namespace} neigh replace {to} lladdr {NOBODY} dev eth0 nud permanent"
        ));
    }

    /// What it sends to `other` arrives again.
    pub fn find(&self, other: &Host) {
        let Host { namespace, .. } = self;
        let to = &other.address;
        shell::ok(&format!("ip -n {namespace} neigh del {to} dev eth0"));
    }
}
