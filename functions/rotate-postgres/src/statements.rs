//! The statements that make the pending user what it must be. Pure: what the catalog says in, SQL out.
//!
//! Everything is compared first, so that a twin which is as it should be costs no statement but its password.

use crate::catalog::{Catalog, Role, SettingKey};
use crate::errors::{literal, quoted};
use crate::layout::{Base, Turn};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

/// The first version that takes `WITH INHERIT TRUE, SET TRUE`; before, it is a syntax error and not needed.
const GRANT_OPTIONS: i32 = 160_000;

/// Settings whose value is a list of names: one string literal for the whole would be one odd name.
const LISTS: [&str; 6] = [
    "search_path",
    "temp_tablespaces",
    "session_preload_libraries",
    "local_preload_libraries",
    "shared_preload_libraries",
    "unix_socket_directories",
];

/// `sql` may hold a verifier, never a password; `says` tells what it does, in words.
pub(crate) struct Statement {
    pub(crate) sql: SecretString,
    pub(crate) says: String,
}

/// The statements of one rotation.
#[derive(Default)]
pub(crate) struct Statements {
    /// Must all succeed.
    pub(crate) needed: Vec<Statement>,
    /// Settings copied from the base. One that only a superuser may set is skipped with a warning.
    pub(crate) settings: Vec<Statement>,
}

impl Statements {
    fn need(&mut self, sql: String, says: impl Into<String>) {
        self.needed.push(Statement { sql: sql.into(), says: says.into() });
    }

    pub(crate) fn is_empty(&self) -> bool {
        let Self { needed, settings } = self;
        needed.is_empty() && settings.is_empty()
    }
}

/// The statements for the turn. `verifier` is the pending password's hash; `None` when the pending password works already.
pub(crate) fn of(turn: &Turn, catalog: &Catalog, verifier: Option<&SecretString>) -> Statements {
    let mut statements = Statements::default();
    let twin = catalog.role(&turn.pending);
    let base = turn.base().filter(|base| *base != turn.pending).and_then(|base| catalog.role(base));
    login(&mut statements, turn, catalog, twin, verifier);
    if let Some(base) = base {
        membership(&mut statements, twin, turn, base, catalog.server.version);
        role_to_assume(&mut statements, twin, turn, base);
        settings(&mut statements, twin, turn, base);
    }
    statements
}

/// The login itself: that it exists, its password, its limits.
fn login(
    statements: &mut Statements,
    turn: &Turn,
    catalog: &Catalog,
    twin: Option<&Role>,
    verifier: Option<&SecretString>,
) {
    let name = quoted(&turn.pending);
    // The user in use is the measure; in pair layout, and for the base itself, limits are their owner's business.
    let measure = match turn.base {
        Base::Owner(_) | Base::Current => catalog.role(&turn.current),
        Base::Pending | Base::None => None,
    };
    let mut options = Vec::new();
    let mut says = Vec::new();
    if let Some(verifier) = verifier {
        options.push(format!(" PASSWORD {}", literal(verifier.expose_secret())));
        says.push("password set".to_owned());
    }
    if let Some(measure) = measure {
        if twin.map_or(-1, |twin| twin.connection_limit) != measure.connection_limit {
            options.push(format!(" CONNECTION LIMIT {}", measure.connection_limit));
            says.push(format!("connection limit {}", measure.connection_limit));
        }
        if twin.and_then(|twin| twin.valid_until.as_ref()) != measure.valid_until.as_ref() {
            let until = measure.valid_until.as_deref().unwrap_or("infinity");
            options.push(format!(" VALID UNTIL {}", literal(until)));
            says.push(format!("valid until {until}"));
        }
    }
    let nothing_to_do = options.is_empty();
    let options = Zeroizing::new(options.concat());
    match twin {
        None => {
            let base = turn.base().map(|base| format!(" IN ROLE {}", quoted(base))).unwrap_or_default();
            says.insert(0, format!("{:?} created", turn.pending));
            statements.need(format!("CREATE ROLE {name} LOGIN INHERIT{base}{}", *options), says.join(", "));
        }
        Some(_) if nothing_to_do => {}
        Some(_) => statements.need(format!("ALTER ROLE {name}{}", *options), says.join(", ")),
    }
}

fn membership(statements: &mut Statements, twin: Option<&Role>, turn: &Turn, base: &Role, version: i32) {
    // A role that is created here gets its membership with it.
    let Some(twin) = twin else { return };
    let (login, role) = (quoted(&turn.pending), quoted(&base.name));
    if !twin.inherit && version < GRANT_OPTIONS {
        statements.need(format!("ALTER ROLE {login} INHERIT"), "inherits its memberships' rights");
    }
    if !(twin.is_member_of(&base.name) && twin.inherits_base && twin.may_set_base) {
        let options = if version < GRANT_OPTIONS { "" } else { " WITH INHERIT TRUE, SET TRUE" };
        statements.need(format!("GRANT {role} TO {login}{options}"), format!("member of {:?}", base.name));
    }
}

/// With this the login acts as the base from its first statement, so that what it makes belongs to the base.
fn role_to_assume(statements: &mut Statements, twin: Option<&Role>, turn: &Turn, base: &Role) {
    let wanted = base.assumes().unwrap_or(&base.name);
    if twin.and_then(|twin| twin.assumes()) != Some(wanted) {
        statements.need(
            format!("ALTER ROLE {} SET role = {}", quoted(&turn.pending), literal(wanted)),
            format!("acts as {wanted:?}"),
        );
    }
}

fn settings(statements: &mut Statements, twin: Option<&Role>, turn: &Turn, base: &Role) {
    let is_role = |key: &SettingKey| key.database.is_none() && key.name == "role";
    for (key, value) in base.settings.iter().filter(|(key, _)| !is_role(key)) {
        if twin.and_then(|twin| twin.settings.get(key)) != Some(value) {
            let sql =
                format!("{} SET {} TO {}", of_role(turn, key), quoted_parts(&key.name), value_sql(&key.name, value));
            statements.settings.push(Statement { sql: sql.into(), says: format!("setting {}", key.name) });
        }
    }
    // A clone follows its base in every setting; the two logins of an owner may have settings of their own. A role set for
    // one database is removed in both layouts: in that database the login would act as another role.
    let ours = |key: &&SettingKey| turn.base == Base::Current || key.name == "role";
    let extra = twin.into_iter().flat_map(|twin| twin.settings.keys()).filter(ours);
    for key in extra.filter(|key| !is_role(key) && !base.settings.contains_key(key)) {
        let sql = format!("{} RESET {}", of_role(turn, key), quoted_parts(&key.name));
        statements.settings.push(Statement { sql: sql.into(), says: format!("setting {} removed", key.name) });
    }
}

fn of_role(turn: &Turn, key: &SettingKey) -> String {
    let database = key.database.as_ref().map(|name| format!(" IN DATABASE {}", quoted(name))).unwrap_or_default();
    format!("ALTER ROLE {}{database}", quoted(&turn.pending))
}

/// `myapp.tenant` is two names with a dot between.
fn quoted_parts(name: &str) -> String {
    name.split('.').map(quoted).collect::<Vec<_>>().join(".")
}

fn value_sql(name: &str, value: &str) -> String {
    if !LISTS.contains(&name) {
        return literal(value);
    }
    let items: Vec<String> = list_items(value).iter().map(|item| literal(item)).collect();
    // An empty list can only be written as the empty string.
    if items.is_empty() { "''".to_owned() } else { items.join(", ") }
}

/// Takes a stored list apart: `"$user", public, "a ""b"", c"`.
fn list_items(value: &str) -> Vec<String> {
    let mut items = Vec::new();
    let mut item = String::new();
    let mut in_quotes = false;
    let mut was_quoted = false;
    let mut rest = value.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if in_quotes && rest.peek() == Some(&'"') => {
                rest.next();
                item.push('"');
            }
            '"' => {
                in_quotes = !in_quotes;
                was_quoted = true;
            }
            ',' if !in_quotes => items.push(std::mem::take(&mut item)),
            c if c.is_whitespace() && !in_quotes => {}
            c => item.push(c),
        }
    }
    if !item.is_empty() || was_quoted {
        items.push(item);
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn role(name: &str) -> Role {
        Role { name: name.to_owned(), inherit: true, connection_limit: -1, ..Role::default() }
    }

    fn catalog(version: i32, roles: impl IntoIterator<Item = Role>) -> Catalog {
        Catalog::of(version, roles)
    }

    fn clone_turn() -> Turn {
        Turn { current: "app".into(), pending: "app_clone".into(), base: Base::Current }
    }

    fn sql(statements: &Statements) -> Vec<&str> {
        statements.needed.iter().chain(&statements.settings).map(|statement| statement.sql.expose_secret()).collect()
    }

    fn with_setting(mut role: Role, database: Option<&str>, name: &str, value: &str) -> Role {
        role.settings
            .insert(SettingKey { database: database.map(str::to_owned), name: name.to_owned() }, value.to_owned());
        role
    }

    #[test]
    fn a_first_rotation_creates_the_clone_in_one_statement() {
        let mut app = with_setting(role("app"), Some("shop"), "search_path", "\"$user\", public, \"A \"\"b\"\"\"");
        app.connection_limit = 20;
        app.valid_until = Some("2027-01-01 00:00:00+00".into());
        let statements = of(&clone_turn(), &catalog(160_000, [app]), Some(&"V".into()));
        assert_eq!(
            sql(&statements),
            [
                "CREATE ROLE \"app_clone\" LOGIN INHERIT IN ROLE \"app\" PASSWORD 'V' CONNECTION LIMIT 20 VALID UNTIL '2027-01-01 00:00:00+00'",
                "ALTER ROLE \"app_clone\" SET role = 'app'",
                "ALTER ROLE \"app_clone\" IN DATABASE \"shop\" SET \"search_path\" TO '$user', 'public', 'A \"b\"'",
            ]
        );
    }

    #[test]
    fn a_twin_that_is_as_it_should_be_costs_one_statement_or_none() {
        let app = with_setting(role("app"), None, "work_mem", "64MB");
        let mut twin = with_setting(with_setting(role("app_clone"), None, "role", "app"), None, "work_mem", "64MB");
        twin.member_of = vec!["app".into()];
        (twin.inherits_base, twin.may_set_base) = (true, true);
        let catalog = catalog(180_000, [app, twin]);
        assert_eq!(sql(&of(&clone_turn(), &catalog, Some(&"V".into()))), ["ALTER ROLE \"app_clone\" PASSWORD 'V'"]);
        assert!(of(&clone_turn(), &catalog, None).is_empty());
    }

    #[test]
    fn a_clone_made_by_hand_is_put_right() {
        let app = with_setting(role("app"), None, "role", "app_owner");
        let mut twin = with_setting(role("app_clone"), None, "myapp.tenant", "x");
        twin.inherit = false;
        let wanted = |grant: &'static str, extra: Option<&'static str>| {
            extra
                .into_iter()
                .chain([
                    grant,
                    "ALTER ROLE \"app_clone\" SET role = 'app_owner'",
                    "ALTER ROLE \"app_clone\" RESET \"myapp\".\"tenant\"",
                ])
                .collect::<Vec<_>>()
        };
        let on = |version| of(&clone_turn(), &catalog(version, [app.clone(), twin.clone()]), None);
        assert_eq!(
            sql(&on(150_000)),
            wanted("GRANT \"app\" TO \"app_clone\"", Some("ALTER ROLE \"app_clone\" INHERIT"))
        );
        assert_eq!(sql(&on(160_000)), wanted("GRANT \"app\" TO \"app_clone\" WITH INHERIT TRUE, SET TRUE", None));
    }

    #[test]
    fn the_base_itself_only_gets_a_password() {
        let turn = Turn { current: "app_clone".into(), pending: "app".into(), base: Base::Pending };
        let mut app = with_setting(role("app"), None, "work_mem", "1MB");
        app.connection_limit = 3;
        let statements = of(&turn, &catalog(160_000, [app, role("app_clone")]), Some(&"V".into()));
        assert_eq!(sql(&statements), ["ALTER ROLE \"app\" PASSWORD 'V'"]);
    }

    #[test]
    fn an_owners_second_login_keeps_settings_of_its_own() {
        let turn = Turn { current: "a".into(), pending: "b".into(), base: Base::Owner("app".into()) };
        let twin = with_setting(role("b"), None, "work_mem", "1MB");
        let owner = with_setting(role("app"), None, "datestyle", "ISO, DMY");
        let statements = of(&turn, &catalog(140_000, [owner, role("a"), twin]), None);
        assert_eq!(
            sql(&statements),
            [
                "GRANT \"app\" TO \"b\"",
                "ALTER ROLE \"b\" SET role = 'app'",
                "ALTER ROLE \"b\" SET \"datestyle\" TO 'ISO, DMY'"
            ]
        );
    }

    #[test]
    fn names_cannot_break_out_of_their_quotes() {
        let turn =
            Turn { current: "a".into(), pending: "b\"; DROP ROLE x; --".into(), base: Base::Owner("o'\"".into()) };
        let statements = of(&turn, &catalog(160_000, [role("o'\""), role("a")]), Some(&"V".into()));
        assert_eq!(
            sql(&statements),
            [
                "CREATE ROLE \"b\"\"; DROP ROLE x; --\" LOGIN INHERIT IN ROLE \"o'\"\"\" PASSWORD 'V'",
                "ALTER ROLE \"b\"\"; DROP ROLE x; --\" SET role = 'o''\"'",
            ]
        );
    }

    proptest! {
        #[test]
        fn a_stored_list_comes_apart_as_it_was_put_together(items in proptest::collection::vec("[a-z$\", ]{0,8}", 0..5)) {
            let stored = items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", ");
            prop_assert_eq!(list_items(&stored), items);
        }
    }
}
