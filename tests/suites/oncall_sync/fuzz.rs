//! Replies that are damaged, of another shape, or of no shape at all: nobody comes in by them who is not on call, and
//! nobody leaves whose time is not up.

use crate::prove::long_form;
use keyturn_tests::stacks::oncall::{Bound, Engineer, Oncall};
use keyturn_tests::vendors::{Call, Reply};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Map, Value, json};
use std::thread;

const WORLDS: u64 = 4;
/// Of each world.
const CASES: usize = 25;
const CASES_TO_PROVE: usize = 75;

/// ann and bob are on call; ann is in the group already. mallory and eve are not on call, and eve is kept in the group.
struct Scene {
    world: Oncall,
    shop: Bound,
    ann: Engineer,
    bob: Engineer,
    eve: Engineer,
    /// Every read of a cold tick that puts bob in, with what it is answered by.
    replies: Vec<(Vendor, Call, Reply)>,
    /// What the vendors say of mallory.
    of_mallory: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Vendor {
    PagerDuty,
    Okta,
}

impl Scene {
    async fn start(v3: bool) -> Self {
        let mut world = Oncall::start().await.unwrap();
        let [ann, bob, eve, mallory] = ["ann", "bob", "eve", "mallory"].map(|name| world.engineer(name).unwrap());
        let second = if v3 { world.pagerduty.schedule_v3("second") } else { world.pagerduty.schedule("second") };
        let shop = world.bind("shop", &json!({}));
        world.write_binding(&shop, &json!({"schedules": [shop.schedule, second], "keep": [eve.okta]}));
        world.okta.add(&shop.group, &eve.okta);
        world.on_call(&shop, &ann, "08:00", "23:00");
        let (from, to) = (world.today("08:00"), world.today("23:00"));
        world.pagerduty.shift(&second, &bob.pagerduty, from, to);
        world.tick().await.unwrap();
        world.okta.remove(&shop.group, &bob.okta);
        world.forget_requests();
        world.recycle().unwrap();
        world.tick().await.unwrap();
        let mut scene = Self { world, shop, ann, bob, eve, replies: Vec::new(), of_mallory: Vec::new() };
        assert_eq!(scene.members(), ["ann", "bob", "eve"]);
        scene.replies = scene.real_replies(|_| true, str::to_owned).await;
        let of_bob = |path: &str| path.ends_with(&scene.bob.okta) || path.ends_with(&scene.bob.pagerduty);
        let swap =
            |path: &str| path.replace(&scene.bob.okta, &mallory.okta).replace(&scene.bob.pagerduty, &mallory.pagerduty);
        let of_mallory = scene.real_replies(of_bob, swap).await;
        scene.of_mallory = of_mallory.into_iter().map(|(.., reply)| reply.body).collect();
        assert!(scene.replies.len() >= 8 && scene.of_mallory.len() >= 2, "{:?} {:?}", scene.replies, scene.of_mallory);
        scene
    }

    fn members(&self) -> Vec<String> {
        self.world.members(&self.shop, &[&self.ann, &self.bob, &self.eve])
    }

    /// Asks the vendors again some of what the function asked, at this path instead, and keeps what they say.
    async fn real_replies(
        &self,
        some: impl Fn(&str) -> bool,
        instead: impl Fn(&str) -> String,
    ) -> Vec<(Vendor, Call, Reply)> {
        let client = keyturn::http::client().unwrap();
        let mut replies = Vec::new();
        let asked = [
            (Vendor::PagerDuty, self.world.pagerduty.url(), self.world.pagerduty.seen()),
            (Vendor::Okta, self.world.okta.url(), self.world.okta.seen()),
        ];
        for (vendor, base, calls) in asked {
            for call in calls.into_iter().filter(|call| call.method == "GET" && some(&call.path)) {
                let mut url = url::Url::parse(&format!("{base}{}", instead(&call.path))).unwrap();
                url.query_pairs_mut().extend_pairs(&call.query);
                let answer = client.get(url).headers(call.headers.clone()).send().await.unwrap();
                let status = answer.status().as_u16();
                let body = answer.json::<Value>().await.unwrap();
                replies.push((vendor, call, Reply::json(status, &body)));
            }
        }
        replies
    }

    /// One cold tick in which one read is answered by something else, and one without.
    async fn case(&mut self, dice: &mut StdRng) {
        let (vendor, call, real) = self.replies.choose(dice).unwrap().clone();
        let damaged = self.damaged(&real, dice);
        let times = dice.random_range(1..=2);
        let story = format!("{} is answered by {damaged:?}, {times} times", call.name());
        match vendor {
            Vendor::PagerDuty => self.world.pagerduty.replace(&call.name(), times, damaged),
            Vendor::Okta => self.world.okta.replace(&call.name(), times, damaged),
        }
        self.world.okta.remove(&self.shop.group, &self.bob.okta);
        self.world.recycle().unwrap();
        let report = self.world.tick().await.unwrap_or_else(|error| panic!("{story}: {error}"));
        let members = self.members();
        let right = members == ["ann", "bob", "eve"] || members == ["ann", "eve"];
        assert!(right, "{story}: {members:?} {report}");
        // What was not asked for in this tick must not be left for the next case, nor what was learnt by it.
        for _ in 0..2 {
            self.world.okta.remove(&self.shop.group, &self.bob.okta);
            self.world.recycle().unwrap();
            self.world.tick().await.unwrap();
        }
        assert_eq!(self.members(), ["ann", "bob", "eve"], "{story}: two ticks later");
    }

    /// A reply like the real one that is not the real one.
    fn damaged(&self, real: &Reply, dice: &mut StdRng) -> Reply {
        let mut reply = real.clone();
        match dice.random_range(0..12) {
            0 => reply.body = noise(dice),
            1 => reply.body = anything(dice, 4).to_string(),
            2 => {
                let end = dice.random_range(0..reply.body.len());
                reply.body.truncate(reply.body.floor_char_boundary(end));
            }
            3 => {
                reply.headers.clear();
                reply = reply
                    .with("content-type", *["text/html", "text/plain", "", "application/jsonp"].choose(dice).unwrap());
            }
            4 => reply.body.clone_from(self.of_mallory.choose(dice).unwrap()),
            5 => reply.body.clone_from(&self.replies.choose(dice).unwrap().2.body),
            6 => reply.status = *[201, 202, 204, 206, 301, 400, 403, 404, 409, 500].choose(dice).unwrap(),
            _ => {
                let mut body: Value = serde_json::from_str(&reply.body).unwrap();
                for _ in 0..dice.random_range(1..=3) {
                    break_something(&mut body, "", dice);
                }
                reply.body = body.to_string();
            }
        }
        reply
    }
}

fn noise(dice: &mut StdRng) -> String {
    let length = dice.random_range(0..60);
    let characters = (0..length).map(|_| match dice.random_range(0..3) {
        0 => char::from(dice.random_range(0..128u8)),
        1 => *['{', '}', '[', ']', '"', ':', ',', '\\', '0', '-', 'e'].choose(dice).unwrap(),
        _ => char::from_u32(dice.random_range(0..0x11_0000)).unwrap_or('?'),
    });
    characters.collect()
}

/// JSON of any kind, with the keys that vendors use.
fn anything(dice: &mut StdRng, depth: usize) -> Value {
    const KEYS: [&str; 18] = [
        "schedule",
        "final_schedule",
        "rendered_schedule_entries",
        "rendered_coverage_percentage",
        "user",
        "users",
        "id",
        "type",
        "email",
        "profile",
        "login",
        "status",
        "start",
        "end",
        "more",
        "oncalls",
        "name",
        "computed_shift_assignments",
    ];
    match dice.random_range(0..if depth == 0 { 5 } else { 8 }) {
        0 => Value::Null,
        1 => json!(dice.random::<bool>()),
        2 => json!(dice.random::<i64>()),
        3 => json!(dice.random::<f64>() * 1e300),
        4 => json!(noise(dice)),
        5 => (0..dice.random_range(0..4)).map(|_| anything(dice, depth - 1)).collect(),
        _ => {
            let entries = (0..dice.random_range(0..5)).map(|_| {
                let key = (*KEYS.choose(dice).unwrap()).to_owned();
                (key, anything(dice, depth - 1))
            });
            Value::Object(entries.collect::<Map<_, _>>())
        }
    }
}

/// Damages one place somewhere below. What would be a true statement of the vendor's is left alone: that somebody else
/// is on call, or nobody, or that somebody is not active.
fn break_something(value: &mut Value, key: &str, dice: &mut StdRng) {
    match value {
        Value::Object(object) if !object.is_empty() && dice.random_range(0..6) > 0 => {
            let keys: Vec<String> = object.keys().cloned().collect();
            let key = keys.choose(dice).unwrap();
            match dice.random_range(0..5) {
                0 => drop(object.remove(key)),
                1 => drop(object.insert(noise(dice), anything(dice, 2))),
                _ => break_something(object.get_mut(key).unwrap_or(&mut Value::Null), key, dice),
            }
        }
        Value::Array(list) if !list.is_empty() && dice.random_range(0..6) > 0 => match dice.random_range(0..4) {
            // A shorter list of people or shifts is a true statement; a longer one repeats, or holds something strange.
            0 => list.extend_from_within(..1),
            1 => list.push(anything(dice, 3)),
            _ => {
                let at = dice.random_range(0..list.len());
                break_something(&mut list[at], key, dice);
            }
        },
        place => {
            let other = anything(dice, 2);
            let names_somebody = matches!(key, "id" | "user_id" | "status" | "email" | "login");
            let true_statement = (other.is_string() && names_somebody) || (other.is_null() && key == "user");
            if !true_statement {
                *place = other;
            }
        }
    }
}

fn many_cases(world: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut dice = StdRng::seed_from_u64(world);
        let mut scene = Scene::start(world.is_multiple_of(2)).await;
        let cases = if long_form() { CASES_TO_PROVE } else { CASES };
        for _ in 0..cases {
            scene.case(&mut dice).await;
        }
        assert_eq!(scene.world.violations(), Vec::<String>::new());
    });
}

#[test]
fn no_damaged_reply_lets_anybody_in_who_is_not_on_call_or_out_whose_time_is_not_up() {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..WORLDS).map(|world| scope.spawn(move || many_cases(world))).collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}
