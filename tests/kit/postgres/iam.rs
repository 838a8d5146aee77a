//! IAM tokens of RDS, checked as RDS does: the canonical request is put together here from AWS's published rules ("Create a
//! signed AWS API request", IAM User Guide), independently of the SDK that made the token.

use anyhow::{Context as _, Result, ensure};
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::aws_json::REGION;

/// The user that the proxy lets in by a token. Its name needs percent-encoding.
pub const IAM_USER: &str = "keyturn iam@db";

/// What every function here signs with.
pub(crate) const ACCESS_KEY: &str = "AKIDLOCAL";
pub(crate) const SECRET_KEY: &str = "local";

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Refuses a token that is not `user`'s for this server, or not now.
pub(crate) fn check(token: &str, user: &str, server: &str) -> Result<()> {
    check_at(token, user, server, keyturn::clock::now())
}

fn check_at(token: &str, user: &str, server: &str, now: DateTime<Utc>) -> Result<()> {
    let url = Url::parse(&format!("https://{token}")).context("the token is no URL without its scheme")?;
    let at = format!("{}:{}", url.host_str().unwrap_or_default(), url.port().context("no port")?);
    ensure!(at == server && url.path() == "/", "the token is for {at}{}, not for {server}/", url.path());
    let mut query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let signature = query.iter().position(|(name, _)| name == "X-Amz-Signature").context("no signature")?;
    let (_, signature) = query.remove(signature);
    let value = |name: &str| {
        let mut found = query.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str());
        let value = found.next().with_context(|| format!("no {name}"))?;
        ensure!(found.next().is_none(), "{name} is there twice");
        Ok(value)
    };
    ensure!(value("Action")? == "connect" && value("DBUser")? == user, "not to connect as {user:?}");
    ensure!(value("X-Amz-Algorithm")? == "AWS4-HMAC-SHA256" && value("X-Amz-SignedHeaders")? == "host");
    let (date, credential) = (value("X-Amz-Date")?, value("X-Amz-Credential")?);
    let day = date.get(..8).context("no day")?;
    let scope = format!("{day}/{REGION}/rds-db/aws4_request");
    ensure!(credential == format!("{ACCESS_KEY}/{scope}"), "credential {credential}");
    let signed = NaiveDateTime::parse_from_str(date, "%Y%m%dT%H%M%SZ")?.and_utc();
    let age = now - signed;
    let lasts = value("X-Amz-Expires")?.parse::<i64>()?;
    ensure!(
        (1..=900).contains(&lasts) && age >= TimeDelta::zero() && age < TimeDelta::seconds(lasts),
        "made {age} ago, for {lasts} s"
    );

    let encoded = |text: &str| utf8_percent_encode(text, UNRESERVED).to_string();
    let mut pairs: Vec<String> =
        query.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    pairs.sort_unstable();
    let canonical = format!("GET\n/\n{}\nhost:{server}\n\nhost\n{}", pairs.join("&"), hex(&Sha256::digest(b"")));
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let mut key = format!("AWS4{SECRET_KEY}").into_bytes();
    for part in [day, REGION, "rds-db", "aws4_request", &text] {
        key = hmac(&key, part)?;
    }
    ensure!(hex(&key) == signature, "the signature is not this request's");
    Ok(())
}

fn hmac(key: &[u8], text: &str) -> Result<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)?;
    mac.update(text.as_bytes());
    Ok(mac.finalize().into_bytes().to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::function_config;
    use aws_sdk_rds::auth_token::{AuthTokenGenerator, Config};
    use aws_smithy_async::time::StaticTimeSource;

    /// A token as the SDK makes it at this moment.
    async fn token(user: &str, at: DateTime<Utc>) -> String {
        let aws = function_config("http://127.0.0.1:1").into_builder();
        let aws = aws.time_source(StaticTimeSource::new(at.into())).build();
        let user = utf8_percent_encode(user, UNRESERVED).to_string();
        let config = Config::builder().hostname("localhost").port(5432).username(user).build().unwrap();
        AuthTokenGenerator::new(config).auth_token(&aws).await.unwrap().as_str().to_owned()
    }

    #[tokio::test]
    async fn a_token_is_good_for_its_user_at_its_server_for_fifteen_minutes() {
        let made = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let token = token(IAM_USER, made).await;
        let at = |minutes| made + TimeDelta::minutes(minutes);
        let checked = |token: &str, user, server, minutes| check_at(token, user, server, at(minutes));
        checked(&token, IAM_USER, "localhost:5432", 0).unwrap();
        checked(&token, IAM_USER, "localhost:5432", 14).unwrap();
        let forged = token.replace("DBUser=keyturn", "DBUser=keyturm");
        let longer = token.replace("X-Amz-Expires=900", "X-Amz-Expires=899");
        for (token, user, server, minutes, why) in [
            (&token, IAM_USER, "localhost:5432", 15, "made"),
            (&token, IAM_USER, "localhost:5432", -1, "made"),
            (&token, "another", "localhost:5432", 0, "not to connect as"),
            (&token, IAM_USER, "elsewhere:5432", 0, "the token is for localhost:5432"),
            (&forged, "keyturm iam@db", "localhost:5432", 0, "the signature is not this request's"),
            (&longer, IAM_USER, "localhost:5432", 0, "the signature is not this request's"),
        ] {
            let refused = checked(token, user, server, minutes).unwrap_err().to_string();
            assert!(refused.contains(why), "{why}: {refused}");
        }
    }
}
