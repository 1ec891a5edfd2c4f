//! Why a Redis cannot be used: each cause is named, and gone when it is healed.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use affinity_layer::admin::Inspect;
use affinity_layer::store::Unready;
use affinity_layer::store::conformance::{self, wait};
use affinity_layer::{AffinityStore, RedisOptions, RedisStore, TieredStore};
use affinity_tests::redis::tls::{Authority, Identity};
use affinity_tests::redis::{RedisCluster, RedisServer, SentinelSet};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::support::{claim, get, key, model, name, options, soon, tiered, until_unready};

const SOON: Duration = Duration::from_secs(5);

fn store(url: &str) -> TieredStore {
    TieredStore::new(RedisStore::new(&options(url)).unwrap(), 1000)
}

fn forbidden(command: &str) -> Unready {
    Unready::NoPermission(Some(command.to_owned()))
}

#[tokio::test]
async fn what_keeps_it_from_connecting_is_named() {
    let locked = RedisServer::builder().password("right").start().await;
    let secured = RedisServer::builder().tls(&Authority::new()).start().await;
    let plain = RedisServer::start().await;
    let (address, nobody) = (plain.addr(), "127.0.0.1:1");
    for (url, cause) in [
        (format!("redis://:hunter2@{}", locked.addr()), Unready::WrongPassword),
        (format!("redis://{}", locked.addr()), Unready::WrongPassword),
        (secured.url(), Unready::Certificate),
        (format!("redis://{address}/99"), Unready::WrongDatabase),
        (format!("redis://{nobody}"), Unready::Unreachable),
        ("redis://no-such-host.invalid".to_owned(), Unready::UnknownHost),
    ] {
        let store = store(&url);
        until_unready(&store, Some(cause)).await;
        assert!(!store.is_ready());
    }
}

#[tokio::test]
async fn each_right_that_pins_need_is_asked_for_and_the_missing_one_is_named() {
    let server = RedisServer::start().await;
    let url = server.url().replace("redis://", "redis://u:hunter2@");
    for (rights, cause) in [
        ("-set", forbidden("set")),
        ("-eval", forbidden("eval")),
        ("-getrange", forbidden("getrange")),
        ("-pttl", forbidden("pttl")),
        ("-pexpire", forbidden("pexpire")),
        ("-del", forbidden("del")),
        ("-time", forbidden("time")),
        ("resetkeys ~other:*", Unready::NoPermission(None)),
        ("-client", Unready::NoInvalidations),
        ("-info", Unready::NoInvalidations),
    ] {
        let user = ["ACL", "SETUSER", "u", "reset", "on", ">hunter2", "~*", "&*", "+@all"];
        let rights: Vec<&str> = rights.split(' ').collect();
        server.run(&[&user[..], &rights].concat()).await;
        let store = store(&url);
        until_unready(&store, Some(cause.clone())).await;
        assert_eq!(store.is_ready(), cause == Unready::NoInvalidations, "{cause}");
        server.run(&user).await;
        // A connection that hears nothing is asked again when it is a new one.
        server.client_kill_normal().await;
        until_unready(&store, None).await;
    }
}

#[tokio::test]
async fn what_a_server_refuses_is_named_while_it_refuses_it() {
    let server = RedisServer::start().await;
    let store = tiered(&options(&server.url())).await;
    let cases: [(Unready, &[&str], &[&str]); 3] = [
        (Unready::Full, &["CONFIG", "SET", "maxmemory", "1"], &["CONFIG", "SET", "maxmemory", "0"]),
        (
            Unready::Refused("NOREPLICAS".to_owned()),
            &["CONFIG", "SET", "min-replicas-to-write", "1"],
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
        ),
        (Unready::ReadOnly, &["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"]),
    ];
    for (cause, breaks, heals) in cases {
        server.run(breaks).await;
        assert!(claim(&store, "refused", "a/one").await.is_err());
        until_unready(&store, Some(cause.clone())).await;
        server.run(heals).await;
        until_unready(&store, None).await;
        soon(SOON, "claims", async || claim(&store, cause.label(), "a/one").await.is_ok()).await;
    }
}

#[tokio::test]
async fn a_node_of_a_cluster_behind_the_address_of_one_server_is_named() {
    let cluster = RedisCluster::start(2).await;
    let single = store(&cluster.node(0).url());
    until_unready(&single, Some(Unready::Cluster)).await;
    let store = store(&cluster.url());
    until_unready(&store, None).await;
}

/// An address that leads to another server from now on, as that of a load balancer or of a name.
struct Address {
    addr: SocketAddr,
    leads_to: Arc<Mutex<SocketAddr>>,
    task: JoinHandle<()>,
}

impl Address {
    async fn of(server: &RedisServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let leads_to = Arc::new(Mutex::new(server.addr()));
        let to = leads_to.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let server = *to.lock().unwrap();
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(server).await.unwrap();
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { addr, leads_to, task }
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn a_primary_that_became_read_only_is_left_for_the_one_at_its_address() {
    let (old, new) = (RedisServer::start().await, RedisServer::start().await);
    let address = Address::of(&old).await;
    let store = tiered(&options(&format!("redis://{}", address.addr))).await;
    claim(&store, "before", "a/one").await.unwrap();
    *address.leads_to.lock().unwrap() = new.addr();
    let port = new.port().to_string();
    old.run(&["REPLICAOF", "127.0.0.1", &port]).await;
    assert!(claim(&store, "after", "a/one").await.is_err());
    soon(SOON, "it writes to the new primary", async || {
        claim(&store, "later", "a/two").await.is_ok()
    })
    .await;
    assert_eq!(new.run(&["EXISTS", "plano:affinity:later"]).await.integer(), Some(1));
    until_unready(&store, None).await;
}

#[tokio::test]
async fn a_password_may_hold_any_byte() {
    // Every byte but those that Redis does not take in a password of an access list.
    let password: Vec<u8> = (1..=255).collect();
    let server = RedisServer::start().await;
    let set = [b">".as_slice(), &password].concat();
    let user: [&[u8]; 8] = [b"ACL", b"SETUSER", b"u", b"on", &set, b"~*", b"&*", b"+@all"];
    server.run(&user).await;
    let encoded: String = password.iter().map(|byte| format!("%{byte:02x}")).collect();
    let store = store(&server.url().replace("redis://", &format!("redis://u:{encoded}@")));
    until_unready(&store, None).await;
    claim(&store, "s", "a/one").await.unwrap();
    assert_eq!(model(&store, "s").await.as_deref(), Some("a/one"));
}

#[tokio::test]
async fn a_client_shows_its_certificate_to_a_server_that_asks_for_it() {
    let authority = Authority::new();
    let server = RedisServer::builder().mutual_tls(&authority).start().await;
    let trusting = options(&server.url()).ca_certificates(authority.pem().as_bytes()).unwrap();
    let store = |options: &RedisOptions| TieredStore::new(RedisStore::new(options).unwrap(), 1000);
    until_unready(&store(&trusting), Some(Unready::Certificate)).await;
    let Identity { certificate, key } = authority.issue();
    let showing = trusting.client_certificate(certificate.as_bytes(), key.as_bytes()).unwrap();
    let store = store(&showing);
    until_unready(&store, None).await;
    conformance::run(&store, "shown", wait).await;
    // A key of another certificate is found before anything is connected.
    let other = Authority::new().issue();
    assert!(showing.client_certificate(certificate.as_bytes(), other.key.as_bytes()).is_err());
}

#[tokio::test]
async fn an_address_of_ipv6_serves_with_tls_and_without() {
    let authority = Authority::new();
    let plain = RedisServer::start().await;
    let secured = RedisServer::builder().tls(&authority).start().await;
    for server in [&plain, &secured] {
        let url = server.url().replace("127.0.0.1", "[::1]");
        let trusting = options(&url).ca_certificates(authority.pem().as_bytes()).unwrap();
        let store = TieredStore::new(RedisStore::new(&trusting).unwrap(), 1000);
        until_unready(&store, None).await;
        claim(&store, "s", "a/one").await.unwrap();
        assert_eq!(model(&store, "s").await.as_deref(), Some("a/one"), "{url}");
    }
}

#[tokio::test]
async fn a_unix_socket_serves_as_an_address_does() {
    let server = RedisServer::start().await;
    let store = store(&format!("unix://{}?db=3", server.socket().display()));
    until_unready(&store, None).await;
    let pin = claim(&store, "s", "a/one").await.unwrap().pin;
    assert_eq!(get(&store, "s").await.unwrap().as_ref(), Some(&pin));
    assert!(store.release(&key("s"), Some(pin.epoch)).await.unwrap());
}

#[tokio::test]
async fn the_list_of_clients_shows_whose_a_connection_is() {
    let server = RedisServer::start().await;
    let store = TieredStore::new(
        RedisStore::new(&options(&server.url()).client_name("replica 7")).unwrap(),
        1000,
    );
    until_unready(&store, None).await;
    soon(SOON, "the name", async || {
        let clients = server.run(&["CLIENT", "LIST"]).await;
        clients.text().unwrap_or_default().contains("name=replica-7 ")
    })
    .await;
}

/// The rights that docs/redis.md names behind `what`.
fn rights(what: &str) -> Vec<&'static str> {
    const DOCS: &str = include_str!("../../../docs/redis.md");
    let line = DOCS.lines().find(|line| line.starts_with(what)).expect(what);
    line.split(' ').filter(|word| word.starts_with(['~', '+', '-'])).collect()
}

/// Makes a user with these rights and no others.
async fn has_user(server: &RedisServer, rights: &[&[&str]]) {
    let user = ["ACL", "SETUSER", "u", "reset", "on", ">hunter2"];
    server.run(&[&user[..], &rights.concat()].concat()).await;
}

async fn denied(server: &RedisServer) -> String {
    format!("{:?}", server.run(&["ACL", "LOG"]).await.items())
}

/// What docs/redis.md names as the smallest access list is enough for all that a store does.
#[tokio::test]
async fn the_smallest_access_list_is_enough() {
    let server = RedisServer::start().await;
    has_user(&server, &[&rights("~plano:affinity:*")]).await;
    let store = store(&server.url().replace("redis://", "redis://u:hunter2@"));
    until_unready(&store, None).await;
    conformance::run(&store, "smallest", wait).await;
    server.run(&["SET", &name("unreadable"), "no pin"]).await;
    assert!(claim(&store, "unreadable", "a/one").await.unwrap().won);
    assert_eq!(denied(&server).await, "[]");
}

#[tokio::test]
async fn what_else_the_documents_name_is_enough_for_drains_and_lists() {
    let server = RedisServer::start().await;
    let rights = [rights("~plano"), rights("a list of sessions"), rights("draining")].concat();
    has_user(&server, &[&rights]).await;
    let store = store(&server.url().replace("redis://", "redis://u:hunter2@"));
    until_unready(&store, None).await;
    store.redis().note("drains", "a/one", "{}").await.unwrap();
    assert_eq!(store.redis().notes("drains").await.unwrap().len(), 1);
    assert!(store.redis().remove_note("drains", "a/one").await.unwrap());
    claim(&store, "s", "a/one").await.unwrap();
    let page = store.list(None, 10).await.unwrap();
    assert_eq!(page.pins.len(), 1);
    assert_eq!(denied(&server).await, "[]");
}

#[tokio::test]
async fn the_smallest_access_list_of_a_cluster_is_enough() {
    let cluster = RedisCluster::start(3).await;
    for node in cluster.nodes() {
        has_user(node, &[&rights("~plano"), &rights("a cluster, each node")]).await;
    }
    let store = store(&cluster.url().replace("://", "://u:hunter2@"));
    until_unready(&store, None).await;
    conformance::run(&store, "smallest", wait).await;
    for node in cluster.nodes() {
        // Sent only while a slot moves.
        assert_eq!(node.run(&["ACL", "DRYRUN", "u", "ASKING"]).await.text(), Some("OK"));
        assert_eq!(denied(node).await, "[]");
    }
}

#[tokio::test]
async fn the_smallest_access_list_with_sentinel_and_replicas_is_enough() {
    let set = SentinelSet::start().await;
    for server in set.servers() {
        let of_replicated = rights("durability: replicated");
        has_user(server, &[&rights("~plano"), &rights("Sentinel, a server"), &of_replicated]).await;
    }
    for sentinel in set.sentinels() {
        has_user(sentinel, &[&rights("Sentinel, a sentinel")]).await;
    }
    let url = set.url().replace("://", "://u:hunter2@");
    let url = format!("{url}&sentinelUsername=u&sentinelPassword=hunter2");
    let replicated = RedisStore::new(&options(&url).replicated(true)).unwrap();
    for (what, store) in
        [("primary", store(&url)), ("replicated", TieredStore::new(replicated, 1000))]
    {
        until_unready(&store, None).await;
        conformance::run(&store, what, wait).await;
    }
    for server in set.servers().iter().chain(set.sentinels()) {
        assert_eq!(denied(server).await, "[]");
    }
}
