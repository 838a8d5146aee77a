use super::*;
use crate::catalog::SettingKey;
use crate::settings::HostAlias;

fn role(name: &str, member_of: &[&str]) -> Role {
    let member_of: Vec<String> = member_of.iter().map(|role| (*role).to_owned()).collect();
    let effective = !member_of.is_empty();
    Role {
        name: name.to_owned(),
        may_log_in: true,
        member_of,
        inherit: true,
        inherits_base: effective,
        may_set_base: effective,
        connection_limit: -1,
        ..Role::default()
    }
}

fn admin() -> Role {
    Role { creates_roles: true, ..role("admin", &[]) }
}

fn ours(role: Role) -> Role {
    Role { admin_has_option: true, ..role }
}

fn catalog(version: i32, roles: impl IntoIterator<Item = Role>) -> Catalog {
    Catalog::of(version, roles)
}

fn turn(current: &str, pending: &str, base: Base) -> Turn {
    Turn { current: current.to_owned(), pending: pending.to_owned(), base }
}

/// `app` to `app_clone` on 18, the clone being like this.
fn verdict_on(twin: Role) -> Result<Vec<Warning>> {
    roles(
        &turn("app", "app_clone", Base::Current),
        "admin",
        &catalog(180_000, [admin(), ours(role("app", &["team"])), ours(twin)]),
    )
}

#[track_caller]
fn refused(verdict: Result<Vec<Warning>>, code: &str, says: &str) {
    let error = verdict.unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(says), "{error}");
}

#[test]
fn a_twin_may_be_absent_fresh_or_a_member_of_its_base() {
    let absent = catalog(180_000, [admin(), ours(role("app", &[]))]);
    assert_eq!(roles(&turn("app", "app_clone", Base::Current), "admin", &absent), Ok(vec![]));
    assert_eq!(verdict_on(role("app_clone", &[])), Ok(vec![]));
    assert_eq!(verdict_on(role("app_clone", &["app", "team"])), Ok(vec![]));
    // With more than its base has, of what gives no power over the server.
    assert_eq!(verdict_on(role("app_clone", &["app", "another_team"])), Ok(vec![]));
}

#[test]
fn a_twin_with_a_life_of_its_own_is_somebody_elses() {
    let grant = "GRANT \"app\" TO \"app_clone\"";
    refused(verdict_on(role("app_clone", &["team"])), "TWIN_IS_SOMEBODY_ELSE", grant);
    refused(verdict_on(Role { in_use: true, ..role("app_clone", &[]) }), "TWIN_IS_SOMEBODY_ELSE", grant);
}

#[test]
fn every_power_that_the_base_has_not_is_named() {
    let twin = |member_of: &[&str]| role("app_clone", member_of);
    for (twin, says) in [
        (Role { powers: vec!["SUPERUSER".into()], ..twin(&["app"]) }, "has not: SUPERUSER."),
        (Role { powers: vec!["REPLICATION".into()], ..twin(&["app"]) }, "has not: REPLICATION."),
        (Role { powers: vec!["BYPASSRLS".into()], ..twin(&["app"]) }, "has not: BYPASSRLS."),
        (Role { powers: vec!["CREATEROLE".into()], ..twin(&["app"]) }, "has not: CREATEROLE."),
        (Role { powers: vec!["CREATEDB".into()], ..twin(&[]) }, "has not: CREATEDB."),
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
    let strong = |name: &str, member_of: &[&str]| {
        ours(Role { powers: vec!["BYPASSRLS".into(), "CREATEDB".into()], ..role(name, member_of) })
    };
    let both = [admin(), strong("app", &["pg_monitor"]), strong("app_clone", &["app", "pg_monitor"])];
    assert_eq!(roles(&turn("app", "app_clone", Base::Current), "admin", &catalog(180_000, both)), Ok(vec![]));
}

#[test]
fn nobody_is_taken_into_an_owner_they_are_not_in() {
    let owned = |current: Role| {
        let catalog = catalog(140_000, [admin(), role("app", &[]), current]);
        roles(&turn("a", "b", Base::Owner("app".into())), "admin", &catalog)
    };
    assert_eq!(owned(acting("a", &["app"])), Ok(vec![]));
    refused(owned(role("a", &["app"])), "OBJECTS_NOT_SHARED", "ALTER ROLE \"a\" SET role = 'app'");
    refused(owned(role("a", &["application"])), "CURRENT_NOT_MEMBER", "GRANT \"app\" TO \"a\"");
    refused(owned(role("A", &["app"])), "CURRENT_NOT_MEMBER", "\"a\" is not a member");
    // A team that has logged in as the owner itself until now.
    let catalog = catalog(140_000, [admin(), role("app", &[])]);
    assert_eq!(roles(&turn("app", "a", Base::Owner("app".into())), "admin", &catalog), Ok(vec![]));
}

#[test]
fn iam_is_found_on_base_current_and_pending() {
    for iam in ["app", "a", "b"] {
        let with = |name: &str| role(name, if name == iam { &["app", "rds_iam"] } else { &["app"] });
        let catalog = catalog(140_000, [admin(), with("app"), with("a"), with("b")]);
        let verdict = roles(&turn("a", "b", Base::Owner("app".into())), "admin", &catalog);
        refused(verdict, "IAM_AUTH_ONLY", &format!("REVOKE rds_iam FROM {iam:?}"));
    }
}

#[test]
fn what_an_admin_lacks_depends_on_the_version() {
    let app = || role("app", &[]);
    let clone = || Role { inherits_base: true, may_set_base: true, ..role("app_clone", &["app"]) };
    let base = "GRANT \"app\" TO \"admin\" WITH ADMIN OPTION";
    let twin = "GRANT \"app_clone\" TO \"admin\" WITH ADMIN OPTION";
    let both = format!("{base}; {twin}");
    for (to, present, missing) in [
        ("app_clone", vec![app()], Some(base)),
        ("app_clone", vec![ours(app())], None),
        // A clone that is a member already needs no grant of its base.
        ("app_clone", vec![app(), clone()], Some(twin)),
        ("app_clone", vec![app(), ours(clone())], None),
        ("app_clone", vec![app(), Role { may_set_base: false, ..clone() }], Some(&*both)),
        ("app", vec![app(), clone()], Some(base)),
        ("app", vec![ours(app()), clone()], None),
    ] {
        let turn =
            if to == "app" { turn("app_clone", "app", Base::Pending) } else { turn("app", "app_clone", Base::Current) };
        let on = |version| roles(&turn, "admin", &catalog(version, present.iter().cloned().chain([admin()])));
        assert_eq!(on(159_999), Ok(vec![]));
        match missing {
            None => assert_eq!(on(160_000), Ok(vec![])),
            Some(grants) => {
                let error = on(160_000).unwrap_err();
                assert_eq!(error.code(), "ADMIN_LACKS_ADMIN_OPTION");
                assert!(error.remedy().ends_with(&format!(": {grants}")), "{error}");
            }
        }
    }
}

#[test]
fn an_admin_is_judged_by_its_own_rights() {
    let verdict = |admin: Role, restricted: bool| {
        let mut catalog = catalog(160_000, [admin, role("app", &[])]);
        catalog.server.restricts_password_commands = restricted;
        roles(&turn("app", "app_clone", Base::Current), "admin", &catalog)
    };
    refused(verdict(role("somebody", &[]), false), "ADMIN_MISSING", "no role \"admin\"");
    refused(verdict(role("admin", &[]), false), "ADMIN_LACKS_CREATEROLE", "ALTER ROLE \"admin\" CREATEROLE");
    refused(verdict(admin(), true), "ADMIN_LACKS_RDS_PASSWORD", "GRANT rds_password TO \"admin\"");
    assert_eq!(verdict(Role { superuser: true, ..role("admin", &[]) }, true), Ok(vec![]));
    let warnings = verdict(role("admin", &["rds_password", "rds_superuser"]), true).unwrap();
    assert!(
        warnings[0].says.ends_with("Should it be refused: GRANT \"app\" TO \"admin\" WITH ADMIN OPTION"),
        "{warnings:?}"
    );
}

#[test]
fn names_come_quoted_out_of_every_remedy() {
    let odd = "o\"d d";
    let catalog = catalog(160_000, [admin(), role(odd, &[])]);
    let verdict = roles(&turn(odd, "twin", Base::Current), "admin", &catalog);
    refused(verdict, "ADMIN_LACKS_ADMIN_OPTION", "GRANT \"o\"\"d d\" TO \"admin\" WITH ADMIN OPTION");
}

#[test]
fn an_alias_holds_for_its_own_server_and_one_way_round() {
    let (reader, writer, other) =
        (Address::new("reader", 5432), Address::new("writer", 5432), Address::new("writer", 1));
    let host_aliases = vec![HostAlias { alias: reader.clone(), server: writer.clone() }];
    let settings = Settings { host_aliases, ..Settings::default() };
    assert_eq!(same_server(&settings, &reader, &writer), Ok(()));
    assert_eq!(same_server(&settings, &writer, &writer), Ok(()));
    for (current, admin) in [(&reader, &other), (&writer, &reader), (&other, &writer)] {
        let error = same_server(&settings, current, admin).unwrap_err();
        assert_eq!(error.code(), "ADMIN_OF_ANOTHER_SERVER");
        assert!(error.remedy().ends_with(&format!("HOST_ALIASES={current}={admin}")), "{error}");
    }
}

#[test]
fn what_the_user_in_use_owns_itself_stops_an_owner_layout_and_is_told_of_a_clone() {
    let owning = |name: &str| Role { owns_objects: true, ..role(name, &["app"]) };
    let all = [admin(), ours(role("app", &[])), owning("a"), owning("app_clone"), acting("b", &["app"])];
    let all = catalog(180_000, all);
    let verdict = roles(&turn("a", "b", Base::Owner("app".into())), "admin", &all);
    refused(verdict, "OBJECTS_NOT_SHARED", "REASSIGN OWNED BY \"a\" TO \"app\"");
    let warnings = roles(&turn("app_clone", "app", Base::Pending), "admin", &all).unwrap();
    assert_eq!(warnings.iter().map(|warning| warning.code).collect::<Vec<_>>(), [Code::ObjectsNotShared]);
    // The base owns what it shares.
    let owner = catalog(180_000, [admin(), ours(Role { owns_objects: true, ..role("app", &[]) })]);
    assert_eq!(roles(&turn("app", "app_clone", Base::Current), "admin", &owner), Ok(vec![]));
}

/// A login that acts as `app`, as every twin of an owner layout does once we have been there.
fn acting(name: &str, member_of: &[&str]) -> Role {
    let key = SettingKey { database: None, name: "role".into() };
    Role { settings: [(key, "app".to_owned())].into(), ..ours(role(name, member_of)) }
}

#[test]
fn a_colleague_who_shares_the_owner_is_not_taken_for_the_twin() {
    let verdict = |twin: Role| {
        let all = [admin(), ours(role("app", &[])), acting("a", &["app"]), twin];
        roles(&turn("a", "payroll", Base::Owner("app".into())), "admin", &catalog(180_000, all))
    };
    refused(
        verdict(ours(role("payroll", &["app"]))),
        "TWIN_IS_SOMEBODY_ELSE",
        "ALTER ROLE \"payroll\" SET role = 'app'",
    );
    refused(verdict(acting("payroll", &["app", "finance"])), "TWIN_TOO_POWERFUL", "member of finance");
    assert_eq!(verdict(acting("payroll", &["app"])), Ok(vec![]));
}

#[test]
fn a_fresh_name_that_somebody_has_taken_hold_of_is_not_given_the_bases_rights() {
    let held = |members: &[&str]| Role {
        held_by: members.iter().map(|m| (*m).to_owned()).collect(),
        ..role("app_clone", &[])
    };
    refused(verdict_on(held(&["mallory"])), "TWIN_IS_SOMEBODY_ELSE", "members");
    assert_eq!(verdict_on(held(&[])), Ok(vec![]));
}

#[test]
fn a_membership_that_gives_nothing_vouches_for_nothing() {
    let idle = Role { inherits_base: false, may_set_base: false, ..role("a", &["app"]) };
    let all = catalog(180_000, [admin(), ours(role("app", &[])), idle]);
    refused(
        roles(&turn("a", "b", Base::Owner("app".into())), "admin", &all),
        "CURRENT_NOT_MEMBER",
        "GRANT \"app\" TO \"a\"",
    );
}

#[test]
fn a_user_whose_time_is_over_gets_no_password() {
    let base = Role { expired: true, valid_until: Some("2020-01-01 00:00:00+00".into()), ..ours(role("app", &[])) };
    let all = catalog(180_000, [admin(), base, role("app_clone", &["app"])]);
    refused(
        roles(&turn("app_clone", "app", Base::Pending), "admin", &all),
        "PASSWORD_EXPIRED",
        "VALID UNTIL 'infinity'",
    );
}
