//! Admin secrets that RDS manages hold `username` and `password` alone: where their server is, RDS says.

use crate::refusal::Refusal;
use crate::rotate_postgres::scene::Scene;
use keyturn_tests::lambda::{FunctionError, Lambda};
use keyturn_tests::rds::{Cluster, Instance, Rds};
use keyturn_tests::stacks::postgres::ADMIN;
use serde_json::{Value, json};

struct OnRds {
    scene: Scene,
    rds: Rds,
    function: Lambda,
}

impl OnRds {
    async fn start() -> Self {
        let (scene, rds) = (Scene::start(16).await, Rds::start().await.unwrap());
        let function = scene.function("on-rds", &[("AWS_ENDPOINT_URL_RDS", &rds.url())]).await;
        Self { scene, rds, function }
    }

    fn instance(&self, id: &str) -> Instance {
        let endpoint = Some(("localhost".to_owned(), self.scene.database_port()));
        Instance { id: id.to_owned(), engine: "postgres".to_owned(), endpoint, ..Instance::default() }
    }

    /// A secret as RDS keeps it for the master user of `arn`.
    fn managed(&self, name: &str, tag: &str, arn: &str) -> String {
        let value = json!({"username": ADMIN, "password": self.scene.admin_password});
        let secret = self.scene.aws.secrets.create(name, &value.to_string()).unwrap();
        self.scene.aws.secrets.tag(&secret, tag, arn).unwrap();
        secret
    }

    /// A secret of `user`, whose admin is in another one, rotated by the function that asks this RDS.
    fn secret(&self, user: &str, admin: &str, host: &str) -> String {
        let mut value = self.scene.of_user(user);
        (value["masterarn"], value["host"]) = (json!(admin), json!(host));
        let secret = self.scene.secret(user, &value).unwrap();
        self.scene.aws.secrets.set_rotation(&secret, &self.function.invoke_url()).unwrap();
        secret
    }

    /// A step of the rotation that stands at this token.
    async fn step(&self, secret: &str, token: &str, step: &str) -> Result<Value, FunctionError> {
        let event = json!({"Step": step, "SecretId": secret, "ClientRequestToken": token});
        self.function.invoke(event).await.result
    }

    /// The first step of a new rotation.
    async fn create(&self, secret: &str) -> Result<Value, FunctionError> {
        self.step(secret, &self.scene.stage(secret).unwrap(), "createSecret").await
    }

    fn ends(&self) {
        assert_eq!(self.rds.violations(), Vec::<String>::new());
        self.scene.ends();
    }
}

#[tokio::test]
async fn an_admin_secret_that_rds_manages_works_as_awss_tutorial_sets_it_up() {
    let it = OnRds::start().await;
    let instance = it.rds.add_instance(it.instance("shop-db"));
    let port = it.scene.database_port();
    let cluster = Cluster {
        id: "shop".into(),
        engine: "aurora-postgresql".into(),
        endpoint: "localhost".into(),
        port,
        ..Cluster::default()
    };
    let cluster = it.rds.add_cluster(cluster);
    for (user, tag, arn) in [
        ("from_instance", "aws:rds:primaryDBInstanceArn", &instance),
        ("from_lower_case", "aws:rds:primarydbinstancearn", &instance),
        ("from_cluster", "aws:rds:primaryDBClusterArn", &cluster),
    ] {
        it.scene.login(user, "").await;
        let admin = it.managed(&format!("rds!{user}"), tag, arn);
        let secret = it.secret(user, &admin, "localhost");
        assert_eq!(it.scene.rotates(&secret).await, format!("{user}_clone"));
        assert_eq!(it.scene.rotates(&secret).await, user);
    }
    // RDS is asked once for each, however often there is a rotation.
    let calls = it.rds.calls();
    assert_eq!(
        calls.iter().filter(|call| call.contains(&format!("DBInstanceIdentifier={instance}"))).count(),
        1,
        "{calls:?}"
    );
    assert_eq!(calls.iter().filter(|call| call.starts_with("DescribeDBClusters")).count(), 1, "{calls:?}");
    it.ends();
}

#[tokio::test]
async fn a_password_that_rds_has_just_turned_is_read_again_before_anything_is_reported() {
    let it = OnRds::start().await;
    let instance = it.rds.add_instance(it.instance("shop-db"));
    let admin = it.managed("rds!db-1", "aws:rds:primaryDBInstanceArn", &instance);
    it.scene.login("turned", "").await;
    let secret = it.secret("turned", &admin, "localhost");
    let of_before = json!({"username": ADMIN, "password": "of the week before"}).to_string();
    let token = it.scene.stage(&secret).unwrap();
    it.step(&secret, &token, "createSecret").await.unwrap();
    it.scene.aws.secrets.read_before_write(&admin, &of_before).unwrap();
    it.step(&secret, &token, "setSecret").await.unwrap();
    for step in ["testSecret", "finishSecret"] {
        it.step(&secret, &token, step).await.unwrap();
    }
    // One that does not work either is told as what it is.
    it.scene.sql(&format!("ALTER ROLE {ADMIN} PASSWORD 'of nobody'")).await;
    let token = it.scene.stage(&secret).unwrap();
    it.step(&secret, &token, "createSecret").await.unwrap();
    Refusal("ADMIN_PASSWORD_REFUSED", &[&admin]).is(it.step(&secret, &token, "setSecret").await, "setSecret");
    it.ends();
}

#[tokio::test]
async fn another_endpoint_of_the_admins_server_is_accepted_once_rds_says_so() {
    let it = OnRds::start().await;
    let port = it.scene.database_port();
    let at = |host: &str| Some((host.to_owned(), port));
    // 127.0.0.1 is the same server here, by another name that its certificate has.
    for (user, replicas, accepted) in [
        ("alone", vec![], false),
        ("replicated", vec!["copy".to_owned(), "arn:aws:rds:us-east-1:1:db:far".to_owned()], true),
    ] {
        let instance = Instance { replicas, ..it.instance(user) };
        let instance = it.rds.add_instance(instance);
        let _ = it.rds.add_instance(Instance { endpoint: at("127.0.0.1"), ..it.instance("copy") });
        let admin = it.managed(&format!("rds!{user}"), "aws:rds:primaryDBInstanceArn", &instance);
        it.scene.login(user, "").await;
        let secret = it.secret(user, &admin, "127.0.0.1");
        if accepted {
            assert_eq!(it.scene.rotates(&secret).await, format!("{user}_clone"));
        } else {
            let says = [format!("for 127.0.0.1:{port}"), format!("HOST_ALIASES=127.0.0.1:{port}=localhost:{port}")];
            let refusal = Refusal("ADMIN_OF_ANOTHER_SERVER", &[&says[0], &says[1]]);
            refusal.is(it.create(&secret).await, user);
        }
    }
    for (user, reader, custom, member) in [
        ("by_reader", Some("127.0.0.1"), None, None),
        ("by_custom", None, Some("127.0.0.1"), None),
        ("by_member", None, None, Some("127.0.0.1")),
    ] {
        let cluster = it.rds.add_cluster(Cluster {
            id: user.replace('_', "-"),
            engine: "aurora-postgresql".into(),
            endpoint: "localhost".into(),
            reader: reader.map(str::to_owned),
            custom: custom.into_iter().map(str::to_owned).collect(),
            port,
        });
        if let Some(host) = member {
            let cluster = Some(user.replace('_', "-"));
            let _ = it.rds.add_instance(Instance { endpoint: at(host), cluster, ..it.instance("member") });
        }
        let admin = it.managed(&format!("rds!{user}"), "aws:rds:primaryDBClusterArn", &cluster);
        it.scene.login(user, "").await;
        let secret = it.secret(user, &admin, "127.0.0.1");
        assert_eq!(it.scene.rotates(&secret).await, format!("{user}_clone"));
    }
    it.ends();
}

#[tokio::test]
async fn what_rds_does_not_say_is_told_with_what_to_do() {
    let it = OnRds::start().await;
    it.scene.login("lost", "").await;
    let making = it.rds.add_instance(Instance { endpoint: None, ..it.instance("making") });
    let other = it.rds.add_instance(Instance { engine: "mysql".into(), ..it.instance("other") });
    let tag = "aws:rds:primaryDBInstanceArn";
    let gone = "arn:aws:rds:eu-west-1:123456789012:db:gone";
    for (name, tag, arn, refusal) in [
        ("rds!gone", tag, gone, Refusal("RDS_ENDPOINT_UNKNOWN", &["db:gone in this account", "describe-db-instances"])),
        ("rds!making", tag, &making, Refusal("RDS_ENDPOINT_UNKNOWN", &["db:making"])),
        ("rds!other", tag, &other, Refusal("ENGINE_UNKNOWN", &["has engine \"mysql\""])),
        ("rds!nobodys", "team", "shop", Refusal("SECRET_KEY_MISSING", &["has no key \"host\""])),
    ] {
        let admin = it.managed(name, tag, arn);
        let mut value = it.scene.of_user("lost");
        value["masterarn"] = json!(admin);
        let secret = it.scene.secret(&format!("under-{}", &name[4..]), &value).unwrap();
        refusal.is(it.create(&secret).await, name);
    }
    let shop = it.rds.add_instance(it.instance("shop-db"));
    let admin = it.managed("rds!shop", tag, &shop);
    let secret = it.secret("lost", &admin, "localhost");
    it.rds.deny(true);
    let refusal = Refusal("AWS_ACCESS_DENIED", &["rds:DescribeDBInstances", &shop]);
    refusal.is(it.create(&secret).await, "denied");
    it.rds.deny(false);
    assert_eq!(it.scene.rotates(&secret).await, "lost_clone");
    it.ends();
}

/// A CNAME of one's own is not in the certificate; the tag says which name is.
#[tokio::test]
async fn a_name_of_ones_own_works_where_a_tag_says_whom_the_certificate_names() {
    let it = OnRds::start().await;
    it.scene.login("named", "").await;
    // Another spelling of 127.0.0.1, which the certificate does not name.
    let secret = it.secret("named", &it.scene.admin_arn, "127.1");
    let refused = it.create(&secret).await;
    assert!(refused.is_err(), "the certificate does not name 127.1");
    it.scene.aws.secrets.tag(&secret, "keyturn:tls-name", "localhost").unwrap();
    for user in ["named_clone", "named"] {
        assert_eq!(it.scene.rotates(&secret).await, user);
    }
    assert_eq!(it.scene.value(&secret, "AWSCURRENT").unwrap()["host"], json!("127.1"));
    it.scene.aws.secrets.tag(&secret, "keyturn:tls-name", "Two Hosts").unwrap();
    Refusal("TAG_INVALID", &["keyturn:tls-name"]).is(it.create(&secret).await, "tag");
    it.ends();
}

/// The answer to `check` of a new secret: what would stop its rotation.
async fn refusals(it: &OnRds, story: &str, admin: &str, host: &str, tls_name: Option<&str>) -> Vec<Value> {
    let mut value = it.scene.of_user("shape");
    (value["masterarn"], value["host"]) = (json!(admin), json!(host));
    let secret = it.scene.aws.secrets.create(story, &value.to_string()).unwrap();
    if let Some(name) = tls_name {
        it.scene.aws.secrets.tag(&secret, "keyturn:tls-name", name).unwrap();
    }
    let answer = it.function.invoke(json!({"action": "check", "secret": secret})).await.result.unwrap();
    let refusals = answer["refusals"].as_array().cloned().unwrap_or_default();
    assert_eq!(answer["ready"], json!(refusals.is_empty()), "{story}: {answer}");
    refusals
}

#[tokio::test]
async fn a_check_says_what_each_shape_of_rds_lacks_before_the_first_rotation() {
    const PROXY: &str = "pool.proxy-c1a2b3.eu-west-1.rds.amazonaws.com";
    let it = OnRds::start().await;
    it.scene.login("shape", "").await;
    let port = it.scene.database_port();
    let (of_instance, of_cluster) = ("aws:rds:primaryDBInstanceArn", "aws:rds:primaryDBClusterArn");
    let shop = it.rds.add_instance(it.instance("shop-db"));
    let cluster = |id: &str, reader: &str| {
        it.rds.add_cluster(Cluster {
            id: id.into(),
            engine: "aurora-postgresql".into(),
            endpoint: "localhost".into(),
            reader: Some(reader.into()),
            port,
            ..Cluster::default()
        })
    };
    let gone = |kind: &str| format!("arn:aws:rds:eu-west-1:123456789012:{kind}:gone");
    let instances = it.managed("rds!instance", of_instance, &shop);
    let untagged = it.managed("rds!untagged", "team", "shop");
    let lost_instance = it.managed("rds!lost-instance", of_instance, &gone("db"));
    let lost_cluster = it.managed("rds!lost-cluster", of_cluster, &gone("cluster"));
    let with_reader = it.managed("rds!reader", of_cluster, &cluster("read", "127.0.0.1"));
    let with_another = it.managed("rds!another", of_cluster, &cluster("other", "elsewhere"));
    let mut own = it.scene.of_user(ADMIN);
    (own["host"], own["password"]) = (json!("127.1"), json!(it.scene.admin_password));
    let own = it.scene.aws.secrets.create("by-cname", &own.to_string()).unwrap();
    for (story, admin, host, tls_name) in [
        ("as in the tutorial", &instances, "localhost", None),
        ("the cluster's reader", &with_reader, "127.0.0.1", None),
        ("a CNAME with its tag", &instances, "127.1", Some("localhost")),
        ("a CNAME with its tag in both secrets", &own, "127.1", Some("localhost")),
    ] {
        assert_eq!(refusals(&it, story, admin, host, tls_name).await, Vec::<Value>::new(), "{story}");
    }
    let aliases = format!("HOST_ALIASES=127.0.0.1:{port}=localhost:{port}");
    let behind = format!("HOST_ALIASES name the server behind it ({PROXY}:{port}=");
    for (story, admin, host, codes, remedy) in [
        ("a copy without RDS's tag", &untagged, "localhost", &["SECRET_KEY_MISSING"][..], "rds!db-..."),
        ("an instance that is gone", &lost_instance, "localhost", &["RDS_ENDPOINT_UNKNOWN"], "describe-db-instances"),
        ("a cluster that is gone", &lost_cluster, "localhost", &["RDS_ENDPOINT_UNKNOWN"], "describe-db-clusters"),
        ("another cluster's reader", &with_another, "127.0.0.1", &["ADMIN_OF_ANOTHER_SERVER"], &aliases),
        ("RDS Proxy without mirrors", &instances, PROXY, &["MIRROR_MISSING"], "Key=keyturn:mirror.shape,"),
        ("RDS Proxy without an alias", &instances, PROXY, &["MIRROR_MISSING"], &behind),
        // The admin's server and the certificate are looked at together.
        ("a CNAME", &instances, "127.1", &["TLS_UNTRUSTED", "ADMIN_OF_ANOTHER_SERVER"], "keyturn:tls-name"),
        ("a CNAME in both secrets", &own, "127.1", &["TLS_UNTRUSTED"], "keyturn:tls-name"),
    ] {
        let found = refusals(&it, story, admin, host, None).await;
        let [refusal] = &found[..] else { panic!("{story}: {found:?}") };
        assert!(codes.contains(&refusal["code"].as_str().unwrap()), "{story}: {refusal}");
        assert!(refusal["remedy"].as_str().unwrap().contains(remedy), "{story}: no {remedy:?} in {refusal}");
    }
    it.rds.deny(true);
    // Nobody has asked for these yet.
    for (tag, arn, action) in [
        (of_instance, it.rds.add_instance(it.instance("new")), "rds:DescribeDBInstances"),
        (of_cluster, cluster("new", "elsewhere"), "rds:DescribeDBClusters"),
    ] {
        let found = refusals(&it, action, &it.managed(&format!("rds!{action}"), tag, &arn), "localhost", None).await;
        assert_eq!(found[0]["code"], json!("AWS_ACCESS_DENIED"), "{found:?}");
        assert!(found[0]["remedy"].as_str().unwrap().contains(action), "{found:?}");
    }
    it.ends();
}
