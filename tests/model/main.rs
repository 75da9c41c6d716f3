//! Proves that random operations are answered as a small model of the API in memory says, and that the tables hold what it
//! says then: every value of every row, read by PyIceberg and DuckDB.
//!
//! All cases run one after the other on one server, which some of their operations kill. The tables are read when
//! all cases have run. `CALVE_TEST_LONG=1` runs 1,000 cases; `CALVE_TEST_SEED` gives the same cases again. A case
//! that fails by Calve's fault becomes a test of its own here, with its operations written out.

#![allow(
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails, and nothing here is seen from outside"
)]

#[path = "../support/mod.rs"]
mod support;

mod data;
mod model;
mod operations;
mod run;

use std::cell::RefCell;

use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};

use operations::operations;
use run::{Tally, assert_tables, run_case};
use support::is_long;
use support::random::seed;
use support::server::TestServer;

const CASES: u32 = 40;
const CASES_LONG: u32 = 1000;

#[test]
fn random_operations_are_answered_as_the_model_says() {
    let config = Config {
        cases: if is_long() { CASES_LONG } else { CASES },
        // A failure becomes a test with a name, not a line in a file.
        failure_persistence: None,
        max_shrink_iters: 500,
        rng_seed: RngSeed::Fixed(seed()),
        ..Config::default()
    };
    let server = RefCell::new(TestServer::start());
    let expected = RefCell::new(Vec::new());
    let (cases, tally) = (RefCell::new(0), RefCell::new(Tally::new()));
    let outcome = TestRunner::new(config).run(&operations(), |operations| {
        *cases.borrow_mut() += 1;
        let tables = run_case(
            &mut server.borrow_mut(),
            *cases.borrow(),
            &operations,
            &mut tally.borrow_mut(),
        );
        expected.borrow_mut().extend(tables);
        Ok(())
    });
    println!("{} cases: {:#?}", cases.borrow(), tally.borrow());
    match outcome {
        Ok(()) => assert_tables(&server.borrow(), &expected.borrow()),
        Err(TestError::Fail(why, operations)) => panic!("{why}\n{operations:#?}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}
