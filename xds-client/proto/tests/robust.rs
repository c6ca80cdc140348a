//! Whatever stands in a text or comes over the wire, the answer is a message or an error: nothing panics.

use prost::Message;
use weir_proto::envoy::config::bootstrap::v3::Bootstrap;
use weir_proto::{Format, ParseOptions, Pool, Secrets};

const TEXT: &str = r#"
node: {id: a, cluster: b, metadata: {k: [1, true, null, {x: "y"}]}}
static_resources:
  clusters:
  - &one
    name: a
    type: STATIC
    connect_timeout: 0.25s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {max_concurrent_streams: 100}}
  - {<<: *one, name: c}
"#;

/// Mutations per notation: enough to hit every branch of the readers, in a few seconds.
const ROUNDS: usize = 1_500;

/// A repeatable source of numbers (Knuth's 64-bit constants for a linear congruential generator).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % limit.max(1)
    }
}

/// `bytes` with up to four places cut, doubled, or overwritten.
fn mutate(bytes: &[u8], numbers: &mut Numbers, alphabet: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(out.len());
        let letter = alphabet[numbers.below(alphabet.len())];
        match numbers.below(4) {
            0 => out.truncate(at),
            1 => out.insert(at, letter),
            2 if !out.is_empty() => out[at] = letter,
            _ => {
                let end = (at + numbers.below(40)).min(out.len());
                let part = out[at..end].to_vec();
                out.splice(at..at, part);
            }
        }
    }
    out
}

#[test]
fn mutated_texts_and_bytes_never_panic() {
    let pool = Pool::load().expect("descriptors");
    let name = "envoy.config.bootstrap.v3.Bootstrap";
    let whole: Bootstrap = pool.parse(TEXT, &ParseOptions::default()).expect("valid").message;
    let bytes = whole.encode_to_vec();
    let json = pool.to_json(name, &bytes, Secrets::Show).expect("a dump").to_string();
    let mut numbers = Numbers(42);
    let (mut valid, mut refused) = (0, 0);
    let letters = b"{}[]:,\"'&*<!|>-#\\\n\t @%01.eEtfn\xc3\xa9\xff~?";
    for (format, text) in [(Format::Yaml, TEXT), (Format::Json, json.as_str())] {
        let options = ParseOptions { format, ..ParseOptions::default() };
        for _ in 0..ROUNDS {
            let mutated = mutate(text.as_bytes(), &mut numbers, letters);
            match pool.parse::<Bootstrap>(&String::from_utf8_lossy(&mutated), &options) {
                Ok(_) => valid += 1,
                Err(error) => {
                    assert!(!error.problems.is_empty() && !error.to_string().is_empty());
                    refused += 1;
                }
            }
        }
    }
    let all: Vec<u8> = (0..=255).collect();
    for _ in 0..ROUNDS {
        let mutated = mutate(&bytes, &mut numbers, &all);
        let shown = pool.to_json(name, &mutated, Secrets::Redact);
        assert_eq!(shown.is_ok(), pool.violations(name, &mutated).is_ok());
        assert_eq!(shown.is_ok(), pool.unknown_fields(name, &mutated).is_ok());
    }
    assert!(valid > 0 && refused > 0, "{valid} valid, {refused} refused");
}

/// The deepest text that is let through fits the stack of a thread.
#[test]
fn the_deepest_text_fits_a_thread_of_two_mebibytes() {
    let deep = |levels: usize| {
        let rule = format!("{}header: {{name: a}}{}", "not_rule: {".repeat(levels), "}".repeat(levels));
        format!("{{rules: {{policies: {{p: {{permissions: [{{{rule}}}], principals: [{{any: true}}]}}}}}}}}")
    };
    let run = move |levels: usize| {
        let pool = Pool::load().expect("descriptors");
        let options = ParseOptions { skip_rules: true, ..ParseOptions::default() };
        pool.parse::<weir_proto::envoy::extensions::filters::network::rbac::v3::Rbac>(&deep(levels), &options)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(move || (run(80), run(140)));
    let (fits, too_deep) = thread.expect("a thread").join().expect("no overflow");
    assert_eq!(fits, Ok(()));
    assert!(too_deep.is_err_and(|error| error.contains("MAX_DEPTH")));
}
