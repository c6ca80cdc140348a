//! Regular expressions as Envoy reads them (`RegexMatcher`): RE2's syntax, in the words of the `regex` crate.
//!
//! The two languages differ where it hurts: the crate knows sets inside classes (`[a-z&&[^b]]`), boundaries of words
//! (`\<`), stacked repetitions (`a**`) and more flags; RE2 knows `\Q..\E`, `\C`, octal numbers, braces that stand for
//! themselves, and no vertical tab among `\s`. An expression is read whole before it is put between anchors, so that
//! no parenthesis of it closes theirs.

use std::fmt::Write;

use regex::bytes::{Regex, RegexBuilder};

/// Largest compiled expression in bytes (the crate's own default is 10 MiB; routes come by the thousand).
pub const MAX_PROGRAM: usize = 2 << 20;

/// Most repetitions of one operator (RE2's `kMaxRepeat`).
const MAX_REPEAT: u32 = 1000;

/// Why an expression is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Re2Error {
    /// It breaks RE2's syntax: what is wrong, and where.
    #[error("{0}: {1}")]
    Syntax(&'static str, String),
    /// It is too large, or names a Unicode property that is not known.
    #[error("{0}")]
    Refused(String),
}

/// An expression that a whole text must match. Bytes count, not characters: classes are those of ASCII.
///
/// # Errors
/// It is not RE2's syntax, or larger than [`MAX_PROGRAM`] when compiled.
pub fn full(pattern: &str) -> Result<Regex, Re2Error> {
    build(&format!(r"\A(?:{})\z", translate(pattern)?))
}

/// An expression that may match anywhere.
///
/// # Errors
/// As those of [`full`].
pub fn partial(pattern: &str) -> Result<Regex, Re2Error> {
    build(&translate(pattern)?)
}

fn build(translated: &str) -> Result<Regex, Re2Error> {
    let built = RegexBuilder::new(translated).unicode(false).size_limit(MAX_PROGRAM).build();
    built.map_err(|error| {
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default().trim();
        Re2Error::Refused(last.strip_prefix("error: ").unwrap_or(last).to_owned())
    })
}

fn translate(pattern: &str) -> Result<String, Re2Error> {
    let mut reader = Reader { all: pattern, rest: pattern, out: String::new(), open: 0, names: Vec::new() };
    let mut before = Before::Nothing;
    while let Some(c) = reader.next() {
        before = reader.piece(c, before)?;
    }
    if reader.open > 0 {
        return Err(Re2Error::Syntax("missing )", pattern.to_owned()));
    }
    Ok(reader.out)
}

/// What stands before an operator of repetition.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Item,
    Repetition,
}

struct Reader<'p> {
    all: &'p str,
    rest: &'p str,
    out: String,
    /// Groups that are not closed.
    open: usize,
    names: Vec<&'p str>,
}

impl<'p> Reader<'p> {
    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next();
        self.rest = chars.as_str();
        c
    }

    fn eat(&mut self, text: &str) -> bool {
        self.rest.strip_prefix(text).map(|rest| self.rest = rest).is_some()
    }

    /// The text before a delimiter, which is eaten too.
    fn until(&mut self, end: &str) -> Option<&'p str> {
        let (text, rest) = self.rest.split_once(end)?;
        self.rest = rest;
        Some(text)
    }

    /// An error that shows the text from a place on up to here.
    fn wrong<T>(&self, what: &'static str, from: &'p str) -> Result<T, Re2Error> {
        let length = from.len().saturating_sub(self.rest.len());
        Err(Re2Error::Syntax(what, from.get(..length).unwrap_or(from).to_owned()))
    }

    fn piece(&mut self, c: char, before: Before) -> Result<Before, Re2Error> {
        match c {
            '\\' => return self.escape(before),
            '[' => self.class()?,
            '(' => {
                self.group()?;
                return Ok(Before::Nothing);
            }
            ')' => {
                let Some(open) = self.open.checked_sub(1) else {
                    return Err(Re2Error::Syntax("unexpected )", self.all.to_owned()));
                };
                self.open = open;
                self.out.push(')');
            }
            '|' => {
                self.out.push('|');
                return Ok(Before::Nothing);
            }
            '*' | '+' | '?' => return self.repeat(&c.to_string(), before),
            '{' => match self.counts() {
                Some((least, most)) => return self.repeat_counted(least, most, before),
                None => literal(&mut self.out, '{'),
            },
            '^' | '$' | '.' => self.out.push(c),
            c => literal(&mut self.out, c),
        }
        Ok(Before::Item)
    }

    fn repeat_counted(&mut self, least: u32, most: Option<u32>, before: Before) -> Result<Before, Re2Error> {
        let text = match most {
            Some(most) => format!("{{{least},{most}}}"),
            None => format!("{{{least},}}"),
        };
        if least.max(most.unwrap_or(0)) > MAX_REPEAT || most.is_some_and(|most| most < least) {
            return Err(Re2Error::Syntax("invalid repetition size", text));
        }
        self.repeat(&text, before)
    }

    fn repeat(&mut self, operator: &str, before: Before) -> Result<Before, Re2Error> {
        match before {
            Before::Nothing => {
                return Err(Re2Error::Syntax("no argument for repetition operator", operator.to_owned()));
            }
            Before::Repetition => {
                return Err(Re2Error::Syntax("bad repetition operator", operator.to_owned()));
            }
            Before::Item => self.out.push_str(operator),
        }
        if self.eat("?") {
            self.out.push('?');
        }
        Ok(Before::Repetition)
    }

    /// `n}`, `n,}` or `n,m}`; anything else is no repetition, and nothing of it is read.
    fn counts(&mut self) -> Option<(u32, Option<u32>)> {
        let (text, rest) = self.rest.split_once('}')?;
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            // A number of several digits does not begin with a zero.
            let plain = text == "0" || !text.starts_with('0');
            (digits && plain).then(|| text.parse().unwrap_or(u32::MAX))
        };
        let counts = match text.split_once(',') {
            None => number(text).map(|n| (n, Some(n)))?,
            Some((least, "")) => (number(least)?, None),
            Some((least, most)) => (number(least)?, Some(number(most)?)),
        };
        self.rest = rest;
        Some(counts)
    }

    fn escape(&mut self, before: Before) -> Result<Before, Re2Error> {
        let from = self.rest;
        let Some(c) = self.next() else {
            return Err(Re2Error::Syntax("trailing \\", self.all.to_owned()));
        };
        match c {
            'A' | 'z' | 'b' | 'B' => self.out.extend(['\\', c]),
            'C' => self.out.push_str("(?s-u:.)"),
            'Q' => {
                let text = self.until("\\E").unwrap_or_else(|| std::mem::take(&mut self.rest));
                text.chars().for_each(|c| literal(&mut self.out, c));
                return Ok(if text.is_empty() { before } else { Before::Item });
            }
            'p' | 'P' => {
                let property = self.property(c == 'P', from)?;
                let _ = write!(self.out, "(?u:{property})");
            }
            c => match perl(c) {
                Some((inside, negated)) => {
                    let not = if negated { "^" } else { "" };
                    let _ = write!(self.out, "[{not}{inside}]");
                }
                None => {
                    let c = self.character(c, from)?;
                    literal(&mut self.out, c);
                }
            },
        }
        Ok(Before::Item)
    }

    /// The character that an escape sequence stands for, after the backslash and `c`.
    fn character(&mut self, c: char, from: &'p str) -> Result<char, Re2Error> {
        let bad = "invalid escape sequence";
        let code = match c {
            'a' => 7,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'v' => 11,
            '0'..='7' => {
                // One digit but zero would be a reference to a group.
                if c != '0' && !self.rest.starts_with(|c: char| c.is_digit(8)) {
                    return self.wrong(bad, from);
                }
                let mut code = c.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    let Some(digit) = self.rest.chars().next().and_then(|c| c.to_digit(8)) else { break };
                    self.next();
                    code = code.saturating_mul(8).saturating_add(digit);
                }
                code
            }
            'x' => {
                let digits = if self.eat("{") { self.until("}") } else { self.two() };
                let plain = digits.filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
                match plain.and_then(|text| u32::from_str_radix(text, 16).ok()) {
                    Some(code) => code,
                    None => return self.wrong(bad, from),
                }
            }
            c if c.is_ascii_punctuation() && c != '_' || c.is_ascii_control() || c == ' ' => c.into(),
            _ => return self.wrong(bad, from),
        };
        char::from_u32(code).map_or_else(|| self.wrong(bad, from), Ok)
    }

    fn two(&mut self) -> Option<&'p str> {
        let (text, rest) = self.rest.split_at_checked(2)?;
        self.rest = rest;
        Some(text)
    }

    /// A property of Unicode, after `p` or `P`: one letter, or a name in braces, which `^` turns around.
    fn property(&mut self, negated: bool, from: &'p str) -> Result<String, Re2Error> {
        let name = if self.eat("{") { self.until("}") } else { self.one() };
        let Some(name) = name else { return self.wrong("invalid character class range", from) };
        let (name, turned) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_') {
            return self.wrong("invalid character class range", from);
        }
        Ok(format!("\\{}{{{name}}}", if negated == turned { 'p' } else { 'P' }))
    }

    fn one(&mut self) -> Option<&'p str> {
        let (text, rest) = self.rest.split_at_checked(1)?;
        self.rest = rest;
        Some(text)
    }

    /// A class, after its bracket. What stands for itself in it is escaped, so that nothing makes a set.
    fn class(&mut self) -> Result<(), Re2Error> {
        let from = self.rest;
        let not = if self.eat("^") { "^" } else { "" };
        let mut inside = String::new();
        let mut unicode = false;
        let mut first = true;
        loop {
            let Some(c) = self.next() else { return self.wrong("missing ]", from) };
            match c {
                ']' if !first => break,
                '[' if self.rest.starts_with(':') && self.rest.contains(":]") => self.posix(&mut inside)?,
                c => unicode |= self.class_item(c, &mut inside)?,
            }
            first = false;
        }
        let _ = if unicode {
            write!(self.out, "(?u:[{not}{inside}])")
        } else {
            write!(self.out, "[{not}{inside}]")
        };
        Ok(())
    }

    /// A character, a range, or a class inside a class; true when it needs Unicode.
    fn class_item(&mut self, c: char, inside: &mut String) -> Result<bool, Re2Error> {
        let from = self.rest;
        let mut low = c;
        if c == '\\' {
            let Some(c) = self.next() else {
                return Err(Re2Error::Syntax("trailing \\", self.all.to_owned()));
            };
            if matches!(c, 'p' | 'P') {
                inside.push_str(&self.property(c == 'P', from)?);
                return Ok(true);
            }
            if let Some((class, negated)) = perl(c) {
                let _ = if negated { write!(inside, "[^{class}]") } else { write!(inside, "{class}") };
                return Ok(false);
            }
            low = self.character(c, from)?;
        }
        literal(inside, low);
        let mut after = self.rest.chars();
        if after.next() != Some('-') || after.next().is_none_or(|c| c == ']') {
            return Ok(!low.is_ascii());
        }
        self.next();
        let high_from = self.rest;
        let high = match self.next() {
            Some('\\') => {
                let from = self.rest;
                let Some(c) = self.next() else { return self.wrong("missing ]", high_from) };
                self.character(c, from)?
            }
            Some(c) => c,
            None => return self.wrong("missing ]", high_from),
        };
        if high < low {
            return Err(Re2Error::Syntax("invalid character class range", format!("{low}-{high}")));
        }
        inside.push('-');
        literal(inside, high);
        Ok(!high.is_ascii())
    }

    /// `[:name:]` inside a class, after its bracket.
    fn posix(&mut self, inside: &mut String) -> Result<(), Re2Error> {
        const NAMES: [&str; 14] = [
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
            "space", "upper", "word", "xdigit",
        ];
        let from = self.rest;
        self.eat(":");
        let name = self.until(":]").unwrap_or_default();
        if !NAMES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return self.wrong("invalid character class range", from);
        }
        let _ = write!(inside, "[:{name}:]");
        Ok(())
    }

    /// A group or flags, after the parenthesis.
    fn group(&mut self) -> Result<(), Re2Error> {
        let from = self.rest;
        if !self.eat("?") {
            self.out.push('(');
        } else if self.eat("P<") || self.eat("<") {
            let name = self.until(">").unwrap_or_default();
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return self.wrong("invalid named capture group", from);
            }
            if self.names.contains(&name) {
                return Err(Re2Error::Syntax("duplicate capture group name", name.to_owned()));
            }
            self.names.push(name);
            // Groups are only ever named by their number.
            self.out.push('(');
        } else {
            return self.flags(from);
        }
        self.open = self.open.saturating_add(1);
        Ok(())
    }

    /// `i`, `m`, `s` and `U`, switched on and, after `-`, off; for a group or for what follows.
    fn flags(&mut self, from: &'p str) -> Result<(), Re2Error> {
        let (mut on, mut off) = (String::new(), String::new());
        let mut turned = false;
        let group = loop {
            match self.next() {
                Some(c @ ('i' | 'm' | 's' | 'U')) => {
                    on.retain(|flag| flag != c);
                    off.retain(|flag| flag != c);
                    if turned { off.push(c) } else { on.push(c) }
                }
                Some('-') if !turned => turned = true,
                Some(end @ (':' | ')')) if !turned || !off.is_empty() => break end == ':',
                _ => return self.wrong("invalid perl operator", from),
            }
        };
        let not = if off.is_empty() { "" } else { "-" };
        if group {
            self.open = self.open.saturating_add(1);
            let _ = write!(self.out, "(?{on}{not}{off}:");
        } else if !(on.is_empty() && off.is_empty()) {
            let _ = write!(self.out, "(?{on}{not}{off})");
        }
        Ok(())
    }
}

/// What `\d`, `\s`, `\w` and their opposites stand for inside a class.
fn perl(c: char) -> Option<(&'static str, bool)> {
    let inside = match c.to_ascii_lowercase() {
        'd' => "0-9",
        's' => r"\t\n\x0C\r ",
        'w' => "0-9A-Za-z_",
        _ => return None,
    };
    Some((inside, c.is_ascii_uppercase()))
}

/// A character that stands for itself.
fn literal(out: &mut String, c: char) {
    if c.is_ascii_punctuation() && !matches!(c, '<' | '>' | '_') {
        out.push('\\');
    }
    out.push(c);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        full(pattern).unwrap().is_match(text.as_bytes())
    }

    #[test]
    fn what_the_two_languages_read_otherwise_is_read_as_re2_does() {
        for (pattern, takes, refuses) in [
            ("[a-z&&[^b]]", &["b]", "&]", "^]"][..], &["a", "b"][..]),
            ("[[a]b]", &["[b]", "ab]"], &["a", "b"]),
            ("[a~~b]", &["~", "a"], &["c"]),
            ("[+--b]", &["-", "b", ","], &["/"]),
            (r"[\d-z]", &["5", "-", "z"], &["a"]),
            (r"\<a\>", &["<a>"], &["a"]),
            ("/api/{id}", &["/api/{id}"], &["/api/id"]),
            ("a{,5}", &["a{,5}"], &["aa"]),
            ("a{01}", &["a{01}"], &["a"]),
            ("a{2}", &["aa"], &["a", "aaa"]),
            ("a{2,}?", &["aaa"], &["a"]),
            (r"\Qa.b|\E+", &["a.b||"], &["axb|"]),
            (r"\Q(", &["("], &[""]),
            (r"\101\x42\x{43}", &["ABC"], &["abc"]),
            (r"\pL+", &["äB"], &["1"]),
            (r"[\pLé]\P{^Nd}", &["é5"], &["1a"]),
            (r"\s", &[" ", "\t"], &["\u{b}"]),
            (r"[\S]", &["\u{b}", "x"], &[" "]),
            (r"[[:^digit:]x]", &["a", "x"], &["1"]),
            ("[]a]", &["]", "a"], &["b"]),
            ("[é-ü]", &["ö"], &["a"]),
            ("(?i:A)(?-i)b(?P<n>c)(?<m>d)", &["abcd"], &["aBcd"]),
            ("(?)a|", &["a", ""], &["b"]),
            ("a b#", &["a b#"], &["ab"]),
        ] {
            assert!(takes.iter().all(|text| matches(pattern, text)), "{pattern} takes {takes:?}");
            assert!(!refuses.iter().any(|text| matches(pattern, text)), "{pattern} refuses {refuses:?}");
        }
        assert_eq!(full(r"\C").unwrap().find(b"\xff").map(|found| found.len()), Some(1));
        assert!(partial("b+").unwrap().is_match(b"abc"));
    }

    #[test]
    fn what_re2_refuses_is_refused() {
        for (pattern, why) in [
            ("/a)|(/b", "unexpected ): /a)|(/b"),
            ("(a", "missing ): (a"),
            ("[a", "missing ]: a"),
            ("a**", "bad repetition operator: *"),
            ("a{2}{3}", "bad repetition operator: {3,3}"),
            ("a++", "bad repetition operator: +"),
            ("*a", "no argument for repetition operator: *"),
            ("a|+", "no argument for repetition operator: +"),
            ("a{1001}", "invalid repetition size: {1001,1001}"),
            ("a{3,2}", "invalid repetition size: {3,2}"),
            ("(?x)a", "invalid perl operator: ?x"),
            ("(?R)", "invalid perl operator: ?R"),
            ("(?=a)", "invalid perl operator: ?="),
            ("(?<=a)b>", "invalid named capture group: ?<=a)b>"),
            ("(?<n>a)(?P<n>b)", "duplicate capture group name: n"),
            (r"(a)\1", "invalid escape sequence: 1"),
            (r"\Z", "invalid escape sequence: Z"),
            (r"[a-\d]", "invalid escape sequence: d"),
            ("[b-a]", "invalid character class range: b-a"),
            ("[[:nope:]]", "invalid character class range: :nope:]"),
            (r"\p{", "invalid character class range: p{"),
            (r"\x{110000}", "invalid escape sequence: x{110000}"),
            ("a\\", "trailing \\: a\\"),
        ] {
            assert_eq!(full(pattern).map_err(|error| error.to_string()).unwrap_err(), why, "{pattern}");
        }
        assert!(matches!(full(r"\p{Nonsense}"), Err(Re2Error::Refused(_))));
        assert!(matches!(full("((a{1000}){1000}){1000}"), Err(Re2Error::Refused(_))));
    }
}
