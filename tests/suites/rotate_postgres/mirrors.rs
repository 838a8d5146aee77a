//! RDS Proxy needs a secret for each user: the rotation keeps these mirrors up to date.

use crate::refusal::Refusal;
use crate::rotate_postgres::scene::Scene;
use serde_json::{Value, json};

/// The endpoint of a proxy. Nothing listens there.
const PROXY: &str = "pool.proxy-c1a2b3.eu-west-1.rds.amazonaws.com";

struct Mirrored {
    scene: Scene,
    secret: String,
    /// Those of the base and of its clone.
    mirrors: [String; 2],
}

impl Mirrored {
    async fn start(user: &str) -> Self {
        let scene = Scene::start(16).await;
        scene.login(user, "").await;
        let secret = scene.secret_of(user);
        let mirrors = [user.to_owned(), format!("{user}_clone")].map(|user| {
            let value = json!({"username": user, "password": "of before", "note": "for the proxy"});
            let mirror = scene.aws.secrets.create(&format!("mirror-{user}"), &value.to_string()).unwrap();
            scene.aws.secrets.tag(&secret, &format!("keyturn:mirror.{user}"), &mirror).unwrap();
            mirror
        });
        Self { scene, secret, mirrors }
    }

    fn mirror(&self, n: usize) -> Value {
        self.scene.value(&self.mirrors[n], "AWSCURRENT").unwrap()
    }

    fn current(&self) -> Value {
        self.scene.value(&self.secret, "AWSCURRENT").unwrap()
    }
}

#[tokio::test]
async fn each_user_has_a_mirror_that_follows_its_password() {
    let it = Mirrored::start("pooled").await;
    let scene = &it.scene;
    for (user, mirror, other) in [("pooled_clone", 1, 0), ("pooled", 0, 1), ("pooled_clone", 1, 0)] {
        let untouched = it.mirror(other);
        assert_eq!(scene.rotates(&it.secret).await, user);
        let expected = json!({"username": user, "password": it.current()["password"], "note": "for the proxy"});
        assert_eq!(it.mirror(mirror), expected);
        assert_eq!(it.mirror(other), untouched, "clients of the user in use go on");
    }
    // It is written before testSecret, and again where a step ended in between.
    let token = scene.stage(&it.secret).unwrap();
    scene.step(&it.secret, &token, "createSecret").await.unwrap();
    let report = scene.step(&it.secret, &token, "setSecret").await.unwrap();
    assert!(report["changes"].to_string().contains("mirror of \\\"pooled\\\" updated"), "{report}");
    let pending = scene.value(&it.secret, "AWSPENDING").unwrap();
    assert_eq!(it.mirror(0)["password"], pending["password"]);
    let client = keyturn_tests::aws::secrets_client(&scene.aws.client_url());
    let lost = json!({"username": "pooled", "password": "of before"}).to_string();
    client.put_secret_value().secret_id(&it.mirrors[0]).secret_string(lost).send().await.unwrap();
    for step in ["setSecret", "testSecret", "finishSecret"] {
        scene.step(&it.secret, &token, step).await.unwrap();
    }
    assert_eq!(it.mirror(0)["password"], it.current()["password"]);
    scene.ends();
}

#[tokio::test]
async fn a_proxy_without_mirrors_is_refused_before_anything_is_written() {
    let it = Mirrored::start("behind").await;
    let scene = &it.scene;
    let aliases = format!("{PROXY}:5432=localhost:{}", scene.database_port());
    let function = scene.function("proxied", &[("HOST_ALIASES", &aliases)]).await;
    let mut value = it.current();
    (value["host"], value["port"]) = (json!(PROXY), json!(5432));
    let secret = scene.secret("through-the-proxy", &value).unwrap();
    let token = scene.stage(&secret).unwrap();
    let event = |step: &str| json!({"Step": step, "SecretId": secret, "ClientRequestToken": token});
    let create = async || function.invoke(event("createSecret")).await.result;
    let says = [PROXY, "is an RDS Proxy", "\"behind\" has none", "Key=keyturn:mirror.behind,"];
    Refusal("MIRROR_MISSING", &says).is(create().await, "no mirror");
    scene.aws.secrets.tag(&secret, "keyturn:mirror.behind", &it.mirrors[0]).unwrap();
    Refusal("MIRROR_MISSING", &["\"behind_clone\" has none"]).is(create().await, "one mirror");
    scene.aws.secrets.tag(&secret, "keyturn:mirror.behind_clone", &secret).unwrap();
    Refusal("MIRROR_INVALID", &["is not the ARN of another secret"]).is(create().await, "itself");
    // Of the wrong user: it would let one in with the other's password.
    scene.aws.secrets.tag(&secret, "keyturn:mirror.behind_clone", &it.mirrors[0]).unwrap();
    Refusal("MIRROR_INVALID", &["is for \"behind\", not for \"behind_clone\""]).is(create().await, "the other's");
    scene.aws.secrets.tag(&secret, "keyturn:mirror.behind_clone", &it.mirrors[1]).unwrap();
    create().await.unwrap();
    function.invoke(event("setSecret")).await.result.unwrap();
    let pending = scene.value(&secret, "AWSPENDING").unwrap();
    assert_eq!((&it.mirror(1)["password"], &it.mirror(0)["password"]), (&pending["password"], &json!("of before")));
    scene.ends();
}
