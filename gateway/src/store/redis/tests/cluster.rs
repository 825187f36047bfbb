//! The contract on a cluster of three masters.

use super::*;

/// Which slots each of the three holds.
const SLOTS: [(&str, &str); 3] = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];

struct ClusterRig {
    nodes: Vec<(Server, u16)>,
    store: Arc<Redis>,
}

impl ClusterRig {
    async fn new() -> Self {
        let nodes: Vec<(Server, u16)> = SLOTS.iter().map(|_| node()).collect();
        for ((_, port), (from, to)) in nodes.iter().zip(SLOTS) {
            say::<()>(*port, &["CLUSTER", "ADDSLOTSRANGE", from, to]);
        }
        Self::meet(&nodes);
        let store = Arc::new(Redis::open(&place(&nodes)).await.unwrap());
        assert_eq!(store.init(NOW, false).await.unwrap(), Prepared::Young);
        Self { nodes, store }
    }

    fn meet(nodes: &[(Server, u16)]) {
        let first = nodes[0].1;
        let told: Vec<String> = say(first, &["CONFIG", "GET", "cluster-port"]);
        let bus = told[1].clone();
        for (_, port) in nodes.iter().skip(1) {
            let words = ["CLUSTER", "MEET", "127.0.0.1", &first.to_string(), &bus];
            say::<()>(*port, &words);
        }
        for (_, port) in nodes {
            until("the cluster is whole", || {
                let told: String = say(*port, &["CLUSTER", "INFO"]);
                told.contains("cluster_state:ok") && told.contains("cluster_known_nodes:3")
            });
        }
    }
}

fn node() -> (Server, u16) {
    let (port, bus) = (free_port().to_string(), free_port().to_string());
    let server = Server::start_with(&[
        "--port",
        &port,
        "--bind",
        "127.0.0.1",
        "--cluster-enabled",
        "yes",
        "--cluster-port",
        &bus,
        "--cluster-node-timeout",
        "5000",
    ]);
    (server, port.parse().unwrap())
}

fn place(nodes: &[(Server, u16)]) -> RedisStore {
    let url = |(_, port): &(Server, u16)| Secret::new(format!("redis://127.0.0.1:{port}"));
    settings(RedisPlace::Cluster(nodes.iter().map(url).collect()))
}

#[async_trait]
impl Rig for ClusterRig {
    fn store(&self) -> SharedStore {
        Arc::<Redis>::clone(&self.store)
    }

    async fn restart(&mut self) {
        self.store = Arc::new(Redis::open(&place(&self.nodes)).await.unwrap());
    }
}

contract::hold_to_contract!(ClusterRig::new().await);

#[tokio::test]
async fn every_master_tells_of_its_sessions_and_one_that_is_silent_makes_all_unbelieved() {
    struct Heard(std::sync::Mutex<std::collections::HashSet<BearerHash>>);
    impl crate::store::Hears for Heard {
        fn hear(&self, change: &crate::store::Change<'_>) {
            if let crate::store::Change::Session(id) = change {
                self.0.lock().unwrap().insert(*id);
            }
        }
    }
    let rig = ClusterRig::new().await;
    let joined = Redis::join(&place(&rig.nodes)).await.unwrap();
    let others = joined.others().unwrap();
    until("all masters are heard", || others.is_prompt());
    let heard = Arc::new(Heard(std::sync::Mutex::default()));
    let weak: std::sync::Weak<Heard> = Arc::downgrade(&heard);
    others.tell_too(weak);
    let ids: Vec<BearerHash> = (0..30_u8).map(|n| BearerHash([n * 7 + 1; 32])).collect();
    for id in &ids {
        let record = SessionRecord {
            handle: "h".to_owned(),
            user: "kari".into(),
            company: "fjord".into(),
            created: NOW,
            last_seen: NOW,
            expires: NOW.plus(Duration::from_secs(3600)),
            client: String::new(),
        };
        rig.store.put_session(NOW, *id, &record).await.unwrap();
    }
    until("every session was told", || {
        let heard = heard.0.lock().unwrap();
        ids.iter().all(|id| heard.contains(id))
    });
    let holds = |port: u16| say::<u64>(port, &["DBSIZE"]) > 0;
    assert!(rig.nodes.iter().all(|(_, port)| holds(*port)));
    let pid = rig.nodes[2].0.process.id().to_string();
    let stop = Command::new("kill").args(["-STOP", &pid]).status();
    assert!(stop.unwrap().success());
    until("nothing is believed", || !others.is_current());
    let go_on = Command::new("kill").args(["-CONT", &pid]).status();
    assert!(go_on.unwrap().success());
    until("it is heard again", || others.is_prompt());
}
