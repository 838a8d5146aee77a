use super::*;
use crate::layout::Layout;

fn role(name: &str, member_of: &[&str]) -> Role {
    Role::of(name, member_of)
}

fn admin() -> Role {
    Role::admin(&["app", "app_clone", "a", "b", "payroll"])
}

fn catalog(version: i32, roles: impl IntoIterator<Item = Role>) -> Catalog {
    Catalog::of(version, roles)
}

fn turn(current: &str, pending: &str, base: Base) -> Turn {
    Turn { current: current.to_owned(), pending: pending.to_owned(), base }
}

fn case() -> Case {
    Case::with(Layout::Clone { base: None })
}

fn roles(case: &Case, turn: &Turn, admin: &str, catalog: &Catalog) -> Result<Vec<Error>> {
    judge(case, turn, admin, catalog).warnings()
}

fn judged(turn: &Turn, catalog: &Catalog) -> Result<Vec<Error>> {
    roles(&case(), turn, "admin", catalog)
}

/// `app` to `app_clone` on 18, the clone being like this.
fn verdict_on(twin: Role) -> Result<Vec<Error>> {
    judged(&turn("app", "app_clone", Base::Current), &catalog(180_000, [admin(), role("app", &["team"]), twin]))
}

#[track_caller]
fn refused(verdict: Result<Vec<Error>>, code: &str, says: &str) {
    let error = verdict.unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(says), "{error}");
}

#[test]
fn a_twin_may_be_absent_or_a_member_of_its_base() {
    let absent = catalog(180_000, [admin(), role("app", &[])]);
    assert_eq!(judged(&turn("app", "app_clone", Base::Current), &absent), Ok(vec![]));
    assert_eq!(verdict_on(role("app_clone", &["app", "team"])), Ok(vec![]));
    refused(
        verdict_on(role("app_clone", &["app", "another_team"])),
        "TWIN_TOO_POWERFUL",
        "membership in another_team.",
    );
}

#[test]
fn a_twin_that_nothing_vouches_for_is_somebody_elses() {
    let grant = "GRANT \"app\" TO \"app_clone\"";
    refused(verdict_on(role("app_clone", &[])), "TWIN_IS_SOMEBODY_ELSE", grant);
    refused(verdict_on(role("app_clone", &["team"])), "TWIN_IS_SOMEBODY_ELSE", grant);
    let by_itself = || Role { vouched_for: vec![], ..role("app_clone", &["app"]) };
    refused(verdict_on(by_itself()), "TWIN_IS_SOMEBODY_ELSE", "as an admin: GRANT \"app\" TO \"app_clone\". Or vouch");
    // The rotation's mark, which an admin alone can write, and the operator's tag say so as well.
    let commented = |comment: &str| Role { comment: Some(comment.to_owned()), ..role("app_clone", &[]) };
    assert_eq!(verdict_on(commented("[keyturn arn:app]")), Ok(vec![]));
    refused(verdict_on(commented("arn:app")), "TWIN_IS_SOMEBODY_ELSE", grant);
    let all = catalog(180_000, [admin(), role("app", &[]), by_itself()]);
    let adopting = case().adopting("app_clone");
    assert_eq!(roles(&adopting, &turn("app", "app_clone", Base::Current), "admin", &all), Ok(vec![]));
}

fn catalog_with_clone(version: i32) -> Catalog {
    catalog(version, [admin(), role("app", &[]), role("app_clone", &["app"])])
}

#[test]
fn releases_that_ignore_role_settings_are_refused_where_one_is_needed() {
    for (version, ignores) in [
        (170_001, true),
        (170_002, false),
        (160_005, true),
        (150_009, true),
        (140_014, true),
        (130_017, true),
        (130_018, false),
    ] {
        let catalog = catalog(version, [admin(), role("app", &[])]);
        let verdict = judged(&turn("app", "app_clone", Base::Current), &catalog);
        if ignores {
            refused(
                verdict,
                "ROLE_SETTINGS_IGNORED",
                "tag-resource --secret-id arn:app --tags Key=keyturn:acts-as,Value=self",
            );
        } else {
            assert_eq!(verdict, Ok(vec![]), "{version}");
        }
        let back = catalog_with_clone(version);
        assert_eq!(
            judged(&turn("app_clone", "app", Base::Pending), &back),
            Ok(vec![]),
            "the base acts as itself anyway"
        );
        let as_itself = Case { acts_as_base: false, ..case() };
        assert_eq!(roles(&as_itself, &turn("app", "app_clone", Base::Current), "admin", &catalog), Ok(vec![]));
    }
}

#[test]
fn users_of_another_secret_are_left_alone() {
    for marked in ["app", "app_clone"] {
        let comment = |name: &str| (name == marked).then(|| "[keyturn arn:other]".to_owned());
        let all = [role("app", &[]), role("app_clone", &["app"])];
        let all = all.map(|role| Role { comment: comment(&role.name), ..role });
        let all = catalog(180_000, all.into_iter().chain([admin()]));
        let turn = turn("app", "app_clone", Base::Current);
        refused(judged(&turn, &all), "PAIR_OF_ANOTHER_SECRET", "Key=keyturn:adopt,Value=arn:other");
        assert_eq!(roles(&case().adopting("arn:other"), &turn, "admin", &all), Ok(vec![]));
    }
}

#[test]
fn every_power_that_the_base_has_not_is_named() {
    let twin = |member_of: &[&str]| role("app_clone", member_of);
    for (twin, says) in [
        (Role { powers: vec!["SUPERUSER".into()], ..twin(&["app"]) }, "has not: SUPERUSER."),
        (Role { powers: vec!["REPLICATION".into()], ..twin(&["app"]) }, "has not: REPLICATION."),
        (Role { powers: vec!["BYPASSRLS".into()], ..twin(&["app"]) }, "has not: BYPASSRLS."),
        (Role { powers: vec!["CREATEROLE".into()], ..twin(&["app"]) }, "has not: CREATEROLE."),
        (Role { powers: vec!["CREATEDB".into()], ..twin(&["app"]) }, "has not: CREATEDB."),
        (Role { can_grant: vec!["app".into()], ..twin(&["app"]) }, "has not: ADMIN OPTION on app."),
        (twin(&["app", "pg_write_server_files"]), "has not: membership in pg_write_server_files."),
        (
            twin(&["app", "rds_superuser", "rds_password"]),
            "has not: membership in rds_superuser, membership in rds_password.",
        ),
        (twin(&["admin", "app"]), "has not: membership in admin."),
    ] {
        refused(verdict_on(twin), "TWIN_TOO_POWERFUL", says);
    }
}

#[test]
fn what_the_base_has_too_is_no_excess() {
    let strong = |name: &str, member_of: &[&str]| Role {
        powers: vec!["BYPASSRLS".into(), "CREATEDB".into()],
        ..role(name, member_of)
    };
    let both = [admin(), strong("app", &["pg_monitor"]), strong("app_clone", &["app", "pg_monitor"])];
    assert_eq!(judged(&turn("app", "app_clone", Base::Current), &catalog(180_000, both)), Ok(vec![]));
}

#[test]
fn nobody_is_taken_into_an_owner_they_are_not_in() {
    let owned = |current: Role| {
        let catalog = catalog(140_000, [admin(), role("app", &[]), current]);
        judged(&turn("a", "b", Base::Owner("app".into())), &catalog)
    };
    assert_eq!(owned(role("a", &["app"]).acting_as("app")), Ok(vec![]));
    refused(owned(role("a", &["app"])), "OBJECTS_NOT_SHARED", "ALTER ROLE \"a\" SET role = 'app'");
    refused(owned(role("a", &["application"])), "CURRENT_NOT_MEMBER", "GRANT \"app\" TO \"a\"");
    refused(owned(role("A", &["app"])), "USER_MISSING", "no user \"a\"");
    // A team that has logged in as the owner itself until now.
    let catalog = catalog(140_000, [admin(), role("app", &[])]);
    assert_eq!(judged(&turn("app", "a", Base::Owner("app".into())), &catalog), Ok(vec![]));
}

#[test]
fn iam_is_found_on_base_current_and_pending() {
    for iam in ["app", "a", "b"] {
        let with = |name: &str| role(name, if name == iam { &["app", "rds_iam"] } else { &["app"] });
        let catalog = catalog(140_000, [admin(), with("app"), with("a"), with("b")]);
        let verdict = judged(&turn("a", "b", Base::Owner("app".into())), &catalog);
        refused(verdict, "IAM_AUTH_ONLY", &format!("REVOKE rds_iam FROM {iam:?}"));
    }
}

#[test]
fn what_an_admin_lacks_depends_on_the_version() {
    let clone = || role("app_clone", &["app"]);
    let base = "GRANT \"app\" TO \"admin\" WITH ADMIN OPTION";
    let twin = "GRANT \"app_clone\" TO \"admin\" WITH ADMIN OPTION";
    let both = format!("{base}; {twin}");
    for (to, exists, may_grant, missing) in [
        ("app_clone", false, &[][..], Some(base)),
        ("app_clone", false, &["app"], None),
        // The mark on the user in use takes it, even where the clone is a member already.
        ("app_clone", true, &["app_clone"], Some(base)),
        ("app_clone", true, &["app"], Some(twin)),
        ("app_clone", true, &["app", "app_clone"], None),
        ("app", true, &["app_clone"], Some(base)),
        ("app", true, &["app"], Some(twin)),
        ("app", true, &["app", "app_clone"], None),
        ("app_clone", true, &[], Some(&*both)),
    ] {
        let turn =
            if to == "app" { turn("app_clone", "app", Base::Pending) } else { turn("app", "app_clone", Base::Current) };
        let present = [Role::admin(may_grant), role("app", &[])];
        let on = |version| judged(&turn, &catalog(version, present.iter().cloned().chain(exists.then(clone))));
        assert_eq!(on(159_999), Ok(vec![]));
        match missing {
            None => assert_eq!(on(160_000), Ok(vec![])),
            Some(grants) => {
                let error = on(160_000).unwrap_err();
                assert_eq!(error.code(), "ADMIN_LACKS_ADMIN_OPTION");
                assert!(error.remedy().ends_with(&format!(": {grants}")), "{to} {may_grant:?}: {error}");
            }
        }
    }
}

#[test]
fn an_admin_is_judged_by_the_role_it_acts_as() {
    let verdict = |admin: Role, restricted: bool| {
        let mut catalog = catalog(160_000, [admin, role("app", &[])]);
        catalog.server.restricts_password_commands = restricted;
        judged(&turn("app", "app_clone", Base::Current), &catalog)
    };
    refused(verdict(role("somebody", &[]), false), "ADMIN_MISSING", "no role \"admin\"");
    refused(verdict(role("admin", &[]), false), "ADMIN_LACKS_CREATEROLE", "ALTER ROLE \"admin\" CREATEROLE");
    refused(verdict(admin(), true), "ADMIN_LACKS_RDS_PASSWORD", "GRANT rds_password TO \"admin\"");
    assert_eq!(verdict(Role { superuser: true, ..role("admin", &[]) }, true), Ok(vec![]));
    let warnings = verdict(role("admin", &["rds_password", "rds_superuser"]), true).unwrap();
    assert!(
        warnings[0].remedy().ends_with("Should it be refused: GRANT \"app\" TO \"admin\" WITH ADMIN OPTION"),
        "{warnings:?}"
    );
    let mut acting =
        catalog(160_000, [role("admin", &["dba"]), Role { name: "dba".into(), ..admin() }, role("app", &[])]);
    acting.roles.values_mut().for_each(|role| role.is_admin = role.name == "dba");
    assert_eq!(roles(&case(), &turn("app", "app_clone", Base::Current), "admin", &acting), Ok(vec![]));
}

#[test]
fn what_a_superuser_would_have_to_do_is_said_before_anything_is_written() {
    let to_clone = turn("app", "app_clone", Base::Current);
    let app = || role("app", &[]);
    let replicating = Role { replicates: true, ..app() };
    let create = "As a superuser: CREATE ROLE \"app_clone\" LOGIN REPLICATION IN ROLE \"app\"";
    refused(judged(&to_clone, &catalog(180_000, [admin(), replicating])), "TWIN_LACKS_REPLICATION", create);

    let mut logging = app().with_setting(None, "log_statement", "none");
    logging.settings.values_mut().for_each(|setting| setting.anybody_may_set = false);
    let all = catalog(180_000, [admin(), logging.clone(), role("app_clone", &["app"])]);
    let set = "As a superuser: ALTER ROLE \"app_clone\" SET \"log_statement\" TO 'none'";
    refused(judged(&to_clone, &all), "SETTING_NOT_COPIED", set);
    let mut granted = all.clone();
    granted.server.admin_may_set.insert("log_statement".to_owned());
    assert_eq!(judged(&to_clone, &granted), Ok(vec![]));
    let done = Role { settings: logging.settings.clone(), ..role("app_clone", &["app"]) };
    assert_eq!(judged(&to_clone, &catalog(180_000, [admin(), logging, done])), Ok(vec![]));
}

#[test]
fn who_may_not_act_as_the_owner_gets_no_second_user_that_may() {
    let no_set = |name: &str| Role { may_set: vec![], ..role(name, &["app"]) };
    let of = |turn: &Turn, current: Role, twin: Role| {
        judged(turn, &catalog(180_000, [admin(), role("app", &[]), current, twin]))
    };
    let to_b = turn("a", "b", Base::Owner("app".into()));
    let grant = "GRANT \"app\" TO \"a\" WITH SET TRUE";
    refused(of(&to_b, no_set("a"), role("b", &["app"])), "MEMBERSHIP_HAS_NO_EFFECT", grant);
    // Its base's password would be worth more than its own.
    let to_base = turn("a_clone", "a", Base::Pending);
    let idle = Role { may_set: vec![], ..role("a_clone", &["a"]) };
    refused(of(&to_base, idle, role("a", &[])), "MEMBERSHIP_HAS_NO_EFFECT", "GRANT \"a\" TO \"a_clone\" WITH SET TRUE");
    let acting_less = Role { can_act_as: vec![], ..role("a", &["app"]) }.acting_as("app");
    refused(of(&to_b, acting_less, role("b", &["app"]).acting_as("app")), "TWIN_TOO_POWERFUL", "SET OPTION on app");
    let granting = Role { can_grant: vec!["app".into()], ..role("b", &["app"]) }.acting_as("app");
    refused(of(&to_b, role("a", &["app"]).acting_as("app"), granting), "TWIN_TOO_POWERFUL", "ADMIN OPTION on app");
}

#[test]
fn names_come_quoted_out_of_every_remedy() {
    let odd = "o\"d d";
    let catalog = catalog(160_000, [admin(), role(odd, &[])]);
    let verdict = judged(&turn(odd, "twin", Base::Current), &catalog);
    refused(verdict, "ADMIN_LACKS_ADMIN_OPTION", "GRANT \"o\"\"d d\" TO \"admin\" WITH ADMIN OPTION");
}

#[test]
fn an_admin_of_another_server_is_refused() {
    let (reader, writer) = (Address::new("reader", 5432), Address::new("writer", 5432));
    assert_eq!(same_server(&writer, &writer), Ok(()));
    let error = same_server(&reader, &writer).unwrap_err();
    assert_eq!(error.code(), "ADMIN_OF_ANOTHER_SERVER");
    assert!(error.remedy().ends_with("HOST_ALIASES=reader:5432=writer:5432"), "{error}");
}

#[test]
fn what_the_user_in_use_owns_itself_stops_an_owner_layout_and_is_told_of_a_clone() {
    let owning = |name: &str| Role { owns_objects: true, ..role(name, &["app"]) };
    let all = [admin(), role("app", &[]), owning("a"), owning("app_clone"), role("b", &["app"]).acting_as("app")];
    let all = catalog(180_000, all);
    let verdict = judged(&turn("a", "b", Base::Owner("app".into())), &all);
    refused(verdict, "OBJECTS_NOT_SHARED", "REASSIGN OWNED BY \"a\" TO \"app\"");
    let warnings = judged(&turn("app_clone", "app", Base::Pending), &all).unwrap();
    assert_eq!(warnings.iter().map(Error::code).collect::<Vec<_>>(), ["OBJECTS_NOT_SHARED"]);
    // The base owns what it shares.
    let owner = catalog(180_000, [admin(), Role { owns_objects: true, ..role("app", &[]) }]);
    assert_eq!(judged(&turn("app", "app_clone", Base::Current), &owner), Ok(vec![]));
}

#[test]
fn rights_by_name_that_the_next_user_lacks_are_told() {
    let granted = |name: &str, to: &str| Role { has_grants_beyond: vec![to.into()], ..role(name, &["app"]) };
    let told = |case: &Case, turn: &Turn, roles: [Role; 2]| -> Vec<&'static str> {
        let all = catalog(180_000, roles.into_iter().chain([admin(), role("app", &[])]));
        judge(case, turn, "admin", &all).warnings().unwrap().iter().map(Error::code).collect()
    };
    let clone = || granted("app_clone", "app");
    let (to_it, back) = (turn("app", "app_clone", Base::Current), turn("app_clone", "app", Base::Pending));
    let by_base = || clone().acting_as("app");
    for (clone, turn, codes) in [
        (clone(), &to_it, &["GRANTS_NOT_SHARED"][..]),
        (clone(), &back, &["GRANTS_NOT_SHARED"]),
        (by_base(), &to_it, &[]),
        (by_base(), &back, &[]),
    ] {
        assert_eq!(told(&case(), turn, [clone, role("b", &["app"])]), codes);
    }
    let (owner, pair) = (turn("a", "b", Base::Owner("app".into())), turn("a", "b", Base::None));
    let as_itself = Case { acts_as_base: false, ..case() };
    assert_eq!(told(&as_itself, &owner, [granted("a", "b"), role("b", &["app"])]), ["GRANTS_NOT_SHARED"]);
    assert_eq!(told(&case(), &pair, [granted("a", "b"), role("b", &["app"])]), ["GRANTS_NOT_SHARED"]);
    assert_eq!(told(&case(), &pair, [granted("a", "app"), role("b", &["app"])]), [""; 0]);
}

#[test]
fn a_user_that_acts_as_itself_needs_the_attributes_of_the_other_itself() {
    let as_itself = Case { acts_as_base: false, ..case() };
    let powerful =
        |name: &str| Role { attributes: vec!["CREATEDB".into()], powers: vec!["CREATEDB".into()], ..role(name, &[]) };
    let verdict = |case: &Case, twin: Option<Role>| {
        let all = catalog(180_000, [admin(), powerful("app")].into_iter().chain(twin));
        roles(case, &turn("app", "app_clone", Base::Current), "admin", &all)
    };
    let create = "CREATE ROLE \"app_clone\" LOGIN CREATEDB IN ROLE \"app\"";
    refused(verdict(&as_itself, None), "PAIR_RIGHTS_DIFFER", create);
    let alter = "ALTER ROLE \"app_clone\" CREATEDB";
    let warned = verdict(&as_itself, Some(role("app_clone", &["app"]))).unwrap();
    assert!(warned[0].is(Code::PairRightsDiffer) && warned[0].remedy().contains(alter), "{}", warned[0]);
    let alike = Role { member_of: vec!["app".into()], ..powerful("app_clone") };
    let alike = Role { vouched_for: vec!["app".into()], ..alike };
    assert_eq!(verdict(&as_itself, Some(alike)), Ok(vec![]));
    assert_eq!(verdict(&case(), None), Ok(vec![]), "it acts as its base, which has it");
}

#[test]
fn open_sessions_of_the_next_user_are_told_or_stop_the_rotation() {
    let stale = || Role { sessions: 2, clients: vec!["batch".into(), "web".into()], ..role("app_clone", &["app"]) };
    let verdict = |stale_sessions, admin: Role, twin: Role| {
        let all = catalog(180_000, [admin, role("app", &[]), twin]);
        let case = Case { stale_sessions, ..case() };
        roles(&case, &turn("app", "app_clone", Base::Current), "admin", &all)
    };
    let warned = verdict(StaleSessions::Warn, admin(), stale()).unwrap();
    assert!(warned[0].message().starts_with("2 session(s) of \"app_clone\" are open (batch, web)"), "{}", warned[0]);
    refused(verdict(StaleSessions::Fail, admin(), stale()), "STALE_SESSIONS", "usename = 'app_clone'");
    assert_eq!(verdict(StaleSessions::Fail, admin(), role("app_clone", &["app"])), Ok(vec![]));
    let grant = "GRANT pg_signal_backend TO \"admin\"";
    refused(verdict(StaleSessions::Terminate, admin(), stale()), "ADMIN_LACKS_PRIVILEGE", grant);
    let able = Role { ends_sessions: true, ..admin() };
    assert_eq!(verdict(StaleSessions::Terminate, able, stale()).unwrap().len(), 1);
}

#[test]
fn a_password_has_to_live_for_more_than_two_periods() {
    let verdict = |valid_days, period_days| {
        let case = Case { period_days, valid_days, ..case() };
        roles(&case, &turn("app", "app_clone", Base::Current), "admin", &catalog_with_clone(180_000))
    };
    refused(verdict(Some(60), Some(30)), "PASSWORD_VALID_TOO_SHORT", "Set it to 61 or more");
    for (valid, period) in [(Some(61), Some(30)), (None, Some(30)), (Some(1), None)] {
        assert_eq!(verdict(valid, period), Ok(vec![]));
    }
}

#[test]
fn a_date_that_no_rotation_moves_on_is_told_in_time() {
    let told = |valid_days, current_left: Option<i32>, pending_left: Option<i32>, base: Base| -> Vec<&'static str> {
        let dated = |name: &str, member_of: &[&str], days_left| Role { days_left, ..role(name, member_of) };
        let (app, clone) = match base {
            Base::Current => (current_left, pending_left),
            _ => (pending_left, current_left),
        };
        let all = catalog(180_000, [admin(), dated("app", &[], app), dated("app_clone", &["app"], clone)]);
        let case = Case { period_days: Some(30), valid_days, ..case() };
        let users = if base == Base::Current { ["app", "app_clone"] } else { ["app_clone", "app"] };
        let verdict = roles(&case, &turn(users[0], users[1], base), "admin", &all);
        verdict.unwrap().iter().map(Error::code).collect()
    };
    // A clone gets the date of the user in use; a base keeps its own.
    assert_eq!(told(None, Some(60), None, Base::Current), ["PASSWORD_EXPIRES_SOON"]);
    assert_eq!(told(None, None, Some(60), Base::Pending), ["PASSWORD_EXPIRES_SOON"]);
    for (valid_days, current, pending, base) in [
        (None, Some(61), None, Base::Current),
        (None, None, Some(1), Base::Current),
        (None, Some(1), None, Base::Pending),
        (Some(90), Some(1), Some(1), Base::Current),
    ] {
        assert_eq!(told(valid_days, current, pending, base), [""; 0]);
    }
}

#[test]
fn everything_that_stops_a_rotation_is_found_at_once() {
    let weak = Role { creates_roles: false, ..Role::admin(&[]) };
    let twin = Role { powers: vec!["SUPERUSER".into()], may_log_in: false, ..role("app_clone", &["app"]) };
    let all = catalog(180_000, [weak, role("app", &[]), twin]);
    let verdict = judge(&case(), &turn("app", "app_clone", Base::Current), "admin", &all);
    let codes: Vec<&str> = verdict.refusals.iter().map(Error::code).collect();
    assert_eq!(codes, ["ROLE_CANNOT_LOG_IN", "TWIN_TOO_POWERFUL", "ADMIN_LACKS_CREATEROLE"]);
}

#[test]
fn a_colleague_who_shares_the_owner_is_not_taken_for_the_twin() {
    let verdict = |twin: Role| {
        let all = [admin(), role("app", &[]), role("a", &["app"]).acting_as("app"), twin];
        judged(&turn("a", "payroll", Base::Owner("app".into())), &catalog(180_000, all))
    };
    refused(verdict(role("payroll", &["app"])), "TWIN_IS_SOMEBODY_ELSE", "ALTER ROLE \"payroll\" SET role = 'app'");
    refused(
        verdict(role("payroll", &["app", "finance"]).acting_as("app")),
        "TWIN_TOO_POWERFUL",
        "membership in finance",
    );
    assert_eq!(verdict(role("payroll", &["app"]).acting_as("app")), Ok(vec![]));
}

#[test]
fn a_membership_that_gives_nothing_vouches_for_nothing() {
    let idle = Role { inherits: vec![], may_set: vec![], ..role("a", &["app"]) };
    let all = catalog(180_000, [admin(), role("app", &[]), idle]);
    refused(judged(&turn("a", "b", Base::Owner("app".into())), &all), "CURRENT_NOT_MEMBER", "GRANT \"app\" TO \"a\"");
}

#[test]
fn a_user_whose_time_is_over_gets_no_password() {
    let base = Role { expired: true, valid_until: Some("2020-01-01 00:00:00+00".into()), ..role("app", &[]) };
    let all = catalog(180_000, [admin(), base, role("app_clone", &["app"])]);
    refused(judged(&turn("app_clone", "app", Base::Pending), &all), "PASSWORD_EXPIRED", "VALID UNTIL 'infinity'");
}
