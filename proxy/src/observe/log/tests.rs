use super::*;
use crate::base::addr::Address;
use crate::base::clock;
use crate::base::names::Id;
use crate::failure::Flag;
use crate::observe::metrics::Registry;
use crate::observe::record::{ConnFacts, Protocol};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

fn record() -> Record {
    let at = |text: &str| Address::Ip(text.parse().unwrap());
    let conn = ConnFacts {
        spoofed: None,
        inbound: false,
        id: 1,
        direct_remote: at("10.0.0.1:1"),
        remote: at("10.0.0.1:1"),
        local: at("10.0.0.2:80"),
        direct_local: at("10.0.0.2:80"),
        server_name: None,
        listener: "l".into(),
        chain: "".into(),
        start: clock::now(),
    };
    let mut record = Record::new(Rc::new(conn), clock::now(), Duration::from_secs(1));
    record.protocol = Some(Protocol::Http11);
    record.status = 404;
    record.moments.end = Some(Duration::from_millis(20));
    record.request.set_id(Id::Path, b"/x");
    record
}

struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Temporary {
        let path = std::env::temp_dir().join(format!("weir-log-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Temporary(path)
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap_or_default()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

const SOON: Duration = Duration::from_secs(20);

#[test]
fn lines_of_all_threads_reach_the_file_once() {
    let file = Temporary::new("threads");
    let sink = Sink::file(&file.0).unwrap();
    assert!(Arc::ptr_eq(&sink, &Sink::file(&file.0).unwrap()), "one sink a path");
    let log = Arc::new(AccessLog::new(sink, Format::parse("%RESPONSE_CODE% %REQ(:PATH)%\n").unwrap(), None));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let log = log.clone();
            std::thread::spawn(move || {
                let record = record();
                (0..500).for_each(|_| log.log(&record));
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(flush_all(SOON));
    assert_eq!(file.text(), "404 /x\n".repeat(1500));
}

#[test]
fn reopening_follows_a_rotation() {
    let (file, old) = (Temporary::new("rotate"), Temporary::new("rotated"));
    let log = AccessLog::new(Sink::file(&file.0).unwrap(), Format::parse("%RESPONSE_CODE%\n").unwrap(), None);
    log.log(&record());
    assert!(flush_all(SOON));
    std::fs::rename(&file.0, &old.0).unwrap();
    reopen_all();
    assert!(flush_all(SOON));
    log.log(&record());
    log.log(&record());
    assert!(flush_all(SOON));
    assert_eq!((old.text().as_str(), file.text().as_str()), ("404\n", "404\n404\n"));
}

#[test]
fn a_full_ring_drops_and_counts() {
    let dropped = || {
        let counters = Registry::global().snapshot().counters;
        let count = |name: &str| counters.get(&format!("access_log_file.{name}")).copied().unwrap_or(0);
        (count("lines_dropped"), count("lines_too_long"))
    };
    let file = Temporary::new("full");
    let sink = Sink::file(&file.0).unwrap();
    let before = dropped();
    let line = vec![b'x'; MAX_LINE];
    sink.write(|out| out.resize(out.len() + MAX_LINE + 1, b'y'));
    // The log thread may empty the ring in between: more lines than two rings hold, as fast as can be.
    for _ in 0..200 {
        sink.write(|out| out.extend_from_slice(&line));
    }
    assert!(flush_all(SOON));
    let after = dropped();
    assert_eq!(after.1 - before.1, 1);
    let kept = file.text().len() / MAX_LINE;
    assert_eq!(kept as u64 + (after.0 - before.0), 200);

    // What a full disk swallows is lost, too.
    let sink = Sink::file(std::path::Path::new("/dev/full")).unwrap();
    sink.write(|out| out.extend_from_slice(b"one\n"));
    sink.write(|out| out.extend_from_slice(b"two\n"));
    assert!(flush_all(SOON));
    assert_eq!(dropped().0 - after.0, 2);
}

#[test]
fn a_panic_while_rendering_costs_that_line_only() {
    let file = Temporary::new("panic");
    let sink = Sink::file(&file.0).unwrap();
    sink.write(|line| line.extend_from_slice(b"one\n"));
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        sink.write(|line| {
            line.extend_from_slice(b"half");
            panic!("in a test");
        });
    }));
    assert!(caught.is_err());
    sink.write(|line| line.extend_from_slice(b"two\n"));
    assert!(flush_all(SOON));
    assert_eq!(file.text(), "one\ntwo\n");
}

#[test]
fn a_quiet_thread_is_woken_by_a_line() {
    let file = Temporary::new("quiet");
    let log = AccessLog::new(Sink::file(&file.0).unwrap(), Format::parse("%RESPONSE_CODE%\n").unwrap(), None);
    log.log(&record());
    assert!(flush_all(SOON));
    std::thread::sleep(Duration::from_millis(1500));
    log.log(&record());
    assert!(flush_all(SOON));
    assert_eq!(file.text(), "404\n404\n");
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error() {
    assert!(Sink::file(&std::env::temp_dir().join("weir-no-such-folder/x/log")).is_err());
    assert!(Arc::ptr_eq(&Sink::stdout(), &Sink::file("/dev/stdout".as_ref()).unwrap()));
}

#[test]
fn filters() {
    let mut record = record();
    record.flags.set(Flag::NR);
    record.request.set_id(Id::RequestId, b"00000032-aaaa-4aaa-8aaa-aaaaaaaaaaaa");
    let pass = |filter: Filter| filter.passes(&record);
    assert!(pass(Filter::Status(Compare::AtLeast, 400)));
    assert!(!pass(Filter::Status(Compare::AtMost, 403)));
    assert!(pass(Filter::Status(Compare::NotEqual, 403)));
    assert!(pass(Filter::Duration(Compare::Equal, 20)));
    assert!(!pass(Filter::Duration(Compare::AtLeast, 21)));
    assert!(pass(Filter::NotHealthCheck));
    assert!(pass(Filter::ResponseFlags(Box::new([]))));
    assert!(pass(Filter::ResponseFlags(Box::new([Flag::UF, Flag::NR]))));
    assert!(!pass(Filter::ResponseFlags(Box::new([Flag::UF]))));
    assert!(pass(Filter::Header(HeaderPredicate::new(|h| h.get(Id::Path) == Some(b"/x")))));
    // 0x32 is 50.
    let share = |numerator| Filter::Fraction { numerator, denominator: 100, independent: false };
    assert!(pass(share(51)) && !pass(share(50)));
    assert!(!pass(Filter::Fraction { numerator: 0, denominator: 100, independent: true }));
    assert!(pass(Filter::Fraction { numerator: 100, denominator: 100, independent: true }));
    // 404 without a status of its own is UNIMPLEMENTED.
    let grpc = |status, exclude| Filter::GrpcStatus { statuses: Box::new([status]), exclude };
    assert!(pass(grpc(12, false)) && !pass(grpc(12, true)) && !pass(grpc(0, false)));
    assert!(pass(Filter::And(Box::new([Filter::NotHealthCheck, Filter::Status(Compare::Equal, 404)]))));
    assert!(!pass(Filter::And(Box::new([Filter::NotHealthCheck, Filter::Status(Compare::Equal, 1)]))));
    assert!(pass(Filter::Or(Box::new([share(0), Filter::Status(Compare::Equal, 404)]))));
    assert!(!pass(Filter::Or(Box::new([]))));
}
