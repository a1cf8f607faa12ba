//! A run of the firmware in QEMU.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use condconv::RoutingWeight;
use tempfile::TempDir;

use super::image::at;
use super::{EmulateError, Image};

/// How long the firmware may say nothing; slow networks take seconds a sample.
pub(super) const SILENCE: Duration = Duration::from_secs(120);

/// What the firmware reported.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// The network's plan.
    pub plan_id: String,
    /// Bytes of the network in RAM.
    pub ram_bytes: usize,
    /// Bytes of the network in flash.
    pub flash_bytes: usize,
    /// One entry a sample.
    pub samples: Vec<Sample>,
    /// How many predictions were right, where labels were given.
    pub correct: Option<usize>,
}

/// What the network made of a sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// The index of the largest score.
    pub prediction: usize,
    /// The network's output.
    pub scores: Vec<i32>,
    /// Name and weights of each routing function, in the order in which they ran; empty unless traced.
    pub routing: Vec<(String, Vec<RoutingWeight>)>,
}

/// Runs firmware on samples: real numbers in NHWC order, one sample after the other.
///
/// # Errors
///
/// If QEMU is missing, or the firmware hangs, panics (labels of another number than the samples, or half a
/// sample at the end) or prints what it should not.
pub fn run(image: &Image, samples: &[f32], labels: Option<&[u8]>, trace: bool) -> Result<Run, EmulateError> {
    let folder = Folder::with(samples)?;
    let mut semihosting = String::new();
    if let Some(labels) = labels {
        folder.write("labels.u8", labels)?;
        semihosting += ",arg=labels";
    }
    if trace {
        semihosting += ",arg=trace";
    }
    let mut report = Report::default();
    let machine = image.machine();
    for line in folder.qemu(image, &semihosting, &[])? {
        report.read(&line).ok_or(EmulateError::Line { machine, line })?;
    }
    Ok(report.run)
}

/// What the processor's own counters said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timed {
    /// Why its cycle counter cannot be used, or `counts`.
    pub cycle_counter: String,
    /// Name and ticks of SysTick of each layer and routing function, in the order in which they ran.
    pub layers: Vec<(String, u64)>,
}

/// Runs firmware of [`build_timing`](super::build_timing) on a sample, NHWC, where each instruction takes 64 ns.
///
/// # Errors
///
/// As [`run`].
pub fn time(image: &Image, sample: &[f32]) -> Result<Timed, EmulateError> {
    let machine = image.machine();
    let mut timed = Timed::default();
    for line in Folder::with(sample)?.qemu(image, "", &["-icount".into(), "shift=6".into()])? {
        timed.read(&line).ok_or(EmulateError::Line { machine, line })?;
    }
    Ok(timed)
}

impl Timed {
    fn read(&mut self, line: &str) -> Option<()> {
        match line.split_once(' ')? {
            ("cyccnt", reason) => self.cycle_counter = reason.to_owned(),
            ("layer", rest) => {
                let (ticks, name) = rest.split_once(' ')?;
                self.layers.push((name.to_owned(), ticks.parse().ok()?));
            }
            _ => return None,
        }
        Some(())
    }
}

/// Where QEMU is started: a temporary folder with the samples.
pub(super) struct Folder(TempDir);

impl Folder {
    pub(super) fn with(samples: &[f32]) -> Result<Self, EmulateError> {
        let folder = Self(tempfile::tempdir().map_err(at(Path::new("a temporary folder")))?);
        let samples: Vec<u8> = samples.iter().flat_map(|real| real.to_le_bytes()).collect();
        folder.write("samples.f32", &samples)?;
        Ok(folder)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, contents: &[u8]) -> Result<(), EmulateError> {
        let path = self.path(name);
        fs::write(&path, contents).map_err(at(&path))
    }

    /// Runs firmware, with further arguments to it and to QEMU, and returns the lines that it prints.
    pub(super) fn qemu(
        &self,
        image: &Image,
        semihosting: &str,
        options: &[String],
    ) -> Result<Vec<String>, EmulateError> {
        let stderr = self.path("stderr");
        let machine = image.machine();
        let mut qemu = Command::new("qemu-system-arm")
            .args(["-M", machine, "-nographic", "-monitor", "none", "-serial", "null"])
            .arg("-semihosting-config")
            .arg(format!("enable=on,target=native,arg=condconv{semihosting}"))
            .args(options)
            .arg("-kernel")
            .arg(image.elf())
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&stderr).map_err(at(&stderr))?)
            .spawn()
            .map_err(EmulateError::Qemu)?;
        let lines = read_lines(&mut qemu);
        if lines.is_none() {
            qemu.kill().map_err(EmulateError::Qemu)?;
        }
        let status = qemu.wait().map_err(EmulateError::Qemu)?;
        let lines = lines.ok_or(EmulateError::Silent { machine })?;
        if !status.success() {
            let stderr = fs::read_to_string(&stderr).map_err(at(&stderr))?;
            return Err(EmulateError::Failed { machine, status, stderr });
        }
        Ok(lines)
    }
}

/// All that the firmware prints, or `None` if it falls silent without coming to an end.
fn read_lines(qemu: &mut Child) -> Option<Vec<String>> {
    let output = BufReader::new(qemu.stdout.take().expect("standard output is piped"));
    let (sender, receiver) = mpsc::channel();
    // Reading may block for ever, so another thread does. It ends with QEMU.
    thread::spawn(move || output.split(b'\n').map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let mut lines = Vec::new();
    loop {
        match receiver.recv_timeout(SILENCE) {
            Ok(line) => lines.push(String::from_utf8_lossy(&line).into_owned()),
            Err(RecvTimeoutError::Disconnected) => return Some(lines),
            Err(RecvTimeoutError::Timeout) => return None,
        }
    }
}

/// Puts the firmware's lines together.
#[derive(Default)]
pub(super) struct Report {
    pub(super) run: Run,
    /// The routing weights of the sample to come.
    routing: Vec<(String, Vec<RoutingWeight>)>,
}

impl Report {
    /// Takes a line; `None` if it has none of the forms that the firmware's documentation lists.
    pub(super) fn read(&mut self, line: &str) -> Option<()> {
        let (kind, rest) = line.split_once(' ')?;
        match kind {
            "network" => {
                let (plan_id, rest) = rest.split_once(" ram ")?;
                let (ram, flash) = rest.split_once(" flash ")?;
                self.run.plan_id = plan_id.to_owned();
                self.run.ram_bytes = ram.parse().ok()?;
                self.run.flash_bytes = flash.parse().ok()?;
            }
            "routing" => {
                let (weights, name) = rest.split_once(' ')?;
                let weights = list(weights)?.into_iter().map(RoutingWeight::from_bits).collect();
                self.routing.push((name.to_owned(), weights));
            }
            "sample" => {
                let (prediction, scores) = rest.split_once(' ')?;
                self.run.samples.push(Sample {
                    prediction: prediction.parse().ok()?,
                    scores: list(scores)?,
                    routing: std::mem::take(&mut self.routing),
                });
            }
            "accuracy" => self.run.correct = Some(rest.split_once(" of ")?.0.parse().ok()?),
            _ => return None,
        }
        Some(())
    }
}

/// Numbers with commas between them.
fn list<T: std::str::FromStr>(text: &str) -> Option<Vec<T>> {
    text.split(',').map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_a_report() {
        let mut report = Report::default();
        for line in [
            "network 12ab ram 2244 flash 2008",
            "routing 0,32767 /block 1/Sigmoid",
            "sample 1 -5,7",
            "sample 0 3,-32768",
            "accuracy 1 of 2",
        ] {
            assert_eq!(report.read(line), Some(()), "{line}");
        }
        let routing = vec![("/block 1/Sigmoid".to_owned(), vec![RoutingWeight::ZERO, RoutingWeight::MAX])];
        let first = Sample { prediction: 1, scores: vec![-5, 7], routing };
        let second = Sample { prediction: 0, scores: vec![3, -32768], routing: Vec::new() };
        let run = Run {
            plan_id: "12ab".to_owned(),
            ram_bytes: 2244,
            flash_bytes: 2008,
            samples: vec![first, second],
            correct: Some(1),
        };
        assert_eq!(report.run, run);
    }

    #[test]
    fn other_lines_are_refused() {
        for line in ["", "sample", "sample 1", "sample 1 2,x", "routing 1,2", "hello world"] {
            assert_eq!(Report::default().read(line), None, "{line}");
        }
    }
}
