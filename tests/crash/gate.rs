//! Between the clients and the server: whether it is there, who waits for it, and how much it has answered.
//!
//! A client that gets no answer waits here for the next run of the server and sends the same request again. When the
//! server is gone and every client waits, nothing is under way, and what is on disk can be compared with the ledger.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;

use crate::support::PATIENCE;
use crate::support::client::{Answer, Api, Headers};

/// One request, to be sent as often as it takes.
pub struct Request<'a> {
    pub method: &'static str,
    pub path: String,
    pub headers: Headers<'a>,
    pub body: Option<&'a [u8]>,
}

/// What everybody knows of the server.
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The running server; none from before its kill until the next run was checked.
    server: Option<Api>,
    clients: usize,
    waiting_clients: usize,
    answers: u64,
    lost_answers: u64,
    is_ending: bool,
    is_failed: bool,
}

impl Gate {
    /// Closed, and without clients.
    pub fn new() -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Lets the clients go on with this run of the server.
    pub fn open(&self, api: Api) {
        self.state().server = Some(api);
        self.changed.notify_all();
    }

    /// To be called before the server is killed: from here on no answer is no surprise.
    pub fn close(&self) {
        self.state().server = None;
    }

    /// Waits until all clients have missed the server.
    pub fn await_waiting_clients(&self) {
        self.await_that("all clients wait", |state| {
            state.waiting_clients == state.clients
        });
    }

    /// Answers that came so far.
    pub fn answers(&self) -> u64 {
        self.state().answers
    }

    /// Requests that got no answer so far.
    pub fn lost_answers(&self) -> u64 {
        self.state().lost_answers
    }

    /// Waits for this many answers in all.
    pub fn await_answers(&self, wanted: u64) {
        self.await_that("more answers", |state| state.answers >= wanted);
    }

    /// Asks the clients to begin nothing more.
    pub fn end(&self) {
        self.state().is_ending = true;
    }

    pub fn is_ending(&self) -> bool {
        self.state().is_ending
    }

    fn await_that(&self, awaited: &str, holds: impl Fn(&State) -> bool) {
        let (state, waited) = self
            .changed
            .wait_timeout_while(self.state(), PATIENCE, |state| {
                !holds(state) && !state.is_failed
            })
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        assert!(!state.is_failed, "a client failed; its message is above");
        assert!(
            !waited.timed_out(),
            "waited {PATIENCE:?} in vain: {awaited}"
        );
    }

    /// For whoever opens and closes the gate: no client goes on when that fails.
    pub fn keep(&self) -> Keeper<'_> {
        Keeper(self)
    }

    /// Adds a client.
    pub fn enter(&self) -> Line<'_> {
        self.state().clients += 1;
        Line { gate: self }
    }
}

/// Stops the clients when a failing test leaves them.
pub struct Keeper<'a>(&'a Gate);

impl Drop for Keeper<'_> {
    fn drop(&mut self) {
        self.0.state().is_failed |= thread::panicking();
        self.0.changed.notify_all();
    }
}

/// One client's way to the server.
pub struct Line<'a> {
    gate: &'a Gate,
}

impl<'a> Line<'a> {
    /// The server, as soon as there is one.
    fn server(&self) -> Api {
        let mut state = self.gate.state();
        if state.server.is_none() {
            state.waiting_clients += 1;
            self.gate.changed.notify_all();
            state = self
                .gate
                .changed
                .wait_while(state, |state| state.server.is_none() && !state.is_failed)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            state.waiting_clients -= 1;
        }
        match &state.server {
            Some(api) if !state.is_failed => api.clone(),
            _ => panic!("the test has failed elsewhere"),
        }
    }

    /// Sends a request until it is answered.
    pub fn send(&self, request: &Request) -> Answer {
        loop {
            if let Some(answer) = self.send_once(request) {
                return answer;
            }
        }
    }

    /// Sends a request. No answer: the server was killed meanwhile, and what it had done was checked.
    pub fn send_once(&self, request: &Request) -> Option<Answer> {
        let api = self.server();
        let sent = api.try_send(request.method, &request.path, request.headers, request.body);
        match sent {
            Ok(answer) => {
                self.gate.state().answers += 1;
                self.gate.changed.notify_all();
                Some(answer)
            }
            Err(error) => {
                // The gate is not opened again before this client waits at it.
                let mut state = self.gate.state();
                assert!(
                    state.server.is_none(),
                    "{} {} got no answer from a server that was not killed: {error}",
                    request.method,
                    request.path
                );
                state.lost_answers += 1;
                drop(state);
                self.server();
                None
            }
        }
    }

    /// Runs both at the same time, each with a way of its own.
    pub fn race<L: Send, R: Send>(
        &self,
        left: impl FnOnce(&Line<'a>) -> L + Send,
        right: impl FnOnce(&Line<'a>) -> R + Send,
    ) -> (L, R) {
        let (left_line, right_line) = (self.gate.enter(), self.gate.enter());
        // Whoever waits for the two is no client meanwhile.
        self.gate.state().clients -= 1;
        self.gate.changed.notify_all();
        let outcomes = thread::scope(|scope| {
            let left = scope.spawn(move || left(&left_line));
            let right = scope.spawn(move || right(&right_line));
            (left.join(), right.join())
        });
        self.gate.state().clients += 1;
        match outcomes {
            (Ok(left), Ok(right)) => (left, right),
            _ => panic!("one of two racing clients failed"),
        }
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.clients -= 1;
        state.is_failed |= thread::panicking();
        self.gate.changed.notify_all();
    }
}
