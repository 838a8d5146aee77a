//! The application: its schema, and what its two users leave in it.

use std::collections::BTreeMap;

use anyhow::Result;
use keyturn_tests::stacks::postgres::{App, Stack};
use postgres_protocol::escape::escape_identifier;

/// The tables at the end.
pub(super) struct Objects {
    /// How many each user made.
    pub made: BTreeMap<String, u64>,
    pub tables: u64,
    /// How many of them belong to the role that is meant to own everything.
    pub of_owner: u64,
    /// How often a user changed a table that the other one had made, which takes the owner's rights.
    pub changed_by_twin: u64,
}

/// One login owns everything; its clone comes with the first rotation.
pub(super) async fn in_clone_layout(stack: &Stack, name: &str) -> Result<App> {
    let app = stack.app(name).await?;
    schema(stack, name).await?;
    Ok(app)
}

/// A role that cannot log in owns everything; two logins act as that role.
pub(super) async fn in_owner_layout(stack: &Stack, name: &str) -> Result<App> {
    let app = stack.owner_app(name).await?;
    let (owner, first) = (escape_identifier(name), escape_identifier(&format!("{name}_a")));
    // What a rotation gives every login that it prepares, the first one has from its administrator.
    stack.postgres.execute(&format!("ALTER ROLE {first} SET role = {owner}")).await?;
    schema(stack, name).await?;
    Ok(app)
}

async fn schema(stack: &Stack, name: &str) -> Result<()> {
    let role = escape_identifier(name);
    let sql = format!(
        "CREATE SCHEMA app AUTHORIZATION {role};
         SET ROLE {role};
         CREATE TABLE app.orders (
             id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
             item text NOT NULL,
             entered_by name NOT NULL DEFAULT session_user
         );"
    );
    stack.postgres.execute_in(name, &sql).await
}

pub(super) async fn version(stack: &Stack) -> Result<String> {
    let version: String = stack.postgres.admin_client().await?.query_one("SHOW server_version", &[]).await?.get(0);
    Ok(version.split(' ').next().unwrap_or_default().to_owned())
}

/// How many tables the application has besides its first, and how many of them belong to `app.name`.
pub(super) async fn tables(stack: &Stack, app: &App) -> Result<(u64, u64)> {
    let superuser = stack.postgres.client("postgres", stack.postgres.superuser_password(), &app.name).await?;
    let sql = "SELECT count(*), count(*) FILTER (WHERE pg_get_userbyid(relowner) = $1)
               FROM pg_class
               WHERE relnamespace = 'app'::regnamespace AND relkind = 'r' AND relname <> 'orders'";
    let row = superuser.query_one(sql, &[&app.name]).await?;
    let number = |column| u64::try_from(row.get::<_, i64>(column)).unwrap_or_default();
    Ok((number(0), number(1)))
}
