//! Time stamps: `strftime` conversions in UTC, and fractions of a second.

use super::write::number;
use std::time::Duration;

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A stretch of a time format.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Item {
    Literal(Box<str>),
    /// A conversion of `strftime`.
    Field(char),
    /// That many digits of the second's fraction.
    Fraction(u8),
    /// Seconds with that many digits of fraction.
    Seconds(u8),
}

/// All digits of a fraction that are not trailing zeros (`%E*f`).
const ALL_DIGITS: u8 = u8::MAX;

/// The conversion that a text starts with, and its length; none when it is unknown.
fn conversion(text: &str) -> (Option<Item>, usize) {
    // Envoy's `%3f`, absl's `%E3f`, `%E*S`, `%E4Y`, `%Ez`.
    let mut chars = text.chars().skip(1).peekable();
    let extended = chars.next_if_eq(&'E').is_some();
    let digits = chars.next_if(|c| c.is_ascii_digit() || (extended && *c == '*'));
    let count = match digits {
        None => 9,
        Some(digit) => digit.to_digit(10).map_or(ALL_DIGITS, |d| d as u8),
    };
    let Some(c) = chars.next() else { return (None, text.len()) };
    let len = 1 + usize::from(extended) + usize::from(digits.is_some()) + c.len_utf8();
    let item = match c {
        'f' => Some(Item::Fraction(count)),
        'S' if digits.is_some() => Some(Item::Seconds(count)),
        c if known(c) && (digits.is_none() || c == 'Y') => Some(Item::Field(c)),
        _ => None,
    };
    (item, len)
}

/// Is the machine's zone UTC (`TZ`, else `/etc/localtime`)?
fn local_is_utc() -> bool {
    const UTC: [&str; 6] = ["UTC", "UTC0", "GMT", "UCT", "Zulu", "Universal"];
    let named =
        |zone: &str| zone.is_empty() || zone.rsplit('/').next().is_some_and(|last| UTC.contains(&last));
    match std::env::var("TZ") {
        Ok(zone) => named(zone.trim_start_matches(':')),
        Err(_) => match std::fs::canonicalize("/etc/localtime") {
            Ok(file) => named(&file.to_string_lossy()),
            Err(_) => true,
        },
    }
}

/// A compiled time format.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum TimeFormat {
    /// `2023-10-31T14:52:14.279Z`
    Default,
    /// `%...` conversions.
    Items(Box<[Item]>),
}

/// A moment taken apart (proleptic Gregorian calendar, UTC).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Civil {
    year: i64,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
    /// 0 is Sunday.
    weekday: u8,
    /// 0 is January 1st.
    yearday: u16,
}

/// Days to a date, by eras of 400 years (the well-known arithmetic: years start in March).
fn civil(seconds: u64) -> Civil {
    let days = (seconds / 86_400) as i64;
    let rest = seconds % 86_400;
    let z = days.wrapping_add(719_468);
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe.wrapping_add(era.wrapping_mul(400)).wrapping_add(i64::from(month <= 2));
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    // doy counts from March 1st.
    let yearday = if month > 2 { doy + 59 + i64::from(leap) } else { doy - 306 };
    Civil {
        year,
        month: month as u8,
        day: day as u8,
        hour: (rest / 3600) as u8,
        minute: (rest / 60 % 60) as u8,
        second: (rest % 60) as u8,
        weekday: (days.wrapping_add(4)).rem_euclid(7) as u8,
        yearday: yearday as u16,
    }
}

fn two(value: u8, out: &mut Vec<u8>) {
    out.push(b'0' + value / 10 % 10);
    out.push(b'0' + value % 10);
}

fn blank(value: u8, out: &mut Vec<u8>) {
    out.push(if value < 10 { b' ' } else { b'0' + value / 10 % 10 });
    out.push(b'0' + value % 10);
}

fn fraction(nanos: u32, digits: u8, out: &mut Vec<u8>) {
    let start = out.len();
    let mut unit = 100_000_000;
    for _ in 0..digits.min(9) {
        out.push(b'0' + (nanos / unit % 10) as u8);
        unit = (unit / 10).max(1);
    }
    if digits == ALL_DIGITS {
        while out.len() > start.saturating_add(1) && out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

fn year(value: i64, out: &mut Vec<u8>) {
    let value = value.unsigned_abs();
    if value < 10_000 {
        two((value / 100) as u8, out);
        two((value % 100) as u8, out);
    } else {
        number(value, out);
    }
}

impl TimeFormat {
    /// Compiles a format; empty is the default. Unknown conversions stand for themselves, as in Envoy.
    pub(super) fn compile(text: &str) -> TimeFormat {
        if text.is_empty() {
            return TimeFormat::Default;
        }
        let mut items = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            literal.push_str(rest.get(..at).unwrap_or_default());
            rest = rest.get(at..).unwrap_or_default();
            let (item, len) = conversion(rest);
            match item {
                Some(item) => {
                    if !literal.is_empty() {
                        items.push(Item::Literal(std::mem::take(&mut literal).into()));
                    }
                    items.push(item);
                }
                None if rest.starts_with("%%") => literal.push('%'),
                None => literal.push_str(rest.get(..len).unwrap_or_default()),
            }
            rest = rest.get(len..).unwrap_or_default();
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            items.push(Item::Literal(literal.into()));
        }
        TimeFormat::Items(items.into())
    }

    /// The `_LOCAL` operators, where the machine's zone is UTC.
    ///
    /// # Errors
    /// The zone is another one: zones are not read.
    pub(super) fn compile_local(text: &str) -> Result<TimeFormat, String> {
        if !local_is_utc() {
            return Err(
                "time zones other than UTC are not supported: use the operator without _LOCAL (UTC)".into()
            );
        }
        Ok(TimeFormat::compile(if text.is_empty() { "%Y-%m-%dT%H:%M:%E3S%z" } else { text }))
    }

    /// Appends a moment since the Unix epoch.
    pub(super) fn write(&self, at: Duration, out: &mut Vec<u8>) {
        let when = civil(at.as_secs());
        match self {
            TimeFormat::Default => {
                date(&when, out);
                out.push(b'T');
                clock(&when, out);
                out.push(b'.');
                fraction(at.subsec_nanos(), 3, out);
                out.push(b'Z');
            }
            TimeFormat::Items(items) => {
                for item in items {
                    match item {
                        Item::Literal(text) => out.extend_from_slice(text.as_bytes()),
                        Item::Fraction(digits) => fraction(at.subsec_nanos(), *digits, out),
                        Item::Seconds(digits) => {
                            two(when.second, out);
                            let whole = *digits == ALL_DIGITS && at.subsec_nanos() == 0;
                            if *digits > 0 && !whole {
                                out.push(b'.');
                                fraction(at.subsec_nanos(), *digits, out);
                            }
                        }
                        Item::Field(c) => field(*c, &when, at.as_secs(), out),
                    }
                }
            }
        }
    }
}

fn date(when: &Civil, out: &mut Vec<u8>) {
    year(when.year, out);
    out.push(b'-');
    two(when.month, out);
    out.push(b'-');
    two(when.day, out);
}

fn clock(when: &Civil, out: &mut Vec<u8>) {
    two(when.hour, out);
    out.push(b':');
    two(when.minute, out);
    out.push(b':');
    two(when.second, out);
}

const fn known(c: char) -> bool {
    matches!(
        c,
        'a' | 'A'
            | 'b'
            | 'B'
            | 'c'
            | 'C'
            | 'd'
            | 'D'
            | 'e'
            | 'F'
            | 'h'
            | 'H'
            | 'I'
            | 'j'
            | 'k'
            | 'l'
            | 'm'
            | 'M'
            | 'n'
            | 'p'
            | 'r'
            | 'R'
            | 's'
            | 'S'
            | 't'
            | 'T'
            | 'u'
            | 'U'
            | 'w'
            | 'W'
            | 'x'
            | 'X'
            | 'y'
            | 'Y'
            | 'z'
            | 'Z'
    )
}

fn name<'a>(names: &[&'a str], at: u8, most: usize) -> &'a [u8] {
    let name = names.get(usize::from(at)).copied().unwrap_or_default().as_bytes();
    name.get(..most.min(name.len())).unwrap_or_default()
}

fn field(c: char, when: &Civil, seconds: u64, out: &mut Vec<u8>) {
    let twelve = match when.hour % 12 {
        0 => 12,
        hour => hour,
    };
    let noon: &[u8] = if when.hour < 12 { b"AM" } else { b"PM" };
    let month = when.month.saturating_sub(1);
    match c {
        'a' => out.extend_from_slice(name(&DAYS, when.weekday, 3)),
        'A' => out.extend_from_slice(name(&DAYS, when.weekday, usize::MAX)),
        'b' | 'h' => out.extend_from_slice(name(&MONTHS, month, 3)),
        'B' => out.extend_from_slice(name(&MONTHS, month, usize::MAX)),
        'C' => two((when.year / 100 % 100) as u8, out),
        'd' => two(when.day, out),
        'e' => blank(when.day, out),
        'F' => date(when, out),
        'H' => two(when.hour, out),
        'k' => blank(when.hour, out),
        'I' => two(twelve, out),
        'l' => blank(twelve, out),
        'j' => {
            let day = when.yearday.saturating_add(1);
            out.push(b'0' + (day / 100 % 10) as u8);
            two((day % 100) as u8, out);
        }
        'm' => two(when.month, out),
        'M' => two(when.minute, out),
        'n' => out.push(b'\n'),
        't' => out.push(b'\t'),
        'p' => out.extend_from_slice(noon),
        's' => drop(number(seconds, out)),
        'S' => two(when.second, out),
        'u' => out.push(b'0' + if when.weekday == 0 { 7 } else { when.weekday }),
        'w' => out.push(b'0' + when.weekday),
        'U' => two(((when.yearday + 7 - u16::from(when.weekday)) / 7) as u8, out),
        'W' => two(((when.yearday + 7 - u16::from((when.weekday + 6) % 7)) / 7) as u8, out),
        'y' => two((when.year % 100) as u8, out),
        'Y' => year(when.year, out),
        'z' => out.extend_from_slice(b"+0000"),
        'Z' => out.extend_from_slice(b"UTC"),
        'T' | 'X' => clock(when, out),
        'R' => ["H", ":", "M"].iter().for_each(|part| nested(part, when, seconds, out)),
        'D' | 'x' => ["m", "/", "d", "/", "y"].iter().for_each(|part| nested(part, when, seconds, out)),
        'r' => ["I", ":", "M", ":", "S", " ", "p"].iter().for_each(|part| nested(part, when, seconds, out)),
        'c' => ["a", " ", "b", " ", "e", " ", "T", " ", "Y"]
            .iter()
            .for_each(|part| nested(part, when, seconds, out)),
        _ => {}
    }
}

/// A conversion made of others; separators stand for themselves.
fn nested(part: &str, when: &Civil, seconds: u64, out: &mut Vec<u8>) {
    match part.chars().next() {
        Some(c) if c.is_ascii_alphabetic() => field(c, when, seconds, out),
        _ => out.extend_from_slice(part.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(format: &str, at: Duration) -> String {
        let mut out = Vec::new();
        TimeFormat::compile(format).write(at, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn conversions() {
        // 2023-10-31 14:52:14.279123456 UTC, a Tuesday.
        let at = Duration::new(1_698_763_934, 279_123_456);
        for (format, want) in [
            ("", "2023-10-31T14:52:14.279Z"),
            ("%Y/%m/%dT%H:%M:%S%z", "2023/10/31T14:52:14+0000"),
            ("%s.%3f", "1698763934.279"),
            ("%f|%1f|%6f|%9f", "279123456|2|279123|279123456"),
            ("%E3S|%E*S|%E4Y", "14.279|14.279123456|2023"),
            ("%a %A %b %B %e %j %y %C", "Tue Tuesday Oct October 31 304 23 20"),
            ("%I:%M %p|%l|%k|%r|%R|%D|%T", "02:52 PM| 2|14|02:52:14 PM|14:52|10/31/23|14:52:14"),
            ("%u %w %U %W %Z %c", "2 2 44 44 UTC Tue Oct 31 14:52:14 2023"),
            ("100%%", "100%"),
        ] {
            assert_eq!(shown(format, at), want, "{format}");
        }
        assert_eq!(shown("%Q|%3d|%|", at), "%Q|%3d|%|");
        assert_eq!(shown("a%", at), "a%");
        assert_eq!(shown("%E*f|%E*S", Duration::from_micros(1_698_763_934_500_000)), "5|14.5");
        assert_eq!(shown("%E*S", Duration::from_secs(5)), "05");
    }

    #[test]
    fn dates_at_the_edges() {
        for (seconds, want) in [
            (0, "1970-01-01 001"),
            (951_782_399, "2000-02-28 059"),
            (951_782_400, "2000-02-29 060"),
            (951_868_800, "2000-03-01 061"),
            (978_220_800, "2000-12-31 366"),
            (4_107_542_400, "2100-03-01 060"),
            (253_402_300_799, "9999-12-31 365"),
        ] {
            assert_eq!(shown("%F %j", Duration::from_secs(seconds)), want);
        }
    }
}
