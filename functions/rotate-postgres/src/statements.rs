//! The statements that make the pending user what it must be. Pure: what the catalog says in, SQL out.
//!
//! Everything is compared first, so that a twin which is as it should be costs no statement but its password.

use crate::case::Case;
use crate::catalog::{Catalog, MEMBERSHIP_OPTIONS, Role, Setting, SettingKey};
use crate::layout::{Base, Turn};
use crate::mark;
use keyturn_postgres::{literal, quoted};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

/// Settings whose value is a list of names: one string literal for the whole would be one odd name.
const LISTS: [&str; 4] = ["search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries"];

/// `sql` may hold a verifier, never a password; `says` tells what it does, in words.
pub(crate) struct Statement {
    pub(crate) sql: SecretString,
    pub(crate) says: String,
    /// The statement as an error may show it, where only a superuser may run it.
    superusers: Option<String>,
}

impl Statement {
    fn new(sql: String, says: impl Into<String>) -> Self {
        Self { sql: sql.into(), says: says.into(), superusers: None }
    }
}

/// The statements for the turn. `verifier` is the pending password's hash; `None` when the pending password works already.
pub(crate) fn of(case: &Case, turn: &Turn, catalog: &Catalog, verifier: Option<&SecretString>) -> Vec<Statement> {
    let mut statements = Vec::new();
    let twin = catalog.role(&turn.pending);
    let base = turn.base().filter(|base| *base != turn.pending).and_then(|base| catalog.role(base));
    login(&mut statements, case, turn, catalog, twin, base, verifier);
    if let (Some(base), Some(current)) = (base, catalog.role(&turn.current)) {
        let options = MembershipOptions::of(current, base);
        membership(&mut statements, twin, turn, base, &options, catalog.server.version);
        role_to_assume(&mut statements, twin, turn, case, base);
    }
    statements.extend(settings(case, turn, catalog));
    marks(&mut statements, turn, case, catalog);
    statements
}

/// The settings that a superuser would have to make for the turn, as SQL for an error: the admin would be refused. Values of
/// parameters that PostgreSQL does not define may be secrets (`pgrst.jwt_secret`), and are left out.
pub(crate) fn denied_settings(case: &Case, turn: &Turn, catalog: &Catalog) -> Vec<String> {
    settings(case, turn, catalog).into_iter().filter_map(|setting| setting.superusers).collect()
}

/// Whether the rotation gives the pending user REPLICATION, which the user in use has.
pub(crate) fn gives_replication(admin: &Role, turn: &Turn, catalog: &Catalog) -> bool {
    let lacks = |pending: &Role| !pending.replicates;
    turn.copies()
        && catalog.role(&turn.current).is_some_and(|current| current.replicates)
        && catalog.role(&turn.pending).is_none_or(lacks)
        && (admin.superuser
            || (catalog.server.version >= MEMBERSHIP_OPTIONS && admin.creates_roles && admin.replicates))
}

/// A clone that owns objects, or has grants that its base has not, goes on acting as itself: as its base it would lose them.
pub(crate) fn keeps_its_own(turn: &Turn, twin: &Role, base: &Role) -> bool {
    let has_grants = turn.base == Base::Current && twin.has_grants_beyond.contains(&base.name);
    (twin.owns_objects || has_grants) && !twin.acts_as_another() && twin.assumes().is_none()
}

/// Both users say in their comment whose they are.
fn marks(statements: &mut Vec<Statement>, turn: &Turn, case: &Case, catalog: &Catalog) {
    let there = mark::users(turn, catalog).into_iter().map(|role| (&role.name, role.comment.as_deref()));
    let new = catalog.role(&turn.pending).is_none().then_some((&turn.pending, None));
    for (name, comment) in there.chain(new) {
        let marked = mark::with(comment, &case.secret);
        if comment != Some(&marked) {
            statements
                .push(Statement::new(mark::comment(name, Some(&marked)), format!("{name:?} marked as this secret's")));
        }
    }
}

/// The login itself: that it exists, its password, its limits.
fn login(
    statements: &mut Vec<Statement>,
    case: &Case,
    turn: &Turn,
    catalog: &Catalog,
    twin: Option<&Role>,
    base: Option<&Role>,
    verifier: Option<&SecretString>,
) {
    let name = quoted(&turn.pending);
    // The user in use is the measure; in pair layout, and for the base itself, limits are their owner's business.
    let measure = catalog.role(&turn.current).filter(|_| turn.copies());
    let mut options = Vec::new();
    let mut says = Vec::new();
    if let Some(verifier) = verifier {
        options.push(format!(" PASSWORD {}", literal(verifier.expose_secret())));
        says.push("password set".to_owned());
    }
    if let Some(measure) = measure
        && twin.map_or(-1, |twin| twin.connection_limit) != measure.connection_limit
    {
        options.push(format!(" CONNECTION LIMIT {}", measure.connection_limit));
        says.push(format!("connection limit {}", measure.connection_limit));
    }
    // Where passwords are to die by themselves, each new one does, whoever's it is.
    let until = match (case.valid_days, measure) {
        (Some(_), _) => verifier.and(case.new_valid_until.as_deref()),
        (None, Some(measure)) => {
            let differs = twin.and_then(|twin| twin.valid_until.as_ref()) != measure.valid_until.as_ref();
            differs.then(|| measure.valid_until.as_deref().unwrap_or("infinity"))
        }
        (None, None) => None,
    };
    if let Some(until) = until {
        options.push(format!(" VALID UNTIL {}", literal(until)));
        says.push(format!("valid until {until}"));
    }
    if catalog.admin().is_some_and(|admin| gives_replication(admin, turn, catalog)) {
        options.push(" REPLICATION".to_owned());
        says.push("may log in for replication".to_owned());
    }
    let nothing_to_do = options.is_empty();
    let options = Zeroizing::new(options.concat());
    match (twin, base) {
        (None, Some(base)) => {
            says.insert(0, format!("{:?} created", turn.pending));
            let inherits = catalog.role(&turn.current).is_none_or(|current| current.inherits(&base.name));
            let inherit = if inherits { "INHERIT" } else { "NOINHERIT" };
            statements.push(Statement::new(
                format!("CREATE ROLE {name} LOGIN {inherit} IN ROLE {}{}", quoted(&base.name), *options),
                says.join(", "),
            ));
        }
        _ if nothing_to_do => {}
        _ => statements.push(Statement::new(format!("ALTER ROLE {name}{}", *options), says.join(", "))),
    }
}

/// What a membership in the base or owner gives. The second user's is like that of the user in use, never more.
pub(crate) struct MembershipOptions {
    inherit: bool,
    set: bool,
    admin: bool,
}

impl MembershipOptions {
    /// Those of `current`, which may be the base itself.
    pub(crate) fn of(current: &Role, base: &Role) -> Self {
        let name = &base.name;
        let admin = current.name != *name && current.may_grant(name);
        Self { inherit: current.inherits(name), set: current.may_set(name), admin }
    }

    /// Whether `twin` has them all.
    pub(crate) fn are_given_to(&self, twin: &Role, base: &Role) -> bool {
        let has = |wanted: bool, has: bool| has || !wanted;
        let name = &base.name;
        has(self.inherit, twin.inherits(name))
            && has(self.set, twin.may_set(name))
            && has(self.admin, twin.may_grant(name))
    }

    /// As the end of a GRANT. `GRANT` up to 15 knows ADMIN alone.
    fn sql(&self, version: i32) -> String {
        let on = |option: bool| if option { "TRUE" } else { "FALSE" };
        match (version < MEMBERSHIP_OPTIONS, self.admin) {
            (true, true) => " WITH ADMIN OPTION".to_owned(),
            (true, false) => String::new(),
            (false, true) => format!(" WITH INHERIT {}, SET {}, ADMIN TRUE", on(self.inherit), on(self.set)),
            (false, false) => format!(" WITH INHERIT {}, SET {}", on(self.inherit), on(self.set)),
        }
    }
}

fn membership(
    statements: &mut Vec<Statement>,
    twin: Option<&Role>,
    turn: &Turn,
    base: &Role,
    options: &MembershipOptions,
    version: i32,
) {
    let (login, role) = (quoted(&turn.pending), quoted(&base.name));
    let grant = format!("GRANT {role} TO {login}{}", options.sql(version));
    let says = format!("member of {:?}", base.name);
    match twin {
        // A role that is created here gets its membership with it: with SET, and INHERIT as it has itself.
        None if options.set && !options.admin => {}
        None => statements.push(Statement::new(grant, says)),
        Some(twin) => {
            if !twin.inherit && options.inherit && version < MEMBERSHIP_OPTIONS {
                statements
                    .push(Statement::new(format!("ALTER ROLE {login} INHERIT"), "inherits its memberships' rights"));
            }
            if !options.are_given_to(twin, base) {
                statements.push(Statement::new(grant, says));
            }
        }
    }
}

/// With this the login acts as the base from its first statement, so that what it makes belongs to the base.
fn role_to_assume(statements: &mut Vec<Statement>, twin: Option<&Role>, turn: &Turn, case: &Case, base: &Role) {
    let login = quoted(&turn.pending);
    let now = twin.and_then(Role::assumes);
    let wanted = base.meant_to_act_as();
    if case.acts_as_base {
        if now != Some(wanted) && !twin.is_some_and(|twin| keeps_its_own(turn, twin, base)) {
            statements.push(Statement::new(
                format!("ALTER ROLE {login} SET role = {}", literal(wanted)),
                format!("acts as {wanted:?}"),
            ));
        }
    } else if now == Some(wanted) {
        statements.push(Statement::new(format!("ALTER ROLE {login} RESET role"), "acts as itself"));
    }
}

/// The settings of the base. A user that is made gets those of the user in use as well.
fn settings(case: &Case, turn: &Turn, catalog: &Catalog) -> Vec<Statement> {
    let twin = catalog.role(&turn.pending);
    let base = turn.base().filter(|base| *base != turn.pending).and_then(|base| catalog.role(base));
    let Some(base) = base else { return Vec::new() };
    // Whom it acts as in all databases is `role_to_assume`'s.
    let is_role = |key: &SettingKey| key.name == "role" && (key.database.is_none() || !case.acts_as_base);
    let mut wanted = base.settings.clone();
    // Any login may set any role for itself; only where it has an effect does it say whom the base acts as.
    wanted.retain(|key, setting| key.name != "role" || base.can_act_as.contains(&setting.value));
    if let (None, Some(current)) = (twin, catalog.role(&turn.current)) {
        // A role for one database that the user in use has for itself would make the next one act as somebody else there.
        let own = current.settings.iter().filter(|(key, _)| key.name != "role");
        wanted.extend(own.map(|(key, setting)| (key.clone(), setting.clone())));
    }
    let mut statements = Vec::new();
    let mut change = |says: String, key: &SettingKey, setting: &Setting, sql: String, shown: String| {
        let superusers = (!catalog.admin_may_set(&key.name, setting)).then_some(shown);
        statements.push(Statement { superusers, ..Statement::new(sql, says) });
    };
    for (key, setting) in wanted.iter().filter(|(key, _)| !is_role(key)) {
        if twin.and_then(|twin| twin.settings.get(key)).map(|setting| &setting.value) != Some(&setting.value) {
            let value = value_sql(&key.name, &setting.value);
            let set = format!("{} SET {} TO ", of_role(turn, key), quoted_parts(&key.name));
            let (sql, is_own) = (format!("{set}{value}"), key.name.contains('.'));
            let shown = if is_own { format!("{set}'...'") } else { sql.clone() };
            change(format!("setting {}", key.name), key, setting, sql, shown);
        }
    }
    // A clone follows its base in every setting; the two logins of an owner may have settings of their own. A role set for
    // one database is removed in both layouts: in that database the login would act as another role.
    let ours = |key: &SettingKey| turn.base == Base::Current || key.name == "role";
    let extra = twin.into_iter().flat_map(|twin| &twin.settings).filter(|(key, _)| ours(key));
    for (key, setting) in extra.filter(|(key, _)| !is_role(key) && !wanted.contains_key(*key)) {
        let sql = format!("{} RESET {}", of_role(turn, key), quoted_parts(&key.name));
        change(format!("setting {} removed", key.name), key, setting, sql.clone(), sql);
    }
    statements
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
    use crate::layout::Layout;
    use proptest::prelude::*;

    fn clone() -> Case {
        Case::with(Layout::Clone { base: None })
    }

    fn to_the_clone() -> Turn {
        Turn { current: "app".into(), pending: "app_clone".into(), base: Base::Current }
    }

    fn to_b() -> Turn {
        Turn { current: "a".into(), pending: "b".into(), base: Base::Owner("app".into()) }
    }

    fn owner() -> Case {
        Case::with(Layout::Owner { users: ["a".into(), "b".into()], owner: "app".into() })
    }

    /// The statements for the turn on a server with these roles, which are marked already, besides the admin.
    fn sql(case: &Case, turn: &Turn, version: i32, roles: &[Role], verifier: Option<&str>) -> Vec<String> {
        let marked = |role: &Role| Role { comment: Some("[keyturn arn:app]".to_owned()), ..role.clone() };
        let catalog = Catalog::of(version, roles.iter().map(marked).chain([Role::admin(&[])]));
        let verifier = verifier.map(SecretString::from);
        let statements = of(case, turn, &catalog, verifier.as_ref());
        statements.iter().map(|statement| statement.sql.expose_secret().to_owned()).collect()
    }

    const MARKED: &str = "COMMENT ON ROLE \"app_clone\" IS '[keyturn arn:app]'";

    #[test]
    fn a_first_rotation_creates_the_clone_in_one_statement() {
        let mut app =
            Role::of("app", &[]).with_setting(Some("shop"), "search_path", "\"$user\", public, \"A \"\"b\"\"\"");
        app.connection_limit = 20;
        app.valid_until = Some("2027-01-01 00:00:00+00".into());
        assert_eq!(
            sql(&clone(), &to_the_clone(), 160_000, &[app], Some("V")),
            [
                "CREATE ROLE \"app_clone\" LOGIN INHERIT IN ROLE \"app\" PASSWORD 'V' CONNECTION LIMIT 20 VALID UNTIL '2027-01-01 00:00:00+00'",
                "ALTER ROLE \"app_clone\" SET role = 'app'",
                "ALTER ROLE \"app_clone\" IN DATABASE \"shop\" SET \"search_path\" TO '$user', 'public', 'A \"b\"'",
                MARKED,
            ]
        );
    }

    #[test]
    fn a_twin_that_is_as_it_should_be_costs_one_statement_or_none() {
        let app = Role::of("app", &[]).with_setting(None, "work_mem", "64MB");
        let twin = Role::of("app_clone", &["app"]).acting_as("app").with_setting(None, "work_mem", "64MB");
        let statements = |verifier| sql(&clone(), &to_the_clone(), 180_000, &[app.clone(), twin.clone()], verifier);
        assert_eq!(statements(Some("V")), ["ALTER ROLE \"app_clone\" PASSWORD 'V'"]);
        assert_eq!(statements(None), [""; 0]);
    }

    #[test]
    fn a_clone_made_by_hand_is_put_right() {
        let app = Role { can_act_as: vec!["app_owner".into()], ..Role::of("app", &[]) }.acting_as("app_owner");
        let mut twin = Role::of("app_clone", &[]).with_setting(None, "myapp.tenant", "x");
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
        let on = |version| sql(&clone(), &to_the_clone(), version, &[app.clone(), twin.clone()], None);
        assert_eq!(on(150_000), wanted("GRANT \"app\" TO \"app_clone\"", Some("ALTER ROLE \"app_clone\" INHERIT")));
        assert_eq!(on(160_000), wanted("GRANT \"app\" TO \"app_clone\" WITH INHERIT TRUE, SET TRUE", None));
    }

    #[test]
    fn the_base_itself_only_gets_a_password() {
        let turn = Turn { current: "app_clone".into(), pending: "app".into(), base: Base::Pending };
        let mut app = Role::of("app", &[]).with_setting(None, "work_mem", "1MB");
        app.connection_limit = 3;
        let statements = sql(&clone(), &turn, 160_000, &[app, Role::of("app_clone", &["app"])], Some("V"));
        assert_eq!(statements, ["ALTER ROLE \"app\" PASSWORD 'V'"]);
    }

    #[test]
    fn an_owners_second_login_keeps_settings_of_its_own_and_a_new_one_gets_those_of_the_first() {
        let roles = |twin: Option<Role>| -> Vec<Role> {
            let owner = Role::of("app", &[]).with_setting(None, "datestyle", "ISO, DMY");
            let first = Role::of("a", &["app"]).acting_as("app").with_setting(None, "work_mem", "2MB");
            [owner, first].into_iter().chain(twin).collect()
        };
        let twin = Role::of("b", &[]).with_setting(None, "work_mem", "1MB");
        assert_eq!(
            sql(&owner(), &to_b(), 140_000, &roles(Some(twin)), None),
            [
                "GRANT \"app\" TO \"b\"",
                "ALTER ROLE \"b\" SET role = 'app'",
                "ALTER ROLE \"b\" SET \"datestyle\" TO 'ISO, DMY'"
            ]
        );
        assert_eq!(
            sql(&owner(), &to_b(), 140_000, &roles(None), None),
            [
                "CREATE ROLE \"b\" LOGIN INHERIT IN ROLE \"app\"",
                "ALTER ROLE \"b\" SET role = 'app'",
                "ALTER ROLE \"b\" SET \"datestyle\" TO 'ISO, DMY'",
                "ALTER ROLE \"b\" SET \"work_mem\" TO '2MB'",
                "COMMENT ON ROLE \"b\" IS '[keyturn arn:app]'",
            ]
        );
    }

    #[test]
    fn a_membership_is_copied_with_its_options() {
        let on = |version, first: Role| {
            let roles = [Role::of("app", &[]), first];
            sql(&Case { acts_as_base: false, ..owner() }, &to_b(), version, &roles, None)
        };
        let no_set = Role { may_set: Vec::new(), ..Role::of("a", &["app"]) };
        assert_eq!(on(160_000, no_set)[1], "GRANT \"app\" TO \"b\" WITH INHERIT TRUE, SET FALSE");
        let dry = Role { inherits: Vec::new(), ..Role::of("a", &["app"]) };
        assert_eq!(on(160_000, dry)[0], "CREATE ROLE \"b\" LOGIN NOINHERIT IN ROLE \"app\"");
        let grants = || Role { may_grant: vec!["app".into()], ..Role::of("a", &["app"]) };
        assert_eq!(on(160_000, grants())[1], "GRANT \"app\" TO \"b\" WITH INHERIT TRUE, SET TRUE, ADMIN TRUE");
        assert_eq!(on(150_000, grants())[1], "GRANT \"app\" TO \"b\" WITH ADMIN OPTION");
    }

    #[test]
    fn a_password_that_is_to_die_by_itself_does_whoevers_it_is() {
        let app = || Role { valid_until: Some("2026-01-01 00:00:00+00".into()), ..Role::of("app", &[]) };
        let roles = || [app(), Role::of("app_clone", &["app"]).acting_as("app")];
        let mortal = Case { valid_days: Some(90), new_valid_until: Some("2026-03-01 00:00:00+00".into()), ..clone() };
        let until = "PASSWORD 'V' VALID UNTIL '2026-03-01 00:00:00+00'";
        let to_the_base = Turn { current: "app_clone".into(), pending: "app".into(), base: Base::Pending };
        assert_eq!(
            sql(&mortal, &to_the_clone(), 180_000, &roles(), Some("V")),
            [format!("ALTER ROLE \"app_clone\" {until}")]
        );
        assert_eq!(sql(&mortal, &to_the_base, 180_000, &roles(), Some("V")), [format!("ALTER ROLE \"app\" {until}")]);
        // The date belongs to the password: where that stays, so does the date.
        assert_eq!(sql(&mortal, &to_the_clone(), 180_000, &roles(), None), [""; 0]);
    }

    #[test]
    fn a_clone_that_owns_objects_or_has_grants_goes_on_acting_as_itself() {
        let owning = Role { owns_objects: true, ..Role::of("app_clone", &["app"]) };
        assert_eq!(sql(&clone(), &to_the_clone(), 180_000, &[Role::of("app", &[]), owning], None), [""; 0]);
        let granted = Role { has_grants_beyond: vec!["app".into()], ..Role::of("app_clone", &["app"]) };
        assert_eq!(sql(&clone(), &to_the_clone(), 180_000, &[Role::of("app", &[]), granted], None), [""; 0]);
    }

    #[test]
    fn users_that_are_not_marked_yet_are_and_an_owner_is_not() {
        let roles = [Role::of("app", &[]), Role::of("a", &["app"]), Role::of("b", &["app"])];
        let catalog = Catalog::of(180_000, roles.into_iter().chain([Role::admin(&[])]));
        let marks = |case: &Case, turn: &Turn| -> Vec<String> {
            let statements = of(case, turn, &catalog, None);
            let sql = statements.iter().map(|statement| statement.sql.expose_secret());
            sql.filter(|sql| sql.starts_with("COMMENT")).map(|sql| sql.replace(" IS '[keyturn arn:app]'", "")).collect()
        };
        assert_eq!(marks(&owner(), &to_b()), ["COMMENT ON ROLE \"a\"", "COMMENT ON ROLE \"b\""]);
        let first = Turn { current: "app".into(), pending: "a".into(), base: Base::Owner("app".into()) };
        assert_eq!(marks(&owner(), &first), ["COMMENT ON ROLE \"a\""]);
    }

    #[test]
    fn a_role_that_somebody_set_without_effect_is_not_copied() {
        let app =
            Role::of("app", &[]).with_setting(None, "role", "postgres").with_setting(Some("shop"), "role", "postgres");
        let twin = Role::of("app_clone", &["app"]).acting_as("app");
        assert_eq!(sql(&clone(), &to_the_clone(), 180_000, &[app, twin], None), [""; 0]);
    }

    #[test]
    fn logins_that_are_to_act_as_themselves_do() {
        let case = Case { acts_as_base: false, ..clone() };
        let of = |twin: Role| sql(&case, &to_the_clone(), 180_000, &[Role::of("app", &[]), twin], None);
        assert_eq!(of(Role::of("app_clone", &["app"])), [""; 0]);
        assert_eq!(of(Role::of("app_clone", &["app"]).acting_as("app")), ["ALTER ROLE \"app_clone\" RESET role"]);
    }

    #[test]
    fn names_cannot_break_out_of_their_quotes() {
        let turn =
            Turn { current: "a".into(), pending: "b\"; DROP ROLE x; --".into(), base: Base::Owner("o'\"".into()) };
        let roles = [Role::of("o'\"", &[]), Role::of("a", &["o'\""])];
        assert_eq!(
            sql(&owner(), &turn, 160_000, &roles, Some("V")),
            [
                "CREATE ROLE \"b\"\"; DROP ROLE x; --\" LOGIN INHERIT IN ROLE \"o'\"\"\" PASSWORD 'V'",
                "ALTER ROLE \"b\"\"; DROP ROLE x; --\" SET role = 'o''\"'",
                "COMMENT ON ROLE \"b\"\"; DROP ROLE x; --\" IS '[keyturn arn:app]'",
            ]
        );
    }

    #[test]
    fn replication_is_given_where_the_admin_can_give_it() {
        let app = Role { replicates: true, ..Role::of("app", &[]) };
        let of = |version, admin: Role| {
            let catalog = Catalog::of(version, [app.clone(), Role::of("app_clone", &["app"]).acting_as("app"), admin]);
            let statements = of(&clone(), &to_the_clone(), &catalog, None);
            statements.iter().filter(|statement| statement.sql.expose_secret().ends_with(" REPLICATION")).count()
        };
        let replicating = || Role { replicates: true, ..Role::admin(&[]) };
        assert_eq!((of(160_000, replicating()), of(150_000, replicating())), (1, 0));
        assert_eq!((of(160_000, Role::admin(&[])), of(130_000, Role { superuser: true, ..Role::admin(&[]) })), (0, 1));
    }

    proptest! {
        #[test]
        fn a_stored_list_comes_apart_as_it_was_put_together(items in proptest::collection::vec("[a-z$\", ]{0,8}", 0..5)) {
            let stored = items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", ");
            prop_assert_eq!(list_items(&stored), items);
        }
    }
}
