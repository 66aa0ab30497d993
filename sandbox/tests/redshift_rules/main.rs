//! What Redshift refuses, rule by rule: every case names the number of its rule in the project's list of what a strict
//! stand-in must refuse (1 to 24). Run against a real stand-in, with a real PostgreSQL behind it and a real S3 beside it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod api;
mod cases;
mod client;
mod copy;
mod ddl;
mod dml;
mod injections;
mod isolation;
#[path = "../stand_in/mod.rs"]
mod stand_in;

use std::collections::BTreeSet;

use cases::{Case, run};
use client::Api;
use stand_in::Servers;

/// The numbers of the list.
const NUMBERS: std::ops::RangeInclusive<u8> = 1..=24;

#[tokio::test(flavor = "multi_thread")]
async fn every_rule_holds() {
    let servers = Servers::start().await;
    let stand_in = servers.stand_in(|_| {}).await;
    let api = Api::of(&stand_in.endpoint(), &servers.aws_endpoint).await;
    let cases: Vec<&Case> = [ddl::CASES, dml::CASES, copy::CASES].into_iter().flatten().collect();
    let mut failures = Vec::new();
    let mut covered: BTreeSet<u8> = cases.iter().map(|case| case.number).collect();
    for (position, case) in cases.iter().enumerate() {
        if let Err(failure) = run(&api, case, &format!("t{position}")).await {
            failures.push(format!("{}: {}: {failure}", case.number, case.name));
        }
    }
    for (number, name, result) in api::all(&servers, &api).await {
        covered.insert(number);
        if let Err(failure) = result {
            failures.push(format!("{number}: {name}: {failure}"));
        }
    }
    assert!(failures.is_empty(), "{} rules are broken:\n{}", failures.len(), failures.join("\n"));
    assert!(NUMBERS.eq(covered), "some numbers have no case");
    isolation::all(&servers).await;
}
