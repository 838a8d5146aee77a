//! The twin: a role that exists already is taken over only when it is this application's, and no stronger.

use crate::refusal::Refusal;
use crate::rotate_postgres::scene::Scene;
use keyturn_tests::stacks::postgres::ADMIN;

pub(super) async fn stories(scene: &Scene) {
    for role in ["rds_superuser", "rds_password", "rds_iam"] {
        scene.sql(&format!("CREATE ROLE {role} NOLOGIN")).await;
    }
    a_twin_with_more_power_is_refused(scene).await;
    power_that_the_base_has_too_is_no_obstacle(scene).await;
    somebody_elses_user_of_the_clones_name_is_refused(scene).await;
    a_login_cannot_vouch_for_a_stranger_itself(scene).await;
    a_role_that_the_operator_names_is_adopted(scene).await;
    two_secrets_for_the_same_users_are_refused(scene).await;
    a_clone_without_its_bases_rights_is_put_right(scene).await;
    an_owner_must_be_there_and_be_shared(scene).await;
    an_owners_second_user_must_be_its_own(scene).await;
    what_the_user_in_use_owns_itself_would_be_lost_to_the_next_one(scene).await;
    a_clone_that_owns_tables_keeps_them(scene).await;
    a_clone_with_rights_by_name_keeps_them(scene).await;
    a_twin_gets_no_more_of_the_owner_than_the_user_in_use(scene).await;
    a_user_that_replicates_has_a_twin_that_does(scene).await;
    a_setting_that_only_a_superuser_may_make_is_asked_for_first(scene).await;
    a_new_user_of_an_owner_has_the_settings_of_the_one_in_use(scene).await;
    logins_may_go_on_acting_as_themselves(scene).await;
    a_role_that_a_login_sets_for_itself_is_followed_only_where_it_has_an_effect(scene).await;
    users_of_one_owner_may_belong_to_several_secrets(scene).await;
    a_pair_is_two_equal_users_or_refused(scene).await;
    a_user_of_iam_tokens_is_refused(scene).await;
    a_user_that_somebody_locked_stays_locked(scene).await;
}

/// In an incident somebody locks a login by NOLOGIN, CONNECTION LIMIT 0 or VALID UNTIL: the rotation keeps the lock.
async fn a_user_that_somebody_locked_stays_locked(scene: &Scene) {
    scene.login("shut", "").await;
    let secret = scene.secret_of("shut");
    assert_eq!(scene.rotates(&secret).await, "shut_clone");
    for (lock, code, says, lifted_by) in [
        ("NOLOGIN", "ROLE_CANNOT_LOG_IN", "may not log in (NOLOGIN)", "LOGIN"),
        ("CONNECTION LIMIT 0", "ROLE_CANNOT_LOG_IN", "may not log in (CONNECTION LIMIT 0)", "CONNECTION LIMIT -1"),
        ("VALID UNTIL 'yesterday'", "PASSWORD_EXPIRED", "is in the past", "VALID UNTIL 'infinity'"),
    ] {
        for locked in ["shut", "shut_clone"] {
            scene.sql(&format!("ALTER ROLE {locked} {lock}")).await;
            let unlock = format!("ALTER ROLE \"{locked}\" {lifted_by} PASSWORD NULL");
            scene.refuses(&secret, locked, Refusal(code, &[says, &unlock])).await;
            // Once it is lifted on purpose, the rotation goes on where it stood.
            scene.sql(&unlock).await;
            assert_eq!(scene.rotates(&secret).await, locked);
        }
    }
}

async fn a_twin_with_more_power_is_refused(scene: &Scene) {
    scene.sql("CREATE ROLE detour NOLOGIN; GRANT pg_monitor TO detour; CREATE ROLE payroll NOLOGIN").await;
    scene.sql(&format!("CREATE ROLE admin_group NOLOGIN; GRANT {ADMIN} TO admin_group")).await;
    for (n, (power, says)) in [
        ("ALTER ROLE twin SUPERUSER", "SUPERUSER"),
        ("ALTER ROLE twin REPLICATION", "REPLICATION"),
        ("ALTER ROLE twin BYPASSRLS", "BYPASSRLS"),
        ("ALTER ROLE twin CREATEROLE", "CREATEROLE"),
        ("ALTER ROLE twin CREATEDB", "CREATEDB"),
        ("GRANT rds_superuser TO twin", "membership in rds_superuser"),
        ("GRANT rds_password TO twin", "membership in rds_password"),
        ("GRANT pg_monitor TO twin", "membership in pg_monitor"),
        ("GRANT detour TO twin", "membership in detour, membership in pg_monitor"),
        ("GRANT admin_group TO twin", "CREATEROLE, membership in admin_group, "),
        ("GRANT payroll TO twin", "membership in payroll."),
    ]
    .into_iter()
    .enumerate()
    {
        let (base, twin) = (format!("weak{n}"), format!("weak{n}_clone"));
        // Without the admin's ADMIN OPTION on the base: with it the admin would be a member of its own target's base.
        scene.stranger(&base, "").await;
        scene.stranger(&twin, &format!("IN ROLE {base}")).await;
        scene.sql(&power.replace("twin", &twin)).await;
        let secret = scene.secret_of(&base);
        let says = format!("{twin:?} has what {base:?} has not: {says}");
        scene
            .refuses(
                &secret,
                &twin,
                Refusal("TWIN_TOO_POWERFUL", &[&says, &format!("ALTER ROLE \"{twin}\" NO<attribute>")]),
            )
            .await;
    }
}

async fn power_that_the_base_has_too_is_no_obstacle(scene: &Scene) {
    scene.login("watch", "IN ROLE pg_monitor").await;
    scene.login("watch_clone", "IN ROLE watch, pg_monitor").await;
    let secret = scene.secret_of("watch");
    assert_eq!(scene.rotates(&secret).await, "watch_clone");
    assert_eq!(scene.rotates(&secret).await, "watch");
}

async fn somebody_elses_user_of_the_clones_name_is_refused(scene: &Scene) {
    for (n, (life, sql)) in [
        // What looks fresh may have rights by a policy, by PUBLIC or by a setting.
        ("looks fresh", "SELECT"),
        ("owns a table", "CREATE TABLE theirs (); ALTER TABLE theirs OWNER TO twin"),
    ]
    .into_iter()
    .enumerate()
    {
        let (base, twin) = (format!("seized{n}"), format!("seized{n}_clone"));
        scene.login(&base, "").await;
        scene.login(&twin, "").await;
        scene.sql(&sql.replace("twin", &twin)).await;
        let secret = scene.secret_of(&base);
        let (who, grant) = (format!("{twin:?} exists"), format!("GRANT \"{base}\" TO \"{twin}\""));
        println!("{twin} {life}");
        scene.refuses(&secret, &twin, Refusal("TWIN_IS_SOMEBODY_ELSE", &[&who, &grant, "keyturn:usernames"])).await;
        // What the message says helps.
        scene.sql(&grant).await;
        assert_eq!(scene.rotates(&scene.secret(&format!("{base}-after"), &scene.of_user(&base)).unwrap()).await, twin);
    }
}

/// Up to PostgreSQL 14 every login may grant itself to others.
async fn a_login_cannot_vouch_for_a_stranger_itself(scene: &Scene) {
    let grants_itself = async |login: &str, to: &str| {
        let client = scene.postgres.client(login, &scene.password, "postgres").await.unwrap();
        let granted = client.batch_execute(&format!("GRANT {login} TO {to}")).await;
        assert_eq!(granted.is_ok(), scene.postgres.major() < 15);
    };
    scene.login("schemer", "").await;
    scene.login("schemer_clone", "").await;
    grants_itself("schemer", "schemer_clone").await;
    let secret = scene.secret_of("schemer");
    let remedy = if scene.is_16_or_later() { "" } else { "REVOKE \"schemer\" FROM \"schemer_clone\"; " };
    let remedy = format!("{remedy}GRANT \"schemer\" TO \"schemer_clone\"");
    let says = ["is not a member of it by anybody else's grant", &remedy, "Key=keyturn:adopt,Value=schemer_clone"];
    scene.refuses(&secret, "schemer_clone", Refusal("TWIN_IS_SOMEBODY_ELSE", &says)).await;
    // What the message says helps.
    scene.sql(&remedy).await;
    assert_eq!(
        scene.rotates(&scene.secret("schemer-after", &scene.of_user("schemer")).unwrap()).await,
        "schemer_clone"
    );

    // Nor does it stop others' rotations, or have them take it for their base.
    scene.login("meddler", "CREATEDB IN ROLE pg_monitor").await;
    scene.login("quiet", "").await;
    let secret = scene.secret_of("quiet");
    assert_eq!(scene.rotates(&secret).await, "quiet_clone");
    for user in ["quiet", "quiet_clone"] {
        grants_itself("meddler", user).await;
    }
    assert_eq!(scene.rotates(&secret).await, "quiet");
    assert_eq!(scene.rotates(&secret).await, "quiet_clone");
    scene.login("bait", "").await;
    scene.login("bait_clone", "").await;
    grants_itself("bait", "bait_clone").await;
    assert_eq!(scene.rotates(&scene.secret_of("bait_clone")).await, "bait_clone_clone");
}

async fn a_role_that_the_operator_names_is_adopted(scene: &Scene) {
    scene.login("spare", "").await;
    scene.login("spare_clone", "").await;
    let secret = scene.secret_of("spare");
    scene.aws.secrets.tag(&secret, "keyturn:adopt", "spare_clone").unwrap();
    assert_eq!(scene.rotates(&secret).await, "spare_clone");
    assert!(scene.ask::<bool>("SELECT pg_has_role('spare_clone', 'spare', 'USAGE')").await);
}

async fn two_secrets_for_the_same_users_are_refused(scene: &Scene) {
    scene.login("shared", "").await;
    scene.sql("COMMENT ON ROLE shared IS 'the shop''s, ask ann'").await;
    let first = scene.secret_of("shared");
    assert_eq!(scene.rotates(&first).await, "shared_clone");
    let comment = "SELECT shobj_description('shared'::regrole, 'pg_authid')";
    assert_eq!(scene.ask::<String>(comment).await, format!("the shop's, ask ann [keyturn {first}]"));

    // Made anew, from a value that was kept. The user in use may be marked, or the other one.
    let second = scene.secret("shared-again", &scene.of_user("shared")).unwrap();
    let adopt = format!("--secret-id {second} --tags Key=keyturn:adopt,Value={first}");
    let says = [first.as_str(), &second, &adopt];
    let refusal = || Refusal("PAIR_OF_ANOTHER_SECRET", &says);
    scene.refuses(&second, "shared_clone", refusal()).await;
    scene.sql("COMMENT ON ROLE shared IS NULL").await;
    scene.refuses(&second, "shared_clone", refusal()).await;
    // What the message says helps.
    scene.aws.secrets.tag(&second, "keyturn:adopt", &first).unwrap();
    let token = scene.aws.secrets.version(&second, "AWSPENDING").unwrap().unwrap();
    for step in ["setSecret", "testSecret", "finishSecret"] {
        scene.step(&second, &token, step).await.unwrap_or_else(|e| panic!("{step}: {e}"));
    }
    assert_eq!(scene.ask::<String>(comment).await, format!("[keyturn {second}]"));
    scene.refuses(&first, "shared", Refusal("CURRENT_PASSWORD_REFUSED", &[])).await;
}

async fn a_clone_without_its_bases_rights_is_put_right(scene: &Scene) {
    scene.login("numb", "").await;
    scene.login("numb_clone", "NOINHERIT").await;
    let without = if scene.is_16_or_later() { " WITH INHERIT FALSE, SET FALSE" } else { "" };
    scene.sql(&format!("GRANT numb TO numb_clone{without}")).await;
    let secret = scene.secret_of("numb");
    assert_eq!(scene.rotates(&secret).await, "numb_clone");
    assert!(scene.ask::<bool>("SELECT pg_has_role('numb_clone', 'numb', 'USAGE')").await);
}

async fn an_owner_must_be_there_and_be_shared(scene: &Scene) {
    scene.login("tenant_a", "").await;
    let named = |name: &str| scene.owner_secret(name, "tenant_a", ["tenant_a", "tenant_b"], "house");
    let secret = named("house");
    scene
        .refuses(&secret, "tenant_b", Refusal("OWNER_MISSING", &["no role \"house\"", "CREATE ROLE \"house\" NOLOGIN"]))
        .await;

    scene.sql("CREATE ROLE house NOLOGIN").await;
    scene.admit(ADMIN, "house").await;
    let says = ["\"tenant_a\" is not a member of \"house\"", "GRANT \"house\" TO \"tenant_a\""];
    scene.refuses(&secret, "tenant_b", Refusal("CURRENT_NOT_MEMBER", &says)).await;
    scene.sql(says[1]).await;
    // And act as the owner from here on, or what it makes until its next turn would be its own.
    let secret = named("house-joined");
    let acting = "ALTER ROLE \"tenant_a\" SET role = 'house'";
    scene.refuses(&secret, "tenant_b", Refusal("OBJECTS_NOT_SHARED", &["\"tenant_a\" acts as itself", acting])).await;
    scene.sql(acting).await;
    // `tenant_a` may SET ROLE to `reporting`; `tenant_b`, made as a member of `house` alone, could not.
    scene.sql("CREATE ROLE reporting NOLOGIN; GRANT reporting TO tenant_a").await;
    let secret = named("house-reporting");
    let create =
        "CREATE ROLE \"tenant_b\" LOGIN IN ROLE \"house\", \"reporting\"; ALTER ROLE \"tenant_b\" SET role = 'house'";
    let says = ["\"tenant_a\" is a member of \"reporting\", \"tenant_b\" would not be", create];
    scene.refuses(&secret, "tenant_b", Refusal("PAIR_RIGHTS_DIFFER", &says)).await;
    scene.admit(ADMIN, "reporting").await;
    if scene.is_16_or_later() {
        // PostgreSQL 16 gives this membership to whoever creates a role: it lets no client act as that role.
        scene.sql("CREATE ROLE made NOLOGIN; GRANT made TO tenant_a WITH ADMIN TRUE, INHERIT FALSE, SET FALSE").await;
    }
    let as_admin = format!("SET ROLE \"{ADMIN}\"; {create}; RESET ROLE");
    scene.sql(&as_admin).await;
    assert_eq!(scene.rotates(&named("house-after")).await, "tenant_b");
    scene.sql("DROP ROLE IF EXISTS made; REVOKE reporting FROM tenant_a").await;
    let secret = scene.owner_secret("house-lacking", "tenant_b", ["tenant_a", "tenant_b"], "house");
    scene.aws.secrets.tag(&secret, "keyturn:adopt", &scene.arn("house-after")).unwrap();
    let grant = "GRANT \"reporting\" TO \"tenant_a\"";
    scene.sql(&format!("ALTER ROLE tenant_b PASSWORD '{}'", scene.verifier)).await;
    scene.refuses(&secret, "tenant_a", Refusal("PAIR_RIGHTS_DIFFER", &[grant])).await;
    scene.sql(grant).await;
    assert_eq!(scene.rotates(&secret).await, "tenant_a");
    assert_eq!(scene.rotates(&secret).await, "tenant_b");
}

async fn an_owners_second_user_must_be_its_own(scene: &Scene) {
    scene.sql("CREATE ROLE farm NOLOGIN; CREATE ROLE neighbour NOLOGIN").await;
    scene.admit(ADMIN, "farm").await;
    scene.login("farm_a", "IN ROLE farm").await;
    scene.sql("ALTER ROLE farm_a SET role = 'farm'").await;
    scene.login("theirs_b", "IN ROLE neighbour").await;
    let secret = scene.owner_secret("farm", "farm_a", ["farm_a", "theirs_b"], "farm");
    scene.refuses(&secret, "theirs_b", Refusal("TWIN_IS_SOMEBODY_ELSE", &["GRANT \"farm\" TO \"theirs_b\""])).await;
    // A colleague who shares the owner: nothing says yet that it is this application's second user.
    scene.login("farm_clerk", "IN ROLE farm").await;
    let named = |name: &str| scene.owner_secret(name, "farm_a", ["farm_a", "farm_clerk"], "farm");
    let mark = "ALTER ROLE \"farm_clerk\" SET role = 'farm'";
    scene.refuses(&named("clerk"), "farm_clerk", Refusal("TWIN_IS_SOMEBODY_ELSE", &["does not act as it", mark])).await;
    scene.sql(mark).await;
    scene.sql("GRANT neighbour TO farm_clerk").await;
    let refusal = Refusal("TWIN_TOO_POWERFUL", &["membership in neighbour"]);
    scene.refuses(&named("clerk-marked"), "farm_clerk", refusal).await;
    scene.sql("REVOKE neighbour FROM farm_clerk").await;
    assert_eq!(scene.rotates(&named("clerk-after")).await, "farm_clerk");
    // The super-user, say.
    let coup = scene.owner_secret("coup", "farm_a", ["farm_a", "postgres"], "farm");
    scene.aws.secrets.tag(&coup, "keyturn:adopt", &format!("postgres {}", scene.arn("clerk-after"))).unwrap();
    scene
        .refuses(
            &coup,
            "postgres",
            Refusal(
                "TWIN_TOO_POWERFUL",
                &["\"postgres\" has what \"farm_a\" has not: BYPASSRLS, CREATEDB, CREATEROLE, REPLICATION, SUPERUSER"],
            ),
        )
        .await;
}

async fn what_the_user_in_use_owns_itself_would_be_lost_to_the_next_one(scene: &Scene) {
    scene.sql("CREATE ROLE manor NOLOGIN").await;
    scene.admit(ADMIN, "manor").await;
    scene.login("manor_a", "IN ROLE manor").await;
    scene.sql("ALTER ROLE manor_a SET role = 'manor'").await;
    scene.sql("CREATE TABLE hoard (); ALTER TABLE hoard OWNER TO manor_a").await;
    // What REASSIGN OWNED does not move must not make its advice useless.
    scene.sql("ALTER DEFAULT PRIVILEGES FOR ROLE manor_a GRANT SELECT ON TABLES TO manor").await;
    let named = |name: &str| scene.owner_secret(name, "manor_a", ["manor_a", "manor_b"], "manor");
    let reassign = "REASSIGN OWNED BY \"manor_a\" TO \"manor\"";
    let says = ["\"manor_a\" owns objects", reassign, "default privileges and user mappings stay behind"];
    scene.refuses(&named("manor"), "manor_b", Refusal("OBJECTS_NOT_SHARED", &says)).await;
    // What the message says helps.
    scene.sql(reassign).await;
    assert_eq!(scene.rotates(&named("manor-after")).await, "manor_b");
}

/// AWS's function lets a clone act as itself, so that it owns what it makes. As its base it would have no rights on that.
async fn a_clone_that_owns_tables_keeps_them(scene: &Scene) {
    scene.login("host", "").await;
    scene.login("host_clone", "IN ROLE host").await;
    scene.sql("CREATE TABLE nest (); ALTER TABLE nest OWNER TO host_clone").await;
    let secret = scene.secret_of("host");
    assert_eq!(scene.rotates(&secret).await, "host_clone");
    let clone = scene.client_of(&secret).await;
    // Its own table is still its own.
    clone.batch_execute("ALTER TABLE nest ADD n int").await.unwrap();
    let reassign = "REASSIGN OWNED BY \"host_clone\" TO \"host\"";
    let logs = scene.lambda.logs().unwrap();
    let warning = logs.lines().find(|line| line.contains("OBJECTS_NOT_SHARED") && line.contains("host_clone"));
    assert!(warning.unwrap().contains(&reassign.replace('"', "\\\"")), "{warning:?}");
    // What the message says helps: from then on it acts as its base.
    scene.sql(reassign).await;
    assert_eq!(scene.rotates(&secret).await, "host");
    assert_eq!(scene.rotates(&secret).await, "host_clone");
    let acts_as = scene.client_of(&secret).await.query_one("SELECT current_user::text", &[]).await.unwrap();
    assert_eq!(acts_as.get::<_, &str>(0), "host");
}

/// A clone that AWS's function made may have been granted what its base never was: as its base it would lose that.
async fn a_clone_with_rights_by_name_keeps_them(scene: &Scene) {
    scene.login("guest", "").await;
    scene.login("guest_clone", "IN ROLE guest").await;
    scene.sql("CREATE TABLE menu (); CREATE TABLE bill (); GRANT SELECT ON menu TO guest, guest_clone").await;
    let secret = scene.secret_of("guest");
    let told = |code: &str| scene.lambda.logs().unwrap().lines().any(|l| l.contains(code) && l.contains("guest_clone"));
    // The base has the same.
    assert_eq!(scene.rotates(&secret).await, "guest_clone");
    assert!(!told("GRANTS_NOT_SHARED"));
    assert_eq!(scene.rotates(&secret).await, "guest");
    scene.sql("ALTER ROLE guest_clone RESET role; GRANT SELECT ON bill TO guest_clone").await;
    assert_eq!(scene.rotates(&secret).await, "guest_clone");
    assert!(told("GRANTS_NOT_SHARED"));
    let client = scene.client_of(&secret).await;
    client.batch_execute("SELECT FROM bill").await.unwrap();
    // Once the base has it, too, the clone acts as its base.
    scene.sql("GRANT SELECT ON bill TO guest").await;
    for user in ["guest", "guest_clone"] {
        assert_eq!(scene.rotates(&secret).await, user);
    }
    let acts_as = scene.client_of(&secret).await.query_one("SELECT current_user::text", &[]).await.unwrap();
    assert_eq!(acts_as.get::<_, &str>(0), "guest");
}

/// From PostgreSQL 16 on a membership may lack the right to act as the role, which a superuser's owner would be worth.
async fn a_twin_gets_no_more_of_the_owner_than_the_user_in_use(scene: &Scene) {
    if !scene.is_16_or_later() {
        return;
    }
    scene.sql("CREATE ROLE crown NOLOGIN").await;
    scene.admit(ADMIN, "crown").await;
    scene.login("crown_a", "").await;
    scene.sql("GRANT crown TO crown_a WITH SET FALSE; ALTER ROLE crown_a SET role = 'crown'").await;
    let named = |name: &str| scene.owner_secret(name, "crown_a", ["crown_a", "crown_b"], "crown");
    let says = ["without SET", "GRANT \"crown\" TO \"crown_a\" WITH SET TRUE"];
    scene.refuses(&named("crown"), "crown_b", Refusal("MEMBERSHIP_HAS_NO_EFFECT", &says)).await;
    // Who is not to act as the owner has a twin that cannot either.
    let secret = named("crown-self");
    scene.aws.secrets.tag(&secret, "keyturn:acts-as", "self").unwrap();
    assert_eq!(scene.rotates(&secret).await, "crown_b");
    for (right, expected) in [("USAGE", true), ("SET", false), ("MEMBER WITH ADMIN OPTION", false)] {
        let has = format!("SELECT pg_has_role('crown_b', 'crown', '{right}')");
        assert_eq!(scene.ask::<bool>(&has).await, expected, "{right}");
    }
    // Nor is a twin taken that can.
    scene.login("crown_c", "IN ROLE crown").await;
    let secret = scene.owner_secret("crown-c", "crown_a", ["crown_a", "crown_c"], "crown");
    scene.aws.secrets.tag(&secret, "keyturn:acts-as", "self").unwrap();
    scene.aws.secrets.tag(&secret, "keyturn:adopt", &scene.arn("crown-self")).unwrap();
    scene.refuses(&secret, "crown_c", Refusal("TWIN_TOO_POWERFUL", &["SET OPTION on crown"])).await;
    // A clone's base: its password is worth more than a clone that cannot act as it.
    scene.login("regent", "").await;
    scene.login("regent_clone", "").await;
    scene.sql("GRANT regent TO regent_clone WITH SET FALSE").await;
    let says = ["GRANT \"regent\" TO \"regent_clone\" WITH SET TRUE"];
    scene.refuses(&scene.secret_of("regent_clone"), "regent", Refusal("MEMBERSHIP_HAS_NO_EFFECT", &says)).await;
}

async fn a_user_that_replicates_has_a_twin_that_does(scene: &Scene) {
    scene.login("feed", "REPLICATION").await;
    if !scene.is_16_or_later() {
        let says = ["\"feed\" is a role with REPLICATION", "only a superuser may change it"];
        scene.refuses(&scene.secret_of("feed"), "feed_clone", Refusal("ADMIN_LACKS_PRIVILEGE", &says)).await;
        return;
    }
    let create = "CREATE ROLE \"feed_clone\" LOGIN REPLICATION IN ROLE \"feed\"";
    let secret = scene.secret_of("feed");
    scene.refuses(&secret, "feed_clone", Refusal("TWIN_LACKS_REPLICATION", &["\"feed\" may log in for", create])).await;
    // What the message says helps.
    scene.sql(create).await;
    scene.admit(ADMIN, "feed_clone").await;
    assert_eq!(scene.rotates(&scene.secret("feed-after", &scene.of_user("feed")).unwrap()).await, "feed_clone");
}

async fn a_setting_that_only_a_superuser_may_make_is_asked_for_first(scene: &Scene) {
    scene.login("audited", "").await;
    scene.sql("ALTER ROLE audited SET log_statement = 'none'; ALTER ROLE audited SET myapp.tenant = 'x'").await;
    let secret = scene.secret_of("audited");
    let create = "CREATE ROLE \"audited_clone\" LOGIN IN ROLE \"audited\"; ";
    let sets = [
        "ALTER ROLE \"audited_clone\" SET \"log_statement\" TO 'none'; ",
        "ALTER ROLE \"audited_clone\" SET \"myapp\".\"tenant\" TO '...'",
    ];
    let remedy = [create, sets[0], sets[1]].concat();
    scene.refuses(&secret, "audited_clone", Refusal("SETTING_NOT_COPIED", &["Only a superuser may", &remedy])).await;
    // What the message says helps. The value of a parameter that is not PostgreSQL's may be a secret, and is not told.
    scene.sql(&remedy.replace("'...'", "'x'")).await;
    scene.admit(ADMIN, "audited_clone").await;
    let secret = scene.secret("audited-after", &scene.of_user("audited")).unwrap();
    assert_eq!(scene.rotates(&secret).await, "audited_clone");
    // From PostgreSQL 15 on the admin can be given the right instead.
    if scene.postgres.major() >= 15 {
        scene.sql(&format!("GRANT SET ON PARAMETER log_statement, \"myapp.tenant\" TO {ADMIN}")).await;
        scene.sql("ALTER ROLE audited_clone RESET ALL").await;
        assert_eq!(scene.rotates(&secret).await, "audited");
        assert_eq!(scene.rotates(&secret).await, "audited_clone");
        let copied =
            "SELECT array_to_string(setconfig, '; ') FROM pg_db_role_setting WHERE setrole = 'audited_clone'::regrole";
        assert_eq!(scene.ask::<String>(copied).await, "role=audited; log_statement=none; myapp.tenant=x");
    }
}

async fn a_new_user_of_an_owner_has_the_settings_of_the_one_in_use(scene: &Scene) {
    scene.sql("CREATE ROLE studio NOLOGIN; ALTER ROLE studio SET work_mem = '5MB'").await;
    scene.admit(ADMIN, "studio").await;
    scene.login("studio_a", "IN ROLE studio").await;
    scene.sql("ALTER ROLE studio_a SET role = 'studio'; ALTER ROLE studio_a SET statement_timeout = '7s'").await;
    let secret = scene.owner_secret("studio", "studio_a", ["studio_a", "studio_b"], "studio");
    assert_eq!(scene.rotates(&secret).await, "studio_b");
    let settings =
        "SELECT array_to_string(setconfig, '; ') FROM pg_db_role_setting WHERE setrole = 'studio_b'::regrole";
    assert_eq!(scene.ask::<String>(settings).await, "role=studio; statement_timeout=7s; work_mem=5MB");
}

async fn logins_may_go_on_acting_as_themselves(scene: &Scene) {
    scene.login("solo", "").await;
    let secret = scene.secret_of("solo");
    let acts_as = async || {
        let value = scene.value(&secret, "AWSCURRENT").unwrap();
        let part = |key: &str| value[key].as_str().unwrap();
        let client = scene.postgres.client(part("username"), part("password"), "postgres").await.unwrap();
        client.query_one("SELECT current_user::text", &[]).await.unwrap().get::<_, String>(0)
    };
    assert_eq!(scene.rotates(&secret).await, "solo_clone");
    assert_eq!(acts_as().await, "solo");
    scene.aws.secrets.tag(&secret, "keyturn:acts-as", "self").unwrap();
    assert_eq!(scene.rotates(&secret).await, "solo");
    assert_eq!(scene.rotates(&secret).await, "solo_clone");
    assert_eq!(acts_as().await, "solo_clone");
}

/// Any login may set any role for itself; the server warns at login, and goes on.
async fn a_role_that_a_login_sets_for_itself_is_followed_only_where_it_has_an_effect(scene: &Scene) {
    scene.sql("CREATE ROLE workshop NOLOGIN").await;
    scene.login("smith", "IN ROLE workshop").await;
    scene.sql("ALTER ROLE smith IN DATABASE postgres SET role = 'workshop'").await;
    let secret = scene.secret_of("smith");
    assert_eq!(scene.rotates(&secret).await, "smith_clone");
    let acts_as = async |user: &str| {
        let value = scene.value(&secret, "AWSCURRENT").unwrap();
        let client = scene.postgres.client(user, value["password"].as_str().unwrap(), "postgres").await.unwrap();
        client.query_one("SELECT current_user::text", &[]).await.unwrap().get::<_, String>(0)
    };
    assert_eq!(acts_as("smith_clone").await, "workshop");
    scene.sql("ALTER ROLE smith IN DATABASE postgres SET role = 'postgres'").await;
    assert_eq!(scene.rotates(&secret).await, "smith");
    assert_eq!(scene.rotates(&secret).await, "smith_clone");
    assert_eq!(acts_as("smith_clone").await, "smith");
    let settings = "SELECT string_agg(array_to_string(setconfig, '; '), '; ') FROM pg_db_role_setting WHERE setrole = 'smith_clone'::regrole";
    assert_eq!(scene.ask::<String>(settings).await, "role=smith");
}

/// A team that has logged in as the owner until now may split it among several applications.
async fn users_of_one_owner_may_belong_to_several_secrets(scene: &Scene) {
    scene.login("guild", "").await;
    for (n, users) in [["guild_a", "guild_b"], ["guild_c", "guild_d"]].into_iter().enumerate() {
        let secret = scene.owner_secret(&format!("guild-{n}"), "guild", users, "guild");
        assert_eq!(scene.rotates(&secret).await, users[0]);
        assert_eq!(scene.rotates(&secret).await, users[1]);
    }
}

async fn a_pair_is_two_equal_users_or_refused(scene: &Scene) {
    scene.sql("CREATE ROLE readers NOLOGIN").await;
    scene.login("castor", "IN ROLE readers").await;
    let secret = scene.pair_secret("castor", "castor", ["castor", "pollux"]);
    scene
        .refuses(
            &secret,
            "pollux",
            Refusal("USER_MISSING", &["no user \"pollux\"", "CREATE ROLE \"pollux\" LOGIN", "keyturn:owner"]),
        )
        .await;

    scene.login("pollux", "").await;
    let differ = Refusal(
        "PAIR_RIGHTS_DIFFER",
        &["\"castor\" is a member of [readers], \"pollux\" of []", "Make both members of the same roles"],
    );
    scene.refuses(&secret, "pollux", differ).await;

    scene.sql("GRANT readers TO pollux; ALTER ROLE pollux SUPERUSER").await;
    scene
        .refuses(
            &secret,
            "pollux",
            Refusal("TWIN_TOO_POWERFUL", &["\"pollux\" has what \"castor\" has not: SUPERUSER"]),
        )
        .await;

    scene.sql("ALTER ROLE pollux NOSUPERUSER").await;
    for (attribute, says) in
        [("CREATEDB", "\"castor\" has CREATEDB, \"pollux\" has not"), ("BYPASSRLS", "has BYPASSRLS")]
    {
        scene.sql(&format!("ALTER ROLE castor {attribute}")).await;
        let named = scene.pair_secret(&format!("castor-{attribute}"), "castor", ["castor", "pollux"]);
        let alter = format!("ALTER ROLE \"pollux\" {attribute}");
        scene.refuses(&named, "pollux", Refusal("PAIR_RIGHTS_DIFFER", &[says, &alter])).await;
        scene.sql(&format!("ALTER ROLE castor NO{attribute}")).await;
    }
    let secret = scene.pair_secret("castor-after", "castor", ["castor", "pollux"]);
    assert_eq!(scene.rotates(&secret).await, "pollux");
    assert_eq!(scene.rotates(&secret).await, "castor");
    assert!(!scene.ask::<bool>("SELECT pg_has_role('pollux', 'castor', 'MEMBER')").await, "a pair was tied together");
}

async fn a_user_of_iam_tokens_is_refused(scene: &Scene) {
    let refusal = |user: &str| format!("REVOKE rds_iam FROM \"{user}\"");
    scene.login("token", "IN ROLE rds_iam").await;
    let secret = scene.secret_of("token");
    scene
        .refuses(
            &secret,
            "token_clone",
            Refusal("IAM_AUTH_ONLY", &["\"token\" is a member of rds_iam", &refusal("token")]),
        )
        .await;

    scene.sql("CREATE ROLE token_group NOLOGIN IN ROLE rds_iam").await;
    scene.login("twice", "").await;
    scene.login("twice_clone", "IN ROLE twice, token_group").await;
    let secret = scene.secret_of("twice");
    scene
        .refuses(&secret, "twice_clone", Refusal("IAM_AUTH_ONLY", &["\"twice_clone\"", &refusal("twice_clone")]))
        .await;
}
