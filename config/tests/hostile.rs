//! Input made to hurt: bounded in memory and time, reported, never a panic.

mod corpora;

use std::fmt::Write;
use std::time::{Duration, Instant};

use weir_config::diag::{Diagnostic, has_errors};
use weir_config::world::read_paths;
use weir_config::yaml::{MAX_ALIAS_NODES, MAX_DEPTH};
use weir_config::{World, check};

/// Longest time that one of these may take, in a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn all(text: &str) -> Vec<Diagnostic> {
    let (world, mut found) = World::read(&[("hostile.yaml", text)]);
    found.extend(check::check(&world));
    found
}

#[test]
fn an_alias_bomb_is_defused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = format!("*a{}", level - 1);
        writeln!(text, "a{level}: &a{level} [{}]", vec![below; 10].join(", ")).expect("a string");
    }
    let start = Instant::now();
    let found = all(&text);
    assert!(found.iter().any(|finding| finding.code == "alias-limit"), "{found:?}");
    assert!(start.elapsed() < PATIENCE);
    const { assert!(MAX_ALIAS_NODES < 1_000_000) };
}

#[test]
fn anchors_within_anchors_are_bounded() {
    let mut text = String::new();
    for level in 0..90 {
        write!(text, "&n{level} [").expect("a string");
    }
    text.push_str(&"x,".repeat(20_000));
    text.push_str(&"]".repeat(90));
    let start = Instant::now();
    let found = all(&text);
    assert!(found.iter().any(|finding| finding.code == "alias-limit"), "{:?}", found.first());
    assert!(start.elapsed() < PATIENCE);
}

#[test]
fn depth_is_bounded() {
    for (open, close) in [("[", "]"), ("{a: ", "}")] {
        let deep = |levels: usize| format!("x: {}1{}\n", open.repeat(levels), close.repeat(levels));
        assert!(all(&deep(MAX_DEPTH * 1000)).iter().any(|finding| finding.code == "syntax"));
        assert!(!has_errors(&all(&deep(MAX_DEPTH / 2))));
    }
    let mut block = String::new();
    for level in 0..MAX_DEPTH * 2 {
        writeln!(block, "{}a:", " ".repeat(level)).expect("a string");
    }
    assert!(all(&block).iter().any(|finding| finding.code == "syntax"));
}

#[test]
fn aliases_and_merge_keys_mean_what_they_say() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: &m {name: a, namespace: n}\nspec:\n  ports:\n  - &p {name: http, port: 80}\n  - <<: *p\n    name: http-2\n    port: 81\n---\napiVersion: v1\nkind: Service\nmetadata: *m\n";
    let (world, found) = World::read(&[("a.yaml", text)]);
    let ports =
        world.services.first().map(|service| service.spec.ports.iter().map(|port| port.port.value).collect());
    assert_eq!(ports, Some(vec![80, 81]));
    // An anchor holds within its document.
    assert!(found.iter().any(|finding| finding.code == "syntax"), "{found:?}");
    let own = "a: &a [*a]\n";
    assert!(all(own).iter().any(|finding| finding.code == "bad-alias"), "{:?}", all(own));
}

#[test]
fn ten_thousand_services_are_checked_in_time() {
    let mut text = String::new();
    for index in 0..10_000 {
        writeln!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{index}}}\nspec: {{ports: [{{name: http, port: 80}}]}}\n---\n\
             apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: s{index}}}\nspec: {{host: s{index}, \
             subsets: [{{name: v1, labels: {{v: a}}}}]}}\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n\
             metadata: {{name: s{index}}}\nspec: {{hosts: [s{index}], http: [{{route: [{{destination: {{host: s{index}, \
             subset: v1}}}}]}}]}}"
        )
        .expect("a string");
    }
    let start = Instant::now();
    let found = all(&text);
    assert!(found.is_empty(), "{:?}", found.first());
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    println!("{:?}", start.elapsed());
}

#[test]
fn a_thousand_rules_of_one_host_are_compared_in_time() {
    let mut text = String::from(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  hosts: [a.example]\n  http:\n",
    );
    for index in 0..5_000 {
        writeln!(text, "  - match: [{{uri: {{regex: \"/a{index}/.*\"}}}}, {{uri: {{exact: /b{index}}}}}]\n    directResponse: {{status: 200}}")
            .expect("a string");
    }
    let start = Instant::now();
    let found = all(&text);
    assert!(!has_errors(&found), "{:?}", found.first());
    assert!(found.iter().any(|finding| finding.code == "shadow-unchecked"));
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

/// An empty folder of this process, removed at the end.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("weir-hostile-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn devices_pipes_and_dangling_links_are_told_and_not_opened() {
    let folder = Folder::new("devices");
    std::os::unix::fs::symlink("/dev/zero", folder.0.join("a.yaml")).expect("a link");
    std::os::unix::fs::symlink(folder.0.join("gone"), folder.0.join("b.yaml")).expect("a link");
    std::os::unix::net::UnixListener::bind(folder.0.join("c.yaml")).expect("a socket");
    std::fs::write(folder.0.join("d.yaml"), "kind: Note\n").expect("a file");
    let start = Instant::now();
    let read = read_paths(&[&folder.0]);
    assert!(start.elapsed() < PATIENCE);
    assert_eq!(read.sources.len(), 1);
    let of =
        |name: &str| read.diagnostics.iter().any(|d| d.code == "cannot-read" && d.message.contains(name));
    assert!(of("a.yaml") && of("b.yaml") && of("c.yaml"), "{:?}", read.diagnostics);
}

#[test]
fn a_large_file_is_refused_without_being_read() {
    let folder = Folder::new("large");
    let file = std::fs::File::create(folder.0.join("a.yaml")).expect("a file");
    file.set_len(1 << 40).expect("a file with a hole");
    let read = read_paths(&[&folder.0]);
    assert!(read.diagnostics.iter().any(|d| d.code == "file-too-large"), "{:?}", read.diagnostics);
}

#[test]
fn a_link_that_leads_back_up_is_left_out() {
    let folder = Folder::new("loop");
    std::fs::create_dir(folder.0.join("sub")).expect("a folder");
    std::fs::write(folder.0.join("sub/a.yaml"), "kind: Note\n").expect("a file");
    std::os::unix::fs::symlink(&folder.0, folder.0.join("sub/up")).expect("a link");
    let read = read_paths(&[&folder.0]);
    assert_eq!(read.sources.len(), 1, "{:?}", read.sources);
    let codes: Vec<_> = read.diagnostics.iter().map(|d| d.code).collect();
    assert_eq!(codes, ["link-loop"]);
    assert!(!has_errors(&read.diagnostics));
}

/// A small generator (xorshift64*), so that a failure repeats.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let limit = u64::try_from(limit.max(1)).unwrap_or(1);
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % limit).unwrap_or(0)
    }
}

/// Cuts, doubles, moves and replaces pieces of real files.
#[test]
fn mutations_of_real_files_never_panic() {
    let Some(root) = corpora::root("hostile") else { return };
    let mut seeds = read_paths(&[root.join("seeds"), root.join("istiod-recorded/ads/shop/input")]).sources;
    seeds.extend(read_paths(&[root.join("istio-samples/samples/bookinfo/networking")]).sources);
    assert!(seeds.len() > 30);
    let pieces = [
        "{", "}", "[", "]", ":", "- ", "\n", "  ", "\t", "&a ", "*a", "<<: ", "!!str ", "|", ">", "\"", "'",
        "-1", "\u{0}", "é", "0x", "~", "---\n",
    ];
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let mut read = 0;
    for round in 0..3_000 {
        let Some((_, text)) = seeds.get(dice.below(seeds.len())) else { continue };
        let mut chars: Vec<char> = text.chars().collect();
        for _ in 0..=dice.below(6) {
            let at = dice.below(chars.len());
            let end = (at + dice.below(40)).min(chars.len());
            match dice.below(4) {
                0 => drop(chars.drain(at..end)),
                1 => {
                    let copy: Vec<char> = chars[at..end].to_vec();
                    let to = dice.below(chars.len());
                    chars.splice(to..to, copy);
                }
                2 => drop(chars.splice(at..at, pieces[dice.below(pieces.len())].chars())),
                _ => drop(chars.splice(at..end, pieces[dice.below(pieces.len())].chars())),
            }
        }
        let text: String = chars.into_iter().collect();
        let (world, _) = World::read(&[(format!("round-{round}"), text)]);
        let _ = check::check(&world);
        read += usize::from(world.metas().next().is_some());
    }
    assert!(read > 1_000, "only {read} of the mutations had any resource");
}
