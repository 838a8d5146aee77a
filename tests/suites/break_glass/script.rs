//! `infra/break-glass.sh`, which people on call run: against a function URL that checks every signature, with programs that
//! note how they were started.

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use hmac::{Hmac, KeyInit as _, Mac as _};
use keyturn_tests::source::checkout;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;

const LOGIN: &str = "bg_ann_corp.example_202611291200_abcde2";
const PASSWORD: &str = "a-password-of-one-hour";
const ACCESS_KEY: &str = "ASIAEXAMPLEEXAMPLE";
/// With the characters that AWS's secrets have.
const SECRET_KEY: &str = "wJalrXUtnFEMI/K7+bPxRfiCYEXAMPLEKEY==";
const TOKEN: &str = "IQoJb3JpZ2luX2VjEXAMPLE/token+of=the/session==";

/// What the script asked: method, path with query, body.
type Asked = (String, String, Value);

/// A person's machine, and the function URL.
struct Desk {
    folder: TempDir,
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Desk {
    /// One where the function answers an opening with this status and body.
    async fn with(status: StatusCode, opening: Value) -> Self {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let heard = Arc::clone(&asked);
        let answer = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| async move {
            if let Err(why) = check_signature(&method, &uri, &headers, &body) {
                return (StatusCode::FORBIDDEN, json!({"Message": why}).to_string());
            }
            let is_opening = method == Method::POST;
            let body = serde_json::from_slice(&body).unwrap_or_default();
            heard.lock().unwrap().push((method.to_string(), uri.to_string(), body));
            let (status, answer) = if is_opening { (status, opening) } else { (StatusCode::OK, json!({"open": []})) };
            (status, answer.to_string())
        };
        let routes = Router::new().fallback(answer);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, routes).into_future());
        let desk = Self { folder: tempfile::tempdir().unwrap(), url, asked };
        for program in ["awk", "curl", "jq", "sed"] {
            desk.program(program, &format!("PATH=${{PATH#*:}}; exec {program} \"$@\""));
        }
        desk.program(
            "aws",
            &format!(
                "echo AWS_ACCESS_KEY_ID={ACCESS_KEY}; echo AWS_SECRET_ACCESS_KEY={SECRET_KEY}\n\
                 echo AWS_SESSION_TOKEN={TOKEN}; echo AWS_CREDENTIAL_EXPIRATION=2026-11-29T13:00:00+00:00"
            ),
        );
        desk.program("sleep", "");
        for shell in ["psql", "mongosh"] {
            desk.program(shell, "env | grep -E '^(PG|LOGIN)' | sort >> \"$NOTES/environment\"");
        }
        desk
    }

    /// Makes a program that notes its arguments before it does something.
    fn program(&self, name: &str, does: &str) {
        let bin = self.folder.path().join("bin");
        fs::create_dir_all(&bin).unwrap();
        let text = format!("#!/bin/sh\nprintf '%s\\n' \"{name} $*\" >> \"$NOTES/arguments\"\n{does}\n");
        fs::write(bin.join(name), text).unwrap();
        fs::set_permissions(bin.join(name), Permissions::from_mode(0o755)).unwrap();
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let bin = self.folder.path().join("bin");
        let path = std::env::var_os("PATH").unwrap().into_string().unwrap();
        let mut command = Command::new(checkout().join("infra/break-glass.sh"));
        command.args(arguments).env_clear().env("PATH", format!("{}:{path}", bin.display()));
        command.env("NOTES", self.folder.path()).env("BREAK_GLASS_URL", &self.url).env("AWS_REGION", "eu-west-1");
        // Somebody's own settings, which lead elsewhere.
        command.env("PGSERVICE", "elsewhere").env("PGHOSTADDR", "192.0.2.1").env("PGSSLMODE", "disable");
        command.output().await.unwrap()
    }

    fn noted(&self, what: &str) -> String {
        fs::read_to_string(self.folder.path().join(what)).unwrap_or_default()
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// No argument of any program that ran has a secret in it, and no file that is left.
    fn assert_nothing_leaked(&self) {
        let arguments = self.noted("arguments");
        for program in ["aws configure export-credentials", "curl ", "jq "] {
            assert!(arguments.contains(program), "{program} did not run: {arguments}");
        }
        for secret in [PASSWORD, SECRET_KEY, TOKEN] {
            assert!(!arguments.contains(secret), "{arguments}");
        }
        let left = fs::read_dir(self.folder.path()).unwrap().map(|file| file.unwrap().file_name());
        let expected = ["arguments", "bin", "environment"];
        assert!(left.into_iter().all(|name| expected.iter().any(|known| name == *known)));
    }
}

/// Whether curl has signed the request as AWS asks for (`SigV4`), its token included.
fn check_signature(method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<(), String> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let authorization = header("authorization");
    let part =
        |name: &str| authorization.split([' ', ',']).find_map(|part| part.strip_prefix(name)).unwrap_or_default();
    let (signed, date) = (part("SignedHeaders="), header("x-amz-date"));
    let scope = format!("{}/eu-west-1/lambda/aws4_request", date.get(..8).unwrap_or_default());
    if part("Credential=") != format!("{ACCESS_KEY}/{scope}") || header("x-amz-security-token") != TOKEN {
        return Err(format!("credential {}", part("Credential=")));
    }
    if !signed.split(';').any(|name| name == "x-amz-security-token") {
        return Err(format!("signed are {signed}"));
    }
    let lines = signed.split(';').fold(String::new(), |lines, name| lines + &format!("{name}:{}\n", header(name)));
    let (path, query) = (uri.path(), uri.query().unwrap_or_default());
    let request = format!("{method}\n{path}\n{query}\n{lines}\n{signed}\n{}", hex(&Sha256::digest(body)));
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(request)));
    let mut key = format!("AWS4{SECRET_KEY}").into_bytes();
    for part in scope.split('/').chain([text.as_str()]) {
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(part.as_bytes());
        key = mac.finalize().into_bytes().to_vec();
    }
    if hex(&key) == part("Signature=") { Ok(()) } else { Err("the signature is not this request's".to_owned()) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// What the function answers to an opening.
fn opened(own: &Value) -> Value {
    let mut answer = json!({
        "database": "shop", "username": LOGIN, "password": PASSWORD, "until": "2026-11-29T13:00:00Z", "ready": true,
    });
    answer.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    answer
}

fn postgres() -> Value {
    opened(&json!({"engine": "postgres", "host": "db.example.com", "port": 5433, "dbname": "orders"}))
}

fn closing() -> Asked {
    ("DELETE".to_owned(), format!("/shop?login={LOGIN}"), Value::Null)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn has_line(text: &str, line: &str) -> bool {
    text.lines().any(|one| one == line)
}

#[tokio::test]
async fn whoever_opens_postgres_gets_a_shell_as_themselves_and_no_program_has_a_secret_as_argument() {
    let desk = Desk::with(StatusCode::OK, postgres()).await;
    let output = desk.run(&["open", "shop", "30", "INC-42: \"slow\", isn't it"]).await;
    assert!(output.status.success(), "{}", said(&output));
    let reason = "INC-42: \"slow\", isn't it";
    let opening = ("POST".to_owned(), "/shop".to_owned(), json!({"minutes": 30, "reason": reason}));
    assert_eq!(desk.asked(), [opening, closing()]);
    assert!(has_line(&desk.noted("arguments"), "psql "), "{}", desk.noted("arguments"));
    let environment = desk.noted("environment");
    for line in [
        "PGHOST=db.example.com",
        "PGPORT=5433",
        "PGDATABASE=orders",
        &format!("PGUSER={LOGIN}"),
        &format!("PGPASSWORD={PASSWORD}"),
        "PGSSLMODE=verify-full",
        "PGSSLROOTCERT=system",
    ] {
        assert!(has_line(&environment, line), "{line} is not in {environment}");
    }
    assert!(!environment.contains("elsewhere") && !environment.contains("192.0.2.1"), "{environment}");
    let told = said(&output);
    assert!(told.contains(&format!("you are {LOGIN} until 2026-11-29T13:00:00Z")), "{told}");
    assert!(told.contains(&format!("{LOGIN} is closed")) && !told.contains(PASSWORD), "{told}");
    desk.assert_nothing_leaked();
}

#[tokio::test]
async fn whoever_opens_atlas_waits_until_atlas_has_made_the_login() {
    let opened = opened(&json!({"engine": "atlas", "host": "shop.abc12.mongodb.net", "ready": false}));
    let desk = Desk::with(StatusCode::OK, opened).await;
    // The servers know the login at the third try.
    desk.program(
        "mongosh",
        "env | grep ^LOGIN >> \"$NOTES/environment\"; [ \"$(grep -c ^mongosh \"$NOTES/arguments\")\" -gt 2 ]",
    );
    let output = desk.run(&["open", "shop", "INC-42"]).await;
    assert!(output.status.success(), "{}", said(&output));
    let opening = ("POST".to_owned(), "/shop".to_owned(), json!({"minutes": 60, "reason": "INC-42"}));
    assert_eq!(desk.asked(), [opening, closing()]);
    let (arguments, environment) = (desk.noted("arguments"), desk.noted("environment"));
    assert_eq!(arguments.matches("mongosh --quiet --nodb").count(), 4, "{arguments}");
    assert_eq!(arguments.matches("mongosh --quiet --nodb --shell").count(), 1, "{arguments}");
    assert!(
        has_line(&environment, "LOGIN_URI=mongodb+srv://shop.abc12.mongodb.net/?authSource=admin"),
        "{environment}"
    );
    assert!(has_line(&environment, &format!("LOGIN_PASSWORD={PASSWORD}")), "{environment}");
    desk.assert_nothing_leaked();
}

#[tokio::test]
async fn whoever_opens_servers_of_ones_own_connects_to_all_of_them_by_tls() {
    let hosts = json!(["db1.example.com:27017", "db2.example.com:27017"]);
    let desk =
        Desk::with(StatusCode::OK, opened(&json!({"engine": "mongodb", "hosts": hosts, "replica_set": "rs0"}))).await;
    let output = desk.run(&["open", "shop", "15", "INC-42"]).await;
    assert!(output.status.success(), "{}", said(&output));
    let uri =
        "LOGIN_URI=mongodb://db1.example.com:27017,db2.example.com:27017/?tls=true&authSource=admin&replicaSet=rs0";
    assert!(has_line(&desk.noted("environment"), uri), "{}", desk.noted("environment"));
    assert_eq!(desk.asked().last(), Some(&closing()));
    desk.assert_nothing_leaked();
}

#[tokio::test]
async fn the_login_is_closed_when_the_shell_fails_and_when_the_terminal_goes() {
    for (does, code) in [("exit 3", 3), ("kill -HUP $PPID", 129), ("kill -TERM $PPID", 143), ("kill -INT $PPID", 0)] {
        if is_ignored(does) {
            continue;
        }
        let desk = Desk::with(StatusCode::OK, postgres()).await;
        desk.program("psql", does);
        let output = desk.run(&["open", "shop", "30", "INC-42"]).await;
        assert_eq!(output.status.code(), Some(code), "{does}: {}", said(&output));
        assert_eq!(desk.asked().last(), Some(&closing()), "{does}");
    }
}

/// Whoever started the tests may have had this signal ignored (`nohup`): no shell can trap it then.
fn is_ignored(kill: &str) -> bool {
    let Some(signal) = kill.strip_prefix("kill -").and_then(|rest| rest.split(' ').next()) else { return false };
    let probe = format!("trap 'exit 7' {signal}; kill -{signal} $$; exit 0");
    let status = std::process::Command::new("sh").args(["-c", &probe]).status().unwrap();
    status.code() != Some(7)
}

#[tokio::test]
async fn whoever_cannot_close_the_login_is_told_when_it_ends_and_how_to_try_again() {
    let desk = Desk::with(StatusCode::OK, postgres()).await;
    desk.program("psql", "printf '#!/bin/sh\\nexit 1\\n' > \"$NOTES/bin/aws\""); // signed out meanwhile
    let output = desk.run(&["open", "shop", "30", "INC-42"]).await;
    let told = said(&output);
    assert!(told.contains("is not closed. It ends by itself at 2026-11-29T13:00:00Z"), "{told}");
    assert!(told.contains(&format!("break-glass.sh close shop {LOGIN}")), "{told}");
}

#[tokio::test]
async fn a_refusal_is_told_in_the_functions_words_and_no_shell_starts() {
    let refusal =
        json!({"code": "NOT_GRANTED", "message": "ann@corp.example is not on call.", "remedy": "Take the shift."});
    let desk = Desk::with(StatusCode::FORBIDDEN, refusal).await;
    let output = desk.run(&["open", "shop", "30", "INC-42"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        said(&output),
        "break-glass: refused (403): NOT_GRANTED ann@corp.example is not on call. Take the shift.\n"
    );
    assert_eq!(desk.asked().len(), 1);
    assert!(!desk.noted("arguments").contains("psql"));
}

#[tokio::test]
async fn what_is_open_is_listed_and_one_or_all_of_ones_logins_are_closed() {
    let desk = Desk::with(StatusCode::OK, postgres()).await;
    for arguments in [&["list"][..], &["close", "shop"], &["close", "shop", LOGIN]] {
        let output = desk.run(arguments).await;
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), json!({"open": []}));
    }
    let asked = |method: &str, path: &str| (method.to_owned(), path.to_owned(), Value::Null);
    assert_eq!(desk.asked(), [asked("GET", "/"), asked("DELETE", "/shop"), closing()]);
    desk.assert_nothing_leaked();
}

#[tokio::test]
async fn what_is_no_database_or_no_command_is_refused_before_anything_is_asked() {
    let desk = Desk::with(StatusCode::OK, postgres()).await;
    for (arguments, code) in [
        (&["open", "../shop", "30", "INC-42"][..], 1),
        (&["open", "shop", "soon", "INC-42"], 1),
        (&["open", "shop", "120"], 1),
        (&["close", "shop", "bg_ann&x=1"], 1),
        (&["open", "shop"], 64),
        (&[], 64),
    ] {
        let output = desk.run(arguments).await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
    }
    assert_eq!(desk.asked(), []);
}
