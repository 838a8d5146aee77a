//! What starts and rotations of rotate-mongo cost: with one user and with two, at Atlas and on a server of one's own.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use keyturn_tests::stacks::mongo::{MongoApp, MongoStack};
use serde_json::json;

use super::steps::{self, Rotations, recorded_rotation};
use super::{COLD_STARTS, Measured, cold_starts};
use crate::screen::Screen;

/// Each way to rotate, with the name of its application.
const WAYS: [Way; 4] = [
    Way { name: "fixed", at_atlas: true, alternates: false, title: "rotate-mongo, fixed, at Atlas" },
    Way { name: "turns", at_atlas: true, alternates: true, title: "rotate-mongo, alternating, at Atlas" },
    Way {
        name: "ownfixed",
        at_atlas: false,
        alternates: false,
        title: "rotate-mongo, fixed, on a server of one's own",
    },
    Way {
        name: "ownturns",
        at_atlas: false,
        alternates: true,
        title: "rotate-mongo, alternating, on a server of one's own",
    },
];

const HEADS: [&str; 4] = ["AWS calls", "Atlas calls", "logins", "commands"];

struct Way {
    name: &'static str,
    at_atlas: bool,
    alternates: bool,
    title: &'static str,
}

impl Way {
    async fn app(&self, stack: &MongoStack) -> Result<MongoApp> {
        let made = if self.at_atlas { stack.atlas_app(self.name).await } else { stack.own_app(self.name).await };
        let app = made.context(self.name)?;
        if self.alternates {
            stack.tag(&app.secret, "strategy", "alternating")?;
        }
        Ok(app)
    }
}

/// The function's start, memory and size, and how long the steps of each way took.
pub(super) struct Mongo {
    /// For the table of budgets.
    pub measured: Measured,
    rotations: Vec<Rotations>,
}

/// Measures the real bootstrap, with nothing between it and the server.
pub(super) async fn measure(bootstrap: PathBuf) -> Result<Mongo> {
    let stack = MongoStack::builder().bootstrap(bootstrap.clone()).start().await?;
    let mut rotations = Vec::new();
    let mut secret = String::new();
    for way in &WAYS {
        secret = way.app(&stack).await?.secret;
        rotations.push(Rotations::measure(&stack, &secret).await.context(way.title)?);
    }
    let peak = stack.lambda.peak_memory();
    let starts = cold_starts(&stack, &secret, COLD_STARTS).await?;
    ensure!(stack.violations().is_empty(), "no client sends {:?}", stack.violations());
    Ok(Mongo { measured: Measured { name: "rotate-mongo", starts, peak, bootstrap }, rotations })
}

/// Prints a table for each way. The calls are counted on a stack of its own: a proxy costs time.
pub(super) async fn print(screen: Screen, mongo: &Mongo) -> Result<()> {
    let bootstrap = mongo.measured.bootstrap.clone();
    let stack = MongoStack::builder().bootstrap(bootstrap).through_proxy().start().await?;
    let proxy = stack.proxy.as_ref().context("a stack without its proxy")?;
    let through = format!("mongodb://{}/?ssl=true&authSource=admin", proxy.address());
    stack.atlas.describe_cluster("cluster0", &json!({"connectionStrings": {"standard": through}}));
    for (way, rotations) in WAYS.iter().zip(&mongo.rotations) {
        let app = way.app(&stack).await?;
        screen.title(way.title);
        let recorded = recorded_rotation(&stack, &app.secret).await.context(way.title)?;
        steps::print(screen, rotations, &steps::counted(HEADS, kind, &recorded));
    }
    screen.note("  One cluster. At Atlas a change takes 50 ms here, and is looked for at once and after 250 ms;");
    screen.note("  Atlas itself takes seconds to a minute, and each further look is a call and a login per cluster.");
    Ok(())
}

fn kind(call: &str) -> usize {
    if call.starts_with("atlas ") {
        1
    } else if call.starts_with("mongo login ") {
        2
    } else if call.starts_with("mongo ") {
        3
    } else {
        0
    }
}
