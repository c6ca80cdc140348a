//! `StatsConfig`: which parts of a statistic's name are tags.

use super::wkt;
use crate::base::ledger::At;
use regex::Regex;
use weir_proto::envoy::config::metrics::v3 as proto;
use weir_proto::envoy::config::metrics::v3::tag_specifier::TagValue as Kind;

/// Where a tag's value comes from.
#[derive(Clone, Debug)]
pub enum TagValue {
    /// The same for every statistic.
    Fixed(String),
    /// The first group is cut out of the name; the second (else the first) is the value.
    Regex(Regex),
}

/// One entry of `stats_config.stats_tags`.
#[derive(Clone, Debug)]
pub struct TagRule {
    /// The tag.
    pub name: String,
    /// Its value.
    pub value: TagValue,
}

/// The tags of statistics.
#[derive(Clone, Debug)]
pub struct Tagging {
    /// Rules of the configuration, in order.
    pub rules: Vec<TagRule>,
    /// Envoy's default extractors come first (`use_all_default_tags`).
    pub defaults: bool,
}

impl Default for Tagging {
    fn default() -> Self {
        Tagging { rules: Vec::new(), defaults: true }
    }
}

/// The tags that a bootstrap asks for.
pub fn tagging(at: &At<'_>, message: &proto::StatsConfig) -> Tagging {
    crate::ledger!(at, message => proto::StatsConfig { stats_tags, use_all_default_tags }
        refuse { allow_default_tag_overrides } ignore { stats_matcher, histogram_bucket_settings });
    let defaults = wkt::flag(use_all_default_tags, true);
    let one = |(i, message): (usize, &proto::TagSpecifier)| {
        let here = at.item("stats_tags", i);
        crate::ledger!(here, message => proto::TagSpecifier { tag_name, tag_value });
        let value = match tag_value {
            Some(Kind::FixedValue(text)) => TagValue::Fixed(text.clone()),
            Some(Kind::Regex(text)) if !text.is_empty() => match Regex::new(text) {
                Ok(regex) if regex.captures_len() > 1 => TagValue::Regex(regex),
                Ok(_) => {
                    here.bad("regex", "needs a group: what it finds is the tag's value");
                    return None;
                }
                Err(error) => {
                    here.bad("regex", format!("invalid regular expression: {error}"));
                    return None;
                }
            },
            // Of a default extractor the name is enough, and it is there already.
            _ if defaults => return None,
            _ => {
                here.unsupported("a single default tag (use_all_default_tags: false, and no regex)");
                return None;
            }
        };
        Some(TagRule { name: here.non_empty("tag_name", tag_name)?.to_owned(), value })
    };
    Tagging { rules: stats_tags.iter().enumerate().filter_map(one).collect(), defaults }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ledger::Sink;

    fn read(text: &str) -> (Tagging, Vec<String>) {
        let parsed = weir_proto::parse::<proto::StatsConfig>(text, &weir_proto::ParseOptions::default());
        let sink = Sink::new();
        let tagging = tagging(&sink.root("stats_config"), &parsed.unwrap().message);
        (tagging, sink.into_errors().into_iter().map(|error| error.path).collect())
    }

    #[test]
    fn rules_are_kept_in_order_and_mistakes_named() {
        let (tagging, errors) = read(
            "{stats_tags: [{tag_name: a, regex: 'x(.*)'}, {tag_name: b, fixed_value: v}, {tag_name: envoy.cluster_name}]}",
        );
        assert!(errors.is_empty() && tagging.defaults, "{errors:?}");
        let names: Vec<&str> = tagging.rules.iter().map(|rule| rule.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        let (tagging, errors) = read(
            "{use_all_default_tags: false, stats_tags: [{tag_name: a, regex: '('}, {tag_name: b, regex: x}, {tag_name: c}]}",
        );
        assert!(!tagging.defaults && tagging.rules.is_empty());
        let place = |i: usize, field: &str| format!("stats_config.stats_tags[{i}]{field}");
        assert_eq!(errors, [place(0, ".regex"), place(1, ".regex"), place(2, "")]);
    }
}
