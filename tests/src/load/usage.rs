//! What a program and all that it started have used, from `/proc`.

use std::collections::HashMap;
use std::fs;

use crate::lab::{Context as _, Result};

/// Of one moment; differences between two are what counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Processor seconds, in the kernel and out of it.
    pub cpu: f64,
    /// Bytes in memory that belong to no file; what several processes share is counted once.
    pub memory: u64,
}

impl Usage {
    /// Of this process and its descendants, threads included.
    ///
    /// # Errors
    /// When it is no more.
    pub fn of(process: u32) -> Result<Self> {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        let mut cpu: HashMap<u32, u64> = HashMap::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // One that ended meanwhile is none of ours: those live as long as the measurement.
            let Some((parent, ticks)) = fs::read_to_string(entry.path().join("stat"))
                .ok()
                .and_then(|text| stat(&text))
            else {
                continue;
            };
            children.entry(parent).or_default().push(id);
            cpu.insert(id, ticks);
        }
        cpu.contains_key(&process)
            .then_some(())
            .context("the process is no more")?;
        let (mut ticks, mut memory, mut todo) = (0, 0, vec![process]);
        while let Some(id) = todo.pop() {
            ticks += cpu.get(&id).copied().unwrap_or_default();
            memory += own_memory(id).unwrap_or_default();
            todo.extend(children.remove(&id).unwrap_or_default());
        }
        Ok(Self {
            cpu: ticks as f64 / TICKS_PER_SECOND,
            memory,
        })
    }
}

/// The processor seconds of this process alone, without those of the programs that it started.
///
/// # Errors
/// When the system does not tell.
pub fn own_cpu() -> Result<f64> {
    let (_, ticks) = stat(&fs::read_to_string("/proc/self/stat")?).context("a strange line of /proc/self/stat")?;
    Ok(ticks as f64 / TICKS_PER_SECOND)
}

/// The parent, and the ticks of user and system time, out of a line of `stat`.
fn stat(text: &str) -> Option<(u32, u64)> {
    // The name before them may hold anything, parentheses included.
    let fields: Vec<&str> = text.rsplit(')').next()?.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some((u32::try_from(number(1)?).ok()?, number(11)? + number(12)?))
}

fn own_memory(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    let kilobytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    // What is mapped from files, such as the program itself, comes and goes with others who map it.
    Some((kilobytes("Pss_Anon:")? + kilobytes("Pss_Shmem:")?) * 1024)
}

/// `USER_HZ`, which is the same on every machine that Debian runs on.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = "42 (a) b (c) S 7 1 1 0 -1 0 0 0 0 0 300 20 9 9 20 0 1 0 5";
        assert_eq!(stat(text), Some((7, 320)));
        assert_eq!(stat("42 (short) S 7"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let usage = Usage::of(std::process::id()).expect("we are alive");
        assert!(usage.memory > 0, "{usage:?}");
    }
}
