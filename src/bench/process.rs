//! What the kernel says of a process and its descendants: CPU time, and the most memory they held. Linux only; elsewhere there is nothing.

use std::fs;

use rustix::param::clock_ticks_per_second;

/// Processes counted at most; servers have a few.
const PROCESSES_MAX: usize = 256;

/// Processes as they are now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// User and system time of all of them, in steps of the kernel's clock tick (10 ms).
    pub cpu_seconds: f64,
    /// Most resident memory, summed over them.
    pub peak_resident_bytes: u64,
    /// Resident memory now, summed over them.
    pub resident_bytes: u64,
}

impl Usage {
    /// Of the process with this id and all below it; `None` if it cannot be told.
    pub fn of_family(pid: u32) -> Option<Self> {
        Self::sum(&family(pid))
    }

    /// Of this process alone.
    pub fn own() -> Option<Self> {
        Self::sum(&[std::process::id()])
    }

    fn sum(pids: &[u32]) -> Option<Self> {
        let mut usage = Self {
            cpu_seconds: 0.0,
            peak_resident_bytes: 0,
            resident_bytes: 0,
        };
        for pid in pids {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            usage.cpu_seconds += cpu_ticks(&stat)? as f64 / clock_ticks_per_second() as f64;
            usage.peak_resident_bytes += kibibytes(&status, "VmHWM:")? * 1024;
            usage.resident_bytes += kibibytes(&status, "VmRSS:")? * 1024;
        }
        Some(usage)
    }
}

/// The process and all below it.
fn family(pid: u32) -> Vec<u32> {
    let mut pids = vec![pid];
    let mut next = 0;
    while next < pids.len() && pids.len() < PROCESSES_MAX {
        let pid = pids[next];
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        pids.extend(
            children
                .split_whitespace()
                .filter_map(|child| child.parse::<u32>().ok()),
        );
        next += 1;
    }
    pids
}

/// Fields 14 and 15 of `/proc/PID/stat`, counted from the end of the name, which may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split_whitespace().skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    Some(user + system)
}

fn kibibytes(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with(key))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_understood() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0";
        assert_eq!(cpu_ticks(stat), Some(200));
        let status = "Name:\tcalve\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n";
        assert_eq!(kibibytes(status, "VmHWM:"), Some(2048));
        assert_eq!(kibibytes(status, "VmSwap:"), None);
    }

    #[test]
    fn this_process_has_memory_and_no_process_has_none() {
        let usage = Usage::own().unwrap();
        assert!(usage.peak_resident_bytes >= usage.resident_bytes);
        assert!(usage.resident_bytes > 1 << 20);
        assert_eq!(Usage::of_family(u32::MAX), None);
    }
}
