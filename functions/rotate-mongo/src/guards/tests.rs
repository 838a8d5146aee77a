use super::*;
use crate::case::{AtServer, System};
use keyturn::Vars;
use keyturn::rotation::Strategy;

const GIVEN: [(&str, &str); 2] = [("KEYTURN_ENV", "prod"), ("ALLOW_UNTIL", "2999-12-31T00:00:00Z")];

fn settings<const N: usize>(more: [(&str, &str); N]) -> GuardSettings {
    let pairs = GIVEN.into_iter().chain(more).map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut vars = Vars::from_pairs(pairs);
    let settings = Settings::read(&mut vars);
    vars.finish().unwrap();
    settings.guards
}

fn case(base: &str) -> Case {
    let servers = Servers::parse("h:1", None).unwrap();
    Case {
        system: System::Server(AtServer { servers, tagged: false, admin: None }),
        strategy: Strategy::Alternating,
        database: "admin".to_owned(),
        base: base.to_owned(),
        current: base.to_owned(),
        next: format!("{base}_clone"),
    }
}

fn with_roles(roles: &[&str]) -> User {
    let role = |text: &&str| {
        let (role, database) = text.split_once('@').unwrap();
        Role { name: role.to_owned(), database: database.to_owned(), collection: None }
    };
    User {
        name: "shop_prod_rw".to_owned(),
        database: "admin".to_owned(),
        roles: roles.iter().map(role).collect(),
        scopes: BTreeSet::new(),
        mechanisms: None,
        restrictions: Vec::new(),
        passwordless: None,
        ends: None,
    }
}

/// The refusal's code (empty where there is none), and the overrides that were used.
fn verdict(judge: impl FnOnce(&Job) -> Result<()>) -> (&'static str, Vec<&'static str>) {
    let job = Job::of("arn:app", [], keyturn::Deadline::after(std::time::Duration::ZERO));
    let code = judge(&job).err().map_or("", |error| error.code());
    (code, job.overrides())
}

#[test]
fn an_override_ends_by_itself_and_says_so() {
    let ended = settings([("ALLOW_ANY_USERNAME", "true"), ("ALLOW_UNTIL", "2020-01-01T00:00:00Z")]);
    let job = Job::of("arn:app", [], keyturn::Deadline::after(std::time::Duration::ZERO));
    assert_eq!(names(&ended, &case("shop_staging_rw"), &job).unwrap_err().code(), "USERNAME_NOT_ALLOWED");
    assert_eq!(job.overrides(), [""; 0]);
    let begun = Job::of("arn:app", [], keyturn::Deadline::after(std::time::Duration::ZERO)).begun();
    names(&ended, &case("shop_staging_rw"), &begun).unwrap();
    assert_eq!(begun.overrides(), ["ALLOW_ANY_USERNAME"]);
    assert!(job.warnings()[0].starts_with("OVERRIDE_ENDED: ALLOW_ANY_USERNAME has ended on 2020-01-01"));
}

#[test]
fn a_name_that_is_not_this_deployments_is_refused_unless_the_operator_says_otherwise() {
    let judge = |settings: GuardSettings, name: &str| verdict(|job| names(&settings, &case(name), job));
    assert_eq!(judge(settings([]), "shop_prod_rw"), ("", vec![]));
    for name in ["shop_staging_rw", "shop", "shop_prod_rw_clone_x y"] {
        assert_eq!(judge(settings([]), name), ("USERNAME_NOT_ALLOWED", vec![]), "{name}");
        assert_eq!(judge(settings([("ALLOW_ANY_USERNAME", "true")]), name), ("", vec!["ALLOW_ANY_USERNAME"]), "{name}");
    }
    assert_eq!(judge(settings([("USERNAME_PATTERNS", "{a}, app-{n}")]), "app-12"), ("", vec![]));
}

#[test]
fn protected_users_stay_untouched() {
    let any = ("ALLOW_ANY_USERNAME", "true");
    let judge = |settings: GuardSettings, name: &str| verdict(|job| names(&settings, &case(name), job)).0;
    for name in ["admin", "break_glass_eu", "mms-automation", "serviceadmin", "dba_eu"] {
        assert_eq!(judge(settings([any, ("PROTECTED_USERS", "dba_*")]), name), "USER_PROTECTED", "{name}");
        // The twin of a protected user needs leave of its own.
        let both = format!("{name},{name}_clone");
        assert_eq!(
            judge(settings([any, ("PROTECTED_USERS", "dba_*"), ("ALLOW_PROTECTED_USERS", &both)]), name),
            "",
            "{name}"
        );
    }
    assert_eq!(judge(settings([any]), "administrator"), "");
    let settings = settings([any, ("ALLOW_PROTECTED_USERS", "admin,admin_clone")]);
    let (_, overrides) = verdict(|job| names(&settings, &case("admin"), job));
    assert_eq!(overrides, ["ALLOW_ANY_USERNAME", "ALLOW_PROTECTED_USERS"]);
}

#[test]
fn roles_that_are_too_powerful_are_refused_one_by_one() {
    let judge = |settings: GuardSettings, role: &str| {
        verdict(|job| user(&settings, &case("shop_prod_rw"), &with_roles(&[role]), job))
    };
    for role in FORBIDDEN_ROLES {
        let role = format!("{role}@shop");
        assert_eq!(judge(settings([]), &role), ("ROLE_FORBIDDEN", vec![]), "{role}");
        assert_eq!(judge(settings([("ALLOW_ROLES", &role)]), &role), ("", vec!["ALLOW_ROLES"]), "{role}");
        // On another database it is another role.
        assert_eq!(judge(settings([("ALLOW_ROLES", "root@other,backup@admin")]), &role).0, "ROLE_FORBIDDEN", "{role}");
    }
    for role in [
        "dbOwner@admin",
        "userAdmin@admin",
        "readWrite@admin",
        "read@local",
        "read@config",
        "custom@admin",
        "read@billing",
    ] {
        let forbidding = [("FORBIDDEN_DATABASES", "billing")];
        assert_eq!(judge(settings(forbidding), role).0, "DATABASE_FORBIDDEN", "{role}");
        let database = role.split_once('@').unwrap().1;
        let allowing = settings([("FORBIDDEN_DATABASES", "billing"), ("ALLOW_DATABASES", database)]);
        assert_eq!(judge(allowing, role), ("", vec!["ALLOW_DATABASES"]), "{role}");
        let allowing = settings([("FORBIDDEN_DATABASES", "billing"), ("ALLOW_ROLES", role)]);
        assert_eq!(judge(allowing, role), ("", vec!["ALLOW_ROLES"]), "{role}");
    }
    assert_eq!(judge(settings([]), "readWrite@shop"), ("", vec![]));
}

#[test]
fn a_user_without_a_password_or_a_future_is_no_case_for_rotation() {
    let judge = |user: User| verdict(|job| super::user(&settings([]), &case("shop_prod_rw"), &user, job)).0;
    let good = with_roles(&["readWrite@shop"]);
    assert_eq!(judge(good.clone()), "");
    assert_eq!(judge(with_roles(&[])), "USER_HAS_NO_ROLES");
    assert_eq!(
        judge(User { passwordless: Some("x509Type is MANAGED".to_owned()), ..good.clone() }),
        "USER_HAS_NO_PASSWORD"
    );
    assert_eq!(judge(User { ends: Some("2026-11-30T00:00:00Z".to_owned()), ..good }), "USER_ENDS");
}

#[test]
fn users_of_a_pull_request_stay_on_its_database() {
    let settings =
        settings([("USERNAME_PATTERNS", "shop_pr_{n}_app"), ("DATABASE_PATTERNS", "shop_pr_{n}_app=shop_pr_{n}")]);
    let judge = |roles: &[&str]| verdict(|job| user(&settings, &case("shop_pr_12_app"), &with_roles(roles), job)).0;
    assert_eq!(judge(&["readWrite@shop_pr_12"]), "");
    assert_eq!(judge(&["readWrite@shop_pr_12", "read@shop_pr_13"]), "DATABASE_NOT_OF_USER");
    assert_eq!(judge(&["readWrite@shop"]), "DATABASE_NOT_OF_USER");
}

#[test]
fn the_two_of_a_turn_have_the_same_rights() {
    let model = with_roles(&["readWrite@shop"]);
    let scoped = User {
        scopes: BTreeSet::from([keyturn_mongo::Scope { kind: "CLUSTER".into(), name: "c".into() }]),
        ..model.clone()
    };
    let job = Job::of("arn:app", [], keyturn::Deadline::after(std::time::Duration::ZERO));
    let twin_next = case("shop_prod_rw");
    let base_next = Case { current: twin_next.next.clone(), next: twin_next.base.clone(), ..twin_next.clone() };
    assert_eq!(same_rights(&model, &model, &twin_next, false, &job), Ok(Rights::Fit));
    let more = with_roles(&["readWrite@shop", "read@pay"]);
    for (next, says) in
        [(&more, "has also read@pay"), (&with_roles(&[]), "it lacks readWrite@shop"), (&scoped, "their scopes differ")]
    {
        for case in [&twin_next, &base_next] {
            let error = same_rights(next, &model, case, false, &job).unwrap_err();
            assert_eq!(error.code(), "ROLES_DIFFER");
            assert!(error.message().contains(says), "{error}");
        }
        assert_eq!(same_rights(next, &model, &twin_next, true, &job), Ok(Rights::ToSync));
    }
    // The base is the model: what it was given since is right, what it was refused is not given back to it.
    assert_eq!(same_rights(&more, &model, &base_next, true, &job), Ok(Rights::Fit));
    assert_eq!(same_rights(&model, &more, &base_next, true, &job).unwrap_err().code(), "ROLES_DIFFER");
    assert_eq!(same_rights(&scoped, &model, &base_next, true, &job).unwrap_err().code(), "ROLES_DIFFER");
}

#[test]
fn an_admin_logs_in_where_its_own_secret_or_a_tag_says() {
    let servers = |text: &str| Servers::parse(text, None).unwrap();
    let at = |text: &str, tagged| AtServer { servers: servers(text), tagged, admin: None };
    let set = servers("rs0/h1:1,h2:2");
    assert_eq!(same_servers(&at("h2:2", false), Some(&set), "arn:admin"), Ok(()));
    assert_eq!(same_servers(&at("elsewhere", true), None, "arn:admin"), Ok(()));
    for (named, tagged, admin) in [
        ("h3:3", false, Some(&set)),
        ("h1:1,h3:3", false, Some(&set)),
        ("h1:9", false, Some(&set)),
        ("h1:1", false, None),
        // With several admins allowed, the value chooses one: not that of another server.
        ("elsewhere", true, Some(&set)),
    ] {
        let error = same_servers(&at(named, tagged), admin, "arn:admin").unwrap_err();
        assert_eq!(error.code(), "ADMIN_OF_ANOTHER_SERVER", "{named}");
    }
}

#[test]
fn no_admin_turns_its_own_key() {
    assert!(not_the_admin(&case("shop_prod_rw"), "rotation_admin").is_ok());
    for admin in ["shop_prod_rw", "shop_prod_rw_clone"] {
        assert_eq!(not_the_admin(&case("shop_prod_rw"), admin).unwrap_err().code(), "ADMIN_IS_TARGET");
    }
}
