//! The table that is printed: a number of Calve's, what it is compared with, and whether the target was met.

/// What a number should be.
#[derive(Clone, Copy)]
pub enum Target {
    /// Not smaller than this.
    AtLeast(f64),
    /// Not larger than this.
    AtMost(f64),
    /// There is none; the number is told for orientation.
    None,
}

/// One line.
pub struct Comparison {
    /// What is compared.
    pub measure: &'static str,
    /// Calve's median.
    pub calve: f64,
    /// The peer and its median. Without one the target is for Calve's own number, else for the ratio.
    pub peer: Option<(&'static str, f64)>,
    /// What is aimed at.
    pub target: Target,
}

/// The median of one number over all rounds.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

pub fn print_heading() {
    println!(
        "{:<14}{:<34}{:>12}  {:<30}{:>8}  {:<10}",
        "scenario", "measure", "calve", "peer", "ratio", "target"
    );
}

impl Comparison {
    /// A number that has a target of its own.
    pub fn alone(measure: &'static str, calve: f64, target: Target) -> Self {
        Self {
            measure,
            calve,
            peer: None,
            target,
        }
    }

    pub fn print(&self, scenario: &str) {
        let judged = self.peer.map_or(self.calve, |(_, peer)| self.calve / peer);
        let (aim, is_met) = match self.target {
            Target::AtLeast(least) => (format!(">= {least}"), judged >= least),
            Target::AtMost(most) => (format!("<= {most}"), judged <= most),
            Target::None => (String::new(), true),
        };
        let verdict = match self.target {
            Target::None => "",
            _ if is_met => "met",
            _ => "MISSED",
        };
        let peer = self.peer.map_or(String::new(), |(name, peer)| {
            format!("{name} {}", number(peer))
        });
        let ratio = self.peer.map_or(String::new(), |_| format!("{judged:.3}"));
        println!(
            "{scenario:<14}{:<34}{:>12}  {peer:<30}{ratio:>8}  {aim:<10}{verdict}",
            self.measure,
            number(self.calve)
        );
    }
}

/// Three digits, or all of a whole number.
fn number(value: f64) -> String {
    if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}")
    }
}
