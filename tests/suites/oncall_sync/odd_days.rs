//! Days on which several things go wrong at once, or somebody means harm.

use super::shifts::{NOBODY, delete_parameter, pagerduty_is_down, reasons};
use chrono::TimeDelta;
use keyturn_tests::aws::Refusal;
use keyturn_tests::faults::{Fault, Moment, Point};
use keyturn_tests::lambda::Lambda;
use keyturn_tests::stacks::oncall::{Bound, CONFIG_PATH, Engineer, Oncall};
use keyturn_tests::vendors::Reply;
use serde_json::{Value, json};
use std::time::Duration;

/// Stores a binding's document under another name.
async fn rename(world: &Oncall, from: &str, to: &str) {
    let name = format!("{CONFIG_PATH}/{from}");
    let document = world.aws.parameters.value(&name).unwrap();
    delete_parameter(world, &name).await;
    world.write_document(to, &document);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_that_is_renamed_keeps_its_people_and_its_holds() {
    let world = Oncall::start().await.unwrap();
    let [ann, bob] = ["ann", "bob"].map(|name| world.engineer(name).unwrap());
    let shop = world.bind("shop", &json!({}));
    let second = world.pagerduty.schedule("second");
    world.write_binding(&shop, &json!({"schedules": [shop.schedule, second]}));
    world.on_call(&shop, &ann, "08:00", "20:00");
    world.pagerduty.shift(&second, &bob.pagerduty, world.today("08:00"), world.today("20:00"));
    world.tick().await.unwrap();
    assert_eq!(world.members(&shop, &[&ann, &bob]), ["ann", "bob"]);
    let revoke = json!({"action": "revoke", "binding": "shop", "user": bob.okta, "reason": "left the company"});
    world.event(&revoke).await.unwrap();
    rename(&world, "shop", "store").await;
    // Whoever reads a ledger by its name sees that it does not count any more.
    let ledger = |id: &str| -> Value {
        let name = shop.ledger_name().replace("/shop.", &format!("/{id}."));
        serde_json::from_str(&world.aws.parameters.value(&name).unwrap()).unwrap()
    };
    let mut old = Vec::new();
    for time in ["09:01", "11:30", "15:00"] {
        world.at(time);
        let report = world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann, &bob]), ["ann"], "{time} {report}");
        assert_eq!((&report["bindings"], reasons(&report)), (&json!(1), Vec::new()));
        old.push(ledger("shop"));
    }
    assert_eq!([&old[0]["moved_to"], &old[1]["moved_to"]], [&Value::Null, &json!("store")]);
    assert_eq!(old[1], old[2], "written once");
    assert_eq!(ledger("store")["moved_to"], Value::Null);
    // And back again, with what happened meanwhile.
    let revoke = json!({"action": "revoke", "binding": "store", "user": ann.okta, "reason": "left the company"});
    world.event(&revoke).await.unwrap();
    rename(&world, "store", "shop").await;
    for time in ["15:01", "17:00"] {
        world.at(time);
        world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann, &bob]), NOBODY, "{time}");
    }
    assert_eq!([&ledger("shop")["moved_to"], &ledger("store")["moved_to"]], [&Value::Null, &json!("shop")]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

/// Before the old ledger says that it does not count any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_binding_that_is_renamed_and_named_back_at_once_forgets_nothing() {
    let world = Oncall::start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let shop = world.bind("shop", &json!({}));
    world.on_call(&shop, &ann, "08:00", "20:00");
    world.tick().await.unwrap();
    rename(&world, "shop", "store").await;
    world.minutes_later(1);
    world.tick().await.unwrap();
    let revoke = json!({"action": "revoke", "binding": "store", "user": ann.okta, "reason": "left the company"});
    world.event(&revoke).await.unwrap();
    rename(&world, "store", "shop").await;
    for _ in 0..3 {
        world.minutes_later(1);
        world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann]), NOBODY);
        assert!(world.states(&shop).unwrap()[0].1.to_string().contains("held"), "{:?}", world.states(&shop));
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_revoked_just_after_a_binding_was_renamed_stays_out() {
    let world = Oncall::start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let shop = world.bind("shop", &json!({}));
    world.on_call(&shop, &ann, "08:00", "20:00");
    world.tick().await.unwrap();
    // Its ledger is listed before the old one.
    rename(&world, "shop", "bank").await;
    world.minutes_later(1);
    world.tick().await.unwrap();
    let revoke = json!({"action": "revoke", "binding": "bank", "user": ann.okta, "reason": "left the company"});
    world.event(&revoke).await.unwrap();
    for _ in 0..3 {
        world.minutes_later(1);
        world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann]), NOBODY);
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_revoked_stays_out_of_the_group_that_the_document_names_next() {
    let world = Oncall::start().await.unwrap();
    let [ann, bob] = ["ann", "bob"].map(|name| world.engineer(name).unwrap());
    let shop = world.bind("shop", &json!({}));
    world.on_call(&shop, &ann, "08:00", "12:00");
    world.on_call(&shop, &bob, "12:00", "17:00");
    world.on_call(&shop, &ann, "17:00", "20:00");
    world.tick().await.unwrap();
    let revoke = json!({"action": "revoke", "binding": "shop", "user": ann.okta, "reason": "left laptop"});
    world.event(&revoke).await.unwrap();
    let mut moved = shop.clone();
    moved.group = world.okta.group("break-glass-shop");
    world.write_binding(&moved, &json!({}));
    for (time, inside) in [("09:01", vec![]), ("11:59", vec![]), ("12:00", vec!["bob"]), ("17:00", vec!["ann"])] {
        world.at(time);
        world.tick().await.unwrap();
        assert_eq!(world.members(&moved, &[&ann, &bob]), inside, "{time}");
    }
    let revoked = world.alerts().into_iter().filter(|title| title.contains("(manual)")).count();
    assert_eq!(revoked, 1, "{:?}", world.alerts());
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_themselves_eligible_through_a_binding_of_their_own() {
    let world = Oncall::start().await.unwrap();
    let [ann, eve] = ["ann", "eve"].map(|name| world.engineer(name).unwrap());
    let trusted = world.okta.group("trusted");
    world.okta.add(&trusted, &ann.okta);
    let shop = world.bind("shop", &json!({"eligible_group": trusted}));
    world.on_call(&shop, &eve, "08:00", "20:00");
    let own = world.pagerduty.schedule("eve's");
    world.pagerduty.shift(&own, &eve.pagerduty, world.today("08:00"), world.today("20:00"));
    let document = json!({"schedules": [own], "okta_group": trusted, "group_name": "trusted", "adoption": "revoke"});
    world.write_document("eve", &document.to_string());
    for _ in 0..3 {
        let report = world.tick().await.unwrap();
        assert_eq!(report["refused"], 1);
        world.minutes_later(1);
    }
    assert!(world.okta.members(&trusted).iter().eq([&ann.okta]));
    assert_eq!(world.members(&shop, &[&ann, &eve]), NOBODY);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_vanishes_is_no_gap() {
    let world = Oncall::start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let shop = world.bind("shop", &json!({}));
    let policy = world.pagerduty.policy("shop");
    world.pagerduty.policy_level_user(&policy, 1, &ann.pagerduty);
    let follow = |policy: &str| {
        let document = json!({
            "escalation_policy": policy, "levels": [1], "okta_group": shop.group, "group_name": "break-glass-shop",
        });
        world.write_document("shop", &document.to_string());
    };
    follow(&policy);
    world.tick().await.unwrap();
    follow("PGONE01");
    for _ in 0..5 {
        world.minutes_later(1);
        let report = world.tick().await.unwrap();
        assert_eq!((report["unknown"].as_u64(), world.members(&shop, &[&ann])), (Some(1), vec!["ann".to_owned()]));
    }
    world.minutes_later(120);
    assert_eq!(reasons(&world.tick().await.unwrap()), ["stale"]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn people_leave_on_time_while_no_ledger_can_be_written() {
    let world = Oncall::start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    // More than are written at a time, so that a queue of writes would hold the last ones up.
    let bound: Vec<_> = (0..20).map(|n| world.bind(&format!("b{n}"), &json!({}))).collect();
    for bound in &bound {
        world.on_call(bound, &ann, "08:00", "12:00");
    }
    world.tick().await.unwrap();
    world.at("12:00");
    for n in 1..40 {
        for bound in &bound {
            let call = format!(" PutParameter {} #{}", bound.ledger_name(), n);
            let fault = Fault::Slow(Duration::from_mins(1));
            world.faults.inject(Point { call, moment: Moment::Before, fault });
        }
    }
    let report = world.tick().await.unwrap();
    for bound in &bound {
        assert_eq!(world.members(bound, &[&ann]), NOBODY, "{report}");
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

/// While a tick grants and revokes nobody, only the metric `Unresolved` can tell that `PutParameter` is denied.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_cannot_be_stored_is_counted_as_unresolved() {
    let world = Oncall::builder().on_the_machines_clock().start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let shop = world.bind("shop", &json!({}));
    let (now, hour) = (world.clock.now(), TimeDelta::hours(1));
    world.pagerduty.shift(&shop.schedule, &ann.pagerduty, now - hour, now + hour);
    let lambda = world.lambda(None).await.unwrap();
    lambda.invoke(json!({})).await.result.unwrap();
    let unresolved = |text: &str| lambda.logs().unwrap().matches(text).count();
    assert_eq!(
        (world.members(&shop, &[&ann]), unresolved("\"Unresolved\":1")),
        (vec!["ann".to_owned()], 1),
        "the first run itself"
    );
    // The end of her shift moves on.
    world.pagerduty.shift(&shop.schedule, &ann.pagerduty, now + hour, now + hour * 3);
    world.aws.refuse("PutParameter", Refusal::AccessDenied, 1000);
    lambda.invoke(json!({})).await.result.unwrap();
    assert_eq!((world.members(&shop, &[&ann]), unresolved("\"Unresolved\":1")), (vec!["ann".to_owned()], 2));
    assert!(unresolved("The ledger of binding shop was not stored") > 0);
    assert_eq!(world.violations(), Vec::<String>::new());
}

/// Ann has just come on call for so many bindings.
struct Handover {
    world: Oncall,
    ann: Engineer,
    bound: Vec<Bound>,
    lambda: Lambda,
}

impl Handover {
    async fn of(bindings: usize) -> Self {
        let world = Oncall::builder().on_the_machines_clock().start().await.unwrap();
        let ann = world.engineer("ann").unwrap();
        let bound: Vec<Bound> = (0..bindings).map(|n| world.bind(&format!("b{n}"), &json!({}))).collect();
        let lambda = world.lambda(None).await.unwrap();
        lambda.set_timeout(Duration::from_secs(50));
        lambda.invoke(json!({})).await.result.unwrap();
        let (now, hour) = (world.clock.now(), TimeDelta::hours(1));
        for bound in &bound {
            world.pagerduty.shift(&bound.schedule, &ann.pagerduty, now - hour, now + hour);
        }
        Self { world, ann, bound, lambda }
    }

    async fn tick(&self) {
        self.lambda.invoke(json!({})).await.result.unwrap();
    }

    /// In how many groups Ann is, and how many lines of the log say that she was granted.
    fn granted(&self) -> (usize, usize) {
        let inside = self.bound.iter().filter(|bound| !self.world.members(bound, &[&self.ann]).is_empty());
        (inside.count(), self.lambda.logs().unwrap().matches("\"code\":\"GRANTED\"").count())
    }
}

/// Parameter Store takes three writes a second, and each change needs two.
#[tokio::test(flavor = "multi_thread")]
async fn a_handover_of_many_bindings_at_once_is_done_in_one_tick_and_told_once() {
    const BINDINGS: usize = 16;
    let handover = Handover::of(BINDINGS).await;
    let world = &handover.world;
    world.aws.parameters.limit_writes(3);
    let told = world.alerts().len();
    for tick in ["the handover", "the next tick"] {
        handover.tick().await;
        let alerts = world.alerts().len() - told;
        assert_eq!((handover.granted(), alerts), ((BINDINGS, BINDINGS), BINDINGS), "{tick}");
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

/// There is no time to store more than some twenty of forty ledgers.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_s_ledger_was_stored_comes_in_though_there_is_no_time_for_others() {
    const BINDINGS: usize = 40;
    let handover = Handover::of(BINDINGS).await;
    let world = &handover.world;
    world.aws.parameters.limit_writes(3);
    handover.lambda.set_timeout(Duration::from_secs(18));
    handover.tick().await;
    let (inside, _) = handover.granted();
    assert!((10..BINDINGS).contains(&inside), "{inside}");
    world.aws.parameters.limit_writes(1000);
    for tick in ["the next tick", "the one after it"] {
        handover.tick().await;
        assert_eq!(handover.granted(), (BINDINGS, BINDINGS), "{tick}");
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

/// The ledgers, which hang, would take the time in which the groups are read back.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_has_a_line_though_no_ledger_can_be_written() {
    const BINDINGS: usize = 9;
    let handover = Handover::of(BINDINGS).await;
    handover.tick().await;
    let world = &handover.world;
    let bob = world.engineer("bob").unwrap();
    let (now, hour) = (world.clock.now(), TimeDelta::hours(1));
    world.faults.reset();
    for bound in &handover.bound {
        world.pagerduty.clear(&bound.schedule);
        world.pagerduty.shift(&bound.schedule, &bob.pagerduty, now - hour, now + hour);
        for nth in 1..20 {
            let call = format!(" PutParameter {} #{nth}", bound.ledger_name());
            let fault = Fault::Slow(Duration::from_mins(1));
            world.faults.inject(Point { call, moment: Moment::Before, fault });
        }
    }
    handover.lambda.set_timeout(Duration::from_secs(30));
    handover.tick().await;
    let lines = handover.lambda.logs().unwrap().matches("\"code\":\"REVOKED\"").count();
    assert_eq!((handover.granted().0, lines), (0, BINDINGS));
    assert_eq!(world.violations(), Vec::<String>::new());
}

/// Every write after the intent takes effect, and none is answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_has_its_line_though_nobody_said_that_its_outcome_is_stored() {
    let handover = Handover::of(1).await;
    let world = &handover.world;
    world.faults.reset();
    for nth in 2..20 {
        let call = format!(" PutParameter {} #{nth}", handover.bound[0].ledger_name());
        let fault = Fault::Slow(Duration::from_mins(1));
        world.faults.inject(Point { call, moment: Moment::After, fault });
    }
    handover.tick().await;
    assert_eq!(handover.granted(), (1, 1));
    world.faults.reset();
    handover.tick().await;
    assert_eq!(handover.granted(), (1, 1));
    assert_eq!(world.violations(), Vec::<String>::new());
}

/// Writes fail after the intent, and reads do not: the function can see whether a write that failed took effect.
async fn a_change_has_one_line_while_writes_fail(moment: Moment, lines_meanwhile: usize) {
    let handover = Handover::of(1).await;
    let world = &handover.world;
    world.faults.reset();
    for nth in 2..100 {
        let call = format!(" PutParameter {} #{nth}", handover.bound[0].ledger_name());
        world.faults.inject(Point { call, moment, fault: Fault::Status(500, "InternalServerError") });
    }
    for tick in ["the handover", "the next tick"] {
        handover.tick().await;
        assert_eq!(handover.granted(), (1, lines_meanwhile), "{tick}");
    }
    assert!(world.faults.struck().len() > 2);
    world.faults.reset();
    for tick in ["Parameter Store is well again", "the tick after it"] {
        handover.tick().await;
        assert_eq!(handover.granted(), (1, 1), "{tick}");
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_has_its_line_once_its_outcome_could_be_stored() {
    a_change_has_one_line_while_writes_fail(Moment::Before, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_has_its_line_once_its_outcome_is_seen_to_be_stored() {
    a_change_has_one_line_while_writes_fail(Moment::After, 1).await;
}

/// The intent of the next tick, which says that the group shows the change, takes effect unanswered; the outcome does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_has_its_line_though_only_an_intent_of_the_next_tick_could_be_stored() {
    let handover = Handover::of(1).await;
    let world = &handover.world;
    let refuse = |nth: usize| {
        let call = format!(" PutParameter {} #{nth}", handover.bound[0].ledger_name());
        let fault = Fault::Status(400, "AccessDeniedException");
        world.faults.inject(Point { call, moment: Moment::Before, fault });
    };
    world.faults.reset();
    (2..4).for_each(refuse);
    handover.tick().await;
    assert_eq!(handover.granted(), (1, 0));
    let mallory = world.engineer("mallory").unwrap();
    world.okta.add(&handover.bound[0].group, &mallory.okta);
    world.faults.reset();
    let call = format!(" PutParameter {} #1", handover.bound[0].ledger_name());
    world.faults.inject(Point { call, moment: Moment::After, fault: Fault::Slow(Duration::from_mins(1)) });
    (2..4).for_each(refuse);
    handover.tick().await;
    world.faults.reset();
    for _ in 0..2 {
        handover.tick().await;
        let revoked = handover.lambda.logs().unwrap().matches("\"code\":\"REVOKED\"").count();
        assert_eq!((handover.granted(), revoked), ((1, 1), 1));
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

/// The ledger after a grant by hand whose intent was not stored, so that it was not begun.
async fn ledger_without_the_grant(spoil: impl Fn(&Oncall, &Bound)) -> Value {
    let world = Oncall::start().await.unwrap();
    let cal = world.engineer("cal").unwrap();
    let shop = world.bind("shop", &json!({}));
    world.tick().await.unwrap();
    world.faults.reset();
    spoil(&world, &shop);
    let grant = json!({"action": "grant", "binding": "shop", "user": cal.okta, "minutes": 60, "reason": "INC-42"});
    assert_eq!(world.event(&grant).await.unwrap_err().code(), "CHANGE_UNFINISHED");
    assert_eq!(world.members(&shop, &[&cal]), NOBODY);
    assert_eq!(world.violations(), Vec::<String>::new());
    let ledger = world.ledger(&shop).unwrap();
    json!([ledger["people"], ledger["version"]])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_by_hand_that_was_never_begun_is_in_no_ledger() {
    let refuse = |world: &Oncall, _: &Bound| world.aws.refuse("PutParameter", Refusal::AccessDenied, 2);
    assert_eq!(ledger_without_the_grant(refuse).await, json!([{}, 1]));
    // The write may take effect later: the ledger from before is written over it.
    let hang = |world: &Oncall, shop: &Bound| {
        for nth in 1..3 {
            let call = format!(" PutParameter {} #{nth}", shop.ledger_name());
            let fault = Fault::Slow(Duration::from_mins(1));
            world.faults.inject(Point { call, moment: Moment::Before, fault });
        }
    };
    assert_eq!(ledger_without_the_grant(hang).await, json!([{}, 2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn people_leave_on_time_while_secrets_manager_is_down() {
    let world = Oncall::start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let shop = world.bind("shop", &json!({}));
    world.on_call(&shop, &ann, "08:00", "12:00");
    world.tick().await.unwrap();
    world.aws.refuse("GetSecretValue", Refusal::InternalError, 1000);
    world.at("12:00");
    let report = world.tick().await.unwrap();
    assert_eq!(reasons(&report), ["shift_ended"], "{report}");
    assert_eq!(world.members(&shop, &[&ann]), NOBODY);
    let blamed = world.alerts().into_iter().find(|title| title.contains("no credential that works"));
    assert_eq!(blamed, None, "it says nothing of the credentials");
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_shifts_without_a_break_are_one_when_pagerduty_fails_between_them() {
    let world = Oncall::start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let shop = world.bind("shop", &json!({"max_stale": "8h"}));
    world.on_call(&shop, &ann, "08:00", "12:00");
    world.on_call(&shop, &ann, "12:00", "15:00");
    world.at("11:55");
    world.tick().await.unwrap();
    assert_eq!(world.states(&shop).unwrap()[0].1["granted"]["on_call"]["shift_end"], "2026-03-02T15:00:00Z");
    pagerduty_is_down(&world, &shop, 3);
    for (time, left) in [("12:00", 0), ("14:59", 0), ("15:00", 1)] {
        world.at(time);
        assert_eq!(reasons(&world.tick().await.unwrap()).len(), left, "{time}");
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_by_hand_that_cannot_be_lengthened_lasts_as_long_as_before() {
    let world = Oncall::start().await.unwrap();
    let cal = world.engineer("cal").unwrap();
    let shop = world.bind("shop", &json!({}));
    world.tick().await.unwrap();
    let grant = json!({"action": "grant", "binding": "shop", "user": cal.okta, "minutes": 60, "reason": "INC-42"});
    world.event(&grant).await.unwrap();
    world.at("09:50");
    world.okta.replace(&format!("GET /api/v1/users/{}", cal.okta), 1, user(&cal.okta, &cal.email));
    world.okta.replace(&format!("GET /api/v1/users/{}", cal.okta), 3, Reply::html(500));
    assert_eq!(world.event(&grant).await.unwrap_err().code(), "CHANGE_UNFINISHED");
    for (time, members) in [("09:51", &["cal"][..]), ("09:59", &["cal"]), ("10:00", &[])] {
        world.at(time);
        world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&cal]), members, "{time}");
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

fn user(id: &str, email: &str) -> Reply {
    Reply::json(200, &json!({"id": id, "status": "ACTIVE", "profile": {"login": email, "email": email}}))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_was_handed_on_at_pagerduty_does_not_let_its_old_owner_in() {
    let world = Oncall::start().await.unwrap();
    let [ann, bob, cal] = ["ann", "bob", "cal"].map(|name| world.engineer(name).unwrap());
    let shop = world.bind("shop", &json!({}));
    let bank = world.bind("bank", &json!({}));
    // Seen on call for one binding, so that who he is at Okta is remembered.
    world.on_call(&shop, &bob, "08:00", "10:00");
    world.on_call(&shop, &ann, "10:00", "20:00");
    world.on_call(&bank, &bob, "09:30", "20:00");
    world.tick().await.unwrap();
    world.pagerduty.set_email(&bob.pagerduty, &cal.email);
    world.at("09:30");
    for _ in 0..2 {
        world.tick().await.unwrap();
        world.minutes_later(1);
    }
    assert_eq!(world.members(&bank, &[&ann, &bob, &cal]), ["cal"]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn not_even_while_the_old_owner_moves_from_one_binding_to_another() {
    let world = Oncall::start().await.unwrap();
    let [bob, cal] = ["bob", "cal"].map(|name| world.engineer(name).unwrap());
    // What is said of a single schedule names people without their addresses.
    let [shop, bank] = ["shop", "bank"].map(|id| world.bind_alone(id, &json!({})));
    world.on_call(&shop, &bob, "08:00", "09:40");
    world.on_call(&bank, &bob, "09:40", "20:00");
    world.tick().await.unwrap();
    world.pagerduty.set_email(&bob.pagerduty, &cal.email);
    world.at("09:40");
    world.tick().await.unwrap();
    assert_eq!(world.members(&bank, &[&bob, &cal]), NOBODY);
    world.minutes_later(1);
    world.tick().await.unwrap();
    assert_eq!(world.members(&bank, &[&bob, &cal]), ["cal"]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_given_up_together_with_its_group_ends_quietly() {
    let world = Oncall::start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let (shop, bank) = (world.bind("shop", &json!({})), world.bind("bank", &json!({})));
    for bound in [&shop, &bank] {
        world.on_call(bound, &ann, "08:00", "12:00");
    }
    world.tick().await.unwrap();
    delete_parameter(&world, &format!("{CONFIG_PATH}/shop")).await;
    world.okta.delete_group(&shop.group);
    world.at("12:00");
    world.tick().await.unwrap();
    assert_eq!(world.states(&shop).unwrap(), []);
    world.minutes_later(1);
    let report = world.tick().await.unwrap();
    assert_eq!((&report["bindings"], &report["unfinished"]), (&json!(1), &json!(0)), "{report}");
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_lacks_a_permission_is_told_once_and_not_every_minute() {
    let world = Oncall::start().await.unwrap();
    let ann = world.engineer("ann").unwrap();
    let shop = world.bind("shop", &json!({}));
    world.on_call(&shop, &ann, "08:00", "20:00");
    world.okta.forbid(keyturn_tests::vendors::okta::Permission::MembersManage);
    for _ in 0..5 {
        world.tick().await.unwrap();
        world.minutes_later(1);
    }
    let told = world.alerts();
    let not_granted: Vec<_> = told.iter().filter(|title| title.contains("ON_CALL_NOT_GRANTED")).collect();
    assert_eq!(not_granted.len(), 1, "{told:?}");
    assert_eq!(told.iter().filter(|title| title.contains("granted: shop")).count(), 1, "{told:?}");
    assert_eq!(world.violations(), Vec::<String>::new());
}
